/**
 * Request ids: a client's own is kept when it is short and plain, else one is made from a random
 * prefix per worker and a counter, which costs no entropy per request and never repeats in a worker.
 */
import type { Random } from "../base/random.ts";

const SANE = /^[A-Za-z0-9._~+/=:@-]{1,128}$/;

export class RequestIds {
  readonly #prefix: string;
  #count = 0;

  constructor(random: Random) {
    let prefix = "";
    for (let digits = 0; digits < 20; digits++) prefix += Math.floor(random() * 16).toString(16);
    this.#prefix = prefix;
  }

  /** `presented` if it may be kept, else a new id of 32 hexadecimal digits. */
  take(presented: string | undefined): string {
    if (presented !== undefined && SANE.test(presented)) return presented;
    this.#count++;
    return this.#prefix + this.#count.toString(16).padStart(12, "0");
  }
}
