/**
 * Hostnames to values, as Gateway API ranks them: an exact name before any wildcard, a wildcard
 * with a longer suffix before a shorter one, the empty name (any host) last. A lookup costs the
 * number of labels of the host, not the number of names.
 */
import type { Hostname } from "../compile/program.ts";

export class HostTable<T> {
  readonly #exact = new Map<string, T>();
  /** Keyed by the suffix with its dot: ".example.com". */
  readonly #wildcard = new Map<string, T>();
  #any: T | undefined;

  constructor(entries: Iterable<readonly [Hostname, T]>) {
    for (const [hostname, value] of entries) {
      if (hostname === "" || hostname === "*") this.#any = value;
      else if (hostname.startsWith("*.")) this.#wildcard.set(hostname.slice(1), value);
      else this.#exact.set(hostname, value);
    }
  }

  /** The value of the most specific name that fits `host`. */
  find(host: string): T | undefined {
    return this.first(host, (value) => value);
  }

  /** What `pick` makes of the first name that fits and that it makes something of. */
  first<R, C = undefined>(
    host: string,
    pick: (value: T, context: C) => R | undefined,
    context?: C,
  ): R | undefined {
    // An empty map would have the name hashed all the same.
    const exact = this.#exact.size === 0 ? undefined : this.#exact.get(host);
    if (exact !== undefined) {
      const picked = pick(exact, context as C);
      if (picked !== undefined) return picked;
    }
    if (this.#wildcard.size > 0) {
      // The first label is what the star stands for, so it takes at least one character.
      for (let dot = host.indexOf(".", 1); dot !== -1; dot = host.indexOf(".", dot + 1)) {
        const wildcard = this.#wildcard.get(host.slice(dot));
        if (wildcard === undefined) continue;
        const picked = pick(wildcard, context as C);
        if (picked !== undefined) return picked;
      }
    }
    return this.#any === undefined ? undefined : pick(this.#any, context as C);
  }

  *values(): IterableIterator<T> {
    yield* this.#exact.values();
    yield* this.#wildcard.values();
    if (this.#any !== undefined) yield this.#any;
  }
}
