/**
 * A clock that tests move by hand. Timers run in the order of their times, each at its own time, so
 * that a timeline plays the same on every machine.
 */
import type { Cancel, Clock } from "../../src/base/clock.ts";

interface Timer {
  readonly atMs: number;
  readonly sequence: number;
  readonly action: () => void;
}

/** Where virtual time begins unless a test says otherwise: 2026-01-01T00:00:00Z. */
export const START_MS = Date.UTC(2026, 0, 1);

export class VirtualClock implements Clock {
  #nowMs: number;
  #elapsedMs = 0;
  #sequence = 0;
  readonly #timers = new Set<Timer>();

  constructor(startMs = START_MS) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, action: () => void): Cancel {
    const atMs = this.#elapsedMs + Math.max(delayMs, 0);
    const timer: Timer = { atMs, sequence: this.#sequence++, action };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Timers that are waiting: 0 after a clean stop. */
  get pendingCount(): number {
    return this.#timers.size;
  }

  /** Moves time on and runs, synchronously and in order, every timer that falls due meanwhile. */
  advance(durationMs: number): void {
    const endMs = this.#elapsedMs + durationMs;
    for (let timer = this.#next(endMs); timer !== undefined; timer = this.#next(endMs)) {
      this.#fire(timer);
    }
    this.#moveTo(endMs);
  }

  /** As `advance`, but lets promises settle before, after each timer and at the end. */
  async advanceSettled(durationMs: number, settled: () => Promise<void> = settle): Promise<void> {
    const endMs = this.#elapsedMs + durationMs;
    await settled();
    for (let timer = this.#next(endMs); timer !== undefined; timer = this.#next(endMs)) {
      this.#fire(timer);
      await settled();
    }
    this.#moveTo(endMs);
    await settled();
  }

  /** Moves wall time alone, as an administrator or NTP does; durations do not see it. */
  setWallTime(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  #next(endMs: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > endMs) continue;
      const earlier =
        first === undefined ||
        timer.atMs < first.atMs ||
        (timer.atMs === first.atMs && timer.sequence < first.sequence);
      if (earlier) first = timer;
    }
    return first;
  }

  #fire(timer: Timer): void {
    this.#timers.delete(timer);
    this.#moveTo(Math.max(timer.atMs, this.#elapsedMs));
    timer.action();
  }

  #moveTo(elapsedMs: number): void {
    this.#nowMs += elapsedMs - this.#elapsedMs;
    this.#elapsedMs = elapsedMs;
  }
}

/** Lets everything that is ready run: promises, and callbacks of the event loop's check phase. */
export async function settle(turns = 3): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
