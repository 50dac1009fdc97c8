/**
 * HTTPRoutes: a rule part for each rule, and for each listener that takes the route the matches
 * that lead to it. A rule is shared by all listeners, unless a policy of a Gateway makes it differ
 * there.
 */
import { parseDuration } from "../base/duration.ts";
import type { HTTPRoute, HttpBackendRef, HttpMatch, HttpRule } from "../resource/http-route.ts";
import { jsonEqual } from "../base/json.ts";
import { keyOf, keyText } from "../resource/resource.ts";
import type { ResourceKey } from "../resource/resource.ts";
import { fullName } from "./age.ts";
import type { Attachment } from "./attach.ts";
import type { BackendProblem } from "./compiled.ts";
import { entryAt } from "./context.ts";
import type { CompileContext } from "./context.ts";
import { readFilters } from "./filters.ts";
import type { ListenerNode } from "./listeners.ts";
import type { RouteTrace, SplitReference } from "./memo.ts";
import { hashPath } from "./pages.ts";
import type { PlacedMatch } from "./pages.ts";
import type { Filters, MatchEntry, PartKey, RulePart, WeightedBackend } from "./program.ts";
import { noteReferences, resolvedRefs, resolveReference } from "./references.ts";
import type { Referring } from "./references.ts";
import { listOf } from "./stored.ts";

const ROUTE_KINDS: Referring["kinds"] = { Service: "", Backend: "sluice.dev" };
const DEFAULT_MATCH: HttpMatch = { path: { type: "PathPrefix", value: "/" } };

/** Compiles all HTTPRoutes; takes over what the compilation before found, where it still holds. */
export function compileHttpRoutes(context: CompileContext): void {
  const { before } = context;
  // What a route came to holds only within the frame that it was compiled in.
  const known = before?.frame.attach === context.attach ? before.routes : undefined;
  for (const route of listOf(context.input, "HTTPRoute")) {
    const key = keyOf(route);
    const text = keyText(key);
    const trace = known?.get(text);
    if (trace !== undefined && holds(context, route, trace)) {
      for (const part of trace.parts) context.parts.keep(part);
      placeRoute(context, key, trace);
    } else {
      const fresh = compileHttpRoute(context, route);
      for (const part of fresh.parts) context.parts.add(part);
      placeRoute(context, key, fresh);
    }
  }
}

/** Whether a route and all that it refers to are as they were. */
function holds(context: CompileContext, route: HTTPRoute, trace: RouteTrace): boolean {
  const { uid, generation } = route.metadata;
  if (trace.uid !== uid || trace.generation !== generation) return false;
  return trace.references.every(({ target, served, problem }) => {
    const now = context.splits.resolve(target).trace;
    return now.served === served && jsonEqual(now.problem, problem);
  });
}

/** Puts what a route came to in its place. */
function placeRoute(context: CompileContext, key: ResourceKey, trace: RouteTrace): void {
  const text = keyText(key);
  context.routes.set(text, trace);
  context.statuses.push(trace.status);
  noteReferences(context, key, trace.references);
  for (const [listener, matches] of trace.matches) {
    entryAt(context.attachedTo, listener, () => new Set()).add(text);
    const list = entryAt(context.matchesOf, listener, () => []);
    for (const match of matches) list.push(match);
  }
}

function compileHttpRoute(context: CompileContext, route: HTTPRoute): RouteTrace {
  const key = keyOf(route);
  const attachments = context.attach({
    key,
    hostnames: route.spec.hostnames ?? [],
    parentRefs: route.spec.parentRefs ?? [],
  });
  const input = { context, route, attachments };
  const found = { problems: [], references: [], parts: [], matches: new Map() };
  for (const { listener } of attachments.flatMap((one) => one.places)) {
    entryAt(found.matches, listener, () => []);
  }
  for (const [index, rule] of (route.spec.rules ?? []).entries()) {
    compileRule({ ...input, ...found, rule, index });
  }
  const references = resolvedRefs(found.problems);
  const parents = attachments.map(({ parentRef, accepted }) => ({
    parentRef,
    conditions: [accepted, references],
  }));
  const { uid, generation } = route.metadata;
  const { parts, matches } = found;
  return {
    uid,
    generation,
    parts,
    matches,
    references: found.references,
    status: { key, generation, parents },
  };
}

interface RuleInput {
  readonly context: CompileContext;
  readonly route: HTTPRoute;
  readonly rule: HttpRule;
  readonly index: number;
  readonly attachments: readonly Attachment[];
  /** What is found is added to these. */
  readonly problems: BackendProblem[];
  readonly references: SplitReference[];
  readonly parts: RulePart[];
  readonly matches: Map<ListenerNode, PlacedMatch[]>;
}

