/**
 * Rate limits that are exact across workers: GCRA (the generic cell rate algorithm) on cells in
 * shared memory. A cell is {64-bit key hash, theoretical arrival time in nanoseconds}; taking a
 * token is one compare-and-set of the time. While a cell is being given to another key, its time is
 * negative: since when, so that everybody can tell that a thread has died over it. A cell whose time has passed holds a full bucket, as a
 * new one would, so it is given to the next key that wants it.
 *
 * Never more than burst + rate × time is admitted, counted from a bucket's first use, and with a
 * burst of two or more from any moment (see `baseOf`). Two things make that hold while cells change
 * hands. A cell's time only ever grows, so a compare-and-set that succeeds proves that the cell was
 * not given away in between. And a key gets a cell only under a lock that all claimants of that key
 * share, so it never has two.
 */
import { systemRandom } from "../base/random.ts";

export type LimitDecision = "admitted" | "limited" | "full";

export interface LimitRate {
  /** Reads one monotonic clock of the process: a time read before another thread's is no use. */
  readonly nowNs: () => bigint;
  /** The time in which one token refills. */
  readonly intervalNs: bigint;
  /** The size of the bucket, at least 1. */
  readonly burst: number;
}

/** How far from its hash a cell may stand. Bounds the cost of a full table. */
const PROBES_MAX = 32;
/** Locks for claiming cells; claims of one key share one. A power of two. */
const LOCKS = 64;
/** In place of a cell's position: the token has been taken already. */
const ADMITTED = -2;
/** A thread can end while it holds a lock or a cell; nobody holds one that long otherwise. */
const ABANDONED_NS = 1_000_000_000n;
const LOCK_WAIT_MS = 1;
/**
 * How long a cell that is changing hands is waited for: two stores take far less, unless the thread
 * is put aside between them. It is then passed over, until it is settled or abandoned.
 */
const CHANGING_WAIT_NS = 10_000_000n;
/** Looks at such a cell between two looks at the clock. */
const CHANGING_LOOKS = 1000;
const HEAD_BYTES = 8;
/** Pauses in a stream of requests that are nobody's intention. */
const JITTER_NS = 50_000_000n;

/** `cells` is a power of two. */
export function allocateLimits(cells: number): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(HEAD_BYTES + LOCKS * 8 + cells * 16);
  new Int32Array(buffer, 0, 1)[0] = Math.floor(systemRandom() * 2 ** 31);
  return buffer;
}

export class Limits {
  /** For hashing what clients send, so that nobody outside can aim at another's bucket. */
  readonly seed: number;
  /** Milliseconds until a token is there, after `take` answered "limited". */
  waitMs = 0;
  readonly #locks: BigInt64Array<SharedArrayBuffer>;
  readonly #cells: BigInt64Array<SharedArrayBuffer>;
  readonly #mask: number;

  constructor(buffer: SharedArrayBuffer) {
    this.seed = new Int32Array(buffer, 0, 1)[0] as number;
    this.#locks = new BigInt64Array(buffer, HEAD_BYTES, LOCKS);
    this.#cells = new BigInt64Array(buffer, HEAD_BYTES + LOCKS * 8);
    this.#mask = this.#cells.length / 2 - 1;
  }

  /** Takes one token of the bucket `key` (a hash64); "full" when no cell in reach is free. */
  take(key: bigint, rate: LimitRate): LimitDecision {
    for (;;) {
      let cell = this.#find(key);
      if (cell === -1) {
        cell = this.#claim(key, rate);
        if (cell === -1) return "full";
        if (cell === ADMITTED) return "admitted";
      }
      const decision = this.#takeFrom(cell, key, rate);
      if (decision !== undefined) return decision;
    }
  }

