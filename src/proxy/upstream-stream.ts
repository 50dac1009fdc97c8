/**
 * The backend's side of one attempt, whatever it speaks: an HTTP/1.1 connection (upstream.ts) or one
 * stream of an HTTP/2 session. Heads are text on both, checked by the same strict parsers; how bodies
 * are framed is the stream's own.
 */
import type { ResponseHead } from "../http1/response-head.ts";
import type { ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { KnownAnswer } from "./known-head.ts";
import type { Sender } from "./outbox.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import type { Timed } from "./timer-wheel.ts";
import type { Tunnel, TunnelHost } from "./tunnel.ts";

export interface UpstreamStream extends Timed, Sender {
  readonly endpoint: Endpoint;
  /** Whether trailers can come after the response's body. */
  readonly trails: boolean;
  /** Whom it serves; null once the attempt is over. */
  exchange: Exchange | null;
  /** Whether the connection has answered a request before this one. */
  readonly reused: boolean;
  /** Whether any byte of the present response has come. */
  readonly answered: boolean;
  /** The backend said that it did nothing with the request (RFC 9113 §8.7). */
  readonly refused: boolean;
  /** Whether the present request has been handed over in full. */
  readonly requestSent: boolean;
  /** When the head of the final response was read. */
  readonly headMs: number;
  readonly paused: boolean;
  /** There is no connection yet. */
  readonly connecting: boolean;
  /** The backend takes no more of the request for now; `drained` follows. */
  readonly full: boolean;

  /** Takes the idle connection for its exchange; `ready` follows at the end of this turn. */
  claim(): void;
  /** Sends `exchange.upstreamHead`; `whole` where nothing comes after it. */
  sendHead(exchange: Exchange, whole: boolean): void;
  /** Sends bytes of the body, which must not change afterwards; false where they should wait. */
  sendBody(exchange: Exchange, slice: Buffer): boolean;
  /** The request is complete. `trailers` are whole lines, "" for none; HTTP/1 drops them. */
  sendEnd(exchange: Exchange, trailers: string): void;
  /** Lets go of what was gathered since `sendHead`. */
  flush(): void;

  pause(): void;
  resume(): void;
  /** Ends the attempt without a word to its exchange, which has gone elsewhere. */
  cancel(): void;
  /** As `cancel`, for a response that has begun: the connection is kept where that costs little. */
  discard(): void;
}

/** What an attempt hears from its stream. Each call names the exchange that owned it. */
export interface UpstreamEvents {
  /** The request can be sent now. */
  ready(upstream: UpstreamStream, exchange: Exchange): void;
  /** `whole` is the entire body where it came with the head; no `body` follows then. */
  head(upstream: UpstreamStream, head: ResponseHead, whole: string | null): void;
  /** In place of `head`: a whole answer stands in `from`, and its head is `known`. */
  known(
    upstream: UpstreamStream,
    exchange: Exchange,
    answer: { known: KnownAnswer; from: ReadBuffer },
  ): void;
  body(exchange: Exchange, buffer: Buffer, range: { start: number; end: number }): void;
  /** What one read brought has been handed over. */
  readDone(upstream: UpstreamStream, exchange: Exchange): void;
  /** The response is complete; its connection is already back in its pool, or closed. */
  ended(exchange: Exchange, trailers: string, nowMs: number): void;
  /** The attempt is over without a complete response; the stream is gone. */
  failed(upstream: UpstreamStream, exchange: Exchange, code: ErrorCode): void;
  /** The backend says 101: what takes the connection over, or null where that is not in order. */
  switched(exchange: Exchange, head: ResponseHead, host: TunnelHost): Tunnel | null;
  drained(exchange: Exchange): void;
  /** The deadline has passed: which of the timeouts it was. */
  timeoutCode(upstream: UpstreamStream, exchange: Exchange, nowMs: number): ErrorCode;
}
