/**
 * HTTPRoutes and GRPCRoutes: a rule part for each rule, and for each listener that takes the route
 * the matches that lead to it. A rule is shared by all listeners, unless a policy of a Gateway makes
 * it differ there.
 */
import { jsonEqual } from "../base/json.ts";
import type { GRPCRoute } from "../resource/grpc-route.ts";
import type { HTTPRoute } from "../resource/http-route.ts";
import { keyText } from "../resource/resource.ts";
import type { ResourceKey } from "../resource/resource.ts";
import { fullName } from "./age.ts";
import type { Named } from "./age.ts";
import type { Attachment } from "./attach.ts";
import { entryAt } from "./context.ts";
import type { CompileContext } from "./context.ts";
import { grpcForm } from "./grpc-form.ts";
import { httpForm } from "./http-form.ts";
import type { ListenerNode } from "./listeners.ts";
import type { RouteTrace, SplitReference } from "./memo.ts";
import { hashPath } from "./pages.ts";
import type { PlacedMatch } from "./pages.ts";
import type { PartKey, RulePart } from "./program.ts";
import { noteReferences, resolvedRefs } from "./references.ts";
import type { ReferenceProblem } from "./references.ts";
import { readLosses, sameLosses, withoutLosses } from "./route-conflicts.ts";
import type { ConflictingRoute, Losses } from "./route-conflicts.ts";
import type { RouteForm, RuleForm } from "./route-form.ts";
import { readRule } from "./rules.ts";
import { listOf } from "./stored.ts";

/** Compiles all of them; takes over what the compilation before found, where it still holds. */
export function compileRuleRoutes(context: CompileContext): void {
  const { before } = context;
  // What a route came to holds only within the frame that it was compiled in.
  const known = before?.frame.attach === context.attach ? before.routes : undefined;
  const http = listOf(context.input, "HTTPRoute");
  const grpc = listOf(context.input, "GRPCRoute");
  const both = http.length > 0 && grpc.length > 0;
  const losses = both
    ? readLosses(context.attach, http.map(claimOf), grpc.map(claimOf))
    : undefined;
  const shared = { known, losses };
  for (const route of http) placeOrKeep(context, { ...shared, route, form: () => httpForm(route) });
  for (const route of grpc) placeOrKeep(context, { ...shared, route, form: () => grpcForm(route) });
}

/** What of a route decides where it attaches. */
function claimOf({ kind, metadata, spec }: HTTPRoute | GRPCRoute): ConflictingRoute {
  return {
    key: { kind, namespace: metadata.namespace, name: metadata.name },
    metadata,
    hostnames: spec.hostnames ?? [],
    parentRefs: spec.parentRefs ?? [],
  };
}

interface RouteInput {
  readonly route: Named & { readonly kind: string };
  readonly known: ReadonlyMap<string, RouteTrace> | undefined;
  readonly losses: ReadonlyMap<string, Losses> | undefined;
  readonly form: () => RouteForm;
}

function placeOrKeep(context: CompileContext, { route, known, losses, form }: RouteInput): void {
  const { kind, metadata } = route;
  const key = { kind, namespace: metadata.namespace, name: metadata.name };
  const lost = losses?.get(keyText(key));
  const trace = known?.get(keyText(key));
  if (trace !== undefined && sameLosses(trace.losses, lost) && holds(context, route, trace)) {
    for (const part of trace.parts) context.parts.keep(part);
    placeRoute(context, key, trace);
    return;
  }
  const fresh = compileRoute(context, form(), lost);
  for (const part of fresh.parts) context.parts.add(part);
  placeRoute(context, key, fresh);
}

/** Whether a route and all that it refers to are as they were. */
function holds(context: CompileContext, route: Named, trace: RouteTrace): boolean {
  const { uid, generation } = route.metadata;
  if (trace.uid !== uid || trace.generation !== generation) return false;
  return trace.references.every(({ target, served, websocket, problem }) => {
    const now = context.splits.resolve(target).trace;
    const same = now.served === served && now.websocket === websocket;
    return same && jsonEqual(now.problem, problem);
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

function compileRoute(
  context: CompileContext,
  route: RouteForm,
  losses: Losses | undefined,
): RouteTrace {
  const { key } = route;
  const attachments = context.attach(route).map((one) => withoutLosses(one, losses));
  const input = { context, route, attachments };
  const found = { problems: [], references: [], parts: [], matches: new Map() };
  for (const { places, unserved } of attachments) {
    const listeners = [...places.map(({ listener }) => listener), ...unserved];
    for (const listener of listeners) entryAt(found.matches, listener, () => []);
  }
  for (const [index, rule] of route.rules.entries()) {
    compileRule({ ...input, ...found, rule, index });
  }
  const references = resolvedRefs(found.problems);
  const parents = attachments.map(({ parentRef, accepted, conflict }) => ({
    parentRef,
    conditions: conflict === undefined ? [accepted, references] : [accepted, references, conflict],
  }));
  const { uid, generation } = route.metadata;
  const { parts, matches } = found;
  return {
    uid,
    generation,
    parts,
    matches,
    references: found.references,
    losses,
    status: { key, generation, parents },
  };
}

interface RuleInput {
  readonly context: CompileContext;
  readonly route: RouteForm;
  readonly rule: RuleForm;
  readonly index: number;
  readonly attachments: readonly Attachment[];
  /** What is found is added to these. */
  readonly problems: ReferenceProblem[];
  readonly references: SplitReference[];
  readonly parts: RulePart[];
  readonly matches: Map<ListenerNode, PlacedMatch[]>;
}

function compileRule(input: RuleInput): void {
  const { route, rule, index, attachments } = input;
  const base = readRule(input);
  const placed = new Set<string>();
  const variants = new Map<string, PartKey>();
  for (const { listener, hostnames, asked } of attachments.flatMap((one) => one.places)) {
    const key = ruleOn(input, { base, listener, variants });
    const list = entryAt(input.matches, listener, () => []);
    const matches = rule.matches.map(({ entry, rank }, position) => ({
      entry: { ...entry, rule: key },
      ...(rank !== undefined && { rank }),
      route,
      order: index * 1000 + position,
      pathHash: hashPath(entry.path.value),
    }));
    for (const hostname of hostnames) {
      const place = `${fullName(listener.gateway)}/${listener.spec.name}/${hostname}`;
      if (placed.has(place)) continue;
      placed.add(place);
      const own = asked.get(hostname) ?? hostname;
      for (const match of matches) list.push({ hostname, asked: own, ...match });
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
  const { scope, settings, traffic } = context.policies.settingsFor(
    { key: route.key, section: rule.name },
    listener,
  );
  const known = variants.get(scope);
  if (known !== undefined) return known;
  const key = `${base.key}${scope}`;
  // What the rule says itself comes before what a policy says of it, and so does "no limit".
  const { requestTimeoutMs, backendRequestTimeoutMs, ...others } = traffic;
  const { request, backendRequest } = rule.timeouts ?? {};
  // How long one try may take stands in the policy's `retry`, which a rule with its own has not.
  const ownTry = backendRequest !== undefined || rule.retry !== undefined;
  const timeLimits = {
    ...(request === undefined && requestTimeoutMs !== undefined && { requestTimeoutMs }),
    ...(!ownTry && backendRequestTimeoutMs !== undefined && { backendRequestTimeoutMs }),
  };
  input.parts.push({ ...others, ...timeLimits, ...base, key, ...settings });
  variants.set(scope, key);
  return key;
}
