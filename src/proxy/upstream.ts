/**
 * One HTTP/1.1 connection to an endpoint: it reads responses from a buffer that all connections of the worker
 * share, frames them strictly, and tells the attempt that owns it what came. It holds at most one
 * request at a time. It goes back to the pool only if the request was sent whole, the response was
 * read whole and not one byte more came (RFC 9112 §9.3): else the next answer could be another's.
 */
import type { Socket } from "node:net";
import { ChunkedDecoder, framedChunk, LAST_CHUNK, type BodySink } from "../http1/chunked.ts";
import { RESPONSE_HEAD_BYTES_MAX } from "../http1/fault.ts";
import { parseResponseHead, type ResponseHead } from "../http1/response-head.ts";
import type { ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { KnownAnswer } from "./known-head.ts";
import type { Outbox } from "./outbox.ts";
import type { Http1Endpoint } from "./pool.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import type { TextWriter } from "./text-writer.ts";
import type { Timed, TimerWheel } from "./timer-wheel.ts";
import type { Tunnel } from "./tunnel.ts";
import type { UpstreamEvents, UpstreamStream } from "./upstream-stream.ts";

const CONNECTING = 0;
const IDLE = 1;
/** Taken for a request that is written at the end of this turn of the event loop. */
const CLAIMED = 2;
const HEAD = 3;
const LENGTH = 4;
const CHUNKED = 5;
const UNTIL_CLOSE = 6;
const DEAD = 7;
/** The socket is a tunnel's; only that it counts as a connection here is left. */
const TUNNEL = 8;

/** Responses up to this size are handled as text, head and body together. */
const WHOLE_BYTES_MAX = 16 * 1024;
/** A response that nobody wants is read to its end if it is at most this long. */
const DISCARD_BYTES_MAX = 64 * 1024;
const DISCARD_MS = 1000;
/** Interim responses before the final one (RFC 9110 §15.2). */
const INTERIM_MAX = 10;

export interface UpstreamDeps {
  readonly events: UpstreamEvents;
  readonly wheel: TimerWheel;
  readonly outbox: Outbox;
}

export class Upstream implements UpstreamStream, BodySink {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly endpoint: Http1Endpoint;
  readonly trails = false;
  readonly refused = false;
  readonly events: UpstreamEvents;
  readonly wheel: TimerWheel;
  readonly #outbox: Outbox;
  /** Assigned right after construction, for the socket's callbacks need this object. */
  socket!: Socket;
  writer!: TextWriter;
  exchange: Exchange | null = null;
  state = CONNECTING;
  /** Whether a response was read on this connection before the present request. */
  reused = false;
  /** Whether any byte of the present response has come. */
  answered = false;
  /** Whether the present request has been handed to the socket in full. */
  requestSent = false;
  /** When the head of the last final response was read. */
  headMs = 0;
  idleSinceMs = 0;
  idleTimeoutMs = 0;
  readonly openedMs = performance.now();
  /** Requests that it has been given back from. */
  requests = 0;
  paused = false;
  #keepAlive = true;
  #left = 0;
  #interim = 0;
  #method = "";
  #bytesWanted = false;
  #partial: Buffer | null = null;
  #decoder: ChunkedDecoder | null = null;
  #tunnel: Tunnel | null = null;

  constructor(endpoint: Http1Endpoint, { events, wheel, outbox }: UpstreamDeps) {
    this.endpoint = endpoint;
    this.events = events;
    this.wheel = wheel;
    this.#outbox = outbox;
  }

  claim(): void {
    this.state = CLAIMED;
    this.answered = false;
    this.requestSent = false;
    this.#outbox.add(this);
  }

  /** As a Sender: the turn ends, and the request goes out unless the claim has been given up. */
  send(): void {
    const { exchange } = this;
    if (this.state === CLAIMED && exchange !== null) {
      try {
        this.events.ready(this, exchange);
      } catch (error) {
        this.#bug(exchange, error);
      }
    }
  }

  get connecting(): boolean {
    return this.state === CONNECTING;
  }

  get full(): boolean {
    return this.socket.writableNeedDrain;
  }

  sendHead(exchange: Exchange, whole: boolean): void {
    this.state = HEAD;
    this.answered = false;
    this.requestSent = whole;
    this.#method = exchange.head.method;
    this.#bytesWanted = exchange.tap !== null;
    this.#interim = 0;
    this.#keepAlive = true;
    const { known } = exchange;
    if (whole) {
      if (known === null) this.writer.write(exchange.upstreamHead);
      else known.send(this.writer, exchange);
    } else {
      this.socket.cork();
      const text = known === null ? exchange.upstreamHead : known.upstreamText(exchange);
      this.socket.write(text, "latin1");
    }
  }

  sendBody(exchange: Exchange, slice: Buffer): boolean {
    return this.socket.write(exchange.chunkedUp ? framedChunk(slice, 0, slice.length) : slice);
  }

  sendEnd(exchange: Exchange): void {
    if (exchange.chunkedUp) this.socket.write(LAST_CHUNK, "latin1");
    this.requestSent = true;
  }

  flush(): void {
    this.socket.uncork();
  }

  /** Takes what one read brought: `length` bytes at the beginning of `from`. */
  read(from: ReadBuffer, length: number): void {
    const { exchange } = this;
    try {
      const known = exchange?.known?.answer ?? null;
      if (known !== null && exchange !== null && this.#isWhole(known, from, length)) {
        this.#takeKnown(exchange, known, from);
      } else {
        this.#take(from.bytes, length);
      }
    } catch (error) {
      if (exchange === null) throw error;
      this.#bug(exchange, error);
    }
  }

  /** A bug in what one exchange runs through costs that exchange and this connection. */
  #bug(exchange: Exchange, error: unknown): void {
    this.destroy();
    exchange.plane.onBug(error);
    exchange.client.fail();
  }

  #take(shared: Buffer, length: number): void {
    if (this.state === TUNNEL) {
      this.#tunnel?.upstream.bytes(shared, 0, length);
      return;
    }
    if (this.state < HEAD || this.state === DEAD) {
      // Nobody asked: whatever this is, the next request must not get it for its answer.
      this.fail("upstream_reset");
      return;
    }
    let buffer = shared;
    let end = length;
    this.answered = true;
    if (this.#partial !== null) {
      buffer = Buffer.concat([this.#partial, shared.subarray(0, length)]);
      end = buffer.length;
      this.#partial = null;
    }
    let at = 0;
    // The state is left to other hands between steps, so it is read anew each time.
    while (at < end && this.#reading()) {
      at = this.state === HEAD ? this.#readHead(buffer, at, end) : this.#readBody(buffer, at, end);
    }
    if (at < end) this.#excess();
    const { exchange } = this;
    if (exchange !== null) this.events.readDone(this, exchange);
  }

  /** Whether one read brought exactly an answer whose head is `known`, and nothing came before. */
  #isWhole(known: KnownAnswer, from: ReadBuffer, length: number): boolean {
    return (
      this.state === HEAD &&
      this.#partial === null &&
      this.#interim === 0 &&
      this.requestSent &&
      length === known.bytes.length + known.contentLength &&
      from.beginsWith(known.bytes) &&
      this.exchange?.plane.draining === false
    );
  }

  #takeKnown(exchange: Exchange, known: KnownAnswer, from: ReadBuffer): void {
    this.answered = true;
    this.headMs = performance.now();
    this.state = LENGTH;
    this.#left = 0;
    this.events.known(this, exchange, { known, from });
    if (this.#reading()) this.#complete(false, this.headMs);
  }

  #reading(): boolean {
    return this.state >= HEAD && this.state < DEAD;
  }

  #readHead(buffer: Buffer, at: number, end: number): number {
    let text = buffer.toString("latin1", at, Math.min(end, at + WHOLE_BYTES_MAX));
    let blank = text.indexOf("\r\n\r\n");
    if (blank === -1 && end - at > WHOLE_BYTES_MAX) {
      text = buffer.toString("latin1", at, Math.min(end, at + RESPONSE_HEAD_BYTES_MAX));
      blank = text.indexOf("\r\n\r\n");
    }
    if (blank === -1) {
      if (end - at >= RESPONSE_HEAD_BYTES_MAX) this.fail("upstream_invalid");
      else this.#partial = Buffer.from(buffer.subarray(at, end));
      return end;
    }
    const headEnd = blank + 4;
    const head = parseResponseHead(text, headEnd, this.#method);
    if (head === undefined) {
      this.fail("upstream_invalid");
      return end;
    }
    if (head.status === 101) {
      this.#switch(head, buffer, { at: at + headEnd, end });
      return end;
    }
    if (head.status < 200) {
      if (++this.#interim > INTERIM_MAX) this.fail("upstream_invalid");
      else this.events.head(this, head, null);
      return at + headEnd;
    }
    this.#keepAlive = head.keepAlive;
    this.headMs = performance.now();
    return this.#beginBody(head, { buffer, text }, { at: at + headEnd, headEnd, end });
  }

  /** What follows the head is not HTTP any more, if that was asked for. */
  #switch(head: ResponseHead, buffer: Buffer, { at, end }: { at: number; end: number }): void {
    const { exchange, socket } = this;
    const direct = !this.endpoint.secure;
    const host = { socket, direct, onDone: () => this.cancel() };
    const tunnel = exchange === null ? null : this.events.switched(exchange, head, host);
    if (tunnel === null) {
      this.fail("upstream_invalid");
      return;
    }
    this.wheel.cancel(this);
    this.state = TUNNEL;
    this.#tunnel = tunnel;
    tunnel.begin();
    if (at < end) tunnel.upstream.bytes(buffer, at, end);
  }

  #beginBody(
    head: ResponseHead,
    { buffer, text }: { buffer: Buffer; text: string },
    { at, headEnd, end }: { at: number; headEnd: number; end: number },
  ): number {
    switch (head.framing) {
      case "none":
        this.#left = 0;
        this.state = LENGTH;
        this.#tellHead(head, "");
        if (this.#reading()) this.#complete(end > at, this.headMs);
        return at;
      case "length": {
        this.#left = head.contentLength;
        this.state = LENGTH;
        const wholeEnd = headEnd + this.#left;
        if (wholeEnd <= text.length && !this.#bytesWanted) {
          this.#left = 0;
          this.#tellHead(head, text.slice(headEnd, wholeEnd));
          const next = at + wholeEnd - headEnd;
          if (this.#reading()) this.#complete(end > next, this.headMs);
          return next;
        }
        break;
      }
      case "chunked":
        this.state = CHUNKED;
        return this.#beginChunks(head, buffer, { at, end });
      case "close":
        this.state = UNTIL_CLOSE;
        break;
    }
    this.#tellHead(head, null);
    return at;
  }

  /**
   * What came of the body with the head is decoded before the head is passed on, so that a body that
   * is wrong from the start is answered with an error and not broken off.
   */
  #beginChunks(
    head: ResponseHead,
    buffer: Buffer,
    { at, end }: { at: number; end: number },
  ): number {
    const decoder = new ChunkedDecoder();
    const ranges: number[] = [];
    const sink = { body: (_buffer: Buffer, from: number, to: number) => ranges.push(from, to) };
    const next = decoder.read(buffer, { start: at, end, sink });
    this.#decoder = decoder;
    if (decoder.failed) {
      this.fail("upstream_invalid");
      return end;
    }
    this.#tellHead(head, null);
    for (let index = 0; index < ranges.length && this.#reading(); index += 2) {
      this.body(buffer, ranges[index] as number, ranges[index + 1] as number);
    }
    if (this.#reading() && decoder.done) this.#complete(end > next);
    return next;
  }

  #tellHead(head: ResponseHead, whole: string | null): void {
    if (this.exchange !== null) this.events.head(this, head, whole);
  }

  #readBody(buffer: Buffer, at: number, end: number): number {
    if (this.state === CHUNKED) {
      const decoder = this.#decoder as ChunkedDecoder;
      const next = decoder.read(buffer, { start: at, end, sink: this });
      if (!this.#reading()) return end;
      if (decoder.failed) this.fail("response_truncated");
      else if (decoder.done) this.#complete(end > next);
      return next;
    }
    const to = this.state === LENGTH ? Math.min(end, at + this.#left) : end;
    if (this.state === LENGTH) this.#left -= to - at;
    this.body(buffer, at, to);
    if (this.state === LENGTH && this.#left === 0) this.#complete(end > to);
    return to;
  }

  /** As a BodySink: decoded bytes of the response. */
  body(buffer: Buffer, start: number, end: number): void {
    if (this.exchange !== null) this.events.body(this.exchange, buffer, { start, end });
  }

  /** More came than was asked for: whoever answers so is not asked again. */
  #excess(): void {
    if (this.state === IDLE) this.destroy();
    else if (this.state === CLAIMED) this.fail("upstream_reset");
  }

  #complete(excess: boolean, nowMs = performance.now()): void {
    const exchange = this.#detach();
    const reusable = this.#keepAlive && !excess && (this.requestSent || exchange === null);
    this.#decoder = null;
    if (reusable) {
      this.state = IDLE;
      this.reused = true;
      this.endpoint.release(this, nowMs);
    } else {
      this.destroy();
    }
    if (exchange !== null) this.events.ended(exchange, "", nowMs);
  }

  /** Reads the rest of a response that nobody wants if that is little, else closes the connection. */
  discard(): void {
    this.#detach();
    const little = this.state === LENGTH && this.#left <= DISCARD_BYTES_MAX && this.#keepAlive;
    // Who read the head completes the response, for only there it is known whether more came.
    if (little && this.requestSent) this.wheel.schedule(this, performance.now() + DISCARD_MS);
    else this.destroy();
  }

  #detach(): Exchange | null {
    const { exchange } = this;
    this.exchange = null;
    this.deadlineMs = Infinity;
    if (exchange !== null) this.endpoint.inFlight--;
    if (this.paused) this.resume();
    return exchange;
  }

  /**
   * The upstream ended its side, or the connection broke (`clean` false). Over TLS node:tls does not
   * say whether the end was announced (close_notify), so a response that only its connection's end
   * ends is taken for complete there as it is without TLS (against RFC 9112 §9.8).
   */
  closed(clean: boolean): void {
    if (this.state === DEAD || this.state === TUNNEL) return;
    if (this.state === UNTIL_CLOSE && clean) this.#complete(true);
    else if (this.state === CONNECTING) this.fail("upstream_connect_failed");
    else if (this.state === IDLE) this.destroy();
    else this.fail(this.state <= HEAD ? "upstream_reset" : "response_truncated");
  }

  fail(code: ErrorCode): void {
    if (this.state === DEAD) return;
    const exchange = this.#detach();
    this.destroy();
    if (exchange !== null) this.events.failed(this, exchange, code);
  }

  /** Ends the attempt without a word to its exchange, which has gone elsewhere. */
  cancel(): void {
    this.#detach();
    this.destroy();
  }

  destroy(): void {
    if (this.state === DEAD) return;
    const idle = this.state === IDLE;
    this.state = DEAD;
    this.wheel.cancel(this);
    this.endpoint.forget(this, idle);
    this.socket.destroy();
  }

  expire(nowMs: number): void {
    const { exchange } = this;
    if (exchange === null) this.destroy();
    else this.fail(this.events.timeoutCode(this, exchange, nowMs));
  }

  pause(): void {
    this.paused = true;
    this.socket.pause();
  }

  resume(): void {
    this.paused = false;
    if (this.state !== DEAD) this.socket.resume();
  }
}