  /** Undefined when the cell has changed meanwhile. */
  #takeFrom(cell: number, key: bigint, rate: LimitRate): LimitDecision | undefined {
    const nowNs = rate.nowNs();
    const { intervalNs, burst } = rate;
    // The order counts: the time first, then the key, then the compare-and-set of the time.
    const arrival = Atomics.load(this.#cells, cell + 1);
    if (arrival < 0n || Atomics.load(this.#cells, cell) !== key) return undefined;
    const excess = arrival - nowNs - intervalNs * BigInt(burst - 1);
    if (excess > 0n) {
      this.waitMs = Number(excess) / 1e6;
      return "limited";
    }
    const next = baseOf(arrival, nowNs, rate) + intervalNs;
    const seen = Atomics.compareExchange(this.#cells, cell + 1, arrival, next);
    return seen === arrival ? "admitted" : undefined;
  }

  /** The cell of `key`, or -1. */
  #find(key: bigint): number {
    let index = Number(BigInt.asUintN(32, key)) & this.#mask;
    for (let step = 0; step < PROBES_MAX; step++) {
      const found = Atomics.load(this.#cells, index * 2);
      if (found === key && this.#isSettled(index * 2)) return index * 2;
      // A cell that is being claimed for the first time has a time before it has a key.
      if (found === 0n && Atomics.load(this.#cells, index * 2 + 1) === 0n) return -1;
      index = (index + 1) & this.#mask;
    }
    return -1;
  }

  /** Waits until a cell that is changing hands has changed; false if that takes too long. */
  #isSettled(cell: number): boolean {
    for (;;) {
      let since = 0n;
      for (let look = 0; look < CHANGING_LOOKS; look++) {
        since = Atomics.load(this.#cells, cell + 1);
        if (since >= 0n) return true;
        if (look === 0 && isOlder(since, CHANGING_WAIT_NS)) return false;
      }
    }
  }

  /** Gives `key` a cell and takes its first token; or finds that it has one; or -1. */
  #claim(key: bigint, rate: LimitRate): number {
    const lock = Number(BigInt.asUintN(32, key >> 32n)) & (LOCKS - 1);
    const token = this.#lock(lock);
    try {
      // Another claimant of this key may have been first; nobody else can become it now.
      const found = this.#find(key);
      return found === -1 ? this.#takeOver(key, rate) : found;
    } finally {
      Atomics.compareExchange(this.#locks, lock, token, 0n);
      Atomics.notify(this.#locks, lock, 1);
    }
  }

  #takeOver(key: bigint, rate: LimitRate): number {
    const start = Number(BigInt.asUintN(32, key)) & this.#mask;
    // Read under the lock: a cell of this key that was given away had expired before now.
    const nowNs = rate.nowNs();
    for (let step = 0; step < PROBES_MAX; step++) {
      const cell = ((start + step) & this.#mask) * 2;
      const arrival = Atomics.load(this.#cells, cell + 1);
      if (arrival < 0n ? !isOlder(arrival, ABANDONED_NS) : arrival > nowNs) continue;
      // Claimants of other keys may want this cell as well: one of them gets it.
      const since = -process.hrtime.bigint();
      if (Atomics.compareExchange(this.#cells, cell + 1, arrival, since) !== arrival) continue;
      Atomics.store(this.#cells, cell, key);
      Atomics.store(this.#cells, cell + 1, nowNs + rate.intervalNs);
      return ADMITTED;
    }
    return -1;
  }

  #lock(lock: number): bigint {
    for (;;) {
      const token = process.hrtime.bigint();
      const holder = Atomics.compareExchange(this.#locks, lock, 0n, token);
      if (holder === 0n) return token;
      if (token - holder > ABANDONED_NS) {
        if (Atomics.compareExchange(this.#locks, lock, holder, token) === holder) return token;
      } else {
        Atomics.wait(this.#locks, lock, holder, LOCK_WAIT_MS);
      }
    }
  }
}

/** Whether a cell began to change hands at `-since` and that is longer ago than `ns`. */
function isOlder(since: bigint, ns: bigint): boolean {
  return process.hrtime.bigint() + since > ns;
}

/**
 * From when the next token refills. A bucket of one token is empty whenever it is used, so what
 * refills while the next request is on its way would be lost, and a client at twice the limit would
 * be held to less than the limit. Lateness of up to one interval is therefore made good, or of up
 * to `JITTER_NS` where intervals are shorter than the pauses of networks and schedulers. The sum
 * since the bucket was first used still never exceeds 1 + rate × time.
 */
function baseOf(arrival: bigint, nowNs: bigint, { intervalNs, burst }: LimitRate): bigint {
  if (arrival > nowNs) return arrival;
  const lateNs = intervalNs > JITTER_NS ? intervalNs : JITTER_NS;
  return burst === 1 && nowNs - arrival <= lateNs ? arrival : nowNs;
}
