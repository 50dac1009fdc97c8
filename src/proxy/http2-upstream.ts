/**
 * One stream of an HTTP/2 session as the backend's side of an attempt. What ends it ends it alone: the
 * session goes on (http2-session.ts). A stream that the backend refused, or that a GOAWAY says it did
 * not process, is told apart from one that broke, for it may be sent again whatever it asked for
 * (RFC 9113 §8.7).
 */
import { constants, type ClientHttp2Stream, type IncomingHttpHeaders } from "node:http2";
import type { ResponseHead } from "../http1/response-head.ts";
import { appendLines, fieldObject, trailerLines } from "../http2/fields.ts";
import { HTTP2, requestFields } from "../http2/request.ts";
import { parseResponseFields } from "../http2/response.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { cancelStream } from "./http2-reset.ts";
import type { Http2Session } from "./http2-session.ts";
import type { Timed } from "./timer-wheel.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

const { NGHTTP2_REFUSED_STREAM, NGHTTP2_FLAG_END_STREAM } = constants;
/** Interim responses before the final one (RFC 9110 §15.2). */
const INTERIM_MAX = 10;

export class Http2Upstream implements UpstreamStream {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly endpoint: Endpoint;
  readonly trails = true;
  exchange: Exchange | null = null;
  readonly reused: boolean;
  answered = false;
  refused = false;
  requestSent = false;
  headMs = 0;
  paused = false;
  readonly #session: Http2Session;
  #stream: ClientHttp2Stream | null = null;
  #done = false;
  #interim = 0;
  #head: ResponseHead | null = null;
  #received = 0;
  /** What follows the body, undefined where that is not valid. */
  #trailers: string | undefined = "";
  #sentTrailers = "";
  #waiting = false;

  constructor(endpoint: Endpoint, session: Http2Session) {
    this.endpoint = endpoint;
    this.#session = session;
    this.reused = session.answered;
  }

  get connecting(): boolean {
    return this.#session.connecting;
  }

  get full(): boolean {
    return this.#stream?.writableNeedDrain ?? false;
  }

  claim(): void {
    this.#session.outbox.add(this);
  }

