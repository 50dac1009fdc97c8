/**
 * One accepted HTTP/2 connection, by ALPN over TLS or with prior knowledge (RFC 9113 §3): what is read goes
 * to its session (http2/session.ts), which makes a client of each stream (http2-stream.ts).
 */
import type { Socket } from "node:net";
import type { HeadFault } from "../http1/fault.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { FieldList } from "../http2/field-list.ts";
import { CANCEL, ENHANCE_YOUR_CALM } from "../http2/frame.ts";
import {
  aboutOf,
  parseRequestText,
  requestFault,
  requestText,
  type RequestAbout,
} from "../http2/request.ts";
import { responseBlockBytes, writeResponse } from "../http2/response.ts";
import { Session } from "../http2/session.ts";
import type { SessionHost } from "../http2/session-host.ts";
import type { Stream } from "../http2/stream.ts";
import type { ClientConnection, ConnectionOptions } from "./client.ts";
import { Http2Output, type OutputHost } from "./http2-output.ts";
import { Http2Stream } from "./http2-stream.ts";
import { knownHeadOf, type KnownRequest } from "./known-head.ts";
import type { Peer } from "./peer.ts";
import type { Plane } from "./plane.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import type { Cell, LinkedSocket } from "./snapshot.ts";
import type { Timed } from "./timer-wheel.ts";

/** What a client may send of a stream, and of all streams, before it is read. */
const STREAM_WINDOW_BYTES = 64 * 1024 - 1;
const CONNECTION_WINDOW_BYTES = 1024 * 1024;
const STREAMS_MAX = 100;
/** Heads of responses that are kept as blocks. */
const HEADS_MAX = 4;

/** The head of a response as it was sent. */
interface SentHead {
  head: ResponseHead;
  added: string;
  block: Buffer;
  version: number;
}

/** A deadline beside the connection's own. */
class HeadTimer implements Timed {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;
  readonly expire: (nowMs: number) => void;

  constructor(expire: (nowMs: number) => void) {
    this.expire = expire;
  }
}

