/** HTTPRoutes in the form that all routes with rules are compiled from. */
import type { HTTPRoute, HttpMatch, HttpRule } from "../resource/http-route.ts";
import { keyOf } from "../resource/resource.ts";
import type { MatchEntry } from "./program.ts";
import { headerEntries, type RouteForm, type RuleForm } from "./route-form.ts";

const DEFAULT_MATCH: HttpMatch = { path: { type: "PathPrefix", value: "/" } };

export function httpForm(route: HTTPRoute): RouteForm {
  const { metadata, spec } = route;
  return {
    key: keyOf(route),
    metadata,
    hostnames: spec.hostnames ?? [],
    parentRefs: spec.parentRefs ?? [],
    rules: (spec.rules ?? []).map(ruleForm),
    grpc: false,
  };
}

function ruleForm(rule: HttpRule): RuleForm {
  const matches = (rule.matches ?? []).length === 0 ? [DEFAULT_MATCH] : rule.matches;
  return {
    name: rule.name,
    matches: matches.map((match) => ({ entry: readMatch(match), rank: undefined })),
    prefix: matches[0]?.path?.value ?? "/",
    filters: rule.filters ?? [],
    backendRefs: rule.backendRefs ?? [],
    timeouts: rule.timeouts,
    retry: rule.retry,
    session: rule.sessionPersistence,
  };
}

function readMatch(match: HttpMatch): Omit<MatchEntry, "rule"> {
  const { type, value } = match.path ?? { type: "PathPrefix", value: "/" };
  // A trailing slash of a prefix counts for nothing (Gateway API `PathMatchPathPrefix`).
  const path = type === "PathPrefix" && value !== "/" ? value.replace(/\/$/, "") : value;
  const headers = headerEntries(match.headers);
  const queryParams = match.queryParams?.map((one) => ({
    name: one.name,
    type: one.type ?? "Exact",
    value: one.value,
  }));
  return {
    path: { type, value: path },
    ...(match.method !== undefined && { method: match.method }),
    ...(headers.length > 0 && { headers }),
    ...(queryParams !== undefined && queryParams.length > 0 && { queryParams }),
  };
}
