/**
 * Finds workers whose event loop no longer goes round. Each moves a number of its own in shared memory
 * on twice a second; one that stands still for too long is ended, which brings it back as a crash
 * does, and lets acknowledgements go on that waited for it.
 */
import type { Cancel, Clock } from "../base/clock.ts";

/** How often a worker moves its number on. */
export const HEARTBEAT_MS = 500;
const CHECK_MS = 1000;
/** A thread that has not begun yet is given more time: a cold start reads files. */
const START_FACTOR = 6;

export interface WatchdogOptions {
  /** SharedMemory.heartbeats. */
  readonly heartbeats: SharedArrayBuffer;
  readonly clock: Clock;
  /** How long a worker may stand still. */
  readonly limitMs: number;
  readonly onHung: (index: number) => void;
}

interface Watched {
  seen: number;
  begun: boolean;
  /** Looks in a row at which the number had not moved. */
  misses: number;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #beats: Int32Array;
  readonly #watched: Watched[];
  #cancel: Cancel | undefined;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#beats = new Int32Array(options.heartbeats);
    this.#watched = Array.from(this.#beats, () => ({ seen: 0, begun: false, misses: 0 }));
    this.#schedule();
  }

  /** The worker was started again: what the last one did says nothing of it. */
  restarted(index: number): void {
    this.#watched[index] = { seen: Atomics.load(this.#beats, index), begun: false, misses: 0 };
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(): void {
    this.#cancel = this.#options.clock.after(CHECK_MS, () => {
      this.#schedule();
      this.#watched.forEach((_, index) => this.#look(index));
    });
  }

  /**
   * Looks are counted, not time: after the whole process stood still (a suspended host, a debugger),
   * this thread may be the first to go on, and would find every worker late.
   */
  #look(index: number): void {
    const watched = this.#watched[index] as Watched;
    const seen = Atomics.load(this.#beats, index);
    if (seen !== watched.seen) {
      this.#watched[index] = { seen, begun: true, misses: 0 };
      return;
    }
    watched.misses++;
    const limitMs = this.#options.limitMs * (watched.begun ? 1 : START_FACTOR);
    if (watched.misses * CHECK_MS < limitMs) return;
    watched.misses = 0;
    this.#options.onHung(index);
  }
}

/** A worker's side: says that its event loop goes round, for as long as it does. */
export function beatFor(heartbeats: SharedArrayBuffer, index: number): void {
  const beats = new Int32Array(heartbeats);
  Atomics.add(beats, index, 1);
  setInterval(() => Atomics.add(beats, index, 1), HEARTBEAT_MS).unref();
}
