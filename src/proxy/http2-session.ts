/**
 * HTTP/2 towards one endpoint (RFC 9113): few sessions, each with many streams. Another one is opened
 * only where all have as many streams as the backend allows. A session that a GOAWAY ends takes no
 * more; its streams go on to their end.
 */
import {
  connect,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  type SecureClientSessionOptions,
} from "node:http2";
import type { Socket } from "node:net";
import type { EndpointAddress } from "../compile/program.ts";
import { isWorn, type Endpoint, type PoolUse } from "./endpoint.ts";
import { Http2Upstream } from "./http2-upstream.ts";
import type { Outbox } from "./outbox.ts";
import type { TimerWheel } from "./timer-wheel.ts";
import { isUntrusted } from "./upstream-tls.ts";
import type { UpstreamEvents, UpstreamStream } from "./upstream-stream.ts";

/** Streams of one session, where the backend does not allow fewer. */
const STREAMS_MAX = 100;
/** What a backend may send of a stream, and of all streams, before it is read. */
const STREAM_WINDOW_BYTES = 64 * 1024 - 1;
const SESSION_WINDOW_BYTES = 1024 * 1024;
const HEADER_LIST_BYTES_MAX = 64 * 1024;
const HEADER_LIST_PAIRS_MAX = 256;
/** A session with streams is asked as often whether it is still there, and given up if it is silent. */
const PING_EVERY_MS = 30_000;
const PING_ANSWER_MS = 15_000;

type SessionOptions = SecureClientSessionOptions & {
  // Known to node:http2, not to its types.
  readonly strictSingleValueFields: boolean;
};

export interface Http2Deps {
  readonly events: UpstreamEvents;
  readonly wheel: TimerWheel;
  readonly outbox: Outbox;
  readonly live: Set<Endpoint>;
  /** Begins a connection; over TLS it is ready once the backend has chosen "h2". */
  readonly openSocket: () => Socket;
  readonly scheme: "http" | "https";
}

export class Http2Endpoint implements Endpoint {
  readonly address: EndpointAddress;
  readonly text: string;
  inFlight = 0;
  readonly #deps: Http2Deps;
  readonly #sessions: Http2Session[] = [];

  constructor(address: EndpointAddress, text: string, deps: Http2Deps) {
    this.address = address;
    this.text = text;
    this.#deps = deps;
  }

  hasRoom(use: PoolUse): boolean {
    if ((use.connectionAgeMaxMs ?? use.requestsPerConnectionMax) !== undefined) this.#retire(use);
    const { length } = this.#sessions;
    return (
      length < use.connectionsPerEndpointMax || this.#sessions.some((session) => session.hasRoom)
    );
  }

  /** Connections that have had their time or their requests end with what is under way on them. */
  #retire(use: PoolUse): void {
    for (const session of this.#sessions.filter((each) => isWorn(each, use))) session.closeIdle();
  }

  takeIdle(): UpstreamStream | undefined {
    const session = this.#sessions.find((each) => each.usable && each.hasRoom);
    return session?.stream(this);
  }

