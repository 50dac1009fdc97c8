/**
 * Runs reconcilers: each by a signal and by the time it asked for, one activation at a time, with
 * jittered backoff after a failure. A signal carries no data and signals add up to one; retrying is
 * the driver's alone, so no reconciler has a loop of its own. The last error is always visible.
 */
import type { Cancel, Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Reconciler } from "./reconciler.ts";

export interface ReconcilerState {
  readonly name: string;
  readonly running: boolean;
  /** Activations that have ended, well or not. */
  readonly runs: number;
  /** Failures since the last success. */
  readonly failures: number;
  readonly lastError: string | undefined;
  /** Wall time, milliseconds since the epoch. */
  readonly lastRunAtMs: number | undefined;
  readonly wakeAtMs: number | undefined;
}

export interface Driver {
  /** Begins: every reconciler runs once, at once. */
  start(): void;
  /** Wakes all reconcilers, or the one of that name. Cheap: call it for every change seen. */
  signal(name?: string): void;
  /** What each reconciler is doing, in the order given. */
  states(): readonly ReconcilerState[];
  /** Aborts what runs, waits for it to end and starts nothing more. */
  stop(): Promise<void>;
}

export interface DriverOptions {
  readonly reconcilers: readonly Reconciler[];
  readonly clock: Clock;
  readonly random: Random;
  /** Called with every failure of an activation. */
  readonly onError?: (name: string, error: unknown, failures: number) => void;
}

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 30_000;

/** A driver for these reconcilers; nothing runs before `start`. */
export function createDriver(options: DriverOptions): Driver {
  const controller = new AbortController();
  const loops = options.reconcilers.map((each) => new Loop(each, options, controller.signal));
  return {
    start: () => {
      for (const loop of loops) loop.wake();
    },
    signal: (name) => {
      for (const loop of loops) if (name === undefined || loop.name === name) loop.wake();
    },
    states: () => loops.map((loop) => loop.state()),
    stop: async () => {
      controller.abort();
      await Promise.all(loops.map((loop) => loop.stop()));
    },
  };
}

class Loop {
  readonly name: string;
  readonly #reconciler: Reconciler;
  readonly #options: DriverOptions;
  readonly #signal: AbortSignal;
  #active: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #cancelTimer: Cancel | undefined;
  #wakeAtMs: number | undefined;
  #retryPending = false;
  #runs = 0;
  #failures = 0;
  #lastError: string | undefined;
  #lastRunAtMs: number | undefined;

  constructor(reconciler: Reconciler, options: DriverOptions, signal: AbortSignal) {
    this.name = reconciler.name;
    this.#reconciler = reconciler;
    this.#options = options;
    this.#signal = signal;
  }

  /**
   * After a failure a signal cuts the backoff down to its first length, not to nothing: what fails
   * may be the store, yet an abort must not wait for half a minute.
   */
  wake(): void {
    if (this.#stopped) return;
    if (this.#retryPending) {
      const soonMs = this.#options.clock.now() + BACKOFF_FIRST_MS;
      if ((this.#wakeAtMs ?? 0) > soonMs) this.#scheduleRetry(BACKOFF_FIRST_MS);
      return;
    }
    if (this.#active !== undefined) {
      this.#again = true;
      return;
    }
    this.#activate();
  }

  state(): ReconcilerState {
    return {
      name: this.name,
      running: this.#active !== undefined,
      runs: this.#runs,
      failures: this.#failures,
      lastError: this.#lastError,
      lastRunAtMs: this.#lastRunAtMs,
      wakeAtMs: this.#wakeAtMs,
    };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#active;
  }

  #activate(): void {
    this.#cancel();
    this.#again = false;
    this.#active = this.#run().finally(() => {
      this.#active = undefined;
      if (this.#again) this.wake();
    });
  }

  async #run(): Promise<void> {
    const { clock, onError } = this.#options;
    // One turn of the microtask queue: signals of one burst become one activation.
    await Promise.resolve();
    this.#lastRunAtMs = clock.now();
    try {
      const { wakeAtMs } = await this.#reconciler.reconcile(this.#signal);
      this.#failures = 0;
      this.#lastError = undefined;
      if (wakeAtMs !== undefined) this.#schedule(wakeAtMs - clock.now());
    } catch (error) {
      if (this.#signal.aborted) return;
      this.#failures += 1;
      this.#lastError = error instanceof Error ? error.message : String(error);
      this.#scheduleRetry(this.#backoffMs());
      onError?.(this.name, error, this.#failures);
    } finally {
      this.#runs += 1;
    }
  }

  /** Between half of the exponential delay and all of it, so that retries of many do not meet. */
  #backoffMs(): number {
    const fullMs = Math.min(BACKOFF_FIRST_MS * 2 ** (this.#failures - 1), BACKOFF_MAX_MS);
    return fullMs * (0.5 + 0.5 * this.#options.random());
  }

  #scheduleRetry(delayMs: number): void {
    this.#schedule(delayMs);
    this.#retryPending = true;
  }

  #schedule(delayMs: number): void {
    this.#cancel();
    if (this.#stopped) return;
    const { clock } = this.#options;
    this.#wakeAtMs = clock.now() + Math.max(delayMs, 0);
    this.#cancelTimer = clock.after(delayMs, () => {
      this.#cancelTimer = undefined;
      this.#retryPending = false;
      this.wake();
    });
  }

  #cancel(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#wakeAtMs = undefined;
    this.#retryPending = false;
  }
}
