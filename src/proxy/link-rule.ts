/**
 * A rule, linked: filters merged, weights turned into intervals, expressions compiled, so that a
 * request pays for none of it. Whatever cannot be linked throws, and the linker serves a rule in
 * its place that answers 500: a rule must not run without the guard that stands in it.
 */
import { BlockList } from "node:net";
import { RE2JS } from "re2js";
import { hash64 } from "../base/hash.ts";
import type {
  ApiKeyAuth,
  Filters,
  ModelRoutePart,
  PartKey,
  PathEdit,
  RateLimit,
  RulePart,
  UrlRewrite,
  ValueMatch,
  WeightedBackend,
} from "../compile/program.ts";
import type { DirectResponse } from "../compile/rule-part.ts";
import { linkCompression } from "./compress.ts";
import { jsonText } from "./access-log.ts";
import { linkCors } from "./cors.ts";
import { linkEdits, linkPathEdit } from "./rewrite.ts";
import { linkSession } from "./session.ts";
import type {
  Cell,
  Habits,
  LinkedAuth,
  LinkedBackend,
  LinkedDirectResponse,
  LinkedCertificate,
  LinkedLimit,
  LinkedLimitHeader,
  LinkedModelRule,
  LinkedRule,
  LinkedSplit,
  LinkedValueMatch,
  WeightedSet,
} from "./snapshot.ts";

/** What a rule needs of its surroundings. */
export interface RuleLinks {
  split(key: PartKey): Cell<LinkedSplit>;
  certificate(key: PartKey): Cell<LinkedCertificate>;
  clientOf(keys: PartKey, digest: string): string | undefined;
  /** The metrics row of a route as a whole. */
  row(route: string): number;
  /** Hashes buckets of limits. */
  readonly seed: number;
}

export function linkRule(part: RulePart, links: RuleLinks): LinkedRule {
  const { filters } = part;
  return {
    ...weighted(part.backends.map((backend) => linkBackend(backend, filters, links))),
    part,
    route: part.route,
    named: part.name === undefined ? "" : `,"rule":${jsonText(part.name)}`,
    row: links.row(part.route),
    armRows: new Map(),
    auth: part.auth === undefined ? null : linkAuth(part.auth, links),
    limits: linkLimits(part.limits, links.seed),
    redirect: filters.redirect ?? null,
    directResponse: linkDirectResponse(filters.directResponse),
    cors: filters.cors === undefined ? null : linkCors(filters.cors),
    websocket: part.websocket ?? true,
    bodyBytesMax: part.requestBodyBytesMax ?? Infinity,
    responseEdits: linkEdits(filters.responseHeaders, undefined),
    session: part.session === undefined ? null : linkSession(part.session),
    retry: part.retry ?? null,
    compression: part.compression === undefined ? null : linkCompression(part.compression),
    habits: linkHabits(part, links),
    requestTimeoutMs: part.requestTimeoutMs ?? 0,
    backendRequestTimeoutMs: part.backendRequestTimeoutMs ?? 0,
    models: null,
  };
}

export function linkModelRoute(part: ModelRoutePart, links: RuleLinks): LinkedRule {
  return {
    ...weighted([]),
    part,
    route: part.route,
    named: "",
    row: links.row(part.route),
    armRows: new Map(),
    // A provider is a third party: the gateway's keys are not for it, whatever the policy says.
    auth: part.auth === undefined ? null : linkAuth({ ...part.auth, sanitize: true }, links),
    limits: linkLimits(part.limits, links.seed),
    redirect: null,
    directResponse: null,
    cors: null,
    websocket: false,
    bodyBytesMax: part.bodyBytesMax,
    responseEdits: null,
    session: null,
    retry: null,
    compression: null,
    habits: linkHabits(part, links),
    requestTimeoutMs: 0,
    backendRequestTimeoutMs: 0,
    models: part.rules.map((rule) => linkModelRule(rule, links)),
  };
}

function linkHabits(
  {
    grpc,
    connections,
    clientCertificate,
  }: Pick<RulePart, "grpc" | "connections" | "clientCertificate">,
  links: RuleLinks,
): Habits | null {
  if (grpc === undefined && connections === undefined && clientCertificate === undefined)
    return null;
  const certificate = clientCertificate === undefined ? null : links.certificate(clientCertificate);
  return { grpc: grpc ?? false, limits: connections ?? {}, clientCertificate: certificate };
}

function linkDirectResponse(direct: DirectResponse | undefined): LinkedDirectResponse | null {
  if (direct === undefined) return null;
  const { statusCode: status, contentType = "", body = "" } = direct;
  // These have no content, whatever a route says (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
  const text = [204, 205, 304].includes(status) ? "" : Buffer.from(body).toString("latin1");
  return { status, contentType, body: text };
}

/** Stands in for a rule that could not be linked: nobody answers, which is a 500. */
export function brokenRule(part: RulePart | ModelRoutePart, links: RuleLinks): LinkedRule {
  const {
    backends: _backends,
    auth: _auth,
    limits: _limits,
    session: _session,
    ...rest
  } = part as RulePart;
  const bare: RulePart = { ...rest, type: "rule", filters: {}, backends: [] };
  return linkRule(bare, links);
}

