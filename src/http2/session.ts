/**
 * One connection of HTTP/2, of either side (RFC 9113): its streams, its windows, and what is written on
 * it. What is read stands in frame-handler.ts. A session knows the protocol and nothing of sockets,
 * requests or clocks: bytes are handed to `read` with the time, and what is to be sent stands in a sink.
 */
import { BlockWriter } from "./block-writer.ts";
import { ClosedStreams } from "./closed-streams.ts";
import { HEADER_LIST_BYTES_MAX } from "./field-list.ts";
import {
  DATA,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FRAME_BYTES_DEFAULT,
  FRAME_HEAD_BYTES,
  type FrameSink,
  NO_ERROR,
  PREFACE,
  putFrameHead,
  REFUSED_STREAM,
  RST_STREAM,
  SETTINGS_ENABLE_PUSH,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  SETTINGS_MAX_HEADER_LIST_SIZE,
  STREAM_ID_MAX,
  WINDOW_BYTES_DEFAULT,
  WINDOW_UPDATE,
  writeGoaway,
  writeNumberFrame,
  writePing,
  writeSettings,
} from "./frame.ts";
import { FrameHandler } from "./frame-handler.ts";
import { FrameReader } from "./frame-reader.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import { Patience, YOUNG_MS } from "./patience.ts";
import type { SessionHost, SessionLimits } from "./session-host.ts";
import type { Stream } from "./stream.ts";
import { Waiting } from "./waiting.ts";

/** A longer text is sent as bytes, in as many frames as it takes. */
const TEXT_CHARS_MAX = 8192;
/** Rather than frames of a few bytes at the end of a piece of memory, another piece. */
const DATA_BYTES_MIN = 1024;

const PING = Buffer.from("sluice\0\0", "latin1");

/** GOAWAY comes in two steps, lest it meet streams that were opened before it was read (§6.8). */
const OPEN = 0;
const LEAVING = 1;
const LEFT = 2;

export class Session<K> {
  readonly sink: FrameSink;
  readonly host: SessionHost<K>;
  readonly isServer: boolean;
  readonly limits: SessionLimits;
  readonly streams = new Map<number, Stream<K>>();
  readonly closedStreams: ClosedStreams;
  readonly patience: Patience;
  readonly encoder = new HpackEncoder();
  readonly blocks: BlockWriter;
  readonly waiting = new Waiting<K>(this);
  initialReceiveWindow: number;
  initialSendWindow = WINDOW_BYTES_DEFAULT;
  frameBytesMax = FRAME_BYTES_DEFAULT;
  /** Streams that the peer takes at a time; Infinity until it says otherwise. */
  concurrentStreamsMax = Infinity;
  sendWindow = WINDOW_BYTES_DEFAULT;
  receiveWindow: number;
  /** The highest id of a stream that the peer has opened (of a server), or that was opened here. */
  lastId = 0;
  /** The time of the present read. */
  nowMs = 0;
  /** The peer has said its settings, which come before all else. */
  settled = false;
  /** Nothing is read any more. */
  over = false;
  readonly #handler: FrameHandler<K>;
  readonly #reader: FrameReader;
  #credit = 0;
  #leaving = OPEN;

  constructor(
    sink: FrameSink,
    host: SessionHost<K>,
    { isServer, limits }: { isServer: boolean; limits: SessionLimits },
  ) {
    this.sink = sink;
    this.blocks = new BlockWriter(sink, this.encoder);
    this.host = host;
    this.isServer = isServer;
    this.limits = limits;
    this.patience = new Patience(limits.concurrentStreams);
    this.closedStreams = new ClosedStreams(limits.concurrentStreams);
    // Until the peer has read our settings it goes by the default.
    this.initialReceiveWindow = Math.max(limits.streamWindowBytes, WINDOW_BYTES_DEFAULT);
    this.receiveWindow = Math.max(limits.connectionWindowBytes, WINDOW_BYTES_DEFAULT);
    this.#handler = new FrameHandler(this);
    this.#reader = new FrameReader(this.#handler, { preface: isServer });
    this.#greet();
  }

