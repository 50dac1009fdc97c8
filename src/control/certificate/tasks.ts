/**
 * Work that a server takes its time for, one piece at a time for each resource, so that a CA that
 * hangs keeps nobody else waiting. What fails waits longer each time before it is tried again; so
 * does what was looked at and had not changed.
 */
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import { StoreError } from "../../store/store.ts";
import { AcmeError } from "./acme-error.ts";

/** "changed": there is something new to plan; "same": look again after a while. */
export type Progress = "changed" | "same";

export interface TasksOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Called when a piece of work has ended. */
  readonly wake: () => void;
  /** Called with failures; those that are bugs have no other witness. */
  readonly onFailure: (key: string, error: unknown) => void;
}

/** Pieces of work under way at once; what is due beyond them waits its turn. */
const RUNNING_MAX = 16;
const POLL_FIRST_MS = 500;
const POLL_MAX_MS = 10_000;
const RETRY_FIRST_MS = 1000;
const RETRY_MAX_MS = 300_000;

interface Entry {
  running: AbortController | undefined;
  notBeforeMs: number;
  failures: number;
  idle: number;
}

export class Tasks {
  readonly #options: TasksOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: TasksOptions) {
    this.#options = options;
  }

  /**
   * Begins `work` for `key` unless there is some under way or it has to wait; returns when to ask
   * again, undefined where the end of what runs will say so.
   */
  run(key: string, work: (signal: AbortSignal) => Promise<Progress>): number | undefined {
    const entry = this.#entryOf(key);
    if (entry.running !== undefined) return undefined;
    const nowMs = this.#options.clock.now();
    if (entry.notBeforeMs > nowMs) return entry.notBeforeMs;
    // The end of any of those that run wakes the controller.
    if (this.#runningCount() >= RUNNING_MAX) return undefined;
    entry.running = new AbortController();
    void this.#perform(key, entry, { work, signal: entry.running.signal });
    return undefined;
  }

  /** Whether there is work under way for `key`. */
  isRunning(key: string): boolean {
    return this.#entries.get(key)?.running !== undefined;
  }

  /** Forgets and ends the work of all others. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const [key, { running }] of this.#entries) {
      if (keys.has(key)) continue;
      running?.abort();
      this.#entries.delete(key);
    }
  }

  #entryOf(key: string): Entry {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { running: undefined, notBeforeMs: 0, failures: 0, idle: 0 };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #runningCount(): number {
    let count = 0;
    for (const { running } of this.#entries.values()) if (running !== undefined) count++;
    return count;
  }

  async #perform(
    key: string,
    entry: Entry,
    { work, signal }: { work: Parameters<Tasks["run"]>[1]; signal: AbortSignal },
  ): Promise<void> {
    const { clock, wake, onFailure } = this.#options;
    try {
      const progress = await work(signal);
      entry.failures = 0;
      entry.idle = progress === "changed" ? 0 : entry.idle + 1;
      const waitMs = Math.min(POLL_FIRST_MS * 2 ** (entry.idle - 1), POLL_MAX_MS);
      entry.notBeforeMs = progress === "changed" ? 0 : clock.now() + waitMs;
    } catch (error) {
      if (signal.aborted) return;
      entry.notBeforeMs = clock.now() + this.#retryMs(entry, error);
      onFailure(key, error);
    } finally {
      entry.running = undefined;
      if (!signal.aborted) wake();
    }
  }

  #retryMs(entry: Entry, error: unknown): number {
    // Somebody else has written: what is to be done now is seen at once.
    const late = error instanceof StoreError && error.code !== "Unavailable";
    if (late) return 0;
    entry.failures += 1;
    const fullMs = Math.min(RETRY_FIRST_MS * 2 ** (entry.failures - 1), RETRY_MAX_MS);
    const waitMs = fullMs * (0.5 + this.#options.random() / 2);
    return error instanceof AcmeError ? Math.max(waitMs, error.retryAfterMs) : waitMs;
  }
}
