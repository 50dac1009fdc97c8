/**
 * Bytes to frames. A frame is handed over where it lies once it is whole; what is cut off waits in a
 * copy. The payload of DATA is handed over as it comes, for it may be large and nobody needs it whole.
 */
import {
  DATA,
  FRAME_BYTES_DEFAULT,
  FRAME_HEAD_BYTES,
  FRAME_SIZE_ERROR,
  identifierAt,
  PADDED,
  PREFACE,
  PROTOCOL_ERROR,
} from "./frame.ts";

/** Who takes the frames. `bytes` are valid during the call alone. */
export interface FrameTaker {
  /** Once true, nothing more is handed over. */
  readonly over: boolean;
  /** A whole frame, whose payload stands between `start` and `end`. */
  frame(
    head: { readonly type: number; readonly flags: number; readonly id: number },
    bytes: Buffer,
    range: { start: number; end: number },
  ): void;
  /** A frame of DATA without padding begins. */
  dataBegins(id: number, flags: number, length: number): void;
  /** A piece of its payload; `last` also where it is empty. */
  data(bytes: Buffer, range: { start: number; end: number }, last: boolean): void;
  fault(code: number): void;
}

const NOTHING = Buffer.alloc(0);

export class FrameReader {
  readonly #taker: FrameTaker;
  /** Bytes of the client's preface that have not come yet. */
  #prefaceLeft: number;
  /** What is left of a frame of DATA. */
  #left = 0;
  /** The beginning of a frame. */
  #held = NOTHING;
  #heldBytes = 0;
  /** When that, or the preface, began to come; -1 where nothing waits. */
  #heldSinceMs = -1;
  /** Lent to each call. */
  readonly #head = { type: 0, flags: 0, id: 0 };
  readonly #range = { start: 0, end: 0 };

  /** `preface`: the peer is a client, which begins with one. */
  constructor(taker: FrameTaker, { preface }: { preface: boolean }) {
    this.#taker = taker;
    this.#prefaceLeft = preface ? PREFACE.length : 0;
  }

  /** When what has begun and is not complete began to come, -1 where that is nothing, or a body's. */
  get heldSinceMs(): number {
    return this.#heldBytes > 3 && this.#held[3] === DATA ? -1 : this.#heldSinceMs;
  }

  /** Takes the first `length` bytes, which came now. */
  read(bytes: Buffer, length: number, nowMs: number): void {
    this.#read(bytes, length);
    const isHeld = this.#heldBytes > 0 || this.#prefaceLeft > 0;
    if (!isHeld) this.#heldSinceMs = -1;
    else if (this.#heldSinceMs === -1) this.#heldSinceMs = nowMs;
  }

  #read(bytes: Buffer, length: number): void {
    let at = this.#prefaceLeft === 0 ? 0 : this.#readPreface(bytes, length);
    while (this.#heldBytes > 0 && at < length && !this.#taker.over) {
      at = this.#complete(bytes, at, length);
    }
    if (at >= length || this.#taker.over) return;
    at = this.#readFrames(bytes, at, length);
    if (at < length && !this.#taker.over) this.#hold(bytes, at, length);
  }

  #readPreface(bytes: Buffer, length: number): number {
    let at = 0;
    for (; at < length && this.#prefaceLeft > 0; at++, this.#prefaceLeft--) {
      if (bytes[at] === PREFACE[PREFACE.length - this.#prefaceLeft]) continue;
      this.#taker.fault(PROTOCOL_ERROR);
      return length;
    }
    return at;
  }

  /** Reads whole frames from `at` on; returns where one begins that is not whole. */
  #readFrames(bytes: Buffer, start: number, end: number): number {
    let at = start;
    const taker = this.#taker;
    while (at < end && !taker.over) {
      if (this.#left > 0) {
        at = this.#readData(bytes, at, end);
        continue;
      }
      if (end - at < FRAME_HEAD_BYTES) return at;
      const length = lengthAt(bytes, at);
      if (length > FRAME_BYTES_DEFAULT) {
        taker.fault(FRAME_SIZE_ERROR);
        return end;
      }
      const type = bytes[at + 3] as number;
      const flags = bytes[at + 4] as number;
      const id = identifierAt(bytes, at + 5);
      const payload = at + FRAME_HEAD_BYTES;
      if (type === DATA && (flags & PADDED) === 0) {
        at = payload;
        this.#left = length;
        taker.dataBegins(id, flags, length);
        if (length === 0 && !taker.over) taker.data(bytes, this.#rangeOf(at, at), true);
        continue;
      }
      if (end - payload < length) return at;
      at = payload + length;
      const head = this.#head;
      head.type = type;
      head.flags = flags;
      head.id = id;
      taker.frame(head, bytes, this.#rangeOf(payload, at));
    }
    return at;
  }

  #readData(bytes: Buffer, at: number, end: number): number {
    const to = Math.min(end, at + this.#left);
    this.#left -= to - at;
    this.#taker.data(bytes, this.#rangeOf(at, to), this.#left === 0);
    return to;
  }

  #rangeOf(start: number, end: number): { start: number; end: number } {
    const range = this.#range;
    range.start = start;
    range.end = end;
    return range;
  }

  #hold(bytes: Buffer, start: number, end: number): void {
    this.#grow(end - start);
    bytes.copy(this.#held, 0, start, end);
    this.#heldBytes = end - start;
  }

  #grow(size: number): void {
    if (this.#held.length >= size) return;
    const held = Buffer.allocUnsafeSlow(Math.max(size, 256));
    this.#held.copy(held, 0, 0, this.#heldBytes);
    this.#held = held;
  }

  /** Adds to the frame that is held what belongs to it, and reads it once it is whole. */
  #complete(bytes: Buffer, at: number, end: number): number {
    const next = this.#fill(bytes, { at, end }, FRAME_HEAD_BYTES);
    if (this.#heldBytes < FRAME_HEAD_BYTES) return next;
    const length = lengthAt(this.#held, 0);
    const streams = this.#held[3] === DATA && ((this.#held[4] as number) & PADDED) === 0;
    const tooLong = length > FRAME_BYTES_DEFAULT;
    const whole = streams || tooLong ? FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + length;
    const after = this.#fill(bytes, { at: next, end }, whole);
    if (this.#heldBytes < whole) return after;
    const held = this.#held;
    this.#held = NOTHING;
    this.#heldBytes = 0;
    this.#readFrames(held, 0, whole);
    this.#heldSinceMs = -1;
    return after;
  }

  #fill(bytes: Buffer, { at, end }: { at: number; end: number }, whole: number): number {
    const to = Math.min(end, at + Math.max(whole - this.#heldBytes, 0));
    this.#grow(whole);
    bytes.copy(this.#held, this.#heldBytes, at, to);
    this.#heldBytes += to - at;
    return to;
  }
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
  );
}