  open({ idleTimeoutMs }: PoolUse): UpstreamStream {
    let session = this.#sessions.find((each) => each.connecting && each.hasRoom);
    if (session === undefined) {
      session = new Http2Session(this.#deps, idleTimeoutMs, (gone) => this.#forget(gone));
      this.#sessions.push(session);
      this.#deps.live.add(this);
    }
    return session.stream(this);
  }

  #forget(session: Http2Session): void {
    const index = this.#sessions.indexOf(session);
    if (index !== -1) this.#sessions.splice(index, 1);
    if (this.#sessions.length === 0) this.#deps.live.delete(this);
  }

  sweep(nowMs: number): void {
    // One that leaves moves the others up: who is passed over is looked at the next time.
    for (const session of this.#sessions) session.sweep(nowMs);
  }

  closeIdle(): void {
    for (const session of this.#sessions.splice(0)) session.closeIdle();
  }
}

export class Http2Session {
  readonly events: UpstreamEvents;
  readonly wheel: TimerWheel;
  readonly outbox: Outbox;
  readonly scheme: "http" | "https";
  connecting = true;
  /** Whether any request has been answered on it. */
  answered = false;
  readonly #session: ClientHttp2Session;
  readonly #socket: Socket;
  readonly #streams = new Set<Http2Upstream>();
  readonly openedMs = performance.now();
  /** Streams that were begun on it. */
  requests = 0;
  readonly #idleTimeoutMs: number;
  readonly #onGone: (session: Http2Session) => void;
  #idleSinceMs = Infinity;
  #pingAtMs = performance.now() + PING_EVERY_MS;
  #pingedMs = -1;
  #gone = false;
  #untrusted = false;

  constructor(deps: Http2Deps, idleTimeoutMs: number, onGone: (session: Http2Session) => void) {
    this.events = deps.events;
    this.wheel = deps.wheel;
    this.outbox = deps.outbox;
    this.scheme = deps.scheme;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#onGone = onGone;
    this.#socket = deps.openSocket();
    this.#socket.on("error", (error) => {
      this.#untrusted ||= isUntrusted(error);
    });
    const options: SessionOptions = {
      createConnection: () => this.#socket,
      settings: {
        enablePush: false,
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxHeaderListSize: HEADER_LIST_BYTES_MAX,
      },
      maxHeaderListPairs: HEADER_LIST_PAIRS_MAX,
      maxSendHeaderBlockLength: 4 * HEADER_LIST_BYTES_MAX,
      peerMaxConcurrentStreams: STREAMS_MAX,
      strictSingleValueFields: false,
    };
    // The authority is every request's own.
    const session = connect(`${deps.scheme}://upstream.invalid`, options);
    this.#session = session;
    session.on("connect", () => this.#connected());
    session.on("goaway", () => this.#leaves());
    // Which streams failed is said to them.
    session.on("error", () => {});
    session.on("close", () => this.#closed());
  }

  /** Whether a request can be sent now. */
  get usable(): boolean {
    return !this.connecting && !this.#gone && !this.#session.closed && !this.#session.destroyed;
  }

  get hasRoom(): boolean {
    if (this.#gone) return false;
    const allowed = this.connecting ? STREAMS_MAX : this.#allowed();
    return this.#streams.size < allowed;
  }

  #allowed(): number {
    return Math.min(STREAMS_MAX, this.#session.remoteSettings?.maxConcurrentStreams ?? STREAMS_MAX);
  }

  /** A stream for one attempt. Where there is no connection yet it is told when there is one. */
  stream(endpoint: Endpoint): Http2Upstream {
    const stream = new Http2Upstream(endpoint, this);
    this.requests++;
    this.#streams.add(stream);
    this.#idleSinceMs = Infinity;
    return stream;
  }

  request(fields: readonly string[], options: ClientSessionRequestOptions): ClientHttp2Stream {
    return this.#session.request(fields, options);
  }

  /** The stream is gone. */
  forget(stream: Http2Upstream): void {
    this.#streams.delete(stream);
    if (this.#streams.size === 0) this.#idleSinceMs = performance.now();
  }

  #connected(): void {
    this.connecting = false;
    this.#session.setLocalWindowSize(SESSION_WINDOW_BYTES);
    for (const stream of this.#streams) {
      const { exchange } = stream;
      if (exchange === null) this.#streams.delete(stream);
      else stream.guard(() => this.events.ready(stream, exchange));
    }
    if (this.#streams.size === 0) this.#idleSinceMs = performance.now();
  }

  /** The backend takes no more requests here: the next one goes elsewhere. */
  #leaves(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#onGone(this);
  }

  #closed(): void {
    this.#leaves();
    const failed = this.#untrusted ? "upstream_certificate_invalid" : "upstream_connect_failed";
    const code = this.connecting ? failed : "upstream_reset";
    for (const stream of this.#streams) stream.lost(code);
    this.#socket.destroy();
  }

  /** The connection does not come about in the time of one of its streams. */
  abandon(stream: Http2Upstream): void {
    this.#streams.delete(stream);
    this.#leaves();
    this.#session.destroy();
  }

  sweep(nowMs: number): void {
    if (nowMs - this.#idleSinceMs >= this.#idleTimeoutMs) {
      this.#leaves();
      this.#session.close();
      return;
    }
    if (this.#pingedMs !== -1 && nowMs - this.#pingedMs > PING_ANSWER_MS) this.#session.destroy();
    else if (nowMs >= this.#pingAtMs && this.usable && this.#streams.size > 0) this.#ping(nowMs);
  }

  #ping(nowMs: number): void {
    this.#pingedMs = nowMs;
    this.#pingAtMs = nowMs + PING_EVERY_MS;
    this.#session.ping(() => {
      this.#pingedMs = -1;
    });
  }

  closeIdle(): void {
    this.#leaves();
    if (this.#streams.size === 0) this.#session.destroy();
    else this.#session.close();
  }
}
