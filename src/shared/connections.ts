/**
 * How many client connections each port has, over all workers: each worker counts its own in a stripe
 * that nobody else writes, and whoever asks sums them. A worker that comes back begins at nothing.
 */
import { IndexTable } from "./index-table.ts";

/** Ports that are counted; connections to others are not limited. A power of two. */
const PORTS_MAX = 1024;

export interface ConnectionCountBuffers {
  readonly index: SharedArrayBuffer;
  readonly stripes: SharedArrayBuffer;
}

export function allocateConnectionCounts(workers: number): ConnectionCountBuffers {
  return {
    index: new SharedArrayBuffer(PORTS_MAX * 8),
    stripes: new SharedArrayBuffer(PORTS_MAX * workers * 4),
  };
}

export class ConnectionCounts {
  readonly #index: IndexTable;
  readonly #counts: Int32Array<SharedArrayBuffer>;
  readonly #workers: number;
  readonly #worker: number;

  /** For the worker of that index, which has no connections yet. */
  constructor(buffers: ConnectionCountBuffers, worker: number) {
    this.#index = new IndexTable(buffers.index);
    this.#counts = new Int32Array(buffers.stripes);
    this.#workers = this.#counts.length / PORTS_MAX;
    this.#worker = worker;
    for (let port = 0; port < PORTS_MAX; port++) Atomics.store(this.#counts, this.#own(port), 0);
  }

  /** The number of a port, by the key of its socket; -1 where there is no room. */
  portOf(socketKey: string): number {
    return this.#index.findOrInsert(socketKey);
  }

  /** Counts one more; returns how many there are now, this one included. */
  add(port: number): number {
    if (port === -1) return 0;
    Atomics.add(this.#counts, this.#own(port), 1);
    let sum = 0;
    for (let worker = 0; worker < this.#workers; worker++) {
      sum += Atomics.load(this.#counts, worker * PORTS_MAX + port);
    }
    return sum;
  }

  remove(port: number): void {
    if (port !== -1) Atomics.sub(this.#counts, this.#own(port), 1);
  }

  #own(port: number): number {
    return this.#worker * PORTS_MAX + port;
  }
}
