/**
 * Header blocks as frames: encoded where they are sent from, unless they may be long; those are encoded aside
 * and cut into as many frames as they take.
 */
import {
  CONTINUATION,
  END_HEADERS,
  END_STREAM,
  FRAME_BYTES_DEFAULT,
  FRAME_HEAD_BYTES,
  type FrameSink,
  HEADERS,
  putFrameHead,
} from "./frame.ts";
import type { HpackEncoder } from "./hpack-encoder.ts";

/** A block that may be longer is encoded aside. */
const IN_PLACE_BYTES_MAX = 8192;
/** What has become of the table stands before the fields. */
const TABLE_SIZES_BYTES_MAX = 8;

let aside = new Uint8Array(0);

export class BlockWriter {
  /** Where in the sink the last block begins that was written in place, and how long it is; else 0. */
  at = 0;
  bytes = 0;
  readonly #sink: FrameSink;
  readonly #encoder: HpackEncoder;
  #inPlace = true;
  /** Of the table, when the block began. */
  #version = 0;
  /** The trailers that were sent last. */
  #trailers = "";
  #trailersBlock: Buffer | null = null;
  #trailersVersion = -1;

  constructor(sink: FrameSink, encoder: HpackEncoder) {
    this.#sink = sink;
    this.#encoder = encoder;
  }

  /**
   * Begins a block that takes at most `bytes`: three times the characters of its lines are enough, and 16
   * for each field without a line. The caller writes the fields with the encoder, and then ends it.
   */
  begin(bytes: number): HpackEncoder {
    const encoder = this.#encoder;
    const sink = this.#sink;
    const size = bytes + TABLE_SIZES_BYTES_MAX;
    this.#inPlace = size <= IN_PLACE_BYTES_MAX;
    if (this.#inPlace) {
      sink.room(FRAME_HEAD_BYTES + size);
      encoder.bytes = sink.bytes;
      encoder.at = sink.at + FRAME_HEAD_BYTES;
    } else {
      if (aside.length < size) aside = new Uint8Array(size);
      encoder.bytes = aside;
      encoder.at = 0;
    }
    this.#version = encoder.version;
    encoder.begin();
    return encoder;
  }

  /** Ends the block, stream `id`'s. */
  end(id: number, ends: boolean): void {
    const { at } = this.#encoder;
    const sink = this.#sink;
    if (!this.#inPlace) {
      this.bytes = 0;
      this.#sendAside(id, at, ends);
      return;
    }
    this.at = sink.at + FRAME_HEAD_BYTES;
    this.bytes = at - this.at;
    this.#putHead(id, this.bytes, ends);
    sink.at = at;
  }

  /**
   * A copy of the last block, which can be sent again as long as `encoder.version` stays what it is; null
   * where it cannot, for it was a long one, or has changed the table itself.
   */
  last(): Buffer | null {
    if (this.bytes === 0 || this.#version !== this.#encoder.version) return null;
    return Buffer.from(this.#sink.bytes.subarray(this.at, this.at + this.bytes));
  }

  /** Sends a block that was sent before. */
  send(id: number, block: Buffer, ends: boolean): void {
    const sink = this.#sink;
    sink.room(FRAME_HEAD_BYTES + block.length);
    this.#putHead(id, block.length, ends);
    sink.bytes.set(block, sink.at + FRAME_HEAD_BYTES);
    sink.at += FRAME_HEAD_BYTES + block.length;
  }

  #putHead(id: number, length: number, ends: boolean): void {
    const flags = ends ? END_HEADERS | END_STREAM : END_HEADERS;
    putFrameHead(this.#sink.bytes, this.#sink.at, { length, type: HEADERS, flags, id });
  }

  #sendAside(id: number, length: number, ends: boolean): void {
    const sink = this.#sink;
    for (let at = 0; at < length;) {
      const part = Math.min(length - at, FRAME_BYTES_DEFAULT);
      const type = at === 0 ? HEADERS : CONTINUATION;
      const first = at === 0 && ends ? END_STREAM : 0;
      const flags = first | (at + part === length ? END_HEADERS : 0);
      sink.room(FRAME_HEAD_BYTES + part);
      putFrameHead(sink.bytes, sink.at, { length: part, type, flags, id });
      sink.bytes.set(aside.subarray(at, at + part), sink.at + FRAME_HEAD_BYTES);
      sink.at += FRAME_HEAD_BYTES + part;
      at += part;
    }
  }

  /** Sends whole lines as the trailers that end stream `id`. They are mostly the same again. */
  trailers(id: number, lines: string): void {
    const encoder = this.#encoder;
    const block = this.#trailersBlock;
    if (block !== null && lines === this.#trailers && encoder.version === this.#trailersVersion) {
      this.send(id, block, true);
      return;
    }
    this.begin(3 * lines.length + 64);
    for (let at = 0; at < lines.length;) {
      const end = lines.indexOf("\r\n", at);
      encoder.line(lines.slice(at, end));
      at = end + 2;
    }
    this.end(id, true);
    this.#trailersBlock = this.last();
    this.#trailers = lines;
    this.#trailersVersion = encoder.version;
  }
}
