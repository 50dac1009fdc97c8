/**
 * What the frames of a peer mean to a session (RFC 9113 §6), and which of them end a stream or the
 * connection: what RFC 9113 calls a stream error resets the stream, what it calls a connection error
 * ends the session with a GOAWAY.
 */
import { ANY_VERSION, BlockMemory } from "./block-memory.ts";
import type { Field } from "./field.ts";
import { FieldList } from "./field-list.ts";
import {
  COMPRESSION_ERROR,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  GOAWAY,
  HEADERS,
  identifierAt,
  PADDED,
  PING,
  PRIORITY,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
  REFUSED_STREAM,
  RST_STREAM,
  SETTINGS,
  STREAM_CLOSED,
  WINDOW_UPDATE,
  WITH_PRIORITY,
} from "./frame.ts";
import {
  readGoaway,
  readPing,
  readPriority,
  readReset,
  readSettings,
  readWindowUpdate,
} from "./control-frames.ts";
import type { FrameTaker } from "./frame-reader.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import type { Session } from "./session.ts";
import type { Stream } from "./stream.ts";

/** A header block before it is decoded, and the frames that it comes in (CVE-2024-27316). */
const BLOCK_BYTES_MAX = 64 * 1024;
const BLOCK_FRAMES_MAX = 64;
/** What a block says that is remembered: a few bytes may say much (RFC 7541 §7.3). */
const REMEMBERED_BYTES_MAX = 4096;

type Range = { readonly start: number; readonly end: number };
type Head = { readonly type: number; readonly flags: number; readonly id: number };

interface OpenBlock {
  readonly id: number;
  readonly flags: number;
  readonly dependsOnItself: boolean;
  readonly sinceMs: number;
}

const NO_FIELDS: readonly Field[] = [];

/** What all blocks of a worker are read into. */
const list = new FieldList();

export class FrameHandler<K> implements FrameTaker {
  readonly #session: Session<K>;
  readonly #decoder = new HpackDecoder();
  readonly #blocks = new BlockMemory<K>();
  /** Whose body is being read; null where it is passed over. */
  #reading: Stream<K> | null = null;
  #readingEnds = false;
  /** A header block that is not complete: whose it is, since when, what came of it, in how many frames. */
  #open: OpenBlock | null = null;
  #parts: Buffer[] = [];
  #partBytes = 0;
  /** The block that was decoded last, as long as it can be remembered. */
  #block: { bytes: Buffer; start: number; end: number; version: number; ended: boolean } | null =
    null;

  constructor(session: Session<K>) {
    this.#session = session;
  }

  get over(): boolean {
    return this.#session.over;
  }

  /** The header block that has begun and is not complete. */
  get open(): OpenBlock | null {
    return this.#open;
  }

  fault(code: number): void {
    this.#session.fail(code);
  }

