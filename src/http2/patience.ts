/**
 * How much of what is allowed but leads nowhere a peer may do before its connection ends: streams that
 * end by a reset, whoever sends it (CVE-2023-44487, CVE-2025-8671), frames that only cost an answer or
 * the reading (CVE-2019-9512, -9515, -9518), windows that are opened by next to nothing (CVE-2019-9511),
 * streams beyond the limit.
 */

/** Streams that are reset at once, and a second. */
const RESET_BURST = 200;
const RESETS_PER_SECOND = 50;
/** Frames that bring nothing, within a minute in which the peer is sent nothing that it asked for. */
const IDLE_FRAMES_MAX = 1000;
const IDLE_PERIOD_MS = 60_000;
/** Frames that open windows, for each that the peer asked for, and beyond. */
const WINDOWS_PER_FRAME = 16;
const WINDOWS_MORE = 10_000;
/** Streams beyond the limit that are refused. */
const REFUSED_MAX = 100;

export class Patience {
  #resets = RESET_BURST;
  #resetsAtMs = 0;
  #idleFrames = 0;
  #idleSinceMs = 0;
  #refused = 0;
  #windows = WINDOWS_MORE;

  /** A stream was reset. All of these: false where it was one too many. */
  reset(nowMs: number): boolean {
    const earned = ((nowMs - this.#resetsAtMs) / 1000) * RESETS_PER_SECOND;
    this.#resets = Math.min(RESET_BURST, this.#resets + earned);
    this.#resetsAtMs = nowMs;
    this.#resets--;
    return this.#resets >= 0;
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

  refused(): boolean {
    return ++this.#refused <= REFUSED_MAX;
  }
}
