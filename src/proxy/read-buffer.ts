/**
 * The buffer that all plain connections of a side read into, one read at a time; what it holds is
 * valid during the call that hands it over. It can be compared by words, for a comparison through
 * Buffer is a call out of JavaScript.
 */

export class ReadBuffer {
  readonly bytes: Buffer;
  /** The same memory in words; empty where the bytes are somebody else's and may not be aligned. */
  readonly #words: Int32Array;

  private constructor(bytes: Buffer, words: Int32Array) {
    this.bytes = bytes;
    this.#words = words;
  }

  static ofSize(size: number): ReadBuffer {
    const bytes = Buffer.allocUnsafeSlow(size);
    return new ReadBuffer(bytes, new Int32Array(bytes.buffer, bytes.byteOffset, size >> 2));
  }

  /**
   * `bytes`, which came in a buffer of their own: in this buffer where they are few enough to be a head
   * that may be known, for it is compared by words; else where they are.
   */
  taking(bytes: Buffer): ReadBuffer {
    if (bytes.length > TAKEN_BYTES_MAX) return ReadBuffer.over(bytes);
    this.bytes.set(bytes);
    return this;
  }

  /** Bytes that came in a buffer of their own. */
  static over(bytes: Buffer): ReadBuffer {
    return new ReadBuffer(bytes, NO_WORDS);
  }

  /** Whether it begins with `known`. Says no where the bytes are not the shared memory's. */
  beginsWith(known: KnownBytes): boolean {
    const words = this.#words;
    const { whole, length } = known;
    const count = whole.length;
    if (count > words.length) return false;
    for (let index = 0; index < count; index++) if (words[index] !== whole[index]) return false;
    const { bytes } = this;
    const { rest } = known;
    const restStart = length - rest.length;
    for (let index = 0; index < rest.length; index++) {
      if (bytes[restStart + index] !== rest[index]) return false;
    }
    return count > 0;
  }
}

const TAKEN_BYTES_MAX = 4096;
const NO_WORDS = new Int32Array(0);

/** Bytes that are looked for at the beginning of reads. */
export class KnownBytes {
  readonly length: number;
  readonly whole: Int32Array;
  /** The last bytes, which fill no word. */
  readonly rest: Uint8Array;

  /** Copies `text`, which is latin1. */
  constructor(text: string) {
    const bytes = Buffer.allocUnsafeSlow(text.length);
    bytes.write(text, "latin1");
    this.length = bytes.length;
    this.whole = new Int32Array(bytes.buffer, 0, bytes.length >> 2);
    this.rest = new Uint8Array(bytes.buffer, bytes.length & ~3);
  }
}
