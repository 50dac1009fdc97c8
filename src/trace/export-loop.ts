/**
 * What the trace thread does with batches of records: gathers them, sends them on, one export at a
 * time, and counts what became of them. A batch is acknowledged when its turn comes, so that a
 * collector that is slow or gone makes workers drop and count spans, and never makes a queue grow.
 */
import type { Cancel, Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { TraceCounts } from "../shared/trace-counts.ts";
import { SPANS_PER_EXPORT_MAX } from "./settings.ts";
import type { RequestRecord } from "./span-record.ts";

export interface ExportLoopOptions {
  /** Resolves when the collector has taken the spans of the records. */
  readonly send: (records: readonly RequestRecord[]) => Promise<void>;
  readonly counts: TraceCounts;
  readonly clock: Clock;
  readonly log: Logger;
  /** The collector, for the log. */
  readonly url: string;
  /** How long a batch may wait for others. */
  readonly delayMs: number;
}

interface Batch {
  readonly records: readonly RequestRecord[];
  readonly spans: number;
  readonly taken: () => void;
}

export class ExportLoop {
  readonly #options: ExportLoopOptions;
  readonly #batches: Batch[] = [];
  #spans = 0;
  #sending: Promise<void> | undefined;
  #cancelDelay: Cancel | undefined;
  #failing = false;

  constructor(options: ExportLoopOptions) {
    this.#options = options;
  }

  /** Takes a batch; `taken` is called once there is room for another one. */
  add(records: readonly RequestRecord[], taken: () => void): void {
    const spans = records.reduce((sum, record) => sum + spansOf(record), 0);
    this.#batches.push({ records, spans, taken });
    this.#spans += spans;
    if (this.#spans >= SPANS_PER_EXPORT_MAX) this.#begin();
    else
      this.#cancelDelay ??= this.#options.clock.after(this.#options.delayMs, () => this.#begin());
  }

  /** Resolves when everything was sent, or could not be. */
  async flush(): Promise<void> {
    while (this.#sending !== undefined || this.#batches.length > 0) {
      this.#begin();
      await this.#sending;
    }
  }

  #begin(): void {
    this.#cancelDelay?.();
    this.#cancelDelay = undefined;
    if (this.#sending !== undefined || this.#batches.length === 0) return;
    this.#sending = this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  async #sendAll(): Promise<void> {
    while (this.#batches.length > 0) {
      const { records, spans } = this.#take();
      try {
        await this.#options.send(records);
        this.#sent(spans);
      } catch (error) {
        this.#failed(spans, error);
      }
    }
  }

  /** Whole batches for one export; one at the least. */
  #take(): { records: RequestRecord[]; spans: number } {
    const records: RequestRecord[] = [];
    let spans = 0;
    for (;;) {
      const batch = this.#batches[0];
      if (batch === undefined || (spans > 0 && spans + batch.spans > SPANS_PER_EXPORT_MAX)) break;
      this.#batches.shift();
      records.push(...batch.records);
      spans += batch.spans;
      batch.taken();
    }
    this.#spans -= spans;
    return { records, spans };
  }

  #sent(spans: number): void {
    this.#options.counts.add("exported", spans);
    if (!this.#failing) return;
    this.#failing = false;
    const { log, url } = this.#options;
    log.warn({ url }, "the collector takes spans again");
  }

  /** Said once, until it works again: a collector may be away for a day. */
  #failed(spans: number, error: unknown): void {
    this.#options.counts.add("failed", spans);
    if (this.#failing) return;
    this.#failing = true;
    const reason = error instanceof Error ? error.message : String(error);
    const { log, url } = this.#options;
    log.warn({ url, reason }, "the collector takes no spans; they are dropped and counted");
  }
}

function spansOf({ attempts }: RequestRecord): number {
  return 1 + attempts.length;
}
