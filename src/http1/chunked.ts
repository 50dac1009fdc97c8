/**
 * The chunked coding (RFC 9112 §7.1), decoded strictly and incrementally, in both directions. Sizes
 * are hexadecimal digits alone, every line ends in CRLF, extensions are checked, capped and dropped,
 * trailer fields are checked and dropped. Data is handed on as ranges of the buffer it came in.
 */
import { isHeaderBlock } from "./header-block.ts";

/** Takes decoded data as it comes: bytes of `buffer` from `start` to `end`, valid during the call. */
export interface BodySink {
  body(buffer: Buffer, start: number, end: number): void;
}

const SIZE = 0;
const LINE_LF = 1;
const DATA = 2;
const DATA_CR = 3;
const DATA_LF = 4;
const TRAILER = 5;
const DONE = 6;
const FAILED = 7;

/** One chunk's size line without its CRLF, and all extensions of one body. */
const SIZE_LINE_BYTES_MAX = 1024;
const EXTENSION_BYTES_MAX = 16 * 1024;
const TRAILER_BYTES_MAX = 8 * 1024;

/** RFC 9112 §7.1.1, without the whitespace that its grammar calls bad. */
const SIZE_LINE =
  /^([0-9A-Fa-f]{1,13})((?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"))?)*)$/;
const FORBIDDEN_TRAILER =
  /^(?:content-[^:]*|transfer-encoding|host|trailer|te|connection|authorization|cookie|set-cookie|x-forwarded-[^:]*):/im;

export class ChunkedDecoder {
  #state = SIZE;
  #left = 0;
  #line = "";
  #extensionBytes = 0;

  get done(): boolean {
    return this.#state === DONE;
  }

  get failed(): boolean {
    return this.#state === FAILED;
  }

  /**
   * Decodes `buffer` from `start` to `end` and returns where it stopped: at `end`, behind the last
   * byte of the message (`done`), or at the first wrong one (`failed`).
   */
  read(
    buffer: Buffer,
    { start, end, sink }: { start: number; end: number; sink: BodySink },
  ): number {
    let at = start;
    while (at < end && this.#state < DONE) {
      if (this.#state === DATA) {
        const to = Math.min(end, at + this.#left);
        this.#left -= to - at;
        if (this.#left === 0) this.#state = DATA_CR;
        sink.body(buffer, at, to);
        at = to;
      } else if (this.#state === SIZE || this.#state === TRAILER) {
        at = this.#readLine(buffer, at, end);
      } else {
        this.#expect(buffer[at] as number);
        at++;
      }
    }
    return at;
  }

  /** Collects a line up to its CR. */
  #readLine(buffer: Buffer, at: number, end: number): number {
    const found = buffer.indexOf(0x0d, at);
    const to = found === -1 || found >= end ? end : found;
    const room = (this.#state === SIZE ? SIZE_LINE_BYTES_MAX : TRAILER_BYTES_MAX) + 1;
    this.#line += buffer.toString("latin1", at, Math.min(to, at + room));
    // A wrong first line fails at once, even while its end has not come.
    if (this.#line.length >= room || !this.#beginsWell()) {
      this.#state = FAILED;
      return at;
    }
    if (to === end) return end;
    if (this.#state === SIZE) this.#sizeLine();
    else this.#trailerLine();
    return to + 1;
  }

  #beginsWell(): boolean {
    if (this.#state === TRAILER)
      return !this.#line.endsWith("\n") || !/[^\r]\n|^\n/.test(this.#line);
    return /^[0-9A-Fa-f]{0,13}(?:$|;[\t\x20-\x7e\x80-\xff]*$)/.test(this.#line);
  }

  #sizeLine(): void {
    const match = SIZE_LINE.exec(this.#line);
    this.#line = "";
    if (match === null) {
      this.#state = FAILED;
      return;
    }
    this.#left = Number.parseInt(match[1] as string, 16);
    this.#extensionBytes += (match[2] as string).length;
    const fits = this.#extensionBytes <= EXTENSION_BYTES_MAX && Number.isSafeInteger(this.#left);
    this.#state = fits ? LINE_LF : FAILED;
  }

  /** `#line` holds all trailer lines so far; the message ends with an empty one. */
  #trailerLine(): void {
    const text = this.#line;
    if (text === "" || text.endsWith("\n")) {
      const valid = isHeaderBlock(text, 0, text.length) && !FORBIDDEN_TRAILER.test(text);
      this.#state = valid ? LINE_LF : FAILED;
      this.#left = -1;
      return;
    }
    this.#line += "\r";
    this.#state = LINE_LF;
    this.#left = 0;
  }

  /** The bytes that can be only one: LF after a size or trailer line, CR and LF after data. */
  #expect(byte: number): void {
    if (this.#state === DATA_CR) {
      this.#state = byte === 0x0d ? DATA_LF : FAILED;
      return;
    }
    if (byte !== 0x0a) {
      this.#state = FAILED;
    } else if (this.#state === DATA_LF) {
      this.#state = SIZE;
    } else if (this.#left === -1) {
      this.#state = DONE;
    } else if (this.#left > 0) {
      this.#state = DATA;
    } else {
      if (this.#line !== "") this.#line += "\n";
      this.#state = TRAILER;
    }
  }
}

/** The line that goes before a chunk of `byteLength` bytes (above 0); CRLF goes after it. */
export function chunkLine(byteLength: number): string {
  return `${byteLength.toString(16)}\r\n`;
}

export const LAST_CHUNK = "0\r\n\r\n";

/** Bytes as one chunk in one buffer of their own: size, data, CRLF. */
export function framedChunk(buffer: Buffer, start: number, end: number): Buffer {
  const size = chunkLine(end - start);
  const framed = Buffer.allocUnsafe(size.length + end - start + 2);
  framed.write(size, "latin1");
  buffer.copy(framed, size.length, start, end);
  framed.write("\r\n", framed.length - 2, "latin1");
  return framed;
}
