/**
 * The bytes of an HTTP/1.1 connection that no request has taken yet: the next head as far as it has come,
 * or what is pipelined behind the request in flight. Heads are read where they lie (RFC 9112 §2.2).
 */
import { REQUEST_HEAD_BYTES_MAX, type HeadFault } from "../http1/fault.ts";
import type { PathReading } from "../http1/path.ts";
import { judgePartialHead, parseRequestHead, type RequestHead } from "../http1/request-head.ts";

/** How a connection of HTTP/2 begins (RFC 9113 §3.4), as far as it looks like a request. */
const HTTP2_REQUEST = "PRI * HTTP/2.0\r\n\r\n";

/** `more`: the head is not complete. `http2`: the connection's first bytes are those of HTTP/2. */
export type ReadResult = RequestHead | HeadFault | "more" | "http2";

export class RequestReader {
  /** Null for none. */
  pending: Buffer | null = null;
  /** When the first bytes of a head came that is not complete yet; -1 where there are none. */
  startedMs = -1;
  /** When a head was read last, or looked for. */
  readAtMs = 0;
  /** Where the head ends that was read last. */
  headEnd = 0;
  /** Whether no request has been read on this connection. */
  #first = true;
  /** The one empty line that may stand before a request was dropped. */
  #emptyLine = false;

  get pendingBytes(): number {
    return this.pending === null ? 0 : this.pending.length;
  }

  /** Puts bytes, which must not change afterwards, behind what is there. */
  keep(bytes: Buffer | null): void {
    if (bytes === null || bytes.length === 0) return;
    this.pending = this.pending === null ? bytes : Buffer.concat([this.pending, bytes]);
  }

  /** All that is pending, which is not any more. */
  take(): Buffer {
    const bytes = this.pending as Buffer;
    this.pending = null;
    return bytes;
  }

  /** A head was recognised by its bytes, and is no concern of this reader. */
  passOver(): void {
    this.startedMs = -1;
    this.#emptyLine = false;
  }

  /**
   * Reads the head that the first `length` bytes begin with, of which nothing is pending; where it is
   * not complete, copies of them are, save of an empty line.
   */
  read(bytes: Buffer, length: number, path: PathReading | undefined): ReadResult {
    this.readAtMs = performance.now();
    // One empty line before a request line is passed over (RFC 9112 §2.2).
    const empty = length > 1 && bytes[0] === 0x0d && bytes[1] === 0x0a && !this.#emptyLine;
    const start = empty ? 2 : 0;
    if (length - start <= 1 && (length === start || bytes[start] === 0x0d)) {
      if (length > start) this.pending = Buffer.from(bytes.subarray(0, length));
      else this.#emptyLine = true;
      return "more";
    }
    const limit = Math.min(length, start + REQUEST_HEAD_BYTES_MAX);
    const text = bytes.toString("latin1", start, limit);
    const blank = text.indexOf("\r\n\r\n");
    if (blank === -1) {
      const http2 = this.#first && HTTP2_REQUEST.startsWith(text);
      const fault = http2 ? undefined : judgePartialHead(text);
      if (fault !== undefined) return fault;
      this.pending = Buffer.from(bytes.subarray(0, length));
      if (this.startedMs === -1) this.startedMs = this.readAtMs;
      return "more";
    }
    const head = parseRequestHead(text, blank + 4, path);
    if (typeof head === "string") {
      return this.#first && text.startsWith(HTTP2_REQUEST) ? "http2" : head;
    }
    this.#first = false;
    this.#emptyLine = false;
    this.headEnd = start + blank + 4;
    return head;
  }
}
