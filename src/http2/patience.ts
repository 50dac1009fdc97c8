/**
 * How much of what is allowed but leads nowhere a peer may do before its connection ends: streams that
 * end by a reset, whoever sends it, before anything came of them (CVE-2023-44487, CVE-2025-8671), frames
 * that only cost an answer or the reading (CVE-2019-9512, -9515, -9518), windows that are opened by next to
 * nothing (CVE-2019-9511), streams beyond the limit.
 */

/**
 * Streams that are reset in vain: at once, and a second. One more for each that comes to its end, so that a
 * busy client, which cancels much and gets more, is spared; and all that may be open, twice, for whoever
 * gives up on everything it has asked for.
 */
const RESET_BURST = 200;
const RESETS_PER_SECOND = 50;
/** How long a stream without an answer is young. The older ones are few, for few may be open. */
export const YOUNG_MS = 1000;
/** Frames that bring nothing, within a minute in which the peer is sent nothing that it asked for. */
const IDLE_FRAMES_MAX = 1000;
const IDLE_PERIOD_MS = 60_000;
/** Frames that open windows, for each that the peer asked for, and beyond. */
const WINDOWS_PER_FRAME = 16;
const WINDOWS_MORE = 10_000;

export class Patience {
  readonly #burst: number;
  #resets: number;
  #resetsAtMs = 0;
  #idleFrames = 0;
  #idleSinceMs = 0;
  #windows = WINDOWS_MORE;

  /** `openMax`: streams that the peer may have open at a time. */
  constructor(openMax: number) {
    this.#burst = Math.max(RESET_BURST, 2 * openMax);
    this.#resets = this.#burst;
  }

  /** A stream was reset in vain, or refused. All of these: false where it was one too many. */
  reset(nowMs: number): boolean {
    const earned = ((nowMs - this.#resetsAtMs) / 1000) * RESETS_PER_SECOND;
    this.#resets = Math.min(this.#burst, this.#resets + earned);
    this.#resetsAtMs = nowMs;
    this.#resets--;
    return this.#resets >= 0;
  }

  /** A stream came to its end, with all that both sides had to say. */
  completed(): void {
    this.#resets = Math.min(this.#burst, this.#resets + 1);
  }

  /** A frame came that brings nothing. */
  idleFrame(nowMs: number): boolean {
    if (nowMs - this.#idleSinceMs > IDLE_PERIOD_MS) {
      this.#idleSinceMs = nowMs;
      this.#idleFrames = 0;
    }
    return ++this.#idleFrames <= IDLE_FRAMES_MAX;
  }

  /** The peer is sent something that it asked for: who measures the way meanwhile does no harm. */
  useful(): void {
    this.#idleFrames = 0;
    this.#windows += WINDOWS_PER_FRAME;
  }

  /** A window was opened, by as little as a byte. */
  window(): boolean {
    return --this.#windows >= 0;
  }
}
