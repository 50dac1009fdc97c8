/**
 * Records of requests on their way out of the worker: gathered, and sent to the trace thread in
 * messages of which only so many are under way. Where that thread or its collector does not keep up,
 * records are dropped and counted; a request never waits for one.
 */
import type { MessagePort } from "node:worker_threads";
import type { SpanMessage } from "../process/messages.ts";
import type { RequestRecord } from "../trace/span-record.ts";

/** A record is at most 2 KB and some hundred bytes for each attempt (tracer.ts). */
const RECORDS_PER_MESSAGE = 32;
const MESSAGES_IN_FLIGHT_MAX = 16;
/** Records that may wait for a message to be acknowledged. */
const RECORDS_WAITING_MAX = 1024;

export class SpanOutlet {
  readonly #waiting: RequestRecord[] = [];
  #port: MessagePort | undefined;
  #inFlight = 0;
  #dropped = 0;

  /** Spans that were dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  add(record: RequestRecord): void {
    if (this.#waiting.length >= RECORDS_WAITING_MAX) {
      this.#dropped += 1 + record.attempts.length;
      return;
    }
    this.#waiting.push(record);
    if (this.#waiting.length >= RECORDS_PER_MESSAGE) this.#sendFull();
  }

  /** Sends what waits, also where it fills no message. To be called now and then. */
  flush(): void {
    this.#sendFull();
    if (this.#waiting.length > 0 && this.#waiting.length < RECORDS_PER_MESSAGE) this.#send();
  }

  /** From now on messages go to `port`, where a trace thread has begun anew. */
  attach(port: MessagePort): void {
    this.#port?.close();
    this.#port = port;
    this.#inFlight = 0;
    port.on("message", () => {
      if (this.#port !== port) return;
      this.#inFlight--;
      this.#sendFull();
    });
    port.unref();
  }

  /** Sends everything that is left, for the worker ends. */
  close(): void {
    this.#inFlight = Number.NEGATIVE_INFINITY;
    while (this.#port !== undefined && this.#waiting.length > 0) this.#send();
    this.#port?.close();
    this.#port = undefined;
  }

  #sendFull(): void {
    while (this.#waiting.length >= RECORDS_PER_MESSAGE && this.#send());
  }

  #send(): boolean {
    if (this.#port === undefined || this.#inFlight >= MESSAGES_IN_FLIGHT_MAX) return false;
    this.#inFlight++;
    const message: SpanMessage = this.#waiting.splice(0, RECORDS_PER_MESSAGE);
    this.#port.postMessage(message);
    return true;
  }
}
