/**
 * GRPCRoutes in the form that all routes with rules are compiled from. A call is a POST of the path
 * "/SERVICE/METHOD" whose content-type is application/grpc (gRPC over HTTP/2, Requests).
 */
import type { GrpcMatch, GrpcRule, GRPCRoute } from "../resource/grpc-route.ts";
import type { MatchEntry } from "./program.ts";
import {
  type GrpcRank,
  headerEntries,
  type MatchForm,
  type RouteForm,
  type RuleForm,
} from "./route-form.ts";

export function grpcForm(route: GRPCRoute): RouteForm {
  const { metadata, spec } = route;
  return {
    key: { kind: route.kind, namespace: metadata.namespace, name: metadata.name },
    metadata,
    hostnames: spec.hostnames ?? [],
    parentRefs: spec.parentRefs ?? [],
    rules: (spec.rules ?? [{}]).map(ruleForm),
    grpc: true,
  };
}

function ruleForm(rule: GrpcRule): RuleForm {
  const matches = (rule.matches ?? []).length === 0 ? [{}] : (rule.matches ?? []);
  return {
    name: rule.name,
    matches: matches.map(matchForm),
    prefix: "/",
    filters: rule.filters ?? [],
    backendRefs: rule.backendRefs ?? [],
    timeouts: undefined,
    retry: undefined,
    session: rule.sessionPersistence,
  };
}

function matchForm({ method, headers: named }: GrpcMatch): MatchForm {
  const rank = { service: method?.service?.length ?? 0, method: method?.method?.length ?? 0 };
  const headers = headerEntries(named);
  return {
    entry: {
      path: pathOf(method),
      method: "POST",
      ...(headers.length > 0 && { headers }),
      grpc: true,
    },
    rank,
  };
}

const ANY_NAME = "[^/]+";

function pathOf(match: GrpcMatch["method"]): MatchEntry["path"] {
  const { type = "Exact", service: named, method } = match ?? {};
  if (type === "RegularExpression") return regexPath(named, method);
  // Protobuf writes a full name with a dot before it, too; a path never does.
  const service = named?.replace(/^\./, "");
  if (service === undefined) {
    return method === undefined ? { type: "PathPrefix", value: "/" } : regexPath(undefined, method);
  }
  if (method === undefined) return { type: "PathPrefix", value: `/${service}` };
  return { type: "Exact", value: `/${service}/${method}` };
}

function regexPath(service = ANY_NAME, method = ANY_NAME): MatchEntry["path"] {
  return { type: "RegularExpression", value: `/(?:${service})/(?:${method})` };
}

/**
 * The match of a service among expressions. A worker asks expressions before prefixes, yet a match
 * of a service ranks above one of a method alone: beside expressions it is written as one.
 */
export function asExpression(entry: MatchEntry, rank: GrpcRank | undefined): MatchEntry {
  if (rank === undefined || rank.service === 0 || entry.path.type !== "PathPrefix") return entry;
  const service = entry.path.value.slice(1).replaceAll(".", String.raw`\.`);
  return { ...entry, path: regexPath(service, undefined) };
}
