/**
 * Wall time that never goes back: where the system's clock is set back, time goes on from where it
 * was, one percent slower, until the two meet. So of two times that were taken in one process the
 * later one is never the smaller, however the clock is set.
 */
import type { Clock } from "./clock.ts";

const CATCHING_UP_PACE = 0.99;

/** `clock` with a `now` that never goes back. */
export function steadyClock(clock: Clock): Clock {
  let nowMs = clock.now();
  let readAtMs = clock.monotonic();
  return {
    now() {
      const elapsedMs = clock.monotonic() - readAtMs;
      nowMs = Math.max(clock.now(), nowMs + elapsedMs * CATCHING_UP_PACE);
      readAtMs += elapsedMs;
      return Math.floor(nowMs);
    },
    monotonic: () => clock.monotonic(),
    after: (delayMs, action) => clock.after(delayMs, action),
  };
}
