/**
 * Time, injected. Everything outside this file and the proxy's timer wheel asks a Clock, so that
 * tests can move time by hand; a tidy test bans `Date.now` and timers elsewhere.
 */

export interface Clock {
  /** Wall time in milliseconds since the epoch: for what a person or another system reads. */
  now(): number;
  /** Milliseconds from a fixed point that never jumps: for durations. */
  monotonic(): number;
  /** Calls `action` once, `delayMs` from now, unless cancelled first. */
  after(delayMs: number, action: () => void): Cancel;
}

export type Cancel = () => void;

/** Node clamps longer timers to 1 ms, so a longer wait is cut and continued. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, action) {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const waitMs = Math.min(Math.max(leftMs, 0), TIMER_MS_MAX);
      timer = setTimeout(() => (leftMs > waitMs ? arm(leftMs - waitMs) : action()), waitMs);
    };
    arm(delayMs);
    return () => clearTimeout(timer);
  },
};

/** RFC 3339 with whole seconds, as Kubernetes' `metav1.Time` is written. */
export function toTimestamp(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/\.\d+Z$/, "Z");
}
