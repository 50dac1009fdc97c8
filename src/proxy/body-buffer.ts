/**
 * Bytes of a body that are kept for later. What is kept costs what was sent, however it was cut:
 * a body in chunks of one byte would otherwise take a hundred bytes of memory for each.
 */

/** Smaller slices are copied together; larger ones are kept as they are. */
const COPIED_BYTES_MAX = 4096;
const TAIL_BYTES_MIN = 4096;
const TAIL_BYTES_MAX = 64 * 1024;
const NO_BYTES = Buffer.alloc(0);

export class BodyBuffer {
  #slices: Buffer[] = [];
  /** Where small slices are copied to; `#from` to `#used` of it is not in `#slices` yet. */
  #tail = NO_BYTES;
  #from = 0;
  #used = 0;
  #bytes = 0;

  /** Bytes that are kept. */
  get length(): number {
    return this.#bytes;
  }

  /** Keeps `bytes`, which must not change afterwards. */
  append(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (bytes.length > COPIED_BYTES_MAX) {
      this.#closeTail();
      this.#slices.push(bytes);
      return;
    }
    if (this.#used + bytes.length > this.#tail.length) this.#growTail();
    bytes.copy(this.#tail, this.#used);
    this.#used += bytes.length;
  }

  /** All that was kept, in one piece; nothing is kept any more. */
  take(): Buffer {
    this.#closeTail();
    const slices = this.#slices;
    const [first] = slices;
    const all = slices.length === 1 ? (first as Buffer) : Buffer.concat(slices, this.#bytes);
    this.#slices = [];
    this.#tail = NO_BYTES;
    this.#from = 0;
    this.#used = 0;
    this.#bytes = 0;
    return all;
  }

  #growTail(): void {
    this.#closeTail();
    const bytes = Math.min(Math.max(this.#tail.length * 2, TAIL_BYTES_MIN), TAIL_BYTES_MAX);
    this.#tail = Buffer.allocUnsafeSlow(bytes);
    this.#from = 0;
    this.#used = 0;
  }

  #closeTail(): void {
    if (this.#used === this.#from) return;
    this.#slices.push(this.#tail.subarray(this.#from, this.#used));
    this.#from = this.#used;
  }
}
