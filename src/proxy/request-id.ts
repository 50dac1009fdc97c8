/**
 * Request ids: a client's own is kept when it is short and plain, else one is made from a random
 * prefix per worker and a counter, which costs no entropy per request and never repeats in a worker.
 */
import type { Random } from "../base/random.ts";

const LAST_DIGITS: readonly string[] = Array.from({ length: 256 }, (_, low) =>
  low.toString(16).padStart(2, "0"),
);
const SANE = /^[A-Za-z0-9._~+/=:@-]{1,128}$/;
const PREFIX_CHARS = 20;
const COUNT_CHARS = 12;
/** Length of an id that was made here. */
export const REQUEST_ID_CHARS = PREFIX_CHARS + COUNT_CHARS;
/** Six digits of the count are one small integer. */
const HALF = 2 ** 24;

export class RequestIds {
  readonly #prefix: string;
  readonly #prefixBytes: Buffer;
  #count = -1;
  /** The last two digits of an id come from a table, the others change once in 256 ids. */
  #beginningOf = -1;
  #beginning = "";

  constructor(random: Random) {
    let prefix = "";
    for (let digits = 0; digits < PREFIX_CHARS; digits++) {
      prefix += Math.floor(random() * 16).toString(16);
    }
    this.#prefix = prefix;
    this.#prefixBytes = Buffer.from(prefix, "latin1");
  }

  /** The number of a new id. */
  next(): number {
    return ++this.#count;
  }

  /** The id of a number, 32 hexadecimal digits. */
  text(id: number): string {
    const low = id % 256;
    const high = (id - low) / 256;
    if (high !== this.#beginningOf) {
      this.#beginningOf = high;
      this.#beginning = this.#prefix + high.toString(16).padStart(COUNT_CHARS - 2, "0");
    }
    return this.#beginning + (LAST_DIGITS[low] as string);
  }

  /** Writes the id of a number as it stands in `text` to `bytes`. */
  put(id: number, bytes: Uint8Array, at: number): void {
    const prefix = this.#prefixBytes;
    for (let index = 0; index < PREFIX_CHARS; index++) bytes[at + index] = prefix[index] as number;
    const low = id % HALF;
    putDigits((id - low) / HALF, bytes, at + PREFIX_CHARS);
    putDigits(low, bytes, at + PREFIX_CHARS + COUNT_CHARS / 2);
  }
}

/** Whether a client's own id may be kept. */
export function isSaneId(id: string): boolean {
  return SANE.test(id);
}

/** Six hexadecimal digits. */
function putDigits(half: number, bytes: Uint8Array, at: number): void {
  for (let index = 0; index < COUNT_CHARS / 2; index++) {
    const digit = (half >> (20 - 4 * index)) & 15;
    bytes[at + index] = digit < 10 ? 0x30 + digit : 0x57 + digit;
  }
}