  /** Whether the frame may come now: settings first, and nothing within a header block. */
  #inOrder(type: number, id: number): boolean {
    const open = this.#open;
    const fits = open === null ? type !== CONTINUATION : type === CONTINUATION && id === open.id;
    if (fits && (this.#session.settled || type === SETTINGS)) return true;
    this.fault(PROTOCOL_ERROR);
    return false;
  }

  frame({ type, flags, id }: Head, bytes: Buffer, range: Range): void {
    if (!this.#inOrder(type, id)) return;
    const { start, end } = range;
    switch (type) {
      case DATA:
        this.#paddedData(id, flags, bytes, { start, end });
        break;
      case HEADERS:
        this.#headers(id, flags, bytes, { start, end });
        break;
      case PRIORITY:
        readPriority(this.#session, id, bytes, range);
        break;
      case RST_STREAM:
        readReset(this.#session, id, bytes, range);
        break;
      case SETTINGS:
        readSettings(this.#session, { id, flags }, bytes, range);
        break;
      case PUSH_PROMISE:
        // Nobody may: clients cannot, and backends were told not to.
        this.fault(PROTOCOL_ERROR);
        break;
      case PING:
        readPing(this.#session, { id, flags }, bytes, range);
        break;
      case GOAWAY:
        readGoaway(this.#session, id, bytes, range);
        break;
      case WINDOW_UPDATE:
        readWindowUpdate(this.#session, id, bytes, range);
        break;
      case CONTINUATION:
        this.#continuation(flags, bytes, { start, end });
        break;
      default:
        // Of a kind that we do not know (RFC 9113 §5.5).
        this.#session.idleFrame();
    }
  }

  // Bodies.

  dataBegins(id: number, flags: number, length: number): void {
    if (!this.#inOrder(DATA, id)) return;
    const session = this.#session;
    this.#reading = null;
    this.#readingEnds = (flags & END_STREAM) !== 0;
    session.receiveWindow -= length;
    if (session.receiveWindow < 0) {
      this.fault(FLOW_CONTROL_ERROR);
      return;
    }
    if (length === 0 && !this.#readingEnds) session.idleFrame();
    if (session.over) return;
    const stream = session.streams.get(id);
    if (stream === undefined) {
      this.#strayFrame(id, STREAM_CLOSED);
      return;
    }
    if (stream.remoteEnded) {
      session.streamError(stream, STREAM_CLOSED);
      return;
    }
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) {
      session.streamError(stream, FLOW_CONTROL_ERROR);
      return;
    }
    this.#reading = stream;
  }

  data(bytes: Buffer, { start, end }: Range, last: boolean): void {
    const stream = this.#reading;
    const length = end - start;
    if (stream === null || stream.closed) {
      if (length > 0) this.#session.giveCredit(null, length);
      return;
    }
    stream.receivedBytes += length;
    const expected = stream.expectedBytes;
    if (expected !== -1 && stream.receivedBytes > expected) {
      this.#session.giveCredit(null, length);
      this.#session.streamError(stream, PROTOCOL_ERROR);
      return;
    }
    if (length > 0) {
      try {
        stream.bodyCame(bytes, start, end);
      } catch (error) {
        this.#session.host.bug(stream, error);
      }
      stream.taken(length);
    }
    if (last && this.#readingEnds && !stream.closed) this.#endRemote(stream);
  }

  #paddedData(id: number, flags: number, bytes: Buffer, range: Range): void {
    const body = this.#withoutPadding(bytes, range, flags, 0);
    if (body === undefined) return;
    const length = range.end - range.start;
    this.dataBegins(id, flags, length);
    if (this.over) return;
    const { start, end } = body;
    const padding = length - (end - start);
    if (start === end && !this.#readingEnds) this.#session.idleFrame();
    // Padding fills the windows, too (RFC 9113 §6.9.1).
    this.#session.giveCredit(this.#reading, padding);
    this.data(bytes, body, true);
  }

  /** The payload without its padding; undefined where there is more of that than there are bytes. */
  #withoutPadding(
    bytes: Buffer,
    { start, end }: Range,
    flags: number,
    fixed: number,
  ): Range | undefined {
    if ((flags & PADDED) === 0) {
      if (end - start >= fixed) return { start, end };
      this.fault(FRAME_SIZE_ERROR);
      return undefined;
    }
    if (end - start < 1 + fixed) {
      this.fault(FRAME_SIZE_ERROR);
      return undefined;
    }
    const last = end - (bytes[start] as number);
    if (last >= start + 1 + fixed) return { start: start + 1, end: last };
    this.fault(PROTOCOL_ERROR);
    return undefined;
  }

  /** The peer has said all it had to say on a stream, without trailers. */
  #endRemote(stream: Stream<K>): void {
    if (!this.#bodyIsWhole(stream)) return;
    stream.remoteEnded = true;
    try {
      stream.endCame();
    } catch (error) {
      this.#session.host.bug(stream, error);
    }
    if (stream.localEnded && !stream.closed) this.#session.close(stream);
  }

  /** A body is as long as its head has announced (RFC 9113 §8.1.1). */
  #bodyIsWhole(stream: Stream<K>): boolean {
    if (stream.expectedBytes === -1 || stream.receivedBytes === stream.expectedBytes) return true;
    this.#session.streamError(stream, PROTOCOL_ERROR);
    return false;
  }

  /** A frame came on a stream that is not open. */
  #strayFrame(id: number, code: number): void {
    const session = this.#session;
    if (this.#session.isIdle(id)) session.fail(PROTOCOL_ERROR);
    // What was under way when this side had done with the stream means nothing any more.
    else if (session.isServer && !session.closedStreams.wasReset(id) && !session.left) {
      session.refuseStream(id, code);
    }
  }

  // Header blocks.

  #headers(id: number, flags: number, bytes: Buffer, range: Range): void {
    const fixed = (flags & WITH_PRIORITY) === 0 ? 0 : 5;
    const payload = this.#withoutPadding(bytes, range, flags, fixed);
    if (payload === undefined) return;
    const { start, end } = payload;
    if (id === 0) {
      this.fault(PROTOCOL_ERROR);
      return;
    }
    const dependsOnItself = fixed > 0 && identifierAt(bytes, start) === id;
    const open = { id, flags, dependsOnItself, sinceMs: this.#session.beganMs };
    if ((flags & END_HEADERS) !== 0) {
      this.#blockCame(open, bytes, { start: start + fixed, end });
      return;
    }
    this.#open = open;
    this.#parts = [];
    this.#partBytes = 0;
    this.#keepPart(bytes, start + fixed, end);
  }

  #continuation(flags: number, bytes: Buffer, { start, end }: Range): void {
    this.#keepPart(bytes, start, end);
    const open = this.#open;
    if (this.over || open === null || (flags & END_HEADERS) === 0) return;
    const block = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#blockCame(open, block, { start: 0, end: block.length });
    this.#open = null;
  }

  #keepPart(bytes: Buffer, start: number, end: number): void {
    this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    this.#partBytes += end - start;
    const excess = this.#partBytes > BLOCK_BYTES_MAX || this.#parts.length > BLOCK_FRAMES_MAX;
    if (excess) this.fault(ENHANCE_YOUR_CALM);
  }

  /** A whole header block: it is read whosever it is, for it may change the table. */
  #blockCame(
    { id, flags, dependsOnItself }: { id: number; flags: number; dependsOnItself: boolean },
    bytes: Buffer,
    { start, end }: Range,
  ): void {
    const ended = (flags & END_STREAM) !== 0;
    const { version } = this.#decoder;
    const range = { start, end };
    const found = this.#blocks.find(bytes, range, { version, ended });
    const known = found === null ? null : found.known;
    this.#block = null;
    if (found !== null) {
      for (const field of found.adds) this.#decoder.add(field);
    } else {
      list.clear();
      if (!this.#decoder.decode(bytes, range, list)) {
        this.fault(COMPRESSION_ERROR);
        return;
      }
      const { depends } = this.#decoder;
      const isSmall = list.bytes <= REMEMBERED_BYTES_MAX;
      if (isSmall && (!depends || this.#decoder.version === version)) {
        this.#block = { bytes, start, end, version: depends ? version : ANY_VERSION, ended };
      }
    }
    const session = this.#session;
    const stream = session.streams.get(id);
    if (stream !== undefined) {
      if (dependsOnItself) session.streamError(stream, PROTOCOL_ERROR);
      else if (stream.remoteEnded) session.streamError(stream, STREAM_CLOSED);
      else this.#streamFields(stream, known, ended);
    } else if (session.isServer) {
      this.#newStream(id, dependsOnItself, { known, ended });
    } else if (this.#session.isIdle(id)) {
      this.fault(PROTOCOL_ERROR);
    }
    this.#block = null;
  }

  #streamFields(stream: Stream<K>, known: K | null, ended: boolean): void {
    if (ended) {
      if (!this.#bodyIsWhole(stream)) return;
      stream.remoteEnded = true;
    }
    try {
      stream.fieldsCame(list, known, ended);
    } catch (error) {
      this.#session.host.bug(stream, error);
    }
    if (stream.remoteEnded && stream.localEnded && !stream.closed) this.#session.close(stream);
  }

  #newStream(
    id: number,
    dependsOnItself: boolean,
    { known, ended }: { known: K | null; ended: boolean },
  ): void {
    const session = this.#session;
    if (id % 2 === 0) {
      this.fault(PROTOCOL_ERROR);
    } else if (id <= session.lastId) {
      const { closedStreams } = session;
      if (closedStreams.wasReset(id)) session.idleFrame();
      else this.fault(closedStreams.wasOpen(id) ? STREAM_CLOSED : PROTOCOL_ERROR);
    } else if (session.left) {
      // The peer was told, and sends it again elsewhere.
      this.#session.idleFrame();
    } else {
      session.lastId = id;
      const tooMany = session.streams.size >= session.limits.concurrentStreams;
      const isRefused = tooMany || dependsOnItself;
      try {
        if (isRefused) session.host.refused?.(list, known, { ended, tooMany });
        else session.host.requested?.(id, list, known, ended);
      } catch (error) {
        session.host.bug(session.streams.get(id) ?? null, error);
      }
      if (!isRefused) return;
      session.closedStreams.note(id, true);
      session.refuseStream(id, tooMany ? REFUSED_STREAM : PROTOCOL_ERROR);
    }
  }

  /**
   * Remembers what the block that is being read says, to be found when it comes again. Blocks that refer
   * to the table and change it are not: they never say the same again.
   */
  remember(known: K): void {
    const block = this.#block;
    if (block === null) return;
    const { version, ended } = block;
    const { added } = this.#decoder;
    const adds = added.length === 0 ? NO_FIELDS : [...added];
    this.#blocks.note(block.bytes, block, { version, adds, ended, known });
  }
}
