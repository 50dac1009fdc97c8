/**
 * One stream of an HTTP/2 session as the backend's side of an attempt. What ends it ends it alone: the
 * session goes on (http2-session.ts). A stream that the backend refused, or that a GOAWAY says it did
 * not process, is told apart from one that broke, for it may be sent again whatever it asked for
 * (RFC 9113 §8.7).
 */
import type { ResponseHead } from "../http1/response-head.ts";
import type { FieldList } from "../http2/field-list.ts";
import { trailerLines } from "../http2/fields.ts";
import { CANCEL, PROTOCOL_ERROR } from "../http2/frame.ts";
import { HTTP2, requestBlockBytes, writeRequest } from "../http2/request.ts";
import { parseResponseFields, parseResponseText } from "../http2/response.ts";
import { Stream } from "../http2/stream.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Http2Session } from "./http2-session.ts";
import type { KnownHead } from "./known-head.ts";
import { REQUEST_ID_CHARS } from "./request-id.ts";
import type { Timed } from "./timer-wheel.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

/** Interim responses before the final one (RFC 9110 §15.2). */
const INTERIM_MAX = 10;
/** Longer heads are written anew each time. */
const KNOWN_CHARS_MAX = 2500;

/** What a session remembers of a block: of a response, or of trailers. */
export class KnownResponse {
  /** As HTTP/1 has it: a head, or lines. */
  readonly text: string;
  /** Trailers must not pass for a head, nor a head for trailers. */
  readonly isHead: boolean;
  /** What all responses with this head may have in common. */
  shared: ResponseHead | null = null;

  constructor(text: string, isHead: boolean) {
    this.text = text;
    this.isHead = isHead;
  }
}

export class Http2Upstream extends Stream<KnownResponse> implements UpstreamStream {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly endpoint: Endpoint;
  readonly trails = true;
  exchange: Exchange | null = null;
  /** Whom it has served: who is to hear of a bug in what its end brought about. */
  #served: Exchange | null = null;
  readonly reused: boolean;
  refused = false;
  requestSent = false;
  headMs = 0;
  paused = false;
  readonly #owner: Http2Session;
  /** Its request has a place among the streams of the session. */
  #open = false;
  #done = false;
  #interim = 0;
  #head: ResponseHead | null = null;

  constructor(endpoint: Endpoint, owner: Http2Session) {
    super(owner.session);
    this.endpoint = endpoint;
    this.#owner = owner;
    this.reused = owner.answered;
  }

  get connecting(): boolean {
    return this.#owner.connecting;
  }

  get full(): boolean {
    return this.#open && (this.waits || this.session.sink.full);
  }

  claim(): void {
    this.#owner.outbox.add(this);
  }

