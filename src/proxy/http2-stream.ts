/**
 * One stream of an HTTP/2 connection as the client's side of an exchange: its request's head is made
 * an HTTP/1 head and judged as one (http2/request.ts), its body goes to the exchange, the answer comes
 * back as fields. node:http2 frames it and keeps the windows.
 */
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { appendKept, appendLines, fieldObject, trailerLines } from "../http2/fields.ts";
import { HTTP2, parseRequestFields } from "../http2/request.ts";
import type { HeadFault } from "../http1/fault.ts";
import { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { cancelAttempt, forwardBody, forwardEnd, resumeResponse } from "./attempt.ts";
import type { Client } from "./client.ts";
import type { ErrorCode } from "./error.ts";
import { Exchange } from "./exchange.ts";
import { handle } from "./handle.ts";
import { breakOffStream, cancelStream } from "./http2-reset.ts";
import type { Peer } from "./peer.ts";
import { bodyWaitMs, type Plane } from "./plane.ts";
import { isSaneId } from "./request-id.ts";
import { respondError } from "./respond.ts";
import type { LinkedSocket } from "./snapshot.ts";
import type { Timed } from "./timer-wheel.ts";

const { NGHTTP2_NO_ERROR } = constants;
const WITH_BODY = {} as const;
const TRAILED = { waitForTrailers: true } as const;
const ENDED = { endStream: true } as const;

export class Http2Stream implements Client, Timed {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly plane: Plane;
  readonly peer: Peer;
  readonly #stream: ServerHttp2Stream;
  #exchange: Exchange | null = null;
  #trailers = "";
  #waiting = false;
  /** A body follows the head that was sent. */
  #open = false;

  constructor(stream: ServerHttp2Stream, plane: Plane, peer: Peer) {
    this.#stream = stream;
    this.plane = plane;
    this.peer = peer;
  }

  /** Takes the request with these fields. `ended`: it has no body. */
  begin(fields: readonly string[], ended: boolean, served: LinkedSocket | undefined): void {
    const nowMs = performance.now();
    const head = parseRequestFields(fields, ended, this.peer.path);
    if (typeof head === "string") {
      this.#refuse(head, nowMs);
      return;
    }
    const x = this.#newExchange(head, nowMs);
    if (head.hasBody) this.#readBody(x);
    handle(x, served);
  }

  #refuse(code: HeadFault, nowMs: number): void {
    const head = new RequestHead("", 0);
    head.version = HTTP2;
    respondError(this.#newExchange(head, nowMs), code);
  }

  #newExchange(head: RequestHead, startedMs: number): Exchange {
    const x = new Exchange(this, head, { startedMs, known: null });
    const presented = head.header("x-request-id");
    x.presentedId = presented !== undefined;
    if (presented !== undefined && isSaneId(presented)) x.presentedAs = presented;
    this.#exchange = x;
    return x;
  }

  #readBody(x: Exchange): void {
    const stream = this.#stream;
    let trailers: string | undefined = "";
    stream.on("data", (slice: Buffer) => this.#guard(() => this.#body(x, slice)));
    stream.on("trailers", (_object: IncomingHttpHeaders, _flags: number, raw?: string[]) => {
      trailers = trailerLines(raw ?? []);
    });
    stream.on("end", () => this.#guard(() => this.#endBody(x, trailers)));
    this.#setDeadline(bodyWaitMs(this.peer.timeouts, this.#exchange));
  }

  #body(x: Exchange, slice: Buffer): void {
    // Of an exchange that is over the rest is read and dropped.
    if (x.finished) return;
    this.#setDeadline(bodyWaitMs(this.peer.timeouts, this.#exchange));
    if (forwardBody(x, slice)) return;
    this.#stream.pause();
    this.deadlineMs = Infinity;
  }

  #endBody(x: Exchange, trailers: string | undefined): void {
    // A stream that is reset ends as well; what was sent of the body is not all of it.
    if (x.finished || x.bodyEnded || this.#stream.closed) return;
    this.deadlineMs = Infinity;
    x.bodyEnded = true;
    x.requestTrailers = trailers ?? "";
    if (trailers === undefined) {
      cancelAttempt(x);
      respondError(x, "body_malformed");
    } else {
      forwardEnd(x);
    }
  }

  resume(): void {
    if (!this.#stream.isPaused()) return;
    if (this.#exchange?.bodyEnded === false) {
      this.#setDeadline(bodyWaitMs(this.peer.timeouts, this.#exchange));
    }
    this.#stream.resume();
  }

  /** Whether an answer can still be sent: a stream that was reset is told to have closed later. */
  get #writable(): boolean {
    return !this.#stream.destroyed && !this.#stream.closed;
  }

  sendContinue(): void {
    if (this.#writable) this.#stream.additionalHeaders({ ":status": 100 });
  }

  sendInterim(_x: Exchange, head: ResponseHead): void {
    if (!this.#writable) return;
    const fields: string[] = [];
    appendKept(head, fields);
    this.#stream.additionalHeaders({ ":status": head.status, ...fieldObject(fields) });
  }

  sendHead(x: Exchange, head: ResponseHead, added: string, whole: string | null): void {
    if (!this.#writable) return;
    const stream = this.#stream;
    const fields = [":status", String(head.status)];
    appendKept(head, fields);
    appendLines(added, 0, fields);
    if (whole === null) {
      this.#open = true;
      const trails = x.upstream?.trails === true;
      if (trails) stream.on("wantTrailers", () => this.#sendTrailers());
      stream.respond(fields, trails ? TRAILED : WITH_BODY);
    } else {
      this.#sendWhole(fields, x.head.method === "HEAD" ? "" : whole);
    }
  }

  sendAnswer(_x: Exchange, status: number, lines: string, body: string): void {
    if (!this.#writable) return;
    const fields = [":status", String(status)];
    appendLines(lines, 0, fields);
    this.#sendWhole(fields, body);
  }

  #sendWhole(fields: string[], body: string): void {
    if (body === "") {
      this.#stream.respond(fields, ENDED);
    } else {
      this.#stream.respond(fields, WITH_BODY);
      this.#stream.end(body, "latin1");
    }
  }

  sendBody(buffer: Buffer, start: number, end: number): void {
    if (!this.#writable) return;
    const bytes = buffer.subarray(start, end);
    // What came by HTTP/2 is in a buffer of its own; else it is the next read's.
    const owned = this.#exchange?.upstream?.trails === true;
    this.#stream.write(owned ? bytes : Buffer.from(bytes));
  }

  flush(): boolean {
    const stream = this.#stream;
    if (!stream.writableNeedDrain) return true;
    if (!this.#waiting) {
      this.#waiting = true;
      stream.once("drain", () => this.#guard(() => this.#drained()));
    }
    this.#setDeadline(this.peer.timeouts.clientStallMs);
    return false;
  }

  #drained(): void {
    this.#waiting = false;
    const x = this.#exchange;
    if (x === null) return;
    if (x.bodyEnded) this.deadlineMs = Infinity;
    resumeResponse(x);
  }

  sendEnd(trailers: string): void {
    this.#trailers = trailers;
    if (this.#open && this.#writable) this.#stream.end();
  }

  #sendTrailers(): void {
    const fields: string[] = [];
    appendLines(this.#trailers, 0, fields);
    this.#stream.sendTrailers(fieldObject(fields));
  }

  breakOff(): void {
    breakOffStream(this.#stream);
  }

  fail(): void {
    const x = this.#exchange;
    if (x === null || x.finished) {
      breakOffStream(this.#stream);
      return;
    }
    cancelAttempt(x);
    respondError(x, "internal");
  }

  exchangeDone(x: Exchange): void {
    this.#exchange = null;
    if (this.#stream.destroyed) return;
    // What is left of the request is not wanted any more (RFC 9113 §8.1).
    if (!x.bodyEnded) this.#stream.close(NGHTTP2_NO_ERROR);
    this.#setDeadline(this.peer.timeouts.clientStallMs);
  }

  #setDeadline(afterMs: number): void {
    this.plane.wheel.schedule(this, performance.now() + afterMs);
  }

  expire(): void {
    const x = this.#exchange;
    if (x === null) {
      cancelStream(this.#stream);
    } else if (!x.bodyEnded && !this.#stream.writableNeedDrain) {
      cancelAttempt(x);
      respondError(x, "request_timed_out");
    } else {
      this.#leave("client_stalled");
      cancelStream(this.#stream);
    }
  }

  /** The stream is gone: reset by the client, with its connection, or in good order. */
  closed(): void {
    this.plane.wheel.cancel(this);
    this.#leave("client_gone");
  }

  /** The client is lost in the middle of an exchange: the upstream is told, the arm is not blamed. */
  #leave(code: ErrorCode): void {
    const x = this.#exchange;
    if (x === null || x.finished) return;
    cancelAttempt(x);
    x.status = 499;
    x.reason = code;
    x.finish();
  }

  /** The time of a drain is over. */
  cut(): void {
    const x = this.#exchange;
    if (x === null) return;
    cancelAttempt(x);
    respondError(x, "draining");
  }

  /** A bug in what one request runs through costs that request, not the worker. */
  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.plane.onBug(error);
      this.fail();
    }
  }
}
