/**
 * Cross-origin requests (the Fetch standard's CORS protocol; Gateway API `HTTPCORSFilter`): what a
 * browser is told of whom a route lets call. The gateway answers preflights itself; other requests
 * go their way, and only what is said of them is the gateway's.
 */
import type { Cors, OriginMatch } from "../compile/rule-part.ts";
import type { RequestFields } from "./request-fields.ts";

/** A CORS filter as it is asked. Lines are whole, each ended by CR LF. */
export interface LinkedCors {
  readonly exact: ReadonlySet<string>;
  readonly wildcards: readonly { readonly prefix: string; readonly suffix: string }[];
  readonly any: boolean;
  readonly credentials: boolean;
  /** "*" stands for all: with credentials what was asked for has to be named instead. */
  readonly echoMethod: boolean;
  readonly echoHeaders: boolean;
  /** What answers to preflights say beside origin and what is echoed. */
  readonly preflight: string;
  /** What other responses say beside the origin. */
  readonly response: string;
}

export function linkCors(cors: Cors): LinkedCors {
  const { allowOrigins, allowCredentials: credentials, allowMethods, allowHeaders } = cors;
  const isAll = (list: readonly string[]): boolean => list.includes("*");
  // To a browser that sends credentials "*" is a name like any other.
  const exposed = credentials
    ? cors.exposeHeaders.filter((name) => name !== "*")
    : cors.exposeHeaders;
  const response =
    (credentials ? "access-control-allow-credentials: true\r\n" : "") +
    line("access-control-expose-headers", exposed);
  const echoMethod = credentials && isAll(allowMethods);
  const echoHeaders = credentials && isAll(allowHeaders);
  return {
    exact: new Set(allowOrigins.filter((one) => one.type === "Exact").map((one) => one.value)),
    wildcards: allowOrigins.filter((one) => one.type === "Wildcard"),
    any: allowOrigins.some((one: OriginMatch) => one.type === "Any"),
    credentials,
    echoMethod,
    echoHeaders,
    preflight:
      response +
      (echoMethod ? "" : line("access-control-allow-methods", allowMethods)) +
      (echoHeaders ? "" : line("access-control-allow-headers", allowHeaders)) +
      `access-control-max-age: ${cors.maxAgeSeconds}\r\n`,
    response,
  };
}

function line(name: string, values: readonly string[]): string {
  return values.length === 0 ? "" : `${name}: ${values.join(", ")}\r\n`;
}

/** Whether a request only asks whether another one would be let through. */
export function isPreflight(method: string, head: RequestFields): boolean {
  return (
    method === "OPTIONS" &&
    head.header("origin") !== undefined &&
    head.header("access-control-request-method") !== undefined
  );
}

const PREFLIGHT_VARY =
  "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n";

/** The lines of the answer to a preflight. */
export function preflightLines(cors: LinkedCors, head: RequestFields): string {
  const origin = originLine(cors, head.header("origin"));
  if (origin === "") return PREFLIGHT_VARY;
  const method = head.header("access-control-request-method") ?? "";
  const headers = head.header("access-control-request-headers") ?? "";
  return (
    origin +
    cors.preflight +
    (cors.echoMethod ? echoLine("access-control-allow-methods", method) : "") +
    (cors.echoHeaders ? echoLine("access-control-allow-headers", headers) : "") +
    PREFLIGHT_VARY
  );
}

/** Tokens and what lists of them hold: nothing else is echoed. */
const LIST = /^[\w!#$%&'*+\-.^`|~]+(?:[\t ]*,[\t ]*[\w!#$%&'*+\-.^`|~]+)*$/;

function echoLine(name: string, value: string): string {
  return LIST.test(value) ? `${name}: ${value}\r\n` : "";
}

/** What a response has of the backend's own that the gateway's words stand in place of. */
export const CORS_RESPONSE_NAMES: readonly string[] = [
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-expose-headers",
];

/** The lines of a response; "" where the request's origin is not allowed, or is none. */
export function responseLines(cors: LinkedCors, origin: string | undefined): string {
  const allowed = originLine(cors, origin);
  return allowed === "" ? "" : allowed + cors.response;
}

/** Caches must not give one origin what was said to another, nor to nobody. */
export function varyLine(cors: LinkedCors): string {
  return cors.any && !cors.credentials ? "" : "vary: Origin\r\n";
}

/** An origin as browsers write it; what else comes is not echoed. */
const ORIGIN = /^[a-z][a-z0-9+\-.]*:\/\/[^\s,;"'<>\\/?#]{1,255}$/i;

function originLine(cors: LinkedCors, origin: string | undefined): string {
  if (origin === undefined) return "";
  if (cors.any && !cors.credentials) return "access-control-allow-origin: *\r\n";
  // "null" is what pages without an origin send: anybody can be one.
  if (!ORIGIN.test(origin) || !allows(cors, origin.toLowerCase())) return "";
  return `access-control-allow-origin: ${origin}\r\n`;
}

function allows(cors: LinkedCors, origin: string): boolean {
  if (cors.any || cors.exact.has(origin)) return true;
  return cors.wildcards.some(
    ({ prefix, suffix }) =>
      origin.length > prefix.length + suffix.length &&
      origin.startsWith(prefix) &&
      origin.endsWith(suffix) &&
      HOST_TEXT.test(origin.slice(prefix.length, origin.length - suffix.length)),
  );
}

/**
 * What a wildcard stands for: text of a host, and no port. An entry without a port means the port of its
 * scheme, which browsers leave out (Gateway API `HTTPCORSFilter.allowOrigins`).
 */
const HOST_TEXT = /^(?:[^:]+|\[[^\]]+\])$/;
