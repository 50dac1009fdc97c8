/** Rules of routes: the part that says what happens to a request, as far as the route decides it. */
import { parseDuration } from "../base/duration.ts";
import { sha256 } from "../base/hash.ts";
import type { HttpBackendRef } from "../resource/http-route.ts";
import type { Retry as RetrySpec, SessionPersistence } from "../resource/route.ts";
import { fullName } from "./age.ts";
import type { CompileContext } from "./context.ts";
import { cookiePaths } from "./cookie-path.ts";
import { readFilters } from "./filters.ts";
import type { FilterInput } from "./filters.ts";
import type { SplitReference } from "./memo.ts";
import type { RulePart, WeightedBackend } from "./program.ts";
import { problemAt, resolveReference } from "./references.ts";
import type { ReferenceProblem, Referring } from "./references.ts";
import type { RouteForm, RuleForm } from "./route-form.ts";
import type { Retry, Session } from "./rule-part.ts";

const ROUTE_KINDS: Referring["kinds"] = { Service: "", Backend: "sluice.dev" };

export interface RuleInput {
  readonly context: CompileContext;
  readonly route: RouteForm;
  readonly rule: RuleForm;
  readonly index: number;
  /** What is found is added to these. */
  readonly problems: ReferenceProblem[];
  readonly references: SplitReference[];
}

/** The part of a rule without what policies add. */
export function readRule(input: RuleInput): RulePart {
  const { route, rule, index } = input;
  const key = `rule/${route.key.kind}/${fullName(route)}/${index}`;
  const filterInput = filterInputOf(input);
  const { filters, broken } = readFilters(rule.filters, filterInput);
  const path = ["spec", "rules", index, "backendRefs"];
  const backends = rule.backendRefs.map((ref, at) =>
    readBackend(ref, { ...filterInput, path: [...path, at] }),
  );
  const requestTimeoutMs = readTimeout(rule.timeouts?.request);
  const backendRequestTimeoutMs = readTimeout(rule.timeouts?.backendRequest);
  return {
    type: "rule",
    key,
    route: fullName(route),
    ...(rule.name !== undefined && { name: rule.name }),
    ...(route.grpc && { grpc: true }),
    filters,
    backends: broken ? [] : backends,
    ...(requestTimeoutMs !== undefined && { requestTimeoutMs }),
    ...(backendRequestTimeoutMs !== undefined && { backendRequestTimeoutMs }),
    ...(rule.retry !== undefined && { retry: readRetry(rule.retry) }),
    ...(rule.session !== undefined && { session: readSession(rule.session, { key, ...input }) }),
  };
}

/** Milliseconds; undefined for no limit (Gateway API: absent or "0s"). */
export function readTimeout(duration: string | undefined): number | undefined {
  const timeoutMs = parseDuration(duration ?? "0s") ?? 0;
  return timeoutMs > 0 ? timeoutMs : undefined;
}

function filterInputOf(input: RuleInput): FilterInput {
  const { context, route, rule, index, problems, references } = input;
  const { key } = route;
  const referring = {
    group: "gateway.networking.k8s.io",
    key,
    kinds: ROUTE_KINDS,
    references,
    grpc: route.grpc,
  };
  return {
    path: ["spec", "rules", index],
    prefix: rule.prefix,
    extensionOf: context.routeFilters.extensionOf,
    namespace: key.namespace,
    problems,
    resolve: (reference, mirror) => resolveReference(context, referring, { ...reference, mirror }),
  };
}

/** A backend whose filters cannot be applied gets no request: its share is answered with 500. */
function readBackend(ref: HttpBackendRef, input: FilterInput): WeightedBackend {
  const { split, problem } = input.resolve(ref, false);
  if (problem !== undefined) input.problems.push(problemAt(input.path, problem));
  const { filters, broken } = readFilters(ref.filters, input);
  return {
    weight: ref.weight ?? 1,
    ...(split !== undefined && !broken && { split }),
    ...(Object.keys(filters).length > 0 && { filters }),
  };
}

/** Gateway API leaves these two open; they are Envoy Gateway's. */
const RETRY_ATTEMPTS = 2;
export const BACKOFF_BASE_MS = 25;
/** Waits grow to ten times the base, as in Envoy. */
export const BACKOFF_GROWTH = 10;

function readRetry({ attempts, codes, backoff }: RetrySpec): Retry {
  const backoffBaseMs = parseDuration(backoff ?? "") ?? BACKOFF_BASE_MS;
  return {
    attempts: attempts ?? RETRY_ATTEMPTS,
    statusCodes: codeRanges(codes ?? []),
    grpcCodes: [],
    on: ["connect", "refused", "reset", "timeout"],
    backoffBaseMs,
    backoffMaxMs: backoffBaseMs * BACKOFF_GROWTH,
  };
}

/** Codes as few inclusive ranges, in order. */
export function codeRanges(codes: readonly number[]): Retry["statusCodes"] {
  const ranges: [number, number][] = [];
  for (const code of [...new Set(codes)].toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === code - 1) last[1] = code;
    else ranges.push([code, code]);
  }
  return ranges;
}

/** Digits of the hash of a rule's key in the name of its session, where it was given none. */
const SESSION_NAME_DIGITS = 12;

function readSession(
  session: SessionPersistence,
  { key, route, rule, index }: Pick<RuleInput, "route" | "rule" | "index"> & { key: string },
): Session {
  const absoluteTimeoutMs = readTimeout(session.absoluteTimeout);
  const idleTimeoutMs = readTimeout(session.idleTimeout);
  const name = session.sessionName ?? `sluice-${sha256(key).slice(0, SESSION_NAME_DIGITS)}`;
  return {
    type: session.type ?? "Cookie",
    name,
    salt: sha256(`${route.metadata.uid}/${rule.name ?? index}`),
    ...(absoluteTimeoutMs !== undefined && { absoluteTimeoutMs }),
    ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
    lifetime: session.cookieConfig?.lifetimeType ?? "Session",
    paths: cookiePaths(rule.matches.map(({ entry }) => entry)),
  };
}
