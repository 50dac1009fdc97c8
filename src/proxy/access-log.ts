/**
 * The access log: lines are joined in memory and written every 50 ms, one write in flight, never
 * waited for. A destination that is full or slow costs lines, which are counted, never traffic.
 */
import { closeSync, openSync, write } from "node:fs";
import type { Cancel, Clock } from "../base/clock.ts";

const FLUSH_MS = 50;
/** Characters that may wait; what comes on top is dropped and counted. */
const PENDING_CHARS_MAX = 4 * 1024 * 1024;

export interface AccessLog {
  /** One JSON object without line end. */
  line(text: string): void;
  /** Lines that were not written: the destination was full, failing or too slow. */
  readonly dropped: number;
  /** Resolves once everything was handed to the destination or given up; then closes it. */
  close(): Promise<void>;
}

/** A log that goes nowhere. */
export const NO_ACCESS_LOG: AccessLog = {
  line() {},
  dropped: 0,
  close: () => Promise.resolve(),
};

/**
 * Opens the log: a path, "-" for standard output, "" for nowhere. Throws what opening the file
 * throws (ENOENT, EACCES …), for a log that cannot be had should be known before traffic flows.
 */
export function openAccessLog(destination: string, clock: Clock): AccessLog {
  if (destination === "") return NO_ACCESS_LOG;
  return new FileLog(destination === "-" ? 1 : openSync(destination, "a", 0o640), clock);
}

class FileLog implements AccessLog {
  readonly #descriptor: number;
  readonly #clock: Clock;
  #pending = "";
  #pendingLines = 0;
  #dropped = 0;
  #writing = false;
  #cancelFlush: Cancel | undefined;
  #onIdle: (() => void) | undefined;

  constructor(descriptor: number, clock: Clock) {
    this.#descriptor = descriptor;
    this.#clock = clock;
  }

  get dropped(): number {
    return this.#dropped;
  }

  line(text: string): void {
    if (this.#pending.length > PENDING_CHARS_MAX) {
      this.#dropped++;
      return;
    }
    this.#pending += text;
    this.#pending += "\n";
    this.#pendingLines++;
    if (this.#cancelFlush !== undefined || this.#writing) return;
    this.#cancelFlush = this.#clock.after(FLUSH_MS, () => this.#flush());
  }

  async close(): Promise<void> {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    if (!this.#writing) this.#flush();
    while (this.#writing) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      if (!this.#writing) this.#flush();
    }
    if (this.#descriptor !== 1) closeSync(this.#descriptor);
  }

  #flush(): void {
    this.#cancelFlush = undefined;
    if (this.#pending === "") return;
    const bytes = Buffer.from(this.#pending, "latin1");
    const lines = this.#pendingLines;
    this.#pending = "";
    this.#pendingLines = 0;
    this.#writing = true;
    this.#write(bytes, { offset: 0, lines });
  }

  #write(bytes: Buffer, { offset, lines }: { offset: number; lines: number }): void {
    write(this.#descriptor, bytes, offset, bytes.length - offset, null, (error, written) => {
      if (error === null && offset + written < bytes.length && written > 0) {
        this.#write(bytes, { offset: offset + written, lines });
        return;
      }
      if (error !== null) this.#dropped += lines;
      this.#writing = false;
      if (this.#pending !== "" && this.#onIdle === undefined) {
        this.#cancelFlush = this.#clock.after(FLUSH_MS, () => this.#flush());
      }
      const idle = this.#onIdle;
      this.#onIdle = undefined;
      idle?.();
    });
  }
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
