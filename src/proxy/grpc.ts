/**
 * gRPC over HTTP/2 as far as a gateway has to know it: its own answers in gRPC's terms, the deadline
 * that a client sends, and what the status of a response says of the arm that gave it
 * (github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */
import type { HeaderBlock } from "../http1/header-block.ts";
import type { Exchange } from "./exchange.ts";
import type { Reason } from "./error.ts";

const OK = 0;
const UNKNOWN = 2;
const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;

/** Whether a message speaks gRPC; gRPC-Web is not it, for its trailers are part of the body. */
export function isGrpc(head: Pick<HeaderBlock, "header">): boolean {
  const type = head.header("content-type");
  if (type === undefined || !type.startsWith("application/grpc")) return false;
  return type.length === 16 || type[16] === "+" || type[16] === ";";
}

/** As Envoy maps statuses of its own answers (Grpc::Utility::httpToGrpcStatus). */
const BY_HTTP_STATUS: ReadonlyMap<number, number> = new Map([
  [400, 13],
  [401, 16],
  [403, 7],
  [404, 12],
  [429, 14],
  [502, 14],
  [503, 14],
  [504, 14],
]);

/**
 * The gRPC status of an answer that the gateway gives itself. Where the time ran out that the request
 * was given, that is the deadline's own status and not that of a backend that is away.
 */
export function grpcStatusOf(httpStatus: number, reason: Reason): number {
  if (httpStatus < 300) return OK;
  // Gateway API `GRPCRouteRule.backendRefs`: where HTTP has 500 for an invalid one.
  if (reason === "no_backend") return UNAVAILABLE;
  if (reason === "request_timeout" || reason === "attempt_timeout") return DEADLINE_EXCEEDED;
  return BY_HTTP_STATUS.get(httpStatus) ?? UNKNOWN;
}

/** `grpc-message` is percent-encoded UTF-8; `text` is latin1 and may be anything. */
export function grpcMessage(text: string): string {
  return text.replaceAll(/[^ -$&-~]/g, (char) => {
    const bytes = Buffer.from(char, "utf8");
    return [...bytes]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
      .join("");
  });
}

/** Milliseconds per unit of `grpc-timeout`. */
const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1000],
  ["m", 1],
  ["u", 1e-3],
  ["n", 1e-6],
]);

/** The time that a `grpc-timeout` gives, in milliseconds; Infinity where it is none. */
export function grpcTimeoutMs(value: string | undefined): number {
  if (value === undefined || !/^[0-9]{1,8}[HMSmun]$/.test(value)) return Infinity;
  return Number(value.slice(0, -1)) * (UNITS_MS.get(value.at(-1) as string) as number);
}

/**
 * Statuses that count as an error of the arm: those that Envoy maps to a 5xx
 * (Grpc::Utility::grpcToHttpStatus) — UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE,
 * DATA_LOSS. The others tell the caller of what it asked for.
 */
const FAILURES: ReadonlySet<number> = new Set([2, 4, 12, 13, 14, 15]);

export function isGrpcFailure(status: number): boolean {
  return status > 0 && FAILURES.has(status);
}

/** Notes what a response's head says of its status: all there is where no body follows. */
export function noteGrpcHead(x: Exchange, head: HeaderBlock): void {
  if (!isGrpc(head)) return;
  const status = head.header("grpc-status");
  // Until trailers say otherwise nobody said that it went well.
  x.grpcStatus = status === undefined ? UNKNOWN : statusOf(status);
}

/** Notes what whole lines of trailers say. */
export function noteGrpcTrailers(x: Exchange, trailers: string): void {
  if (x.grpcStatus === -1) return;
  const line = /(?:^|\n)grpc-status:([^\r]*)\r\n/i.exec(trailers);
  if (line !== null) x.grpcStatus = statusOf((line[1] as string).trim());
}

function statusOf(text: string): number {
  return /^[0-9]{1,2}$/.test(text) ? Number(text) : UNKNOWN;
}
