/**
 * Rate limits that are exact across workers: GCRA (the generic cell rate algorithm) on cells in
 * shared memory. A cell is {64-bit key hash, theoretical arrival time in nanoseconds}; a decision is
 * one compare-and-set. A cell whose time has passed is as good as new, so it is reused.
 */

export type LimitDecision = "admitted" | "limited" | "full";

/** How far from its hash a cell may stand. Bounds the cost of a full table. */
const PROBES_MAX = 32;

export class Limits {
  readonly #cells: BigInt64Array<SharedArrayBuffer>;
  readonly #mask: number;

  constructor(buffer: SharedArrayBuffer) {
    this.#cells = new BigInt64Array(buffer);
    this.#mask = this.#cells.length / 2 - 1;
  }

  /**
   * Takes one token of the bucket `key` (a hash64). `nowNs` must come from one monotonic clock of
   * the process; `intervalNs` is the time one token takes to refill, `burst` the bucket's size.
   */
  take(key: bigint, nowNs: bigint, intervalNs: bigint, burst: number): LimitDecision {
    const toleranceNs = intervalNs * BigInt(burst - 1);
    for (;;) {
      const cell = this.#cell(key, nowNs);
      if (cell === -1) return "full";
      const arrival = Atomics.load(this.#cells, cell + 1);
      const base = arrival > nowNs ? arrival : nowNs;
      if (base - nowNs > toleranceNs) return "limited";
      if (Atomics.compareExchange(this.#cells, cell + 1, arrival, base + intervalNs) === arrival) {
        if (Atomics.load(this.#cells, cell) === key) return "admitted";
      }
    }
  }

  /** The cell of `key`, found or claimed; -1 when every cell in reach is in use. */
  #cell(key: bigint, nowNs: bigint): number {
    let index = Number(BigInt.asUintN(32, key)) & this.#mask;
    let reusable = -1;
    for (let step = 0; step < PROBES_MAX; step++) {
      const found = Atomics.load(this.#cells, index * 2);
      if (found === key) return index * 2;
      const expired = Atomics.load(this.#cells, index * 2 + 1) <= nowNs;
      if (reusable === -1 && (found === 0n || expired)) reusable = index * 2;
      if (found === 0n) break;
      index = (index + 1) & this.#mask;
    }
    if (reusable === -1) return -1;
    const seen = Atomics.load(this.#cells, reusable);
    Atomics.compareExchange(this.#cells, reusable, seen, key);
    return Atomics.load(this.#cells, reusable) === key ? reusable : this.#cell(key, nowNs);
  }
}
