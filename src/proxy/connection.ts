/**
 * One accepted HTTP/1.1 connection: bytes to heads, bodies to the exchange, answers in order. One request
 * is in flight at a time; what is pipelined behind it waits, up to a limit (RFC 9112 §2.2, §9.3.2).
 */
import type { Socket } from "node:net";
import type { HeadFault } from "../http1/fault.ts";
import { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { AnswerWriter } from "./answer-writer.ts";
import { ClientOutput } from "./client-output.ts";
import { cancelAttempt, forwardEnd, resumeResponse } from "./attempt.ts";
import type { Client, ClientConnection, Http1Options } from "./client.ts";
import type { ErrorCode } from "./error.ts";
import { Exchange } from "./exchange.ts";
import { handle, handleKnown } from "./handle.ts";
import { HeadMemory, type KnownAnswer, type KnownHead } from "./known-head.ts";
import type { Peer } from "./peer.ts";
import { bodyWaitMs, type Plane } from "./plane.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import { isSaneId } from "./request-id.ts";
import { RequestBody } from "./request-body.ts";
import { RequestReader } from "./request-reader.ts";
import { respondError } from "./respond.ts";
import { breakConnection } from "./socket-handle.ts";
import type { Timed } from "./timer-wheel.ts";
import { Tunnel, type TunnelHost } from "./tunnel.ts";

/** Between requests, or with a part of the next head. */
const READY = 0;
/** An exchange is on; its body is still coming. */
const BODY = 1;
/** An exchange is on; its request is complete. */
const BUSY = 2;
/** Everything is said; the client's last bytes are read and dropped, lest a reset overtake the answer. */
const LINGER = 3;
const CLOSED = 4;

/** Bytes that may wait behind a request in flight. */
const PIPELINED_BYTES_MAX = 64 * 1024;
const NO_BYTES = Buffer.alloc(0);
const LINGER_BYTES_MAX = 1024 * 1024;

export class Connection implements Timed, Client, ClientConnection {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly plane: Plane;
  readonly peer: Peer;
  readonly #socket: Socket;
  readonly #answers: AnswerWriter;
  readonly #options: Http1Options;
  readonly #heads = new HeadMemory();
  readonly #reader = new RequestReader();
  #state = READY;
  #exchange: Exchange | null = null;
  #body: RequestBody | null = null;
  #lingered = 0;
  #handled = false;
  #consuming = false;

  /** `socket` is a kernel's or a TLS socket, and paused or read by who calls `read`. */
  constructor(socket: Socket, plane: Plane, options: Http1Options) {
    this.#socket = socket;
    const { peer } = options;
    const output = new ClientOutput(socket, plane, peer.scheme === "http");
    this.#answers = new AnswerWriter(output);
    this.plane = plane;
    this.peer = peer;
    this.#options = options;
    socket.on("end", () => this.#ended());
    socket.on("drain", () => this.#drained());
    socket.on("error", () => this.#gone());
    socket.on("close", () => this.#gone());
    plane.wheel.schedule(this, performance.now() + peer.timeouts.clientIdleMs);
  }

  /**
   * Takes what one read brought: `length` bytes at the beginning of `from`, valid during the call
   * alone. A bug in what one request runs through costs that request, not the worker.
   */
  read(from: ReadBuffer, length: number): void {
    try {
      const fresh = this.#state === READY && this.#reader.pending === null;
      if (fresh && !this.#socket.writableNeedDrain) this.#readFresh(from, length);
      else this.#take(Buffer.from(from.bytes.subarray(0, length)));
    } catch (error) {
      this.#consuming = false;
      this.plane.onBug(error);
      this.fail();
    }
  }

  fail(): void {
    const x = this.#exchange;
    if (x === null || x.finished) {
      this.abort();
      return;
    }
    cancelAttempt(x);
    x.head.keepAlive = false;
    respondError(x, "internal");
  }

  /** The common case: a request begins, and nothing else waits. Its head is read where it lies. */
  #readFresh(from: ReadBuffer, length: number): void {
    this.#consuming = true;
    const known = this.#heads.find(from, length, this.#options.served.value);
    const going = known === null ? this.#readHead(from.bytes, length) : this.#readKnown(known);
    this.#consuming = false;
    if (going && this.#reader.pending !== null) this.#consume();
    this.#limitPending();
  }

  #take(bytes: Buffer): void {
    switch (this.#state) {
      case READY:
        this.#reader.keep(bytes);
        this.#consume();
        this.#limitPending();
        break;
      case BODY:
        this.#setDeadline(bodyWaitMs(this.peer.timeouts, this.#exchange));
        this.#reader.keep(this.#readBody(bytes));
        this.#judgeBody();
        this.#consume();
        break;
      case BUSY:
        this.#reader.keep(bytes);
        this.#limitPending();
        break;
      case LINGER:
        this.#lingered += bytes.length;
        if (this.#lingered > LINGER_BYTES_MAX) this.abort();
        break;
      default:
        break;
    }
  }

  #limitPending(): void {
    if (this.#reader.pendingBytes > PIPELINED_BYTES_MAX) this.#socket.pause();
  }

  /** Works through what has come until a request is in flight or more bytes are needed. */
  #consume(): void {
    // An exchange that ends at once comes back here; the loop below goes on in its place.
    if (this.#consuming) return;
    this.#consuming = true;
    while (this.#state === READY && this.#reader.pending !== null) {
      if (this.#socket.writableNeedDrain) break;
      const bytes = this.#reader.take();
      if (!this.#readHead(bytes, bytes.length)) break;
    }
    this.#consuming = false;
  }

  /**
   * Begins the request that the first `length` bytes begin with, and keeps copies of what comes after
   * its head; false where the head is not complete or not valid.
   */
  #readHead(bytes: Buffer, length: number): boolean {
    const reader = this.#reader;
    const head = reader.read(bytes, length, this.peer.path);
    if (typeof head === "string") {
      if (head === "http2" && this.#options.onHttp2) {
        this.#handOver(Buffer.from(bytes.subarray(0, length)));
      } else if (head === "more") {
        // The time for a head begins with its first bytes, and not with an empty line before it.
        if (reader.startedMs === reader.readAtMs)
          this.#setDeadline(this.peer.timeouts.requestHeadMs);
      } else {
        this.#refuse(head === "http2" ? "version_unsupported" : head, reader.readAtMs);
      }
      return false;
    }
    // Bodies are written without being copied again, so they need bytes of their own.
    const { headEnd } = reader;
    this.#begin(head, headEnd === length ? NO_BYTES : Buffer.from(bytes.subarray(headEnd, length)));
    return true;
  }

  /** Begins a request whose head came before, and which has no body. */
  #readKnown(known: KnownHead): boolean {
    this.#reader.passOver();
    this.#exchange = new Exchange(this, known.head, { startedMs: performance.now(), known });
    this.#state = BUSY;
    this.deadlineMs = Infinity;
    handleKnown(this.#exchange, known);
    return true;
  }

  /** The client speaks HTTP/2: socket and bytes go to who speaks it too. */
  #handOver(first: Buffer): void {
    this.#letGo();
    this.#options.onHttp2?.(this, first);
  }

  openTunnel(x: Exchange, upstream: TunnelHost): Tunnel {
    this.#answers.output.send();
    const { onClosed, onTunnel } = this.#options;
    const client = { socket: this.#socket, direct: this.peer.scheme === "http" };
    const tunnel = new Tunnel(x, { client, upstream, early: this.#reader.pending, onClosed });
    this.#letGo();
    onTunnel(this, tunnel);
    return tunnel;
  }

  /** Another has the socket from now on. */
  #letGo(): void {
    this.#state = CLOSED;
    this.#reader.pending = null;
    this.#exchange = null;
    this.plane.wheel.cancel(this);
  }

  /** Answers a request that has no valid head, and closes. */
  #refuse(code: HeadFault | "request_timed_out", nowMs: number): void {
    const head = new RequestHead("", 0);
    head.keepAlive = false;
    const x = this.#newExchange(head, nowMs);
    this.#state = BUSY;
    respondError(x, code);
  }

  #newExchange(head: RequestHead, startedMs: number): Exchange {
    const x = new Exchange(this, head, { startedMs, known: null });
    const reader = this.#reader;
    if (reader.startedMs !== -1) x.requestHeadMs = startedMs - reader.startedMs;
    reader.startedMs = -1;
    const presented = head.header("x-request-id");
    x.presentedId = presented !== undefined;
    if (presented !== undefined && isSaneId(presented)) x.presentedAs = presented;
    this.#exchange = x;
    return x;
  }

  /** Begins the request of a head; `rest` is what came behind it. */
  #begin(head: RequestHead, rest: Buffer): void {
    const x = this.#newExchange(head, this.#reader.readAtMs);
    if (!head.hasBody) {
      this.#state = BUSY;
      this.deadlineMs = Infinity;
      this.#reader.keep(rest);
      const served = this.#options.served.value;
      handle(x, served);
      this.#heads.note(x, served);
      return;
    }
    this.#state = BODY;
    this.#handled = false;
    this.#body = new RequestBody(x);
    this.#setDeadline(bodyWaitMs(this.peer.timeouts, this.#exchange));
    this.#reader.keep(this.#readBody(rest));
    this.#judgeBody();
  }

  /**
   * After a piece of the body: hands the request on once it is worth it. A chunked body is looked at
   * first, for a body that is wrong from the start must not reach anybody.
   */
  #judgeBody(): void {
    const x = this.#exchange;
    if (x === null || x.finished) return;
    if (this.#body?.failed === true) {
      cancelAttempt(x);
      respondError(x, "body_malformed");
      return;
    }
    if (this.#handled) return;
    if (x.head.chunked && x.bytesIn === 0 && !x.bodyEnded && !x.head.expectsContinue) return;
    this.#handled = true;
    handle(x, this.#options.served.value);
  }

  /** Feeds the body; returns what belongs to the next request. */
  #readBody(bytes: Buffer): Buffer | null {
    const x = this.#exchange as Exchange;
    const body = this.#body as RequestBody;
    const next = body.read(bytes);
    if (body.blocked) {
      body.blocked = false;
      this.#socket.pause();
      this.deadlineMs = Infinity;
    }
    if (body.done) this.#endBody(x);
    return next === bytes.length ? null : bytes.subarray(next);
  }

  #endBody(x: Exchange): void {
    if (this.#state === BODY) {
      this.#state = BUSY;
      this.deadlineMs = Infinity;
    }
    if (x.finished || x.bodyEnded) return;
    x.bodyEnded = true;
    forwardEnd(x);
  }

  /** Limits how long the next piece of the body may take, unless it is the backend that is waited for. */
  #waitForBody(): void {
    if (this.#socket.isPaused()) this.deadlineMs = Infinity;
    else this.#setDeadline(bodyWaitMs(this.peer.timeouts, this.#exchange));
  }

  resume(): void {
    if (this.#state === CLOSED || !this.#socket.isPaused()) return;
    if (this.#state === BODY) this.#setDeadline(bodyWaitMs(this.peer.timeouts, this.#exchange));
    if (this.#reader.pendingBytes <= PIPELINED_BYTES_MAX) this.#socket.resume();
  }

  sendContinue(): void {
    this.#answers.output.write("HTTP/1.1 100 Continue\r\n\r\n");
  }

  sendInterim(x: Exchange, head: ResponseHead, added: string): void {
    if (x.head.version !== 10) this.#answers.interim(head, added);
  }

  sendHead(x: Exchange, head: ResponseHead, added: string, whole: string | null): void {
    this.#answers.closeAfter = this.#closesAfter(x);
    this.#answers.head(x, head, added, whole);
  }

  sendKnown({ goesBytes, bytes, contentLength }: KnownAnswer, from: ReadBuffer): void {
    const range = { start: bytes.length, end: bytes.length + contentLength };
    this.#answers.output.writeAnswer(goesBytes, from.bytes, range);
  }

  sendAnswer(x: Exchange, status: number, lines: string, body: string): void {
    this.#answers.closeAfter = this.#closesAfter(x);
    this.#answers.answer(x, status, lines, body);
  }

  /**
   * Whether the connection ends after an answer that begins now. What is left of a request that was
   * answered early is not waited for, and would have to be read before the next one (RFC 9112 §9.6).
   */
  #closesAfter(x: Exchange): boolean {
    return !x.head.keepAlive || !x.bodyEnded || this.plane.draining;
  }

  sendBody(buffer: Buffer, start: number, end: number): void {
    this.#answers.body(buffer, start, end);
  }

  sendEnd(): void {
    this.#answers.end();
  }

  breakOff(): void {
    this.abort(this.#answers.untilClose);
  }

  flush(): boolean {
    this.#answers.output.uncork();
    if (!this.#socket.writableNeedDrain) return true;
    if (this.#exchange !== null) this.#setDeadline(this.peer.timeouts.clientStallMs);
    return false;
  }

  #drained(): void {
    const x = this.#exchange;
    if (x === null) {
      this.#consume();
      this.resume();
      return;
    }
    if (this.#state === BUSY) this.deadlineMs = Infinity;
    else this.#waitForBody();
    resumeResponse(x);
  }

  exchangeDone(x: Exchange, nowMs: number): void {
    this.#exchange = null;
    this.#body = null;
    if (this.#state === CLOSED) return;
    this.flush();
    // What was meant for a tunnel that did not come about is no request.
    if (
      this.#answers.closeAfter ||
      this.plane.draining ||
      (x.upgrade && this.#reader.pending !== null)
    ) {
      this.#linger();
      return;
    }
    this.#state = READY;
    this.plane.wheel.schedule(this, nowMs + this.peer.timeouts.clientIdleMs);
    if (this.#socket.isPaused()) this.#socket.resume();
    if (this.#reader.pending !== null) this.#consume();
  }

  /** Closes this side and gives the client time to read the answer and close its own. */
  #linger(): void {
    this.#state = LINGER;
    this.#reader.pending = null;
    const { lingerMs, clientStallMs } = this.peer.timeouts;
    const sent = this.#answers.output.end(() => {
      if (this.#state === LINGER) this.#setDeadline(lingerMs);
    });
    this.#setDeadline(sent ? lingerMs : clientStallMs);
    if (this.#socket.isPaused()) this.#socket.resume();
  }

  #setDeadline(afterMs: number): void {
    this.plane.wheel.schedule(this, performance.now() + afterMs);
  }

  expire(nowMs: number): void {
    const x = this.#exchange;
    if (this.#state === READY && this.#reader.pending !== null) {
      this.#reader.pending = null;
      this.#refuse("request_timed_out", nowMs);
    } else if (this.#state === BODY && x !== null && !this.#socket.writableNeedDrain) {
      cancelAttempt(x);
      respondError(x, "request_timed_out");
    } else if (x !== null) {
      this.#leave("client_stalled");
    } else {
      this.abort();
    }
  }

  /** The client has closed its side. */
  #ended(): void {
    this.#answers.output.send();
    if (this.#exchange !== null) this.#leave("client_gone");
    // Answers that are written but not sent yet are still sent; then the socket closes by itself.
    else if (this.#state === READY && this.#answers.output.pending) this.#linger();
    else if (this.#state === READY) this.abort();
  }

  #gone(): void {
    if (this.#state === CLOSED) return;
    if (this.#exchange === null) this.abort();
    else this.#leave("client_gone");
  }

  /** The client is lost in the middle of an exchange: the upstream is told, the arm is not blamed. */
  #leave(code: ErrorCode): void {
    const x = this.#exchange as Exchange;
    cancelAttempt(x);
    this.abort();
    x.status = 499;
    x.reason = code;
    x.finish();
  }

  /** Ends the connection at once; `reset` so that its end cannot pass for the end of a body. */
  abort(reset = false): void {
    if (this.#state === CLOSED) return;
    this.#answers.output.close();
    this.#state = CLOSED;
    this.#reader.pending = null;
    this.plane.wheel.cancel(this);
    if (reset) breakConnection(this.#socket);
    else this.#socket.destroy();
    this.#options.onClosed(this);
  }

  cut(): void {
    if (this.#exchange !== null) {
      cancelAttempt(this.#exchange);
      respondError(this.#exchange, "draining");
    }
    this.abort();
  }

  closeIdle(): void {
    if (this.#state === READY && this.#reader.pending === null) this.#linger();
  }
}
