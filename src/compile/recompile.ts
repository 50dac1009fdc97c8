/**
 * Compiling after a change. What only moves weights or endpoints — a Rollout's step, a revision, an
 * edited Backend, an EndpointSlice — compiles the splits that read it and nothing else; an
 * HTTPRoute or GRPCRoute compiles itself and its pages; what nothing was compiled from, such as a status,
 * compiles nothing; everything else compiles all.
 *
 * The result always equals that of `compile`; a test holds the two against one another.
 */
import { jsonEqual } from "../base/json.ts";
import type { Resource } from "../resource/resource.ts";
import { keyOf, keyText } from "../resource/resource.ts";
import { workloadKeyOf } from "../rollout/revision.ts";
import { backendsOf } from "./ancestors.ts";
import { backendStatus } from "./backend-status.ts";
import { compile, compileRoutes } from "./compile.ts";
import type { CompileInput, Compiled, ResourceChange, SplitTrace } from "./compiled.ts";
import { PartSet } from "./part-set.ts";
import type { Part, PartKey } from "./program.ts";
import { ResourceIndex, tagsOf } from "./reader.ts";
import { SplitPass } from "./splits.ts";

/**
 * As `compile`, after `changes`: looks only at what they can have touched. Returns `previous`
 * itself where that is nothing.
 */
export function recompile(
  previous: Compiled,
  input: CompileInput,
  changes: readonly ResourceChange[],
): Compiled {
  const tags = new Set<string>();
  let edited = false;
  let routes = false;
  for (const change of changes) {
    const reach = reachOf(change, previous);
    if (reach === "all") return compile(input, previous);
    if (reach === "nothing") continue;
    if (reach === "routes") routes = true;
    else for (const tag of reach) tags.add(tag);
    edited ||= change.resource.kind === "Backend";
    // A Backend that comes or goes has a status, or had one.
    routes ||= change.resource.kind === "Backend" && change.type !== "MODIFIED";
  }
  const dirty = [...previous.splits].filter(([, trace]) =>
    trace.reads.some((tag) => tags.has(tag)),
  );
  if (dirty.length === 0 && !edited && !routes) return previous;
  const patched = routes ? undefined : patch(previous, input, { dirty, edited });
  return patched ?? compileRoutes(input, previous, new Set(dirty.map(([key]) => key)));
}

/** Kinds from which only splits are made, apart from what is said of a Backend's status. */
const SPLIT_KINDS: ReadonlySet<string> = new Set([
  "AIServiceBackend",
  "Backend",
  "ConfigMap",
  "ControllerRevision",
  "EndpointSlice",
  "Endpoints",
  "Rollout",
  "Service",
]);

/** Kinds that listeners, LLM routes, policies and answers to challenges are made from. */
const OTHER_KINDS: ReadonlySet<string> = new Set([
  "AIGatewayRoute",
  "BackendSecurityPolicy",
  "BackendTLSPolicy",
  "BackendTrafficPolicy",
  "ClientTrafficPolicy",
  "Certificate",
  "Challenge",
  "ClusterIssuer",
  "Consumer",
  "Gateway",
  "GatewayClass",
  "HTTPRouteFilter",
  "Issuer",
  "Namespace",
  "ReferenceGrant",
  "Secret",
  "SecurityPolicy",
]);

type Reach = "all" | "routes" | "nothing" | readonly string[];

function reachOf({ resource, previous, type }: ResourceChange, before: Compiled): Reach {
  const { kind } = resource;
  const isRoute = kind === "HTTPRoute" || kind === "GRPCRoute";
  const known = isRoute || SPLIT_KINDS.has(kind) || OTHER_KINDS.has(kind);
  if (!known) return "nothing";
  // A Rollout's status is what its weights follow from; no other status is compiled.
  const same = previous !== undefined && type === "MODIFIED" && sameSource(previous, resource);
  if (same && kind !== "Rollout") return "nothing";
  if (OTHER_KINDS.has(kind)) return "all";
  if (before.memo.frame.looked.has(keyText(keyOf(resource)))) return "all";
  const { routeFilters } = before.memo.frame;
  if (kind === "ConfigMap" && routeFilters.bodies.has(keyText(keyOf(resource)))) return "all";
  if (isRoute) return "routes";
  // A BackendSecurityPolicy says whether its target is there.
  if (kind === "AIServiceBackend" && type !== "MODIFIED") return "all";
  if (kind === "Rollout" && !sameWorkload(previous, resource, type)) return "all";
  return [...tagsOf(resource), ...(previous === undefined ? [] : tagsOf(previous))];
}

