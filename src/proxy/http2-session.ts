/**
 * One connection of HTTP/2 to a backend (RFC 9113), with many streams (http2-upstream.ts). One that a
 * GOAWAY ends takes no more; its streams go on to their end.
 */
import type { OnReadOpts, Socket } from "node:net";
import { CANCEL } from "../http2/frame.ts";
import { Session } from "../http2/session.ts";
import type { SessionHost } from "../http2/session-host.ts";
import type { Stream } from "../http2/stream.ts";
import type { Endpoint, PoolUse } from "./endpoint.ts";
import { Http2Output, type OutputHost } from "./http2-output.ts";
import { Http2Upstream, type KnownResponse } from "./http2-upstream.ts";
import type { Outbox } from "./outbox.ts";
import { ReadBuffer } from "./read-buffer.ts";
import { readDirectly } from "./socket-handle.ts";
import type { TimerWheel } from "./timer-wheel.ts";
import type { UpstreamEvents } from "./upstream-stream.ts";
import type { UpstreamDeps } from "./upstream.ts";
import { isUntrusted } from "./upstream-tls.ts";

/** Streams of one session, where the backend does not allow fewer. */
const STREAMS_MAX = 100;
/** What a backend may send of a stream, and of all streams, before it is read. */
const STREAM_WINDOW_BYTES = 64 * 1024 - 1;
/**
 * So much that streams whose clients do not read, be they all but one, leave the others half of it: that
 * is how much may be read before the backend hears of it (Session.giveCredit).
 */
const SESSION_WINDOW_BYTES = 2 * STREAMS_MAX * STREAM_WINDOW_BYTES;
/** A session with streams is asked as often whether it is still there, and given up if it is silent. */
const PING_EVERY_MS = 30_000;
const PING_ANSWER_MS = 15_000;
/**
 * The same where the backend has sent nothing of a response since it was asked. Servers of gRPC take that
 * once in five minutes, and end the connection of who asks a few times more often (`too_many_pings`).
 */
const PING_UNHEARD_MS = 310_000;

export interface Http2Deps extends UpstreamDeps {
  readonly live: Set<Endpoint>;
  /** What all plain connections of the worker read into. */
  readonly readBuffer: ReadBuffer;
  /** Begins a connection; over TLS it is ready once the backend has chosen "h2". */
  readonly openSocket: (onread: OnReadOpts) => Socket;
  readonly scheme: "http" | "https";
}

/** Whose sessions they are. */
export interface Http2SessionOwner {
  /** Streams that the backend took at a time when it last spoke of it; Infinity before. */
  streamsMax: number;
  /** The session takes no more requests. */
  gone(session: Http2Session): void;
}

export class Http2Session implements SessionHost<KnownResponse>, OutputHost {
  readonly events: UpstreamEvents;
  readonly wheel: TimerWheel;
  readonly outbox: Outbox;
  readonly scheme: "http" | "https";
  readonly session: Session<KnownResponse>;
  connecting = true;
  /** Whether any request has been answered on it. */
  answered = false;
  /** Whether anything of a response has come since the last ping. */
  heard = true;
  readonly openedMs = performance.now();
  /** Streams that were begun on it. */
  requests = 0;
  readonly #socket: Socket;
  readonly #output: Http2Output;
  readonly #readBuffer: ReadBuffer;
  /** Streams whose request has not been sent. */
  readonly #claimed = new Set<Http2Upstream>();
  readonly #connectTimeoutMs: number;
  readonly #idleTimeoutMs: number;
  readonly #owner: Http2SessionOwner;
  #idleSinceMs = Infinity;
  #askedMs = performance.now();
  /** When the ping was sent after which nothing has come yet, or -1. */
  #pingedMs = -1;
  #gone = false;
  #closed = false;
  #untrusted = false;

