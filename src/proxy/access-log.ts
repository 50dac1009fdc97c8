/**
 * The access log: lines are joined in memory and written every 50 ms, one write in flight, never
 * waited for. A destination that is full or slow costs lines, which are counted, never traffic.
 */
import { close, closeSync, fstatSync, open, openSync, write } from "node:fs";
import { promisify } from "node:util";
import type { Cancel, Clock } from "../base/clock.ts";

const FLUSH_MS = 50;
/** A line that is longer than a chunk is dropped; heads are smaller. */
const CHUNK_BYTES = 256 * 1024;
/** Chunks that may wait; what comes on top is dropped and counted. */
const CHUNKS_MAX = 16;

/**
 * What goes to a pipe at once: it takes so many bytes whole (POSIX, PIPE_BUF), and longer writes of
 * several workers are mingled where it is full.
 */
const PIPE_BYTES = 4096;
const LINE_END = 0x0a;

interface Chunk {
  readonly bytes: Buffer;
  readonly length: number;
}

/** Where the next line goes: it is written to `bytes` from `used` on, and `lineTo` says where it ends. */
export interface LogRoom {
  readonly bytes: Buffer;
  readonly used: number;
  lineTo(end: number): void;
}

export interface AccessLog {
  /** One line with its end, in ASCII. */
  line(text: string): void;
  /** For lines that are written as bytes, where there is such a way and room for `bytesMax` more. */
  room?(bytesMax: number): LogRoom | null;
  /** Lines that were not written: the destination was full, failing or too slow. */
  readonly dropped: number;
  /** Resolves once everything was handed to the destination or given up; then closes it. */
  close(): Promise<void>;
}

export interface ReopenableLog extends AccessLog {
  /**
   * The file was renamed: goes on in a new file of the same name, opened as the first one was. Lines
   * that were taken before are written whole, to one of the two. Rejects where the file cannot be
   * opened; then the log goes on in the old one.
   */
  reopen(): Promise<void>;
}

