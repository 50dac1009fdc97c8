/**
 * Who may pass: API keys, then rate limits. Keys come first, for a limit that counted the
 * unauthenticated would let anybody use up the tokens of those who hold a key; looking up a key
 * costs one SHA-256 and cannot be made to cost more.
 *
 * A refusal is a value that was made when the module was loaded: it is what happens ten thousand
 * times a second when somebody attacks.
 */
import { hash } from "node:crypto";
import { hash64 } from "../base/hash.ts";
import type { Limits } from "../shared/limits.ts";
import { FIELD, type MetricRecorder } from "../shared/metrics.ts";
import { cookieValue } from "./cookie.ts";
import { parseQuery } from "./query.ts";
import type { RequestFields } from "./request-fields.ts";
import type { LinkedAuth, LinkedLimit, LinkedRule } from "./snapshot.ts";

/** An answer of the gateway itself. `headers` are whole lines of a head. */
export interface Rejection {
  readonly status: 401 | 429;
  readonly code: "unauthenticated" | "rate_limited";
  readonly message: string;
  readonly headers: string;
}

export interface AdmitDeps {
  readonly limits: Limits;
  readonly metrics: MetricRecorder;
  /** Nanoseconds of the process's monotonic clock, the same in all threads. */
  readonly nowNs: () => bigint;
  /** Out: who called, "" where the rule asks nobody. Read it before the next call. */
  clientId: string;
}

/** RFC 9110 section 11.6.1 wants a challenge; no registered scheme fits a bare key. */
const UNAUTHENTICATED: Rejection = {
  status: 401,
  code: "unauthenticated",
  message: "A valid API key is required",
  headers: 'WWW-Authenticate: ApiKey realm="sluice"\r\n',
};

/** By seconds until the next token. Longer waits are made when they occur. */
const LIMITED: readonly Rejection[] = Array.from({ length: 61 }, (_, seconds) => limited(seconds));

function limited(seconds: number): Rejection {
  return {
    status: 429,
    code: "rate_limited",
    message: "Too many requests",
    headers: `Retry-After: ${Math.max(1, seconds)}\r\n`,
  };
}

/**
 * Null: the request may pass. Otherwise what to answer; the refusal has been counted. An IPv4
 * client's address is in plain form, also where its socket takes both families.
 */
export function admit(
  rule: LinkedRule,
  head: RequestFields,
  clientAddress: string,
  deps: AdmitDeps,
): Rejection | null {
  deps.clientId = "";
  if (rule.auth !== null) {
    const clientId = identify(rule.auth, head);
    if (clientId === undefined) {
      deps.metrics.add(rule.row, FIELD.unauthenticated, 1);
      return UNAUTHENTICATED;
    }
    deps.clientId = clientId;
  }
  if (rule.limits === null) return null;
  for (const limit of rule.limits) {
    const rejection = takeToken(limit, rule.row, { head, clientAddress, deps });
    if (rejection !== null) return rejection;
  }
  return null;
}

/** The client whose key the request carries, or undefined. Only the first key found counts. */
export function identify(auth: LinkedAuth, head: RequestFields): string | undefined {
  for (const source of auth.auth.extractFrom) {
    for (const name of source.headers ?? []) {
      const value = head.header(name.toLowerCase());
      if (value !== undefined) {
        return clientOf(auth, value.startsWith("Bearer ") ? value.slice(7) : value, "latin1");
      }
    }
    for (const name of source.params ?? []) {
      const value = head.query === "" ? undefined : parseQuery(head.query).get(name);
      if (value !== undefined) return clientOf(auth, value, "utf8");
    }
    for (const name of source.cookies ?? []) {
      const value = cookieValue(head.header("cookie"), name);
      if (value !== undefined) return clientOf(auth, value, "latin1");
    }
  }
  return undefined;
}

/**
 * A head is decoded as latin1 and a parameter as UTF-8: what is hashed are the bytes of the key.
 */
function clientOf(auth: LinkedAuth, key: string, encoding: "latin1" | "utf8"): string | undefined {
  if (key === "") return undefined;
  return auth.clientOf(hash("sha256", Buffer.from(key, encoding), "hex"));
}

interface Asked {
  readonly head: RequestFields;
  readonly clientAddress: string;
  readonly deps: AdmitDeps;
}

/**
 * A limit whose table of buckets is full lets all newcomers share one bucket: an attacker who makes
 * up names neither gets past the limit nor shuts out those who have a bucket.
 */
function takeToken(limit: LinkedLimit, row: number, asked: Asked): Rejection | null {
  const { limits, metrics } = asked.deps;
  if (!applies(limit, asked)) return null;
  const rate = { nowNs: asked.deps.nowNs, intervalNs: limit.intervalNs, burst: limit.limit.burst };
  const bucket = limit.distinct ? distinctBucket(limit, asked, limits.seed) : limit.bucket;
  let decision = limits.take(bucket, rate);
  if (decision === "full") {
    metrics.add(row, FIELD.limitOverflow, 1);
    decision = limits.take(limit.bucket, rate);
  }
  if (decision !== "limited") return null;
  metrics.add(row, FIELD.limited, 1);
  const seconds = Math.ceil(limits.waitMs / 1000);
  return LIMITED[seconds] ?? limited(seconds);
}

function applies(limit: LinkedLimit, { head, clientAddress }: Asked): boolean {
  for (const wanted of limit.headers) {
    const value = head.header(wanted.name);
    if (wanted.type === "Distinct") {
      if (value === undefined) return false;
      continue;
    }
    const fits =
      value !== undefined &&
      (wanted.regex === null ? value === wanted.value : wanted.regex.testExact(value));
    if (fits === wanted.invert) return false;
  }
  if (limit.sources === null) return true;
  return limit.sources.check(clientAddress, clientAddress.includes(":") ? "ipv6" : "ipv4");
}

function distinctBucket(limit: LinkedLimit, asked: Asked, seed: number): bigint {
  let name = limit.limit.key;
  for (const wanted of limit.headers) {
    if (wanted.type === "Distinct") name += `\n${asked.head.header(wanted.name)}`;
  }
  if (limit.distinctSource) name += `\n${asked.clientAddress}`;
  return hash64(name, seed);
}
