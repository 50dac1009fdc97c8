/**
 * A fixed open-addressed table of 64-bit key hashes in shared memory: it gives each key a small
 * index that every thread agrees on, without a message between them. Slots of metrics and gates of
 * arms are found through it. Inserting is a compare-and-set; removing is left to the control thread,
 * which alone knows that no worker uses the key any more.
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
    const wanted = hash64(key);
    for (let step = 0, index = this.#start(wanted); step < this.capacity; step++) {
      const found = Atomics.load(this.#keys, index);
      if (found === wanted) return index;
      if (found === EMPTY) return -1;
      index = (index + 1) & this.#mask;
    }
    return -1;
  }

  /** The index of `key`, which is given one if it has none; -1 when the table is full. */
  findOrInsert(key: string): number {
    const wanted = hash64(key);
    for (;;) {
      const place = this.#place(wanted);
      if (place === -1) return -1;
      const seen = Atomics.load(this.#keys, place);
      if (seen === wanted) return place;
      if (seen !== EMPTY && seen !== REMOVED) continue;
      if (Atomics.compareExchange(this.#keys, place, seen, wanted) === seen) return place;
    }
  }

  /** Frees the place of `key`. Only once no thread can still use its index. */
  remove(key: string): void {
    const index = this.find(key);
    if (index !== -1) Atomics.store(this.#keys, index, REMOVED);
  }

  /** Where `wanted` stands, or the first free place on its way, or -1. */
  #place(wanted: bigint): number {
    let free = -1;
    for (let step = 0, index = this.#start(wanted); step < this.capacity; step++) {
      const found = Atomics.load(this.#keys, index);
      if (found === wanted) return index;
      if (found === REMOVED && free === -1) free = index;
      if (found === EMPTY) return free === -1 ? index : free;
      index = (index + 1) & this.#mask;
    }
    return free;
  }

  #start(hash: bigint): number {
    return Number(BigInt.asUintN(32, hash)) & this.#mask;
  }
}