  /** As a Sender: the turn ends, and the request goes out unless it has been given up. */
  send(): void {
    const { exchange } = this;
    if (this.#done || exchange === null) return;
    // A session that went in this very turn has got nothing of the request.
    this.refused = !this.#session.usable;
    if (this.refused) this.fail("upstream_reset");
    else this.guard(() => this.#session.events.ready(this, exchange));
  }

  sendHead(exchange: Exchange, whole: boolean): void {
    const { head } = exchange;
    const trailers = head.version === HTTP2 && head.header("te") === "trailers";
    const fields = requestFields(exchange.known?.upstreamText(exchange) ?? exchange.upstreamHead, {
      scheme: this.#session.scheme,
      trailers,
    });
    // What a complete request is followed by is known; else it may be anything.
    const waitForTrailers =
      !whole && head.version === HTTP2 && !(exchange.bodyEnded && exchange.requestTrailers === "");
    this.refused = !this.#session.usable;
    const stream = this.#session.request(fields, { endStream: whole, waitForTrailers });
    this.#stream = stream;
    this.requestSent = whole;
    if (waitForTrailers) stream.on("wantTrailers", () => this.#sendTrailers(stream));
    this.#listen(stream);
  }

  #listen(stream: ClientHttp2Stream): void {
    stream.on("headers", (_object, _flags, raw?: string[]) => {
      this.guard(() => this.#readInterim(raw ?? []));
    });
    stream.on("response", (_object, flags: number, raw?: string[]) => {
      this.guard(() => this.#readHead(raw ?? [], (flags & NGHTTP2_FLAG_END_STREAM) !== 0));
    });
    stream.on("data", (slice: Buffer) => this.guard(() => this.#readBody(slice)));
    stream.on("trailers", (_object: IncomingHttpHeaders, _flags: number, raw?: string[]) => {
      this.#trailers = trailerLines(raw ?? []);
    });
    stream.on("end", () => this.guard(() => this.#ended()));
    // Why it failed stands in the code that it was closed with.
    stream.on("error", () => {});
    stream.on("close", () => this.guard(() => this.#closed(stream.rstCode)));
  }

  sendBody(_exchange: Exchange, slice: Buffer): boolean {
    const stream = this.#stream as ClientHttp2Stream;
    if (stream.closed || stream.destroyed) return true;
    if (stream.write(slice)) return true;
    if (!this.#waiting) {
      this.#waiting = true;
      stream.once("drain", () => this.guard(() => this.#drained()));
    }
    return false;
  }

  #drained(): void {
    this.#waiting = false;
    if (this.exchange !== null) this.#session.events.drained(this.exchange);
  }

  sendEnd(_exchange: Exchange, trailers: string): void {
    const stream = this.#stream as ClientHttp2Stream;
    this.#sentTrailers = trailers;
    this.requestSent = true;
    if (!stream.closed && !stream.destroyed) stream.end();
  }

  #sendTrailers(stream: ClientHttp2Stream): void {
    const fields: string[] = [];
    appendLines(this.#sentTrailers, 0, fields);
    stream.sendTrailers(fieldObject(fields));
  }

  flush(): void {}

  #readInterim(fields: string[]): void {
    const { exchange } = this;
    if (exchange === null) return;
    const { method } = exchange.head;
    const head = parseResponseFields(fields, { method, ended: false });
    this.answered = true;
    if (head === undefined || head.status === 101 || ++this.#interim > INTERIM_MAX) {
      this.fail("upstream_invalid");
    } else {
      this.#session.events.head(this, head, null);
    }
  }

  #readHead(fields: string[], ended: boolean): void {
    const { exchange } = this;
    if (exchange === null) return;
    this.answered = true;
    this.#session.answered = true;
    const { method } = exchange.head;
    const head = parseResponseFields(fields, { method, ended });
    if (head === undefined || head.status < 200) {
      this.fail("upstream_invalid");
      return;
    }
    this.headMs = performance.now();
    this.#head = head;
    this.#session.events.head(this, head, ended ? "" : null);
    if (ended && !this.#done) this.#complete("");
  }

  #readBody(slice: Buffer): void {
    const { exchange } = this;
    if (exchange === null) return;
    if (this.#head === null) {
      this.fail("upstream_invalid");
      return;
    }
    this.#received += slice.length;
    this.#session.events.body(exchange, slice, { start: 0, end: slice.length });
    if (this.exchange !== null) this.#session.events.readDone(this, this.exchange);
  }

  /** The readable side is at its end: by END_STREAM, or by a reset that says it was no error. */
  #ended(): void {
    if (this.#done || this.exchange === null) return;
    const head = this.#head;
    const cut = head?.framing === "length" && this.#received !== head.contentLength;
    if (head === null) this.fail("upstream_reset");
    else if (cut || this.#trailers === undefined) this.fail("response_truncated");
    else this.#complete(this.#trailers);
  }

  #complete(trailers: string): void {
    const exchange = this.#detach();
    // Whatever is left of the request is not read any more.
    if (!this.requestSent && this.#stream !== null) cancelStream(this.#stream);
    if (exchange !== null) this.#session.events.ended(exchange, trailers, performance.now());
  }

  /** The stream is gone; where its response was not complete, the attempt has failed. */
  #closed(code: number | undefined): void {
    this.#session.forget(this);
    if (this.#done) return;
    this.refused ||= code === NGHTTP2_REFUSED_STREAM && !this.answered;
    this.fail(this.#head === null ? "upstream_reset" : "response_truncated");
  }

  #detach(): Exchange | null {
    const { exchange } = this;
    this.exchange = null;
    this.#done = true;
    this.#session.wheel.cancel(this);
    if (exchange !== null) this.endpoint.inFlight--;
    // A stream that has none yet is not told that it closed.
    if (this.#stream === null) this.#session.forget(this);
    if (this.paused) this.resume();
    return exchange;
  }

  /** Its session is gone. A stream that was opened hears so by itself. */
  lost(code: ErrorCode): void {
    if (this.#stream === null) this.guard(() => this.fail(code));
  }

  fail(code: ErrorCode): void {
    if (this.#done) return;
    const exchange = this.#detach();
    if (this.#stream !== null) cancelStream(this.#stream);
    if (exchange !== null) this.#session.events.failed(this, exchange, code);
  }

  cancel(): void {
    if (this.#done) return;
    this.#detach();
    if (this.#stream !== null) cancelStream(this.#stream);
  }

  discard(): void {
    this.cancel();
  }

  expire(nowMs: number): void {
    const { exchange } = this;
    // Who waits for the same connection in vain need not wait on.
    if (this.connecting) this.#session.abandon(this);
    if (exchange === null) this.cancel();
    else this.fail(this.#session.events.timeoutCode(this, exchange, nowMs));
  }

  pause(): void {
    this.paused = true;
    this.#stream?.pause();
  }

  resume(): void {
    this.paused = false;
    this.#stream?.resume();
  }

  /** A bug in what one exchange runs through costs that exchange and this stream. */
  guard(act: () => void): void {
    const { exchange } = this;
    try {
      act();
    } catch (error) {
      this.cancel();
      if (exchange === null) throw error;
      exchange.plane.onBug(error);
      exchange.client.fail();
    }
  }
}