export class Http2Connection
  implements ClientConnection, Timed, SessionHost<KnownRequest>, OutputHost
{
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly plane: Plane;
  readonly peer: Peer;
  readonly session: Session<KnownRequest>;
  readonly #socket: Socket;
  readonly #output: Http2Output;
  readonly #served: Cell<LinkedSocket>;
  readonly #onClosed: (connection: ClientConnection) => void;
  /** Made with the first head that is not complete with the read that it begins in. */
  #headTimer: HeadTimer | null = null;
  #unfinishedSinceMs = -1;
  readonly #sent: SentHead[] = [];
  #nextSent = 0;
  #stalled = false;
  #closed = false;

  /** `socket` is a kernel's or a TLS socket, and read by who calls `read`. */
  constructor(socket: Socket, plane: Plane, { peer, served, onClosed }: ConnectionOptions) {
    this.#socket = socket;
    this.plane = plane;
    this.peer = peer;
    this.#served = served;
    this.#onClosed = onClosed;
    const direct = peer.scheme === "http";
    this.#output = new Http2Output(socket, plane.outbox, { direct, held: false, host: this });
    const policy = peer.settings?.http2 ?? {};
    this.session = new Session(this.#output, this, {
      isServer: true,
      limits: {
        concurrentStreams: policy.maxConcurrentStreams ?? STREAMS_MAX,
        streamWindowBytes: policy.initialStreamWindowBytes ?? STREAM_WINDOW_BYTES,
        connectionWindowBytes: policy.initialConnectionWindowBytes ?? CONNECTION_WINDOW_BYTES,
      },
    });
    // A client that ends its side reads no answer any more.
    socket.on("end", () => this.#abort());
    socket.on("error", () => this.#abort());
    socket.on("close", () => this.#abort());
    this.#setDeadline(peer.timeouts.clientIdleMs);
  }

  /** Takes what one read brought: `length` bytes at the beginning of `from`, valid during the call. */
  read(from: ReadBuffer, length: number): void {
    try {
      this.session.read(from.bytes, length, performance.now());
      const sinceMs = this.session.unfinishedSinceMs;
      if (sinceMs !== this.#unfinishedSinceMs) this.#limitHead(sinceMs);
    } catch (error) {
      this.plane.onBug(error);
      this.#abort();
    }
  }

  /** Limits how long what began then may take to be complete; -1: nothing waits for its end. */
  #limitHead(sinceMs: number): void {
    this.#unfinishedSinceMs = sinceMs;
    if (this.#closed) return;
    this.#headTimer ??= new HeadTimer((nowMs) => this.#headOverdue(nowMs));
    const deadlineMs = sinceMs === -1 ? Infinity : sinceMs + this.peer.timeouts.requestHeadMs;
    this.plane.wheel.schedule(this.#headTimer, deadlineMs);
  }

  /**
   * A head has begun and is not complete in its time. It is answered as one of HTTP/1 is; but nobody
   * knows how to read on, so the connection ends with it.
   */
  #headOverdue(nowMs: number): void {
    const { session } = this;
    if (session.over) return;
    if (this.#stalled) {
      // The gateway itself reads nothing for now.
      this.#limitHead(nowMs);
      return;
    }
    session.nowMs = nowMs;
    const id = session.unfinishedId;
    const stream = session.streams.get(id);
    if (stream instanceof Http2Stream) {
      stream.overdue();
    } else if (session.mayOpen(id)) {
      session.lastId = id;
      this.#newStream(id).refuse("request_timed_out", { ended: false, method: "" });
    }
    session.fail(ENHANCE_YOUR_CALM);
  }

  /** Takes a request that opens stream `id`. */
  requested(id: number, list: FieldList, said: KnownRequest | null, ended: boolean): void {
    const stream = this.#newStream(id);
    const served = this.#served.value;
    const known = said === null ? null : said.head;
    if (known !== null && known.isCurrent(served)) {
      stream.beginKnown(known, ended);
      return;
    }
    const about = said === null ? aboutOf(list) : said.about;
    const text = said === null ? requestText(list) : said.text;
    const head = this.#parse(said === null ? list : null, text, { about, ended });
    if (typeof head === "string") {
      stream.refuse(head, { ended, method: about?.method ?? "" });
      return;
    }
    // What is remembered is remembered before the request is handled, for that may read another.
    if (said === null) this.session.remember({ text, about, head: null });
    const x = stream.begin(head, ended, served);
    if (said !== null && served !== undefined) said.head = knownHeadOf(x, served);
  }

  /** The head of a request; `list`, which said it, is null where nothing was wrong with that before. */
  #parse(
    list: FieldList | null,
    text: string,
    { about, ended }: { about: RequestAbout | null; ended: boolean },
  ): RequestHead | HeadFault {
    const fault = list === null ? undefined : requestFault(list);
    if (fault !== undefined || about === null) return fault ?? "head_malformed";
    return parseRequestText(text, about, { ended, reading: this.peer.path });
  }

  /** Tells log and metrics of a request that the session refuses. */
  refused(
    list: FieldList,
    said: KnownRequest | null,
    { ended, tooMany }: { ended: boolean; tooMany: boolean },
  ): void {
    const about = said === null ? aboutOf(list) : said.about;
    const text = said === null ? requestText(list) : said.text;
    const head = this.#parse(said === null ? list : null, text, { about, ended });
    new Http2Stream(this).noteRefused(
      typeof head === "string" ? null : head,
      tooMany ? "streams_too_many" : "head_malformed",
    );
  }

  #newStream(id: number): Http2Stream {
    const stream = new Http2Stream(this);
    this.session.add(stream, id);
    if (!this.session.leaving) this.deadlineMs = Infinity;
    return stream;
  }

  /** Writes the head of a response; one that comes again is written as it was before. */
  writeHead(stream: Http2Stream, head: ResponseHead, added: string, ends: boolean): void {
    const { session } = this;
    const { version } = session.encoder;
    for (const sent of this.#sent) {
      if (sent.head !== head || sent.version !== version || sent.added !== added) continue;
      session.sendBlock(stream, sent.block, ends);
      return;
    }
    writeResponse(session.beginBlock(responseBlockBytes(head, added)), head, added);
    session.endBlock(stream, ends);
    // Only a head that its backend's session remembers can come again.
    if (!head.shared) return;
    const block = session.blocks.last();
    if (block === null) return;
    this.#sent[this.#nextSent] = { head, added, block, version: session.encoder.version };
    this.#nextSent = (this.#nextSent + 1) % HEADS_MAX;
  }

  /** Writes that the client has taken: as long as it takes any it is slow, and not gone. */
  get writesTaken(): number {
    return this.#output.taken;
  }

  emptied(): void {
    if (this.session.left) this.#finish();
    else if (this.session.leaving) this.#setDeadline(this.peer.timeouts.lingerMs);
    else if (this.plane.draining) this.closeIdle();
    else this.#setDeadline(this.peer.timeouts.clientIdleMs);
  }

  /** The client opens no more streams; those that it has go on. */
  leaves(): void {}

  ended(): void {
    this.#finish();
  }

  /** A bug in what one request runs through costs that request, not the worker. */
  bug(stream: Stream<KnownRequest> | null, error: unknown): void {
    this.plane.onBug(error);
    if (stream instanceof Http2Stream) stream.fail();
  }

  outputDrained(): void {
    this.session.waiting.pump();
  }

  outputStalled(stalled: boolean): void {
    this.#stalled = stalled;
    if (stalled) {
      this.#socket.pause();
      this.#setDeadline(this.peer.timeouts.clientStallMs);
    } else {
      this.#socket.resume();
      this.deadlineMs = Infinity;
      if (this.session.streams.size === 0) this.#setDeadline(this.peer.timeouts.clientIdleMs);
    }
  }

  /** Says that no stream is taken any more; those in flight go on to their end (RFC 9113 §6.8). */
  closeIdle(): void {
    if (this.session.leaving) return;
    this.session.leave();
    this.#setDeadline(this.peer.timeouts.lingerMs);
  }

  /** All is said: the client is given time to close its side. */
  #finish(): void {
    this.#output.end();
    this.#setDeadline(this.peer.timeouts.lingerMs);
  }

  cut(): void {
    for (const stream of Array.from(this.session.streams.values())) {
      if (stream instanceof Http2Stream) stream.cut();
    }
    if (!this.session.over) this.session.leaveNow();
    this.#output.send();
    this.#abort();
  }

  #setDeadline(afterMs: number): void {
    if (!this.#closed) this.plane.wheel.schedule(this, performance.now() + afterMs);
  }

  expire(): void {
    const { session } = this;
    // Who has not taken what it was sent does not take a farewell.
    const done = session.left || this.#output.pending;
    if (this.#stalled || session.over || (done && session.streams.size === 0)) {
      this.#abort();
    } else if (session.leaving) {
      // Who does not answer the ping has been told long enough.
      session.leaveNow();
    } else if (session.streams.size === 0) {
      this.closeIdle();
    }
  }

  /** The connection is over, whoever ended it. */
  #abort(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.plane.wheel.cancel(this);
    if (this.#headTimer !== null) this.plane.wheel.cancel(this.#headTimer);
    this.session.lose(CANCEL);
    this.#output.close();
    this.#socket.destroy();
    this.#onClosed(this);
  }
}
