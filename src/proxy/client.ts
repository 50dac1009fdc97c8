/**
 * The client's side of one exchange, whatever it speaks: an HTTP/1.1 connection (connection.ts) or one
 * stream of an HTTP/2 connection (http2-stream.ts), plain or over TLS. The phases of a request say
 * here what is answered; how it is framed, and what becomes of the connection, is the client's own.
 */
import type { ResponseHead } from "../http1/response-head.ts";
import type { Exchange } from "./exchange.ts";
import type { KnownAnswer } from "./known-head.ts";
import type { Peer } from "./peer.ts";
import type { Plane } from "./plane.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import type { Cell, LinkedSocket } from "./snapshot.ts";
import type { Tunnel, TunnelHost } from "./tunnel.ts";

export interface Client {
  readonly plane: Plane;
  readonly peer: Peer;

  /** Says that the request's body is wanted (RFC 9110 §10.1.1). */
  sendContinue(): void;
  /** Passes an interim response on, with `added` lines, to clients that know them (RFC 9110 §15.2). */
  sendInterim(x: Exchange, head: ResponseHead, added: string): void;
  /**
   * Sends the head of a response: the lines that `head` keeps, and `added`, whole lines that are
   * safe. `head.framing` says whether a body follows; `whole` is all of it where it is known.
   */
  sendHead(x: Exchange, head: ResponseHead, added: string, whole: string | null): void;
  /** Sends an answer that stands whole in `from`, and whose head came before. */
  sendKnown(answer: KnownAnswer, from: ReadBuffer): void;
  /** Sends a complete answer of the gateway's own. `lines` are whole lines; the body is latin1. */
  sendAnswer(x: Exchange, status: number, lines: string, body: string): void;
  /** Sends bytes of the body; they are copied where the buffer is the next read's. */
  sendBody(buffer: Buffer, start: number, end: number): void;
  /** Lets go of what was gathered; false where the client has to be waited for. */
  flush(): boolean;
  /** The response is complete. `trailers` are whole lines, "" for none; HTTP/1 drops them. */
  sendEnd(trailers: string): void;
  /** Ends a response that cannot be completed so that it cannot pass for complete. */
  breakOff(): void;

  /** The request's body may go on. */
  resume(): void;
  /** Gives the present exchange up after an exception. */
  fail(): void;
  /**
   * The handshake of a WebSocket has been answered, and the client was told: its connection is one
   * end of a tunnel from now on. Absent where no such handshake is possible.
   */
  openTunnel?(x: Exchange, upstream: TunnelHost): Tunnel;
  /** Called once by every exchange, when its answer has been sent or given up. */
  exchangeDone(x: Exchange, nowMs: number): void;
}

/** What one accepted connection has to offer a worker that lets it go. */
export interface ClientConnection {
  /** Nothing is asked right now: closes without waiting for another request. */
  closeIdle(): void;
  /** The time of a drain is over: what is still asked ends here, counted and logged. */
  cut(): void;
}

/** What a connection is made with, beside its socket. */
export interface ConnectionOptions {
  readonly peer: Peer;
  readonly served: Cell<LinkedSocket>;
  /** Called once, when the socket is gone. */
  readonly onClosed: (connection: ClientConnection) => void;
}

export interface Http1Options extends ConnectionOptions {
  /** Takes over what is read from the connection, which has become a tunnel. */
  readonly onTunnel: (connection: ClientConnection, tunnel: Tunnel) => void;
  /**
   * Takes the connection over, with what was read of it, where the client speaks HTTP/2 with prior
   * knowledge; absent where that is not allowed.
   */
  readonly onHttp2?: (connection: ClientConnection, first: Buffer) => void;
}
