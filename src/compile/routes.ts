/**
 * HTTPRoutes: a rule part for each rule, and for each listener that takes the route the matches that
 * lead to it. A rule is shared by all listeners, unless a policy of a Gateway makes it differ there.
 */
import { parseDuration } from "../base/duration.ts";
import type { HTTPRoute, HttpBackendRef, HttpMatch, HttpRule } from "../resource/http-route.ts";
import { keyOf } from "../resource/resource.ts";
import { fullName } from "./age.ts";
import type { Attachment } from "./attach.ts";
import type { BackendProblem } from "./compiled.ts";
import { entryAt } from "./context.ts";
import type { CompileContext } from "./context.ts";
import { readFilters } from "./filters.ts";
import type { ListenerNode } from "./listeners.ts";
import type { Filters, MatchEntry, PartKey, RulePart, WeightedBackend } from "./program.ts";
import { resolvedRefs, resolveReference } from "./references.ts";
import type { Referring } from "./references.ts";
import { listOf } from "./stored.ts";

const ROUTE_KINDS: Referring["kinds"] = { Service: "", Backend: "sluice.dev" };
const DEFAULT_MATCH: HttpMatch = { path: { type: "PathPrefix", value: "/" } };

export function compileHttpRoutes(context: CompileContext): void {
  for (const route of listOf(context.input, "HTTPRoute")) compileHttpRoute(context, route);
}

function compileHttpRoute(context: CompileContext, route: HTTPRoute): void {
  const key = keyOf(route);
  const attachments = context.attach({
    key,
    hostnames: route.spec.hostnames ?? [],
    parentRefs: route.spec.parentRefs ?? [],
  });
  const problems: BackendProblem[] = [];
  for (const [index, rule] of (route.spec.rules ?? []).entries()) {
    compileRule({ context, route, rule, index, attachments, problems });
  }
  for (const { places } of attachments) {
    for (const { listener } of places) {
      entryAt(context.attachedTo, listener, () => new Set()).add(`HTTPRoute/${fullName(route)}`);
    }
  }
  const references = resolvedRefs(problems);
  const parents = attachments.map(({ parentRef, accepted }) => ({
    parentRef,
    conditions: [accepted, references],
  }));
  context.statuses.push({ key, generation: route.metadata.generation, parents });
}

interface RuleInput {
  readonly context: CompileContext;
  readonly route: HTTPRoute;
  readonly rule: HttpRule;
  readonly index: number;
  readonly attachments: readonly Attachment[];
  /** Problems are added here. */
  readonly problems: BackendProblem[];
}

function compileRule(input: RuleInput): void {
  const { context, route, rule, index, attachments } = input;
  const matches = (rule.matches ?? []).length === 0 ? [DEFAULT_MATCH] : rule.matches;
  const base = readRule(input, matches);
  const placed = new Set<string>();
  const variants = new Map<string, PartKey>();
  for (const { listener, hostnames } of attachments.flatMap((one) => one.places)) {
    const key = ruleOn(input, { base, listener, variants });
    const entries = matches.map((match) => readMatch(match, key));
    const list = entryAt(context.matchesOf, listener, () => []);
    for (const hostname of hostnames) {
      const place = `${fullName(listener.gateway)}/${listener.spec.name}/${hostname}`;
      if (placed.has(place)) continue;
      placed.add(place);
      for (const [position, entry] of entries.entries()) {
        list.push({ hostname, entry, route, order: index * 1000 + position });
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
  context.parts.add({ ...base, key, ...settings });
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
