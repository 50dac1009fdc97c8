/**
 * Where the frames of one direction of a WebSocket end (RFC 6455 §5.2), found in bytes that pass by in
 * pieces of any size. Nothing is unmasked, buffered or changed: it is what one who passes bytes on
 * has to know to say a last word of its own between two frames.
 */

const CLOSE = 0x8;
const MASKED = 0x80;

export class FrameTracker {
  /** Bytes of the present frame's payload and mask that have not come yet. */
  #left = 0;
  /** What has come of the present frame's first two bytes and length: at most ten bytes. */
  #seen = 0;
  #first = 0;
  #second = 0;
  #length = 0;
  /** A whole Close frame has passed: nothing more will be said (RFC 6455 §5.5.1). */
  closed = false;
  /** What passes is no WebSocket: no boundary is known any more. */
  lost = false;

  /** Whether everything that has passed is whole frames. */
  get atBoundary(): boolean {
    return this.#left === 0 && this.#seen === 0 && !this.lost;
  }

  /** Follows bytes that pass, from `start` to `end`. */
  pass(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      const whole = this.#left === 0 && this.#seen === 0 ? wholeFrame(bytes, at, end) : -1;
      if (whole === -1) {
        at = this.#step(bytes, at, end);
      } else {
        if (((bytes[at] as number) & 0x0f) === CLOSE) this.closed = true;
        at = whole;
      }
    }
  }

  /**
   * Follows bytes up to where the present frame ends, and returns that position; -1 where it does not
   * end in them, which have then passed as a whole.
   */
  passFrame(bytes: Uint8Array, start: number, end: number): number {
    if (this.atBoundary) return start;
    let at = start;
    while (at < end) {
      at = this.#step(bytes, at, end);
      if (this.atBoundary) return at;
    }
    return -1;
  }

  /** One byte of a frame's head, or all there is of its payload. Returns where it stands then. */
  #step(bytes: Uint8Array, at: number, end: number): number {
    if (this.lost) return end;
    if (this.#left > 0) {
      const taken = Math.min(this.#left, end - at);
      this.#left -= taken;
      if (this.#left === 0) this.#ended();
      return at + taken;
    }
    this.#head(bytes[at] as number);
    return at + 1;
  }

  #head(byte: number): void {
    const seen = this.#seen++;
    if (seen === 0) {
      this.#first = byte;
      return;
    }
    if (seen === 1) {
      this.#second = byte;
      this.#length = byte & 0x7f;
      if (this.#length < 126) this.#begin();
      else this.#length -= this.#length === 126 ? 126 : 127;
      return;
    }
    this.#length = this.#length * 256 + byte;
    if (this.#seen === ((this.#second & 0x7f) === 126 ? 4 : 10)) this.#begin();
  }

  /** The head says all but the mask, which counts as payload here. */
  #begin(): void {
    if (!Number.isSafeInteger(this.#length)) {
      this.lost = true;
      return;
    }
    this.#left = this.#length + (this.#second & MASKED ? 4 : 0);
    this.#seen = 0;
    if (this.#left === 0) this.#ended();
  }

  #ended(): void {
    if ((this.#first & 0x0f) === CLOSE) this.closed = true;
  }
}

/** Where a short frame that begins at `at` ends, if all of it is there; else -1. */
function wholeFrame(bytes: Uint8Array, at: number, end: number): number {
  if (end - at < 2) return -1;
  const second = bytes[at + 1] as number;
  const length = second & 0x7f;
  const frameEnd = at + 2 + (second & MASKED ? 4 : 0) + length;
  return length < 126 && frameEnd <= end ? frameEnd : -1;
}

/** "Going away" (RFC 6455 §7.4.1): the server stops, or the page is left. */
export const GOING_AWAY = 1001;

/**
 * A Close frame. Clients mask what they send (RFC 6455 §5.3); a mask protects from what a script
 * chooses to send, of which there is nothing here, so that of zeros will do.
 */
export function closeFrame(code: number, from: "client" | "server"): Buffer {
  const [high, low] = [code >> 8, code & 0xff];
  const masked = [0x88, 0x82, 0, 0, 0, 0, high, low];
  return Buffer.from(from === "client" ? masked : [0x88, 0x02, high, low]);
}
