/**
 * BackendTrafficPolicy as rules carry it: where the sticky key of a split is found, and rate
 * limits. A policy of a Gateway gives each route a bucket of its own, so that no route starves
 * another.
 */
import type { BackendTrafficPolicy, RateLimitRule } from "../resource/backend-traffic-policy.ts";
import type { ResourceKey } from "../resource/resource.ts";
import { keyText } from "../resource/resource.ts";
import { fullName } from "./age.ts";
import type { RateLimit, SplitHash } from "./program.ts";

/** Where the key of a sticky split is found (`split.hash`); undefined for random. */
export function readSplitHash(policy: BackendTrafficPolicy): SplitHash | undefined {
  const hash = policy.spec.split?.hash;
  if (hash?.header !== undefined) return { type: "header", name: hash.header.toLowerCase() };
  if (hash?.cookie !== undefined) return { type: "cookie", name: hash.cookie };
  return hash?.sourceIP === true ? { type: "sourceIP" } : undefined;
}

const PERIOD_MS: Readonly<Record<RateLimitRule["limit"]["unit"], number>> = {
  Second: 1000,
  Minute: 60_000,
  Hour: 3_600_000,
  Day: 86_400_000,
};

/** The limits of one route under `policy`; undefined where it sets none. */
export function readLimits(
  policy: BackendTrafficPolicy,
  route: ResourceKey,
): readonly RateLimit[] | undefined {
  const rules = policy.spec.rateLimit?.local?.rules ?? [];
  if (rules.length === 0) return undefined;
  return rules.map((rule, index) =>
    readLimit(rule, `${fullName(policy)}/${index}/${keyText(route)}`),
  );
}

function readLimit(rule: RateLimitRule, key: string): RateLimit {
  const { requests, unit, burst } = rule.limit;
  const selectors = rule.clientSelectors ?? [];
  const headers = selectors
    .flatMap((selector) => selector.headers ?? [])
    .map((selector) => readSelector(selector));
  const range = selectors.find((selector) => selector.sourceCIDR !== undefined)?.sourceCIDR;
  return {
    key,
    requests,
    periodMs: PERIOD_MS[unit],
    burst: burst ?? requests,
    ...(headers.length > 0 && { headers }),
    ...(range !== undefined && {
      sourceCidr: { value: range.value, type: range.type ?? "Exact" },
    }),
  };
}

type Selector = NonNullable<
  NonNullable<RateLimitRule["clientSelectors"]>[number]["headers"]
>[number];

function readSelector(selector: Selector): NonNullable<RateLimit["headers"]>[number] {
  const { name, type, value, invert } = selector;
  return {
    name: name.toLowerCase(),
    type: type ?? "Exact",
    ...(value !== undefined && { value }),
    ...(invert === true && { invert }),
  };
}
