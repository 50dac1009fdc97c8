/**
 * One accepted HTTP/2 connection, by ALPN over TLS or with prior knowledge (RFC 9113 §3): a session of
 * node:http2 with this gateway's limits, which makes a client of each stream (http2-stream.ts).
 */
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerSessionOptions,
} from "node:http2";
import type { Socket } from "node:net";
import type { ClientPart } from "../compile/program.ts";
import type { ClientConnection, ConnectionOptions } from "./client.ts";
import { Http2Stream } from "./http2-stream.ts";
import type { Peer } from "./peer.ts";
import type { Plane } from "./plane.ts";
import type { Cell, LinkedSocket } from "./snapshot.ts";
import type { Timed } from "./timer-wheel.ts";

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_FLAG_END_STREAM } = constants;
/** What a client may send of a stream, and of all streams, before it is read. */
const STREAM_WINDOW_BYTES = 64 * 1024 - 1;
const CONNECTION_WINDOW_BYTES = 1024 * 1024;
const STREAMS_MAX = 100;
/**
 * Where node:http2 resets the stream. Between this and the limits of http1/fault.ts the parser
 * answers with 431.
 */
const HEADER_LIST_BYTES_MAX = 64 * 1024;
const HEADER_LIST_PAIRS_MAX = 128;
/** Streams that a client resets at once, and a second (CVE-2023-44487); more ends the connection. */
const RESET_BURST = 200;
const RESETS_PER_SECOND = 50;
/** Frames that are invalid, and streams over the limit, before the connection ends. */
const INVALID_FRAMES_MAX = 100;
const REJECTED_STREAMS_MAX = 100;
/** Pings and settings within a minute; each costs an answer. */
const CONTROL_FRAMES_MAX = 1000;
const CONTROL_PERIOD_MS = 60_000;

type Limits = NonNullable<ClientPart["http2"]>;
type SessionOptions = ServerSessionOptions & {
  // Known to node:http2, not to its types.
  readonly maxSessionInvalidFrames: number;
  readonly maxSessionRejectedStreams: number;
  readonly strictSingleValueFields: boolean;
};

const SESSION_OPTIONS: SessionOptions = {
  settings: {
    maxConcurrentStreams: STREAMS_MAX,
    initialWindowSize: STREAM_WINDOW_BYTES,
    maxHeaderListSize: HEADER_LIST_BYTES_MAX,
    enablePush: false,
  },
  maxHeaderListPairs: HEADER_LIST_PAIRS_MAX,
  maxSendHeaderBlockLength: 4 * HEADER_LIST_BYTES_MAX,
  streamResetBurst: RESET_BURST,
  streamResetRate: RESETS_PER_SECOND,
  maxSessionInvalidFrames: INVALID_FRAMES_MAX,
  maxSessionRejectedStreams: REJECTED_STREAMS_MAX,
  // An origin's doubled field is passed on as it is over HTTP/1, and is not ours to refuse.
  strictSingleValueFields: false,
};

/** With what the client's policy says in place of the defaults. */
function sessionOptions({
  maxConcurrentStreams,
  initialStreamWindowBytes,
}: Limits): SessionOptions {
  if (maxConcurrentStreams === undefined && initialStreamWindowBytes === undefined) {
    return SESSION_OPTIONS;
  }
  const settings = {
    ...SESSION_OPTIONS.settings,
    ...(maxConcurrentStreams !== undefined && { maxConcurrentStreams }),
    ...(initialStreamWindowBytes !== undefined && { initialWindowSize: initialStreamWindowBytes }),
  };
  return { ...SESSION_OPTIONS, settings };
}

export class Http2Connection implements ClientConnection, Timed {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly #plane: Plane;
  readonly #peer: Peer;
  readonly #socket: Socket;
  readonly #session: ServerHttp2Session;
  readonly #served: Cell<LinkedSocket>;
  readonly #onClosed: (connection: ClientConnection) => void;
  readonly #streams = new Set<Http2Stream>();
  #controlFrames = 0;
  #controlSinceMs = 0;
  #closed = false;

  /** `socket` is a TLS socket, or a plain one to which `unshift` gave back what was read of it. */
  constructor(socket: Socket, plane: Plane, { peer, served, onClosed }: ConnectionOptions) {
    this.#socket = socket;
    this.#plane = plane;
    this.#peer = peer;
    this.#served = served;
    this.#onClosed = onClosed;
    const limits = peer.settings?.http2 ?? {};
    const session = performServerHandshake(socket, sessionOptions(limits));
    this.#session = session;
    session.setLocalWindowSize(limits.initialConnectionWindowBytes ?? CONNECTION_WINDOW_BYTES);
    session.on("stream", (stream, _headers, flags, raw?: string[]) => {
      this.#begin(stream, flags, raw ?? []);
    });
    session.on("ping", () => this.#countControl());
    session.on("remoteSettings", () => this.#countControl());
    // What is wrong with a peer is said to it by node:http2; its streams are told that they closed.
    session.on("error", () => {});
    session.on("close", () => this.#setDeadline(peer.timeouts.lingerMs));
    // A client that ends its side reads no answer any more.
    socket.on("end", () => session.destroy());
    socket.on("error", () => session.destroy());
    socket.on("close", () => this.#gone());
    this.#setDeadline(peer.timeouts.clientIdleMs);
  }

  #begin(stream: ServerHttp2Stream, flags: number, fields: string[]): void {
    const client = new Http2Stream(stream, this.#plane, this.#peer);
    this.#streams.add(client);
    this.deadlineMs = Infinity;
    stream.on("error", () => {});
    stream.on("close", () => this.#ended(client));
    try {
      const ended = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
      client.begin(fields, ended, this.#served.value);
    } catch (error) {
      this.#plane.onBug(error);
      client.fail();
    }
  }

  #ended(client: Http2Stream): void {
    client.closed();
    this.#streams.delete(client);
    if (this.#streams.size > 0) return;
    this.#setDeadline(this.#peer.timeouts.clientIdleMs);
    if (this.#plane.draining) this.closeIdle();
  }

  #countControl(): void {
    const nowMs = performance.now();
    if (nowMs - this.#controlSinceMs > CONTROL_PERIOD_MS) {
      this.#controlSinceMs = nowMs;
      this.#controlFrames = 0;
    }
    if (++this.#controlFrames > CONTROL_FRAMES_MAX) {
      this.#session.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM);
    }
  }

  /** Says that no stream is taken any more; those in flight go on to their end (RFC 9113 §6.8). */
  closeIdle(): void {
    this.#session.close();
  }

  cut(): void {
    for (const client of this.#streams) client.cut();
    this.#session.destroy();
    this.#socket.destroy();
  }

  #setDeadline(afterMs: number): void {
    if (!this.#closed) this.#plane.wheel.schedule(this, performance.now() + afterMs);
  }

  /** Nothing was asked for too long, or a session that was closed still holds its socket. */
  expire(): void {
    if (this.#streams.size > 0) return;
    if (this.#session.closed) {
      this.#session.destroy();
      this.#socket.destroy();
    } else {
      this.#session.close();
      this.#setDeadline(this.#peer.timeouts.lingerMs);
    }
  }

  #gone(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#plane.wheel.cancel(this);
    for (const client of this.#streams) client.closed();
    this.#streams.clear();
    this.#onClosed(this);
  }
}