  constructor(deps: Http2Deps, use: PoolUse, owner: Http2SessionOwner) {
    this.events = deps.events;
    this.wheel = deps.wheel;
    this.outbox = deps.outbox;
    this.scheme = deps.scheme;
    this.#readBuffer = deps.readBuffer;
    this.#connectTimeoutMs = use.connectTimeoutMs;
    this.#idleTimeoutMs = use.idleTimeoutMs;
    this.#owner = owner;
    const direct = deps.scheme === "http";
    const onread = {
      buffer: deps.readBuffer.bytes,
      callback: (length: number): boolean => {
        this.read(this.#readBuffer, length);
        return true;
      },
    };
    const socket = deps.openSocket(onread);
    this.#socket = socket;
    this.#output = new Http2Output(socket, deps.outbox, { direct, held: true, host: this });
    this.session = new Session(this.#output, this, {
      isServer: false,
      limits: {
        concurrentStreams: 0,
        streamWindowBytes: STREAM_WINDOW_BYTES,
        connectionWindowBytes: SESSION_WINDOW_BYTES,
      },
    });
    socket.on("error", (error) => {
      this.#untrusted ||= isUntrusted(error);
      this.#close();
    });
    socket.on("end", () => this.#close());
    socket.on("close", () => this.#close());
    socket.on(direct ? "connect" : "secureConnect", () => this.#connected());
    if (!direct) {
      socket.on("data", (bytes: Buffer) => this.read(ReadBuffer.over(bytes), bytes.length));
    }
  }

  /** Takes what one read brought: `length` bytes at the beginning of `from`. */
  read(from: ReadBuffer, length: number): void {
    // Whatever comes says that the backend is there: a ping may wait behind much that comes slowly.
    this.#pingedMs = -1;
    try {
      this.session.read(from.bytes, length, performance.now());
    } catch (error) {
      // It costs all that is under way here, and no more.
      this.outbox.onBug(error);
      this.#close();
    }
  }

  /** Whether a request can be sent now. */
  get usable(): boolean {
    return !this.connecting && !this.#gone && this.session.hasIds;
  }

  get hasRoom(): boolean {
    if (this.#gone || !this.session.hasIds) return false;
    const { settled, concurrentStreamsMax } = this.session;
    // Until the backend has spoken it is taken to allow what it did before.
    const said = settled ? concurrentStreamsMax : Math.max(this.#owner.streamsMax, 1);
    const allowed = Math.min(STREAMS_MAX, said);
    return this.#claimed.size + this.session.streams.size < allowed;
  }

  /** A stream for one attempt. Where there is no connection yet it is told when there is one. */
  stream(endpoint: Endpoint): Http2Upstream {
    const stream = new Http2Upstream(endpoint, this);
    this.requests++;
    this.#claimed.add(stream);
    this.#idleSinceMs = Infinity;
    return stream;
  }

  /** The stream's request is sent now. */
  opened(stream: Http2Upstream): void {
    this.#claimed.delete(stream);
  }

  /** The stream was given up before that. */
  forget(stream: Http2Upstream): void {
    this.#claimed.delete(stream);
    this.emptied();
  }

  emptied(): void {
    if (this.#claimed.size > 0 || this.session.streams.size > 0) return;
    if (this.#gone) this.#leaveNow();
    else this.#idleSinceMs = performance.now();
  }

  settled(): void {
    this.#owner.streamsMax = this.session.concurrentStreamsMax;
  }

  #connected(): void {
    if (this.#closed || this.#socket.destroyed) return;
    this.connecting = false;
    if (this.scheme === "http") readDirectly(this.#socket, this.#readBuffer, this);
    for (const stream of Array.from(this.#claimed)) {
      const { exchange } = stream;
      if (exchange === null) this.#claimed.delete(stream);
      else stream.guard(() => this.events.ready(stream, exchange));
    }
    this.emptied();
    this.#output.release();
  }

  /** The backend takes no more requests here: the next one goes elsewhere. */
  #leaves(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#owner.gone(this);
  }

  leaves(lastId: number): void {
    this.#leaves();
    this.session.unprocessed(lastId);
    this.emptied();
  }

  /** What the backend sent was no HTTP/2, and it was told so. */
  ended(): void {
    this.#leaves();
    this.#output.end();
    this.#output.send();
    this.#close();
  }

  bug(stream: Stream<KnownResponse> | null, error: unknown): void {
    if (stream instanceof Http2Upstream) stream.raised(error);
    else this.outbox.onBug(error);
  }

  outputDrained(): void {
    this.session.waiting.pump();
  }

  outputStalled(stalled: boolean): void {
    if (stalled) this.#socket.pause();
    else this.#socket.resume();
  }

  /** `late`: there is no connection after all its time. */
  #close(late = false): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leaves();
    const refused = this.#untrusted ? "upstream_certificate_invalid" : "upstream_connect_failed";
    const failed = late ? "upstream_connect_timeout" : refused;
    const code = this.connecting ? failed : "upstream_reset";
    this.session.lose(CANCEL);
    for (const stream of Array.from(this.#claimed)) {
      // It was told nothing yet.
      stream.refused ||= !this.connecting;
      stream.guard(() => stream.fail(code));
    }
    this.#output.close();
    this.#socket.destroy();
  }

  /** One of the streams has waited for the connection for as long as one may. */
  abandon(stream: Http2Upstream): void {
    this.#claimed.delete(stream);
    this.#close(true);
  }

  sweep(nowMs: number): void {
    // Those who wait may all have less time than a connection has.
    if (this.connecting && nowMs - this.openedMs >= this.#connectTimeoutMs) this.#close(true);
    else if (nowMs - this.#idleSinceMs >= this.#idleTimeoutMs) this.closeIdle();
    else if (this.#pingedMs !== -1 && nowMs - this.#pingedMs > PING_ANSWER_MS) this.#close();
    else if (this.usable && this.session.streams.size > 0) this.#ask(nowMs);
  }

  /** Asks whether the backend is there, if it is time for that. */
  #ask(nowMs: number): void {
    const everyMs = this.heard ? PING_EVERY_MS : PING_UNHEARD_MS;
    if (nowMs - this.#askedMs < everyMs) return;
    this.#askedMs = nowMs;
    this.#pingedMs = nowMs;
    this.heard = false;
    this.session.ping();
  }

  /** Takes no more; what is under way goes on to its end. */
  closeIdle(): void {
    this.#leaves();
    this.emptied();
  }

  /** Says that it goes, and goes. */
  #leaveNow(): void {
    if (this.#closed) return;
    if (!this.connecting) {
      this.session.leaveNow();
      this.#output.send();
    }
    this.#close();
  }
}
