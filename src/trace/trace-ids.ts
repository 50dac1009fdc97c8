/**
 * Ids of traces and spans, as the digits that stand in a head. They are drawn many at once, so that a
 * request takes some and no text is made of them where none is needed.
 */
import type { Random } from "../base/random.ts";

export const TRACE_DIGITS = 32;
export const SPAN_DIGITS = 16;
const WORDS = 512;
/** Eight hexadecimal digits to a word. */
const DIGITS = WORDS * 8;

export class TraceIds {
  readonly #random: Random;
  readonly #words = new Uint32Array(WORDS);
  #digits = Buffer.alloc(0);
  #at = DIGITS;

  constructor(random: Random) {
    this.#random = random;
  }

  /**
   * Keeps the next `count` digits for one request; returns where they stand in `digits`. That all are
   * zero, which is no valid id, happens once in 2^64 draws at the most.
   */
  take(count: number): number {
    if (this.#at + count > DIGITS) this.#draw();
    const at = this.#at;
    this.#at = at + count;
    return at;
  }

  /** Where the digits taken last stand; they never change. */
  get digits(): Buffer {
    return this.#digits;
  }

  #draw(): void {
    const words = this.#words;
    for (let index = 0; index < WORDS; index++) words[index] = this.#random() * 2 ** 32;
    this.#digits = Buffer.from(Buffer.from(words.buffer).toString("hex"), "latin1");
    this.#at = 0;
  }
}

/** Writes `count` digits that stand at `from` of `digits` to `bytes`. */
export function putDigits(
  digits: Uint8Array,
  from: number,
  count: number,
  bytes: Uint8Array,
  at: number,
): void {
  for (let index = 0; index < count; index++) bytes[at + index] = digits[from + index] as number;
}