  /** As a Sender: the turn ends, and the request goes out unless it has been given up. */
  send(): void {
    const { exchange } = this;
    if (this.#done || exchange === null) return;
    // A session that went in this very turn has got nothing of the request.
    this.refused = !this.#owner.usable;
    if (this.refused) this.fail("upstream_reset");
    else this.guard(() => this.#owner.events.ready(this, exchange));
  }

  sendHead(exchange: Exchange, whole: boolean): void {
    const { session } = this;
    if (!this.#owner.usable) {
      // It went as others were sent. Its end is told after this turn, for the attempt goes on here.
      this.claim();
      return;
    }
    session.open(this);
    this.#open = true;
    this.#owner.opened(this);
    this.requestSent = whole;
    const { known } = exchange;
    if (known !== null && known.upstreamLines.length <= KNOWN_CHARS_MAX) {
      this.#sendKnown(known, exchange, whole);
    } else {
      const text = known?.upstreamText(exchange) ?? exchange.upstreamHead;
      writeRequest(session.beginBlock(requestBlockBytes(text)), text, this.#about(exchange));
      session.endBlock(this, whole);
    }
  }

  #about({ head }: Exchange): { scheme: "http" | "https"; trailers: boolean } {
    const trailers = head.version === HTTP2 && head.header("te") === "trailers";
    return { scheme: this.#owner.scheme, trailers };
  }

  /** Sends a head of which all but the ids is known. */
  #sendKnown(known: KnownHead, exchange: Exchange, whole: boolean): void {
    const { session } = this;
    const { encoder } = session;
    const sent = known.blockFor(exchange, encoder);
    if (sent !== null) {
      session.sendBlock(this, sent, whole);
      return;
    }
    const text = known.upstreamLines;
    session.beginBlock(requestBlockBytes(text) + 256);
    writeRequest(encoder, text, this.#about(exchange));
    encoder.unique("x-request-id", exchange.requestId);
    const idEnd = encoder.at;
    const parent = exchange.trace === null ? "" : exchange.trace.tell(exchange.arm);
    if (parent !== "") encoder.unique("traceparent", parent);
    const traceEnd = encoder.at;
    session.endBlock(this, whole);
    const { at } = session.blocks;
    const block = session.blocks.last();
    if (block === null) return;
    known.keepBlock({
      encoder,
      version: encoder.version,
      bytes: block,
      idAt: idEnd - REQUEST_ID_CHARS - at,
      traceAt: traceEnd - parent.length - at,
    });
  }

  sendBody(_exchange: Exchange, slice: Buffer): boolean {
    if (!this.#open) return true;
    this.sendOwned(slice);
    if (!this.full || this.closed) return true;
    this.session.waiting.add(this);
    return false;
  }

  sendEnd(_exchange: Exchange, trailers: string): void {
    if (!this.#open) return;
    this.requestSent = true;
    this.end(trailers);
  }

  flush(): void {}

  drained(): void {
    if (this.exchange !== null) this.#owner.events.drained(this.exchange);
  }

  fieldsCame(list: FieldList, known: KnownResponse | null, ended: boolean): void {
    const { exchange } = this;
    this.#owner.heard = true;
    if (this.#head !== null) {
      if (ended) this.#takeTrailers(list, known);
      else this.session.streamError(this, PROTOCOL_ERROR);
      return;
    }
    if (exchange === null) return;
    const head = this.#readHead(exchange, list, known, ended);
    this.answered = true;
    if (head === undefined) {
      this.fail("upstream_invalid");
    } else if (head.status < 200) {
      const wrong = ended || head.status === 101 || ++this.#interim > INTERIM_MAX;
      if (wrong) this.fail("upstream_invalid");
      else this.#owner.events.head(this, head, null);
    } else {
      this.#takeHead(head, ended);
    }
  }

  #readHead(
    { head: { method }, known: knownHead }: Exchange,
    list: FieldList,
    known: KnownResponse | null,
    ended: boolean,
  ): ResponseHead | undefined {
    // A head that several responses have is for rules that change nothing of it.
    const shares = knownHead !== null && method !== "HEAD";
    if (known !== null) {
      if (!known.isHead) return undefined;
      if (shares && known.shared !== null) return known.shared;
      const head = parseResponseText(known.text, { method, ended });
      if (shares && head !== undefined) {
        head.shared = true;
        known.shared = head;
      }
      return head;
    }
    const head = parseResponseFields(list, { method, ended });
    if (head !== undefined) this.session.remember(new KnownResponse(head.text, true));
    return head;
  }

  #takeHead(head: ResponseHead, ended: boolean): void {
    this.#owner.answered = true;
    this.headMs = this.session.nowMs;
    this.#head = head;
    if (head.framing === "length") this.expectedBytes = head.contentLength;
    // Answers to HEAD, 204 and 304: a byte of body would be the next answer's for an HTTP/1 client.
    else if (head.framing === "none") this.expectedBytes = 0;
    this.#owner.events.head(this, head, ended ? "" : null);
    if (ended && !this.#done) this.#complete("");
  }

  #takeTrailers(list: FieldList, known: KnownResponse | null): void {
    const trailers = known === null ? trailerLines(list) : known.text;
    if (trailers === undefined || known?.isHead === true) {
      this.session.streamError(this, PROTOCOL_ERROR);
      return;
    }
    if (known === null) this.session.remember(new KnownResponse(trailers, false));
    this.#complete(trailers);
  }

  bodyCame(bytes: Buffer, start: number, end: number): void {
    const { exchange } = this;
    if (exchange === null) return;
    if (this.#head === null) {
      this.fail("upstream_invalid");
      return;
    }
    this.#owner.heard = true;
    this.#owner.events.body(exchange, bytes, { start, end });
    if (this.exchange !== null) this.#owner.events.readDone(this, this.exchange);
  }

  endCame(): void {
    if (this.#done || this.exchange === null) return;
    if (this.#head === null) this.fail("upstream_invalid");
    else this.#complete("");
  }

  #complete(trailers: string): void {
    const exchange = this.#detach();
    // Whatever is left of the request is not read any more.
    if (!this.localEnded) this.#reset();
    if (exchange !== null) this.#owner.events.ended(exchange, trailers, this.session.nowMs);
  }

  /** Reset by the backend, refused by it, or gone with its session. */
  brokeOff(_code: number, refused: boolean): void {
    this.refused ||= refused && !this.answered;
    this.fail(this.#head === null ? "upstream_reset" : "response_truncated");
  }

  finished(): void {}

  #detach(): Exchange | null {
    const { exchange } = this;
    this.#served = exchange ?? this.#served;
    this.exchange = null;
    this.#done = true;
    this.#owner.wheel.cancel(this);
    if (exchange !== null) this.endpoint.inFlight--;
    if (!this.#open) this.#owner.forget(this);
    if (this.paused) this.resume();
    return exchange;
  }

  fail(code: ErrorCode): void {
    if (this.#done) return;
    const exchange = this.#detach();
    this.#reset();
    if (exchange !== null) this.#owner.events.failed(this, exchange, code);
  }

  cancel(): void {
    if (this.#done) return;
    this.#detach();
    this.#reset();
  }

  #reset(): void {
    if (this.#open) this.session.reset(this, CANCEL);
  }

  discard(): void {
    this.cancel();
  }

  expire(nowMs: number): void {
    const { exchange } = this;
    if (exchange === null) {
      this.cancel();
      return;
    }
    const code = this.#owner.events.timeoutCode(this, exchange, nowMs);
    // Who waits for the same connection in vain need not wait on. One that has less time than a connection
    // may take says nothing of it.
    if (code === "upstream_connect_timeout") this.#owner.abandon(this);
    this.fail(code);
  }

  pause(): void {
    this.paused = true;
    this.pauseBody();
  }

  resume(): void {
    this.paused = false;
    this.resumeBody();
  }

  /** A bug in what one exchange runs through costs that exchange and this stream. */
  guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.raised(error);
    }
  }

  raised(error: unknown): void {
    const exchange = this.exchange ?? this.#served;
    this.cancel();
    this.#owner.outbox.onBug(error);
    exchange?.client.fail();
  }
}
