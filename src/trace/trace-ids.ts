/**
 * Ids of traces and spans. They are drawn many at once and cut from one text of digits, which costs a
 * request two slices.
 */
import type { Random } from "../base/random.ts";

const TRACE_DIGITS = 32;
const SPAN_DIGITS = 16;
const WORDS = 512;
/** Eight hexadecimal digits to a word. */
const DIGITS = WORDS * 8;

export class TraceIds {
  readonly #random: Random;
  readonly #words = new Uint32Array(WORDS);
  readonly #bytes = Buffer.from(this.#words.buffer);
  #digits = "";
  #at = DIGITS;

  constructor(random: Random) {
    this.#random = random;
  }

  traceId(): string {
    return this.#take(TRACE_DIGITS);
  }

  spanId(): string {
    return this.#take(SPAN_DIGITS);
  }

  /** That all digits are zero, which is no valid id, happens once in 2^64 draws at the most. */
  #take(count: number): string {
    if (this.#at + count > DIGITS) this.#draw();
    const at = this.#at;
    this.#at = at + count;
    return this.#digits.slice(at, at + count);
  }

  #draw(): void {
    for (let index = 0; index < WORDS; index++) this.#words[index] = this.#random() * 2 ** 32;
    this.#digits = this.#bytes.toString("hex");
    this.#at = 0;
  }
}
