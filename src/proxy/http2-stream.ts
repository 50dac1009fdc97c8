/**
 * One stream of an HTTP/2 connection as the client's side of an exchange: its request's head is made an
 * HTTP/1 head and judged as one (http2/request.ts), its body goes to the exchange, the answer comes back
 * as header blocks and frames of data.
 */
import type { HeadFault } from "../http1/fault.ts";
import { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { FieldList } from "../http2/field-list.ts";
import { trailerLines } from "../http2/fields.ts";
import { CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR } from "../http2/frame.ts";
import { HTTP2, writeLines } from "../http2/request.ts";
import { responseBlockBytes, writeResponse } from "../http2/response.ts";
import { Stream } from "../http2/stream.ts";
import { cancelAttempt, forwardBody, forwardEnd, resumeResponse } from "./attempt.ts";
import type { Client } from "./client.ts";
import { errorRow, type ErrorCode } from "./error.ts";
import { Exchange } from "./exchange.ts";
import { isGrpc } from "./grpc.ts";
import { handle, handleKnown } from "./handle.ts";
import type { Http2Connection } from "./http2-connection.ts";
import type { KnownAnswer, KnownHead, KnownRequest } from "./known-head.ts";
import type { Peer } from "./peer.ts";
import { bodyWaitMs, type Plane } from "./plane.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import { isSaneId } from "./request-id.ts";
import { respondError } from "./respond.ts";
import type { LinkedSocket } from "./snapshot.ts";
import type { Timed } from "./timer-wheel.ts";

export class Http2Stream extends Stream<KnownRequest> implements Client, Timed {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly plane: Plane;
  readonly peer: Peer;
  readonly #connection: Http2Connection;
  #exchange: Exchange | null = null;
  /** Of the connection, when the client began to be waited for. */
  #writesTaken = 0;
  /** When the client last said something of its body. */
  #bodyMs = 0;
  /** The request is malformed: the stream is reset once that is answered (RFC 9113 §8.1.1). */
  #malformed = false;
  /** The client said more than it may, and so made an attempt come to nothing. */
  #overlong = false;

  constructor(connection: Http2Connection) {
    super(connection.session);
    this.#connection = connection;
    this.plane = connection.plane;
    this.peer = connection.peer;
  }

  /** Takes a request whose head is `known`. */
  beginKnown(known: KnownHead, ended: boolean): void {
    const { nowMs } = this.session;
    const x = new Exchange(this, known.head, { startedMs: nowMs, known });
    this.#exchange = x;
    this.remoteEnded = ended;
    if (!ended) this.#awaitBody(x, nowMs);
    handleKnown(x, known);
  }

  begin(head: RequestHead, ended: boolean, served: LinkedSocket | undefined): Exchange {
    const x = this.#newExchange(head);
    this.remoteEnded = ended;
    if (!ended) this.#awaitBody(x, this.session.nowMs);
    handle(x, served);
    return x;
  }

  /** Answers a request that has no valid head. */
  refuse(
    code: HeadFault | "request_timed_out",
    { ended, method }: { ended: boolean; method: string },
  ): void {
    const head = new RequestHead("", 0);
    head.version = HTTP2;
    // An answer to HEAD has no body, whatever it says.
    if (method === "HEAD") head.method = method;
    this.#malformed = code === "head_malformed" || code === "framing_invalid";
    // The reset comes after the answer, so the stream is not over with that.
    this.remoteEnded = ended && !this.#malformed;
    respondError(this.#newExchange(head), code);
  }

  /** Counts and logs a request that is never answered; `head` is null where it is not valid. */
  noteRefused(head: RequestHead | null, code: "streams_too_many" | "head_malformed"): void {
    this.closed = true;
    const shown = head ?? new RequestHead("", 0);
    shown.version = HTTP2;
    const x = this.#newExchange(shown);
    x.status = errorRow(code).status;
    x.reason = code;
    x.finish();
  }

  #newExchange(head: RequestHead): Exchange {
    const { nowMs, unfinishedSinceMs } = this.session;
    const x = new Exchange(this, head, { startedMs: nowMs, known: null });
    if (unfinishedSinceMs !== -1) x.requestHeadMs = nowMs - unfinishedSinceMs;
    const presented = head.header("x-request-id");
    x.presentedId = presented !== undefined;
    if (presented !== undefined && isSaneId(presented)) x.presentedAs = presented;
    this.#exchange = x;
    return x;
  }

  // What comes.

  #awaitBody(x: Exchange, nowMs: number): void {
    this.expectedBytes = x.head.contentLength;
    this.#bodyMs = nowMs;
    if (x.bodyEnded) return;
    this.plane.wheel.schedule(this, nowMs + bodyWaitMs(this.peer.timeouts, x, nowMs));
  }

  bodyCame(bytes: Buffer, start: number, end: number): void {
    const x = this.#exchange;
    // Of an exchange that is over the rest is dropped.
    if (x === null || x.finished) return;
    const slice = Buffer.allocUnsafe(end - start);
    bytes.copy(slice, 0, start, end);
    const { nowMs } = this.session;
    this.#bodyMs = nowMs;
    this.plane.wheel.schedule(this, nowMs + bodyWaitMs(this.peer.timeouts, x, nowMs));
    if (forwardBody(x, slice)) return;
    this.pauseBody();
    this.deadlineMs = Infinity;
  }

  endCame(): void {
    this.#endBody("");
  }

  /** After the head of a request only trailers follow. */
  fieldsCame(list: FieldList, known: KnownRequest | null, ended: boolean): void {
    const isHead = known !== null && known.about !== null;
    const trailers = known === null ? trailerLines(list) : known.text;
    if (!ended || isHead || trailers === undefined) {
      this.session.streamError(this, PROTOCOL_ERROR);
      return;
    }
    if (known === null) this.session.remember({ text: trailers, about: null, head: null });
    this.#endBody(trailers);
  }

  #endBody(trailers: string): void {
    const x = this.#exchange;
    if (x === null || x.finished || x.bodyEnded) return;
    this.deadlineMs = Infinity;
    x.bodyEnded = true;
    x.requestTrailers = trailers;
    forwardEnd(x);
  }

  resume(): void {
    if (!this.bodyPaused) return;
    const x = this.#exchange;
    if (x?.bodyEnded === false) {
      this.#bodyMs = performance.now();
      this.#setDeadline(bodyWaitMs(this.peer.timeouts, x, this.#bodyMs));
    }
    this.resumeBody();
  }

  // What is said.

  sendContinue(): void {
    if (this.closed) return;
    this.session.beginBlock(64).status(100);
    this.session.endBlock(this, false);
  }

  sendInterim(_x: Exchange, head: ResponseHead): void {
    if (this.closed) return;
    writeResponse(this.session.beginBlock(responseBlockBytes(head, "")), head, "");
    this.session.endBlock(this, false);
  }

  sendHead(x: Exchange, head: ResponseHead, added: string, whole: string | null): void {
    if (this.closed) return;
    this.answered = true;
    const ends = whole !== null && (whole === "" || x.head.method === "HEAD");
    this.#connection.writeHead(this, head, added, ends);
    if (whole === null || ends) return;
    this.#sendText(whole);
    // What came by HTTP/2 is remembered by its block.
    if (x.known === null || x.upstream?.trails === true) return;
    if (added === "" && head.status < 500) x.known.noteAnswer(head, head.keptFromStart(), whole);
  }

  sendKnown(answer: KnownAnswer, from: ReadBuffer): void {
    if (this.closed) return;
    this.answered = true;
    const { bytes, contentLength } = answer;
    const ends = contentLength === 0;
    const { session } = this;
    const { version } = session.encoder;
    if (answer.block !== null && answer.blockVersion === version) {
      session.sendBlock(this, answer.block, ends);
    } else {
      const { goes } = answer;
      const encoder = session.beginBlock(3 * goes.length + 64);
      encoder.status(answer.status);
      writeLines(encoder, goes, goes.indexOf("\r\n") + 2);
      session.endBlock(this, ends);
      answer.block = session.blocks.last();
      answer.blockVersion = session.encoder.version;
    }
    if (ends) return;
    this.sendBytes(from.bytes, bytes.length, bytes.length + contentLength);
    this.end("");
  }

  sendAnswer(_x: Exchange, status: number, lines: string, body: string): void {
    if (this.closed) return;
    this.answered = true;
    const encoder = this.session.beginBlock(3 * lines.length + 64);
    encoder.status(status);
    writeLines(encoder, lines, 0);
    this.session.endBlock(this, body === "");
    if (body !== "") this.#sendText(body);
  }

  #sendText(text: string): void {
    if (!this.session.writeText(this, text)) this.sendOwned(Buffer.from(text, "latin1"));
    this.end("");
  }

  sendBody(buffer: Buffer, start: number, end: number): void {
    this.sendBytes(buffer, start, end);
  }

  sendEnd(trailers: string): void {
    this.end(trailers);
  }

  flush(): boolean {
    if (this.closed || (!this.waits && !this.session.sink.full)) return true;
    this.session.waiting.add(this);
    this.#awaitClient();
    return false;
  }

  drained(): void {
    const x = this.#exchange;
    if (x === null) {
      this.#endExchange();
      return;
    }
    if (x.bodyEnded) this.deadlineMs = Infinity;
    resumeResponse(x);
  }

  breakOff(): void {
    this.session.reset(this, INTERNAL_ERROR);
    this.plane.wheel.cancel(this);
  }

  fail(): void {
    const x = this.#exchange;
    if (x === null || x.finished) {
      this.breakOff();
      return;
    }
    cancelAttempt(x);
    respondError(x, "internal");
  }

  exchangeDone(x: Exchange): void {
    this.#exchange = null;
    this.#overlong = x.reason === "body_too_large" && x.attempts > 0;
    if (this.closed) return;
    if (this.waits) this.#awaitClient();
    else this.#endExchange();
  }

  /** All of the answer has been written. */
  #endExchange(): void {
    if (this.closed || !this.localEnded) return;
    this.plane.wheel.cancel(this);
    if (this.#malformed) this.session.resetProvoked(this, PROTOCOL_ERROR);
    else if (this.remoteEnded) return;
    // What is left of the request is not wanted any more (RFC 9113 §8.1).
    else if (this.#overlong) this.session.resetProvoked(this, NO_ERROR);
    else this.session.reset(this, NO_ERROR);
  }

  /** What was said has to wait for the client, which has so long to take some of it. */
  #awaitClient(): void {
    this.#writesTaken = this.#connection.writesTaken;
    this.#setDeadline(this.peer.timeouts.clientStallMs);
  }

  #setDeadline(afterMs: number): void {
    this.plane.wheel.schedule(this, performance.now() + afterMs);
  }

  /**
   * How long a client may be silent in its body. In a conversation it may be while it is answered: how long
   * both may be, its backend's limit says (limitSilence). Calls of gRPC may become one.
   */
  #bodyDueMs(x: Exchange): number {
    const { requestIdleMs, responseIdleMs, requestReceivedMs } = this.peer.timeouts;
    const idleMs = isGrpc(x.head) ? Math.max(requestIdleMs, responseIdleMs) : requestIdleMs;
    const silentMs = x.responseStarted ? Infinity : this.#bodyMs + idleMs;
    return Math.min(silentMs, x.startedMs + requestReceivedMs);
  }

  expire(nowMs: number): void {
    const x = this.#exchange;
    if (x !== null && !x.bodyEnded && !this.waits) {
      const dueMs = this.#bodyDueMs(x);
      if (dueMs > nowMs) this.plane.wheel.schedule(this, dueMs);
      else this.overdue();
    } else if (this.sendWindow > 0 && this.#writesTaken !== this.#connection.writesTaken) {
      // It is its turn once the others have had theirs: the connection is slow, and does not stand still.
      this.#awaitClient();
    } else {
      this.session.reset(this, CANCEL);
      this.#leave("client_stalled");
    }
  }

  /** The request is not complete in its time. */
  overdue(): void {
    const x = this.#exchange;
    if (x === null) return;
    cancelAttempt(x);
    respondError(x, "request_timed_out");
  }

  brokeOff(): void {
    this.plane.wheel.cancel(this);
    this.#leave("client_gone");
  }

  finished(): void {
    this.plane.wheel.cancel(this);
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
}
