/**
 * Time as a rollout counts it: how long the data plane has served what is wanted, and how much of
 * the current step that was. Durations are measured while somebody looks, on the monotonic clock, so
 * neither a restart nor a clock that is set makes a pause shorter.
 */
import type { Clock } from "../../base/clock.ts";

export interface StepReading {
  /** Wall time, milliseconds since the epoch. */
  readonly servedSinceMs: number | undefined;
  readonly stepServedMs: number;
}

export interface StepInput {
  /** What is wanted: a change of it means that nothing of it has been served yet. */
  readonly wanted: string;
  readonly served: boolean;
  /** Names the step that is under way; undefined while none is. */
  readonly step: string | undefined;
  /** How much of that step the status says was served before this process looked. */
  readonly savedMs: number;
}

/** The clock of one Rollout. It is read at every look; what happens between looks is one stretch. */
export class StepClock {
  readonly #clock: Clock;
  #wanted = "";
  #servedSinceMs: number | undefined;
  #step: string | undefined;
  #servedMs = 0;
  #readAtMs = 0;
  #running = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  read(input: StepInput): StepReading {
    const nowMs = this.#clock.monotonic();
    if (input.step === this.#step) {
      if (this.#running) this.#servedMs += nowMs - this.#readAtMs;
    } else {
      this.#step = input.step;
      this.#servedMs = input.savedMs;
    }
    if (!input.served) this.#servedSinceMs = undefined;
    else if (this.#servedSinceMs === undefined || this.#wanted !== input.wanted) {
      this.#servedSinceMs = this.#clock.now();
    }
    this.#wanted = input.wanted;
    this.#readAtMs = nowMs;
    this.#running = input.served && input.step !== undefined;
    return { servedSinceMs: this.#servedSinceMs, stepServedMs: this.#servedMs };
  }
}