function compileRule(input: RuleInput): void {
  const { route, rule, index, attachments } = input;
  const matches = (rule.matches ?? []).length === 0 ? [DEFAULT_MATCH] : rule.matches;
  const base = readRule(input, matches);
  const placed = new Set<string>();
  const variants = new Map<string, PartKey>();
  for (const { listener, hostnames } of attachments.flatMap((one) => one.places)) {
    const key = ruleOn(input, { base, listener, variants });
    const entries = matches.map((match) => readMatch(match, key));
    const list = entryAt(input.matches, listener, () => []);
    for (const hostname of hostnames) {
      const place = `${fullName(listener.gateway)}/${listener.spec.name}/${hostname}`;
      if (placed.has(place)) continue;
      placed.add(place);
      for (const [position, entry] of entries.entries()) {
        const pathHash = hashPath(entry.path.value);
        list.push({ hostname, entry, route, order: index * 1000 + position, pathHash });
      }
    }
  }
}

interface VariantInput {
  readonly base: RulePart;
  readonly listener: ListenerNode;
  readonly variants: Map<string, PartKey>;
}

/** The key of the rule as it is on one listener; the part is added where it is new. */
function ruleOn(input: RuleInput, { base, listener, variants }: VariantInput): PartKey {
  const { context, route, rule } = input;
  const { scope, settings } = context.policies.settingsFor(
    { key: keyOf(route), section: rule.name },
    listener,
  );
  const known = variants.get(scope);
  if (known !== undefined) return known;
  const key = `${base.key}${scope}`;
  input.parts.push({ ...base, key, ...settings });
  variants.set(scope, key);
  return key;
}

function readRule(input: RuleInput, matches: readonly HttpMatch[]): RulePart {
  const { route, rule, index } = input;
  const prefix = matches[0]?.path?.value ?? "/";
  const requestTimeoutMs = readTimeout(rule.timeouts?.request);
  const backendRequestTimeoutMs = readTimeout(rule.timeouts?.backendRequest);
  const backends = (rule.backendRefs ?? []).map((ref) => readBackend(input, ref, prefix));
  return {
    type: "rule",
    key: `rule/HTTPRoute/${fullName(route)}/${index}`,
    route: fullName(route),
    filters: readFilters(rule.filters, prefix),
    backends,
    ...(requestTimeoutMs !== undefined && { requestTimeoutMs }),
    ...(backendRequestTimeoutMs !== undefined && { backendRequestTimeoutMs }),
  };
}

/** Milliseconds; undefined for no limit (Gateway API: absent or "0s"). */
export function readTimeout(duration: string | undefined): number | undefined {
  const timeoutMs = parseDuration(duration ?? "0s") ?? 0;
  return timeoutMs > 0 ? timeoutMs : undefined;
}

function readBackend(input: RuleInput, ref: HttpBackendRef, prefix: string): WeightedBackend {
  const referring = {
    group: "gateway.networking.k8s.io",
    key: keyOf(input.route),
    kinds: ROUTE_KINDS,
    references: input.references,
  };
  const result = resolveReference(input.context, referring, ref);
  if (result.problem !== undefined) input.problems.push(result.problem);
  const filters: Filters = readFilters(ref.filters, prefix);
  return {
    weight: ref.weight ?? 1,
    ...(result.split !== undefined && { split: result.split }),
    ...(Object.keys(filters).length > 0 && { filters }),
  };
}

function readMatch(match: HttpMatch, rule: PartKey): MatchEntry {
  const { type, value } = match.path ?? { type: "PathPrefix", value: "/" };
  // A trailing slash of a prefix counts for nothing (Gateway API `PathMatchPathPrefix`).
  const path = type === "PathPrefix" && value !== "/" ? value.replace(/\/$/, "") : value;
  const headers = match.headers?.map((one) => ({
    name: one.name.toLowerCase(),
    type: one.type ?? "Exact",
    value: one.value,
  }));
  const queryParams = match.queryParams?.map((one) => ({
    name: one.name,
    type: one.type ?? "Exact",
    value: one.value,
  }));
  return {
    path: { type, value: path },
    ...(match.method !== undefined && { method: match.method }),
    ...(headers !== undefined && headers.length > 0 && { headers }),
    ...(queryParams !== undefined && queryParams.length > 0 && { queryParams }),
    rule,
  };
}