/** A log that goes nowhere. */
export const NO_ACCESS_LOG: ReopenableLog = {
  line() {},
  dropped: 0,
  reopen: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

/**
 * Opens the log: a path, "-" for standard output, "" for nowhere. Throws what opening the file
 * throws (ENOENT, EACCES …), for a log that cannot be had should be known before traffic flows.
 */
export function openAccessLog(destination: string, clock: Clock): ReopenableLog {
  if (destination === "") return NO_ACCESS_LOG;
  const descriptor = destination === "-" ? STANDARD_OUTPUT : openSync(destination, "a", FILE_MODE);
  return new FileLog(destination === "-" ? "" : destination, descriptor, clock);
}

const STANDARD_OUTPUT = 1;
const FILE_MODE = 0o640;
const openFile = promisify(open);

class FileLog implements ReopenableLog, LogRoom {
  readonly #path: string;
  #descriptor: number;
  /** What is written at once ends with a line if it can, and is no longer than this. */
  readonly #pieceBytes: number;
  /** Opened and taken into use between two chunks, so that no line stands in two files. */
  #next: number | undefined;
  #closed = false;
  readonly #clock: Clock;
  /** Where lines are put; a line is in memory once, and no string outlives its request. */
  bytes: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  used = 0;
  #lines = 0;
  /** Full chunks, oldest first. The first one is being written while `#writing`. */
  readonly #full: Chunk[] = [];
  #spare: Buffer | undefined;
  #dropped = 0;
  #writing = false;
  #cancelFlush: Cancel | undefined;
  #onIdle: (() => void) | undefined;

  /** `path` is "" for what cannot be reopened. */
  constructor(path: string, descriptor: number, clock: Clock) {
    this.#path = path;
    this.#descriptor = descriptor;
    const status = fstatSync(descriptor);
    this.#pieceBytes = status.isFIFO() || status.isSocket() ? PIPE_BYTES : CHUNK_BYTES;
    this.#clock = clock;
  }

  get dropped(): number {
    return this.#dropped;
  }

  line(text: string): void {
    if (this.room(text.length) === null) {
      this.#dropped++;
      return;
    }
    this.lineTo(this.used + this.bytes.write(text, this.used, "latin1"));
  }

  room(bytesMax: number): LogRoom | null {
    if (this.used + bytesMax > CHUNK_BYTES) {
      this.#seal();
      this.#flush();
    }
    return this.used + bytesMax > CHUNK_BYTES || this.#full.length >= CHUNKS_MAX ? null : this;
  }

  lineTo(end: number): void {
    this.used = end;
    this.#lines++;
    if (this.#cancelFlush !== undefined || this.#writing) return;
    this.#cancelFlush = this.#clock.after(FLUSH_MS, () => this.#flush());
  }

  async reopen(): Promise<void> {
    if (this.#path === "" || this.#closed) return;
    const opened = await openFile(this.#path, "a", FILE_MODE);
    if (this.#closed) {
      closeSync(opened);
      return;
    }
    if (this.#next !== undefined) closeSync(this.#next);
    this.#next = opened;
    if (!this.#writing) this.#switch();
  }

  #switch(): void {
    if (this.#next === undefined) return;
    // A file system may hold this up, and nobody needs to know how it went.
    close(this.#descriptor, () => {});
    this.#descriptor = this.#next;
    this.#next = undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    this.#flush();
    while (this.#writing) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      if (!this.#writing) this.#flush();
    }
    this.#switch();
    if (this.#path !== "") closeSync(this.#descriptor);
  }

  /** Puts the present chunk among those to be written, and begins another one. */
  #seal(): void {
    if (this.#full.length >= CHUNKS_MAX || this.#lines === 0) return;
    this.#full.push({ bytes: this.bytes, length: this.used });
    this.bytes = this.#spare ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.#spare = undefined;
    this.used = 0;
    this.#lines = 0;
  }

  #flush(): void {
    if (this.#writing) return;
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    if (this.#full.length === 0) this.#seal();
    const chunk = this.#full[0];
    if (chunk === undefined) return;
    this.#writing = true;
    this.#write(chunk, 0);
  }

  #write(chunk: Chunk, offset: number): void {
    const { bytes, length } = chunk;
    const piece = Math.min(length - offset, this.#pieceBytes);
    const end = length - offset === piece ? length : lineEndIn(bytes, offset, offset + piece);
    write(this.#descriptor, bytes, offset, end - offset, null, (error, written) => {
      if (error === null && offset + written < length && written > 0) {
        this.#write(chunk, offset + written);
        return;
      }
      if (error !== null) this.#dropped += linesIn(bytes.subarray(offset, length));
      this.#full.shift();
      this.#spare = bytes;
      this.#writing = false;
      this.#switch();
      if (this.#full.length > 0) {
        this.#flush();
      } else if (this.#lines > 0 && this.#onIdle === undefined) {
        this.#cancelFlush = this.#clock.after(FLUSH_MS, () => this.#flush());
      }
      const idle = this.#onIdle;
      this.#onIdle = undefined;
      idle?.();
    });
  }
}

/** Where the last line ends that lies in `bytes` from `from` to `to`; `to` where none does. */
function lineEndIn(bytes: Buffer, from: number, to: number): number {
  const at = bytes.lastIndexOf(LINE_END, to - 1);
  return at < from ? to : at + 1;
}

function linesIn(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(LINE_END); at !== -1; at = bytes.indexOf(LINE_END, at + 1)) lines++;
  return lines;
}

/** Characters that JSON or a reader of latin1 text needs escaped. */
const UNSAFE = /[^ !#-[\]-~]/;

/** `text` as a JSON string in ASCII. */
export function jsonText(text: string): string {
  if (!UNSAFE.test(text)) return `"${text}"`;
  return JSON.stringify(text).replace(
    /[\x7f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
