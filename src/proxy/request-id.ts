/**
 * Request ids: a client's own is kept when it is short and plain, else one is made from a random
 * prefix per worker and a counter, which costs no entropy per request and never repeats in a worker.
 */
import type { Random } from "../base/random.ts";

const LAST_DIGITS: readonly string[] = Array.from({ length: 256 }, (_, low) =>
  low.toString(16).padStart(2, "0"),
);
const SANE = /^[A-Za-z0-9._~+/=:@-]{1,128}$/;

export class RequestIds {
  readonly #prefix: string;
  /** The last two digits of an id come from a table, the others change once in 256 ids. */
  #count = -1;
  #beginning = "";

  constructor(random: Random) {
    let prefix = "";
    for (let digits = 0; digits < 20; digits++) prefix += Math.floor(random() * 16).toString(16);
    this.#prefix = prefix;
  }

  /** `presented` if it may be kept, else a new id of 32 hexadecimal digits. */
  take(presented: string | undefined): string {
    if (presented !== undefined && SANE.test(presented)) return presented;
    this.#count++;
    const low = this.#count % 256;
    if (low === 0) {
      const high = Math.floor(this.#count / 256);
      this.#beginning = this.#prefix + high.toString(16).padStart(10, "0");
    }
    return this.#beginning + (LAST_DIGITS[low] as string);
  }
}
