/**
 * A fixed open-addressed table of 64-bit key hashes in shared memory: it gives each key a small
 * index that every thread agrees on, without a message between them. Rows of metrics and gates of
 * arms are found through it.
 *
 * The control thread reserves a key before any worker hears of it and frees it when none uses it
 * any more; it alone reuses freed places. A key that nobody reserved can be inserted by any thread,
 * but only at the end of its chain: there all threads compete for the same place, so that none can
 * get a second index for it.
 */
import { hash64 } from "../base/hash.ts";

const EMPTY = 0n;
/** A removed key's place: reusable, but a search goes on past it. */
const REMOVED = -1n;

export class IndexTable {
  readonly capacity: number;
  readonly #keys: BigInt64Array<SharedArrayBuffer>;
  readonly #mask: number;

  /** `buffer` holds eight bytes per entry; the number of entries is a power of two. */
  constructor(buffer: SharedArrayBuffer) {
    this.#keys = new BigInt64Array(buffer);
    this.capacity = this.#keys.length;
    this.#mask = this.capacity - 1;
  }

  /** The index of `key`, or -1. */
  find(key: string): number {
    const wanted = keyOf(key);
    for (let step = 0, index = this.#start(wanted); step < this.capacity; step++) {
      const found = Atomics.load(this.#keys, index);
      if (found === wanted) return index;
      if (found === EMPTY) return -1;
      index = (index + 1) & this.#mask;
    }
    return -1;
  }

  /**
   * The index of `key`, which is given one if it has none; -1 when there is no room. Any thread.
   */
  findOrInsert(key: string): number {
    const wanted = keyOf(key);
    for (;;) {
      const { place, end } = this.#search(wanted);
      if (place !== -1 || end === -1) return place;
      const seen = Atomics.compareExchange(this.#keys, end, EMPTY, wanted);
      if (seen === EMPTY || seen === wanted) return end;
    }
  }

  /** As `findOrInsert`, but also into freed places. The control thread alone, before any worker. */
  reserve(key: string): number {
    const wanted = keyOf(key);
    for (;;) {
      const { place, freed } = this.#search(wanted);
      if (place !== -1) return place;
      if (freed === -1) return this.findOrInsert(key);
      if (Atomics.compareExchange(this.#keys, freed, REMOVED, wanted) === REMOVED) return freed;
    }
  }

  /** Frees the place of `key`. The control thread alone, once no worker can still use its index. */
  remove(key: string): void {
    const index = this.find(key);
    if (index !== -1) Atomics.store(this.#keys, index, REMOVED);
  }

  /**
   * Frees the places of all other keys; `onFree` is told of each index before anybody can take it.
   * The control thread alone, once no worker can still use them.
   */
  keepOnly(keys: Iterable<string>, onFree: (index: number) => void): void {
    const kept = new Set<bigint>();
    for (const key of keys) kept.add(keyOf(key));
    for (let index = 0; index < this.capacity; index++) {
      const found = Atomics.load(this.#keys, index);
      if (found === EMPTY || found === REMOVED || kept.has(found)) continue;
      onFree(index);
      Atomics.store(this.#keys, index, REMOVED);
    }
  }

  /**
   * Where `wanted` stands, the first freed place on its way, and the empty one at its end; or -1.
   */
  #search(wanted: bigint): { place: number; freed: number; end: number } {
    let freed = -1;
    for (let step = 0, index = this.#start(wanted); step < this.capacity; step++) {
      const found = Atomics.load(this.#keys, index);
      if (found === wanted) return { place: index, freed, end: -1 };
      if (found === REMOVED && freed === -1) freed = index;
      if (found === EMPTY) return { place: -1, freed, end: index };
      index = (index + 1) & this.#mask;
    }
    return { place: -1, freed, end: -1 };
  }

  #start(hash: bigint): number {
    return Number(BigInt.asUintN(32, hash)) & this.#mask;
  }
}

/** A hash that is neither of the two marks. */
function keyOf(key: string): bigint {
  const hash = hash64(key);
  return hash === REMOVED ? 2n : hash;
}
