/** The body of one request of an HTTP/1.1 connection on its way to the exchange, framed by its head. */
import { ChunkedDecoder, type BodySink } from "../http1/chunked.ts";
import { forwardBody } from "./attempt.ts";
import type { Exchange } from "./exchange.ts";

export class RequestBody implements BodySink {
  /** The backend takes no more for now. Whoever reads on sets it back. */
  blocked = false;
  readonly #exchange: Exchange;
  readonly #decoder: ChunkedDecoder | null;
  #left: number;

  constructor(x: Exchange) {
    this.#exchange = x;
    this.#left = x.head.contentLength;
    this.#decoder = x.head.chunked ? new ChunkedDecoder() : null;
  }

  get failed(): boolean {
    return this.#decoder?.failed === true;
  }

  get done(): boolean {
    return this.#decoder === null ? this.#left === 0 : this.#decoder.done;
  }

  /** Takes what belongs to the body; returns where the next request begins. */
  read(bytes: Buffer): number {
    if (this.#decoder !== null) {
      return this.#decoder.read(bytes, { start: 0, end: bytes.length, sink: this });
    }
    const next = Math.min(bytes.length, this.#left);
    this.#left -= next;
    if (next > 0) this.body(bytes, 0, next);
    return next;
  }

  /** As a BodySink. */
  body(buffer: Buffer, start: number, end: number): void {
    if (this.#exchange.finished) return;
    if (!forwardBody(this.#exchange, buffer.subarray(start, end))) this.blocked = true;
  }
}
