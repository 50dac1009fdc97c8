/**
 * A route with rules as the compiler sees it, whichever kind it is of: matches as entries of pages,
 * all else as the kinds share it.
 */
import type { HttpFilter } from "../resource/http-filter.ts";
import type { HttpBackendRef, HttpMatch, HttpRule } from "../resource/http-route.ts";
import type { ParentReference } from "../resource/reference.ts";
import type { ObjectMeta, ResourceKey } from "../resource/resource.ts";
import type { Retry, SessionPersistence } from "../resource/route.ts";
import type { MatchEntry, ValueMatch } from "./program.ts";

export interface RouteForm {
  readonly key: ResourceKey;
  readonly metadata: ObjectMeta;
  readonly hostnames: readonly string[];
  readonly parentRefs: readonly ParentReference[];
  readonly rules: readonly RuleForm[];
  /** Whether it is a GRPCRoute. */
  readonly grpc: boolean;
}

export interface RuleForm {
  readonly name: string | undefined;
  /** At least one. */
  readonly matches: readonly MatchForm[];
  /** The path of the first match, which ReplacePrefixMatch replaces. */
  readonly prefix: string;
  readonly filters: readonly HttpFilter[];
  readonly backendRefs: readonly HttpBackendRef[];
  readonly timeouts: HttpRule["timeouts"];
  readonly retry: Retry | undefined;
  readonly session: SessionPersistence | undefined;
}

export interface MatchForm {
  readonly entry: Omit<MatchEntry, "rule">;
  /** For gRPC: what its precedence is told from. */
  readonly rank: GrpcRank | undefined;
}

/** Gateway API `GRPCRouteRule.matches`: the longer service first, then the longer method. */
export interface GrpcRank {
  readonly service: number;
  readonly method: number;
}

/** Of entries for one header, however it is spelled, the first counts (Gateway API `HTTPHeaderMatch.name`). */
export function headerEntries(headers: HttpMatch["headers"] = []): readonly ValueMatch[] {
  const entries = new Map<string, ValueMatch>();
  for (const { name, type = "Exact", value } of headers) {
    const lower = name.toLowerCase();
    if (!entries.has(lower)) entries.set(lower, { name: lower, type, value });
  }
  return [...entries.values()];
}