function linkModelRule(rule: ModelRoutePart["rules"][number], links: RuleLinks): LinkedModelRule {
  return {
    ...weighted(rule.backends.map((backend) => linkBackend(backend, {}, links))),
    models: rule.models.map(linkValueMatch),
    requestTimeoutMs: rule.requestTimeoutMs ?? 0,
    backendRequestTimeoutMs: rule.backendRequestTimeoutMs ?? 0,
  };
}

function weighted(backends: readonly LinkedBackend[]): WeightedSet {
  const weights = backends.map((backend) => backend.weight);
  return {
    backends,
    weightSum: weights.reduce((sum, weight) => sum + weight, 0),
    ends: intervalEnds(weights),
  };
}

/** Where the interval of each weight ends when all of them share [0, 1). */
export function intervalEnds(weights: readonly number[]): readonly number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  let upTo = 0;
  return weights.map((weight) => (upTo += weight) / Math.max(sum, 1));
}

function linkBackend(
  backend: WeightedBackend & { readonly modelNameOverride?: string },
  outer: Filters,
  links: RuleLinks,
): LinkedBackend {
  const inner = backend.filters ?? {};
  const cors = inner.cors ?? outer.cors;
  const mirrors = [...(outer.mirrors ?? []), ...(inner.mirrors ?? [])].map((mirror) => ({
    fraction: mirror.fraction,
    split: links.split(mirror.split),
  }));
  linkPathEdit(outer.rewrite?.path);
  linkPathEdit(inner.rewrite?.path);
  return {
    weight: backend.weight,
    split: backend.split === undefined ? null : links.split(backend.split),
    requestEdits: linkEdits(outer.requestHeaders, inner.requestHeaders),
    responseEdits: linkEdits(outer.responseHeaders, inner.responseHeaders),
    ...(linkHost(inner.rewrite) ?? linkHost(outer.rewrite) ?? NO_HOST),
    pathEdits: [outer.rewrite?.path, inner.rewrite?.path].filter(isPathEdit),
    redirect: inner.redirect ?? null,
    directResponse: linkDirectResponse(inner.directResponse),
    mirrors: mirrors.length === 0 ? null : mirrors,
    cors: cors === undefined ? null : linkCors(cors),
    modelNameOverride: backend.modelNameOverride ?? null,
  };
}

type HostRewrite = Pick<LinkedBackend, "rewriteHost" | "rewriteHostFrom">;

const NO_HOST: HostRewrite = { rewriteHost: null, rewriteHostFrom: null };

function linkHost(rewrite: UrlRewrite | undefined): HostRewrite | undefined {
  const { hostname, hostnameHeader } = rewrite ?? {};
  if (hostname === undefined && hostnameHeader === undefined) return undefined;
  return { rewriteHost: hostname ?? null, rewriteHostFrom: hostnameHeader ?? null };
}

function isPathEdit(edit: PathEdit | undefined): edit is PathEdit {
  return edit !== undefined;
}

export function linkValueMatch(match: ValueMatch): LinkedValueMatch {
  return {
    name: match.name,
    value: match.value,
    regex: match.type === "RegularExpression" ? RE2JS.compile(match.value) : null,
  };
}

function linkAuth(auth: ApiKeyAuth, links: RuleLinks): LinkedAuth {
  const strip = (pick: "headers" | "params" | "cookies"): readonly string[] =>
    auth.sanitize ? auth.extractFrom.flatMap((source) => source[pick] ?? []) : [];
  return {
    auth,
    clientOf: (digest) => links.clientOf(auth.keys, digest),
    stripHeaders: new Set(strip("headers").map((name) => name.toLowerCase())),
    stripParams: strip("params"),
    stripCookies: strip("cookies"),
  };
}

function linkLimits(
  limits: readonly RateLimit[] | undefined,
  seed: number,
): readonly LinkedLimit[] | null {
  if (limits === undefined || limits.length === 0) return null;
  return limits.map((limit) => linkLimit(limit, seed));
}

function linkLimit(limit: RateLimit, seed: number): LinkedLimit {
  if (!(limit.requests > 0 && limit.burst >= 1))
    throw new Error("Cannot link a limit of no requests");
  const headers = (limit.headers ?? []).map(linkLimitHeader);
  const distinctSource = limit.sourceCidr?.type === "Distinct";
  return {
    limit,
    // Rounded up, so that a rate that does not divide a second is never exceeded.
    intervalNs: BigInt(Math.ceil((limit.periodMs * 1e6) / limit.requests)),
    bucket: hash64(limit.key, seed),
    distinct: distinctSource || headers.some((header) => header.type === "Distinct"),
    headers,
    sources: limit.sourceCidr === undefined ? null : linkSources(limit.sourceCidr.value),
    distinctSource,
  };
}

function linkLimitHeader(header: NonNullable<RateLimit["headers"]>[number]): LinkedLimitHeader {
  const value = header.value ?? "";
  return {
    name: header.name.toLowerCase(),
    type: header.type,
    value,
    regex: header.type === "RegularExpression" ? RE2JS.compile(value) : null,
    invert: header.invert ?? false,
  };
}

/** A CIDR such as "10.0.0.0/8", or one address. */
function linkSources(cidr: string): BlockList {
  const [address = "", prefix] = cidr.split("/");
  const list = new BlockList();
  const family = address.includes(":") ? "ipv6" : "ipv4";
  if (prefix === undefined) list.addAddress(address, family);
  else list.addSubnet(address, Number(prefix), family);
  return list;
}
