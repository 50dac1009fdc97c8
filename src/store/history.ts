/**
 * The newest events in order, and who listens to them. Events are delivered in a turn of their own,
 * never inside the commit that made them, and are forgotten only after every listener has had them:
 * a commit larger than the history still reaches everybody whole.
 */
import { StoreError } from "./store.ts";
import type { WatchEvent } from "./store.ts";

/** Events kept for a watch that begins in the past. */
export const HISTORY_EVENTS_MAX = 10_000;
/** The size of their resources as JSON: many large Secrets must not fill the memory. */
export const HISTORY_BYTES_MAX = 64 * 1024 * 1024;

export interface HistoryEntry {
  readonly version: number;
  readonly event: WatchEvent;
  /** Size of the resource as JSON text, in UTF-16 units. */
  readonly size: number;
}

interface Listener {
  readonly call: (event: WatchEvent) => void;
  version: number;
}

export class History {
  /** The oldest version that a watch may begin after. */
  floor: number;
  #entries: HistoryEntry[] = [];
  #size = 0;
  readonly #listeners = new Set<Listener>();
  #scheduled: NodeJS.Immediate | undefined;

  constructor(floor: number) {
    this.floor = floor;
  }

  add(entries: readonly HistoryEntry[]): void {
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#size += entry.size;
    }
    this.#schedule();
  }

  /** As Store.watch; `newest` is the version of the newest write. */
  watch(call: (event: WatchEvent) => void, since: number, newest: number): () => void {
    if (since < this.floor || since > newest) {
      const known = `the history reaches from version ${this.floor} to ${newest}`;
      throw new StoreError("Gone", `Cannot watch from version ${since}: ${known}`);
    }
    const listener = { call, version: since };
    this.#listeners.add(listener);
    this.#schedule();
    return () => this.#listeners.delete(listener);
  }

  /**
   * Forgets what is beyond the limits. The newest entry always stays: on disk it is what remembers
   * the newest version.
   */
  trim(): void {
    let excess = Math.max(0, this.#entries.length - HISTORY_EVENTS_MAX);
    for (let at = 0; at < excess; at++) this.#size -= (this.#entries[at] as HistoryEntry).size;
    while (this.#size > HISTORY_BYTES_MAX && excess < this.#entries.length - 1) {
      this.#size -= (this.#entries[excess] as HistoryEntry).size;
      excess++;
    }
    if (excess === 0) return;
    this.floor = (this.#entries[excess - 1] as HistoryEntry).version;
    this.#entries.splice(0, excess);
  }

  close(): void {
    this.#listeners.clear();
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
  }

  #schedule(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      try {
        for (const listener of this.#listeners) this.#deliver(listener);
      } finally {
        this.trim();
      }
    });
  }

  #deliver(listener: Listener): void {
    for (let at = this.#after(listener.version); at < this.#entries.length; at++) {
      if (!this.#listeners.has(listener)) return;
      const entry = this.#entries[at] as HistoryEntry;
      listener.version = entry.version;
      listener.call(entry.event);
    }
  }

  /** The index of the first entry that is newer than `version`. */
  #after(version: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#entries[middle] as HistoryEntry).version <= version) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
