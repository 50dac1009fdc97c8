/**
 * Everything that can go wrong with a request, in one table: what the client is told, whose fault it
 * is, whether another attempt may be made, and how an attempt that ended so is counted. The codes
 * are the machine-readable reasons of the access log. Messages never quote the request.
 */
import type { HeadFault } from "../http1/fault.ts";
import { OUTCOMES, type Outcome } from "../shared/metrics.ts";

export interface ErrorRow {
  /** 499 is written to the log alone: nobody is there to be answered. */
  readonly status: number;
  readonly origin: "client" | "gateway" | "upstream";
  /**
   * `next`: nothing was sent, so another endpoint may be tried whatever the method. `shield`: an
   * idempotent request without body may be answered by stable instead of the canary. `never`: final.
   */
  readonly retry: "next" | "shield" | "never";
  /** What the attempt counts as; absent where no attempt is to blame. */
  readonly outcome?: Outcome;
  readonly message: string;
}

const CLIENT = { origin: "client", retry: "never" } as const;
const GATEWAY = { origin: "gateway", retry: "never" } as const;
const UPSTREAM = { origin: "upstream", retry: "shield" } as const;

export const ERRORS = {
  head_malformed: { ...CLIENT, status: 400, message: "The request's head is malformed" },
  header_underscore: {
    ...CLIENT,
    status: 400,
    message: "A header with an underscore would pass for one that the gateway sets",
  },
  host_invalid: { ...CLIENT, status: 400, message: "Exactly one valid Host header is needed" },
  framing_invalid: {
    ...CLIENT,
    status: 400,
    message: "Content-Length and Transfer-Encoding do not say clearly where the request ends",
  },
  target_invalid: { ...CLIENT, status: 400, message: "The request target is not acceptable" },
  body_malformed: { ...CLIENT, status: 400, message: "The request's chunked body is malformed" },
  header_value_invalid: {
    ...CLIENT,
    status: 400,
    message: "A value that the request asks to forward cannot stand in a header",
  },
  request_timed_out: {
    ...CLIENT,
    status: 408,
    message: "The request did not arrive in time",
  },
  body_too_large: { ...CLIENT, status: 413, message: "The request's body is too large" },
  target_too_long: { ...CLIENT, status: 414, message: "The request target is too long" },
  expectation_unsupported: {
    ...CLIENT,
    status: 417,
    message: "Only the expectation 100-continue is supported",
  },
  head_too_large: { ...CLIENT, status: 431, message: "The request's head is too large" },
  headers_too_many: { ...CLIENT, status: 431, message: "The request has too many headers" },
  method_refused: { ...CLIENT, status: 405, message: "TRACE is not served here" },
  connect_unsupported: { ...CLIENT, status: 501, message: "CONNECT tunnels are not supported" },
  upgrade_unsupported: {
    ...CLIENT,
    status: 501,
    message: "Upgrade to another protocol is not supported",
  },
  websocket_invalid: {
    ...CLIENT,
    status: 400,
    message: "A WebSocket handshake needs exactly one valid Sec-WebSocket-Key",
  },
  coding_unsupported: {
    ...CLIENT,
    status: 501,
    message: "Only the transfer coding chunked is supported",
  },
  version_unsupported: { ...CLIENT, status: 505, message: "Only HTTP/1.0 and HTTP/1.1 are served" },
  client_gone: {
    ...CLIENT,
    status: 499,
    message: "The client left before the answer was complete",
  },
  client_stalled: { ...CLIENT, status: 499, message: "The client stopped reading the answer" },
  client_unknown: { ...CLIENT, status: 403, message: "The client's address is not known" },
  unauthenticated: { ...CLIENT, status: 401, message: "A valid API key is needed" },
  rate_limited: { ...CLIENT, status: 429, message: "Too many requests" },
  /** Not answered, but reset as not processed: the client may send it again (RFC 9113 §8.7). */
  streams_too_many: {
    ...CLIENT,
    status: 429,
    message: "The connection has as many requests under way as it may",
  },
  request_invalid: {
    ...CLIENT,
    status: 400,
    message: "The request's body is not what is expected",
  },
  no_route: { ...GATEWAY, status: 404, message: "No route matches this request" },
  misdirected: {
    ...GATEWAY,
    status: 421,
    message: "This connection was made for another host, or another scheme, than what is asked for",
  },
  no_backend: { ...GATEWAY, status: 500, message: "The route has no valid backend" },
  internal: { ...GATEWAY, status: 500, message: "The gateway failed to handle this request" },
  models_unsupported: { ...GATEWAY, status: 501, message: "LLM routes are not served yet" },
  no_arm: { ...GATEWAY, status: 503, message: "No version of the backend takes requests" },
  no_endpoint: {
    ...GATEWAY,
    status: 503,
    retry: "shield",
    message: "The backend has no endpoint",
  },
  upstream_overflow: {
    ...GATEWAY,
    status: 503,
    retry: "shield",
    message: "Every endpoint is at its limit of connections",
  },
  /** Of tunnels, which are not answered any more. */
  tunnel_idle: { ...GATEWAY, status: 504, message: "Nothing has passed for too long" },
  compression_timeout: {
    ...GATEWAY,
    status: 504,
    message: "The answer could not be compressed within the request's time",
  },
  draining: { ...GATEWAY, status: 503, message: "The gateway is shutting down" },
  request_timeout: {
    ...UPSTREAM,
    status: 504,
    retry: "never",
    outcome: "timeout",
    message: "The request was not answered within its time",
  },
  attempt_timeout: {
    ...UPSTREAM,
    status: 504,
    outcome: "timeout",
    message: "The backend did not answer within its time",
  },
  upstream_head_timeout: {
    ...UPSTREAM,
    status: 504,
    outcome: "timeout",
    message: "The backend did not begin to answer in time",
  },
  upstream_connect_timeout: {
    ...UPSTREAM,
    status: 504,
    retry: "next",
    outcome: "connect",
    message: "The backend did not accept the connection in time",
  },
  upstream_connect_failed: {
    ...UPSTREAM,
    status: 502,
    retry: "next",
    outcome: "connect",
    message: "The backend cannot be connected to",
  },
  upstream_certificate_invalid: {
    ...UPSTREAM,
    status: 502,
    retry: "next",
    outcome: "connect",
    message: "The backend's certificate is not that of the backend",
  },
  upstream_reset: {
    ...UPSTREAM,
    status: 502,
    outcome: "reset",
    message: "The backend closed the connection before it answered",
  },
  upstream_invalid: {
    ...UPSTREAM,
    status: 502,
    outcome: "reset",
    message: "The backend's answer is not valid HTTP",
  },
  upstream_5xx: {
    ...UPSTREAM,
    status: 502,
    outcome: "status5xx",
    message: "The backend answered with an error",
  },
  response_stalled: {
    ...UPSTREAM,
    status: 504,
    retry: "never",
    outcome: "timeout",
    message: "The backend stopped in the middle of its answer",
  },
  response_truncated: {
    ...UPSTREAM,
    status: 502,
    retry: "never",
    outcome: "truncated",
    message: "The backend broke off its answer",
  },
} as const satisfies Record<string, ErrorRow> & Record<HeadFault, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** The row of `code`, with its optional columns. */
export function errorRow(code: ErrorCode): ErrorRow {
  return ERRORS[code];
}

/** Position of the outcome in a metrics row, or -1 where the attempt is not to blame. */
export function outcomeOf(code: ErrorCode): number {
  const { outcome } = errorRow(code);
  return outcome === undefined ? -1 : OUTCOMES.indexOf(outcome);
}

/** The public body of an error: what is wrong, and the id under which the log knows more. */
export function errorBody(code: string, message: string, requestId: string): string {
  return JSON.stringify({ error: { code, message, requestId } });
}

/** What became of a request: an error of the table, or an answer that is none. */
export type Reason = ErrorCode | "ok" | "redirect" | "direct_response" | "preflight";

export function isError(reason: Reason): reason is ErrorCode {
  return Object.hasOwn(ERRORS, reason);
}