/** Whether two states of a resource differ in nothing but status and bookkeeping. */
function sameSource(a: Resource, b: Resource): boolean {
  return (
    a.metadata.uid === b.metadata.uid &&
    a.metadata.generation === b.metadata.generation &&
    jsonEqual(a.metadata.labels, b.metadata.labels) &&
    // Those of a Gateway ask for certificates, see wanted-certificates.ts.
    (a.kind !== "Gateway" || jsonEqual(a.metadata.annotations, b.metadata.annotations)) &&
    jsonEqual(a.metadata.ownerReferences, b.metadata.ownerReferences)
  );
}

function sameWorkload(
  previous: Resource | undefined,
  resource: Resource,
  type: ResourceChange["type"],
): boolean {
  return (
    previous !== undefined &&
    type === "MODIFIED" &&
    jsonEqual(workloadKeyOf(previous), workloadKeyOf(resource))
  );
}

type Dirty = readonly (readonly [PartKey, SplitTrace])[];

interface Touched {
  readonly dirty: Dirty;
  /** Whether a Backend was edited, so that its status speaks of another generation. */
  readonly edited: boolean;
}

/** Compiles the dirty splits anew; undefined where that changes what routes or policies must say. */
function patch(
  previous: Compiled,
  input: CompileInput,
  { dirty, edited }: Touched,
): Compiled | undefined {
  const added = new Map<PartKey, Part>();
  const values = new Map<string, string>();
  const { mayRefer, credentialOf, backendTls, privateKeys } = previous.memo.frame;
  const pass = new SplitPass({
    index: new ResourceIndex(input),
    parts: new PartSet(previous.parts, added),
    mayRefer,
    credentialOf,
    backendTlsOf: backendTls.backendTlsOf,
    useCredential: (ref, value) => values.set(ref, value),
  });
  for (const [, before] of dirty) {
    const { trace } = pass.resolve(before.target);
    const same =
      trace.served === before.served &&
      trace.websocket === before.websocket &&
      jsonEqual(backendsOf(trace), backendsOf(before));
    if (!same || !jsonEqual(trace.problem, before.problem)) {
      return undefined;
    }
  }
  const splits = new Map([...previous.splits, ...pass.traces]);
  const parts = replaceParts(previous.parts, dirty, added);
  return {
    ...previous,
    parts,
    splits,
    credentials: usedCredentials(previous, { parts, splits, values, privateKeys }),
    statuses: edited ? replaceStatuses(previous, input, splits) : previous.statuses,
  };
}

function replaceParts(
  before: ReadonlyMap<PartKey, Part>,
  dirty: Dirty,
  added: ReadonlyMap<PartKey, Part>,
): ReadonlyMap<PartKey, Part> {
  const gone = dirty.flatMap(([key, trace]) => [key, ...trace.pools]);
  const same = gone.every((key) => added.get(key) === before.get(key));
  if (same && added.size === gone.length) return before;
  const parts = new Map(before);
  for (const key of gone) parts.delete(key);
  for (const [key, part] of added) parts.set(key, part);
  return parts;
}

interface CredentialInput {
  readonly parts: ReadonlyMap<PartKey, Part>;
  readonly splits: ReadonlyMap<PartKey, SplitTrace>;
  /** Values that the dirty splits use. */
  readonly values: ReadonlyMap<string, string>;
  readonly privateKeys: ReadonlyMap<string, string>;
}

/** Credentials that some provider still uses, so that no worker is sent one for nothing. */
function usedCredentials(
  previous: Compiled,
  { parts, splits, values, privateKeys }: CredentialInput,
): ReadonlyMap<string, string> {
  if (previous.credentials.size === 0 && values.size === 0) return previous.credentials;
  const used = new Map(privateKeys);
  for (const key of splits.keys()) {
    const part = parts.get(key);
    if (part?.type !== "split") continue;
    for (const { provider } of part.arms) {
      const ref = provider?.credential?.ref;
      const value =
        ref === undefined ? undefined : (values.get(ref) ?? previous.credentials.get(ref));
      if (ref !== undefined && value !== undefined) used.set(ref, value);
    }
  }
  return used;
}

/** Statuses of Backends speak of their generation, so an edited one has a new status. */
function replaceStatuses(
  previous: Compiled,
  input: CompileInput,
  splits: ReadonlyMap<PartKey, SplitTrace>,
): Compiled["statuses"] {
  return previous.statuses.map((draft) => {
    const { kind, namespace, name } = draft.key;
    if (kind !== "Backend") return draft;
    const backend = input.get(kind, namespace, name);
    if (backend === undefined || backend.metadata.generation === draft.generation) return draft;
    return backendStatus(backend, splits);
  });
}