  #greet(): void {
    const { sink, limits, isServer } = this;
    if (!isServer) {
      sink.room(PREFACE.length);
      PREFACE.copy(sink.bytes, sink.at);
      sink.at += PREFACE.length;
    }
    writeSettings(sink, [
      isServer
        ? [SETTINGS_MAX_CONCURRENT_STREAMS, limits.concurrentStreams]
        : [SETTINGS_ENABLE_PUSH, 0],
      [SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindowBytes],
      [SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX],
    ]);
    const more = this.receiveWindow - WINDOW_BYTES_DEFAULT;
    if (more > 0) writeNumberFrame(sink, WINDOW_UPDATE, 0, more);
  }

  /** Takes the first `length` bytes, which are valid during the call. */
  read(bytes: Buffer, length: number, nowMs: number): void {
    if (this.over) return;
    this.nowMs = nowMs;
    this.#reader.read(bytes, length, nowMs);
  }

  /** When the present frame began to come. */
  get beganMs(): number {
    const { heldSinceMs } = this.#reader;
    return heldSinceMs === -1 ? this.nowMs : heldSinceMs;
  }

  /**
   * When the head, or another thing but a body, began to come that is not complete; -1 where there is none.
   * Until it is complete nothing else can be read.
   */
  get unfinishedSinceMs(): number {
    const { open } = this.#handler;
    return open === null ? this.#reader.heldSinceMs : open.sinceMs;
  }

  /** The stream whose header block that is, or 0. */
  get unfinishedId(): number {
    const { open } = this.#handler;
    return open === null ? 0 : open.id;
  }

  /** Whether the peer, a client, may open stream `id` now. */
  mayOpen(id: number): boolean {
    const isNew = id % 2 === 1 && id > this.lastId && !this.left;
    return isNew && this.streams.size < this.limits.concurrentStreams;
  }

  /** Remembers the block that is being read (FrameHandler.remember). */
  remember(known: K): void {
    this.#handler.remember(known);
  }

  /** Takes the stream that the peer has just opened. */
  add(stream: Stream<K>, id: number): void {
    stream.id = id;
    stream.openedMs = this.nowMs;
    this.streams.set(id, stream);
  }

  /** Whether a client's session has ids for more streams. */
  get hasIds(): boolean {
    return !this.over && this.lastId + 2 <= STREAM_ID_MAX;
  }

  /** Gives a client's stream its id; its head has to follow at once. */
  open(stream: Stream<K>): void {
    this.lastId = this.lastId === 0 ? 1 : this.lastId + 2;
    // The peer may have said otherwise since the stream was made.
    stream.sendWindow = this.initialSendWindow;
    this.add(stream, this.lastId);
  }

  // Header blocks.

  /** See BlockWriter.begin. */
  beginBlock(bytes: number): HpackEncoder {
    return this.blocks.begin(bytes);
  }

  /** Ends a block, and says which stream's it is. */
  endBlock(stream: Stream<K>, ends: boolean): void {
    this.blocks.end(stream.id, ends);
    this.#blockSent(stream, ends);
  }

  /** Sends a block that was sent before, as long as `encoder.version` has not changed. */
  sendBlock(stream: Stream<K>, block: Buffer, ends: boolean): void {
    this.blocks.send(stream.id, block, ends);
    this.#blockSent(stream, ends);
  }

  #blockSent(stream: Stream<K>, ends: boolean): void {
    this.patience.useful();
    if (ends) this.#endLocal(stream);
  }

  // Bodies.

  /** Writes what the windows and the sink take; returns where what they do not take begins. */
  writeData(
    stream: Stream<K>,
    bytes: Buffer,
    { start, end }: { start: number; end: number },
  ): number {
    const { sink } = this;
    let at = start;
    while (at < end && !sink.full) {
      const window = Math.min(this.sendWindow, stream.sendWindow, this.frameBytesMax);
      const wanted = Math.min(end - at, window);
      if (wanted <= 0) break;
      sink.room(FRAME_HEAD_BYTES + Math.min(wanted, DATA_BYTES_MIN));
      const length = Math.min(wanted, sink.bytes.length - sink.at - FRAME_HEAD_BYTES);
      this.#putData(stream, length);
      bytes.copy(sink.bytes, sink.at, at, at + length);
      sink.at += length;
      at += length;
    }
    return at;
  }

  /** The same with a text of latin1, in one frame; false, with nothing written, where it does not fit. */
  writeText(stream: Stream<K>, text: string): boolean {
    const { sink } = this;
    const { length } = text;
    if (sink.full || stream.waits || length > TEXT_CHARS_MAX) return false;
    if (length > this.sendWindow || length > stream.sendWindow) return false;
    sink.room(FRAME_HEAD_BYTES + length);
    this.#putData(stream, length);
    sink.bytes.write(text, sink.at, "latin1");
    sink.at += length;
    return true;
  }

  #putData(stream: Stream<K>, length: number): void {
    const { sink } = this;
    stream.dataAt = sink.at;
    stream.dataSerial = sink.serial;
    putFrameHead(sink.bytes, sink.at, { length, type: DATA, flags: 0, id: stream.id });
    sink.at += FRAME_HEAD_BYTES;
    this.sendWindow -= length;
    stream.sendWindow -= length;
    this.patience.useful();
  }

  /** Ends this side of a stream that has nothing waiting. */
  writeEnd(stream: Stream<K>, trailers: string): void {
    const { sink } = this;
    if (trailers !== "") {
      this.blocks.trailers(stream.id, trailers);
      this.#blockSent(stream, true);
      return;
    }
    if (stream.dataSerial === sink.serial) {
      // The frame of its last bytes has not left yet, and can still say that they are the last.
      sink.bytes[stream.dataAt + 4] = END_STREAM;
    } else {
      sink.room(FRAME_HEAD_BYTES);
      const head = { length: 0, type: DATA, flags: END_STREAM, id: stream.id };
      putFrameHead(sink.bytes, sink.at, head);
      sink.at += FRAME_HEAD_BYTES;
    }
    this.#endLocal(stream);
  }

  /** The peer has read our settings, and goes by them from now on (RFC 9113 §6.5.3). */
  acknowledged(): void {
    const less = this.initialReceiveWindow - this.limits.streamWindowBytes;
    if (less === 0) return;
    this.initialReceiveWindow -= less;
    for (const stream of this.streams.values()) {
      stream.receiveWindow -= less;
      // What was less than half of the larger window may be all that the peer waits for.
      this.#tellCredit(stream);
    }
  }

  /** Whether nobody has opened the stream yet. Ids are odd here: a server pushes nothing. */
  isIdle(id: number): boolean {
    return id === 0 || id % 2 === 0 || (id > this.lastId && !this.left);
  }

  /** A frame came that brings nothing. */
  idleFrame(): void {
    if (!this.patience.idleFrame(this.nowMs)) this.fail(ENHANCE_YOUR_CALM);
  }

  /** The peer may send so much more, to the stream and to all of them. */
  giveCredit(stream: Stream<K> | null, bytes: number): void {
    if (this.over) return;
    this.#credit += bytes;
    // Half a window at a time, so that few frames say it and the peer never has to wait for one.
    const connectionBytes = Math.max(this.limits.connectionWindowBytes, WINDOW_BYTES_DEFAULT);
    if (this.#credit * 2 >= connectionBytes) {
      writeNumberFrame(this.sink, WINDOW_UPDATE, 0, this.#credit);
      this.receiveWindow += this.#credit;
      this.#credit = 0;
    }
    if (stream === null || stream.closed) return;
    stream.credit += bytes;
    this.#tellCredit(stream);
  }

  #tellCredit(stream: Stream<K>): void {
    if (stream.credit * 2 < this.initialReceiveWindow || stream.remoteEnded) return;
    writeNumberFrame(this.sink, WINDOW_UPDATE, stream.id, stream.credit);
    stream.receiveWindow += stream.credit;
    stream.credit = 0;
  }

  // Ends.

  #endLocal(stream: Stream<K>): void {
    stream.localEnded = true;
    if (stream.remoteEnded) this.close(stream);
  }

  /** Both sides have said all they had to say. */
  close(stream: Stream<K>): void {
    this.#remove(stream, false);
    this.patience.completed();
    stream.finished();
    this.#tellEmptied();
  }

  #remove(stream: Stream<K>, byReset: boolean): void {
    stream.closed = true;
    this.streams.delete(stream.id);
    this.waiting.delete(stream);
    if (this.isServer) this.closedStreams.note(stream.id, byReset);
    const unread = stream.drop();
    if (unread > 0) this.giveCredit(null, unread);
  }

  #tellEmptied(): void {
    if (this.streams.size > 0 || this.over) return;
    this.host.emptied();
  }

  /** Ends a stream from this side, which hears no more of it. */
  reset(stream: Stream<K>, code: number): void {
    if (stream.closed) return;
    this.#remove(stream, true);
    writeNumberFrame(this.sink, RST_STREAM, stream.id, code);
    this.#tellEmptied();
  }

  /** The same for what the peer did on it. */
  resetProvoked(stream: Stream<K>, code: number): void {
    if (stream.closed) return;
    this.reset(stream, code);
    if (!this.patience.reset(this.nowMs)) this.fail(ENHANCE_YOUR_CALM);
  }

  /** The same, and tells its owner. */
  streamError(stream: Stream<K>, code: number): void {
    if (stream.closed) return;
    this.#remove(stream, true);
    writeNumberFrame(this.sink, RST_STREAM, stream.id, code);
    const patient = this.#endedEarly(stream);
    this.breakOff(stream, code, false);
    if (patient) this.#tellEmptied();
    else this.fail(ENHANCE_YOUR_CALM);
  }

  /** A stream was reset: false where it was one too many of those that nothing came of. */
  #endedEarly({ answered, openedMs }: Stream<K>): boolean {
    return answered || this.nowMs - openedMs >= YOUNG_MS || this.patience.reset(this.nowMs);
  }

  /** Answers frames on a stream that is not there with a reset. */
  refuseStream(id: number, code: number): void {
    writeNumberFrame(this.sink, RST_STREAM, id, code);
    if (!this.patience.reset(this.nowMs)) this.fail(ENHANCE_YOUR_CALM);
  }

  /** The peer has reset a stream. */
  wasReset(stream: Stream<K>, code: number): void {
    this.#remove(stream, false);
    const patient = !this.isServer || this.#endedEarly(stream);
    this.breakOff(stream, code, code === REFUSED_STREAM);
    if (patient) this.#tellEmptied();
    else this.fail(ENHANCE_YOUR_CALM);
  }

  breakOff(stream: Stream<K>, code: number, refused: boolean): void {
    try {
      stream.brokeOff(code, refused);
    } catch (error) {
      this.host.bug(stream, error);
    }
  }

  /** Ends the connection for what the peer did, and says so (RFC 9113 §5.4.1). */
  fail(code: number): void {
    if (this.over) return;
    writeGoaway(this.sink, this.isServer ? this.lastId : 0, code);
    this.over = true;
    this.lose(code);
    this.host.ended();
  }

  /** The connection is gone, and all streams with it. */
  lose(code: number): void {
    this.over = true;
    const streams = [...this.streams.values()];
    for (const stream of streams) this.#remove(stream, false);
    for (const stream of streams) this.breakOff(stream, code, false);
  }

  /** The peer has done nothing with streams after `lastId`, and will not. */
  unprocessed(lastId: number): void {
    for (const stream of Array.from(this.streams.values())) {
      if (stream.id <= lastId || stream.closed) continue;
      this.#remove(stream, false);
      this.breakOff(stream, REFUSED_STREAM, true);
    }
    this.#tellEmptied();
  }

  /** Whether the peer was told that no more streams are taken, and which was the last. */
  get left(): boolean {
    return this.#leaving === LEFT;
  }

  get leaving(): boolean {
    return this.#leaving !== OPEN;
  }

  /** A server takes no more streams: the peer hears so, and those under way go on to their end. */
  leave(): void {
    if (this.#leaving !== OPEN || this.over) return;
    this.#leaving = LEAVING;
    writeGoaway(this.sink, STREAM_ID_MAX, NO_ERROR);
    this.ping();
  }

  /** What was sent before the peer read of it has arrived: no more streams are taken from now on. */
  leaveNow(): void {
    if (this.#leaving === LEFT || this.over) return;
    this.#leaving = LEFT;
    writeGoaway(this.sink, this.isServer ? this.lastId : 0, NO_ERROR);
    this.#tellEmptied();
  }

  ping(): void {
    writePing(this.sink, 0, PING, 0);
  }

  pinged(): void {
    if (this.#leaving === LEAVING) this.leaveNow();
  }
}
