/**
 * Streams that closed lately, by whom. Frames on a stream that this side has reset were under way and are
 * passed over; on one that the peer had ended, they are an error (RFC 9113 §5.1).
 */

/** As many as may be under way, and then some. */
const REMEMBERED = 256;

export class ClosedStreams {
  /** Ids, negated where this side has reset the stream. Made with the first. */
  #ids: Int32Array | null = null;
  #next = 0;

  note(id: number, byReset: boolean): void {
    this.#ids ??= new Int32Array(REMEMBERED);
    this.#ids[this.#next] = byReset ? -id : id;
    this.#next = (this.#next + 1) % REMEMBERED;
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
