/**
 * Streams that closed lately, by whom. Frames on a stream that this side has reset were under way and are
 * passed over; on one that the peer had ended, they are an error (RFC 9113 §5.1).
 */

/** At least, and at most. */
const REMEMBERED_MIN = 256;
const REMEMBERED_MAX = 8192;

export class ClosedStreams {
  /** Twice as many as may be open at a time: all of them may be reset, and frames for each be under way. */
  readonly #size: number;
  /** Ids, negated where this side has reset the stream. Made with the first. */
  #ids: Int32Array | null = null;
  #next = 0;

  /** `openMax`: streams that may be open at a time. */
  constructor(openMax: number) {
    this.#size = Math.min(Math.max(2 * openMax, REMEMBERED_MIN), REMEMBERED_MAX);
  }

  note(id: number, byReset: boolean): void {
    this.#ids ??= new Int32Array(this.#size);
    this.#ids[this.#next] = byReset ? -id : id;
    this.#next = (this.#next + 1) % this.#size;
  }

  /** Whether the stream was reset by this side. */
  wasReset(id: number): boolean {
    return this.#ids?.includes(-id) === true;
  }

  /** Whether the stream is known to have been open. */
  wasOpen(id: number): boolean {
    return this.#ids?.includes(id) === true;
  }
}
