/**
 * Counters and histograms in shared memory: one row of fields per (route, arm), one stripe of rows
 * per worker. A worker adds to its own stripe without locks; a reader sums the stripes. Rows are
 * never reset, so a window is the difference of two readings.
 */
import { IndexTable } from "./index-table.ts";
import { BUCKETS, bucketOf } from "./histogram.ts";
import type { SharedMemory } from "./memory.ts";

/** What an attempt came to. Everything but `ok` is an error of the arm. */
export const OUTCOMES = ["ok", "status5xx", "connect", "reset", "timeout", "truncated"] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** Positions in a row. Outcomes come first, in the order of `OUTCOMES`. */
export const FIELD = {
  ok: 0,
  status5xx: 1,
  connect: 2,
  reset: 3,
  timeout: 4,
  truncated: 5,
  /** Sum of attempt latencies, milliseconds. */
  latencySumMs: 6,
  /** Copies for mirrors: those that were answered, however; see also `mirrorFailed`, `mirrorDropped`. */
  mirrorDelivered: 7,
  /** Answers to clients by class of status: 1xx at `response1xx`, … 5xx at `response1xx + 4`. */
  response1xx: 8,
  /** Requests whose client left before the answer was complete. */
  clientGone: 13,
  /** Failed canary attempts that another arm then answered. */
  shielded: 14,
  /** Copies that no mirror answered. */
  mirrorFailed: 15,
  inputTokens: 16,
  outputTokens: 17,
  firstTokenCount: 18,
  firstTokenSumMs: 19,
  /** Requests refused by rate limit and by authentication. */
  limited: 20,
  unauthenticated: 21,
  /** Requests that shared a bucket because the table of buckets was full. */
  limitOverflow: 22,
  /** Copies that were given up: too far behind, or without the end of their body. */
  mirrorDropped: 23,
  /** Latency of attempts, from dispatch to the end of the response. */
  latencyBuckets: 24,
  /** Time to first token of streamed LLM answers. */
  firstTokenBuckets: 24 + BUCKETS,
} as const;

export const METRIC_FIELDS = 24 + 2 * BUCKETS;

/** The key of a row. The row of a route as a whole has the arm "". */
export function metricKey(route: string, armId: string): string {
  return `${route}\n${armId}`;
}

/** The row that takes what no longer finds a row of its own; readers report it as overflow. */
export const OVERFLOW_KEY = metricKey("", "overflow");

/**
 * The route under which answers to requests without a route are counted; no route has this name.
 */
export const UNMATCHED_ROUTE = "unmatched";

/** The row of what concerns no route, with fields of its own. */
export const WORKER_KEY = { route: "", armId: "worker" } as const;

/** Why connections ended before a request could be read. */
export const REFUSALS = [
  "limit",
  "proxy_header",
  "proxy_header_timeout",
  "client_hello",
  "no_listener",
  "handshake",
  "client_certificate",
  "handshake_timeout",
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** Positions in the row of `WORKER_KEY`. */
export const WORKER_FIELD = {
  connections: 0,
  /** Lines of the access log that were not written. */
  accessLogDropped: 1,
  /** Spans that found no room on their way to the trace thread. */
  spansDropped: 2,
  /** Connections that ended before a request could be read, in the order of `REFUSALS`, from here on. */
  refused: 3,
} as const;

/** A worker's side: writes to one stripe. */
export class MetricRecorder {
  readonly #index: IndexTable;
  readonly #stripe: Float64Array<SharedArrayBuffer>;
  readonly #overflow: number;

  constructor(memory: SharedMemory["metrics"], worker: number) {
    this.#index = new IndexTable(memory.index);
    this.#stripe = new Float64Array(memory.stripes[worker] as SharedArrayBuffer);
    this.#overflow = this.#index.findOrInsert(OVERFLOW_KEY) * METRIC_FIELDS;
  }

  /** The position of a row, to be looked up once when route and arm are linked. */
  row(route: string, armId: string): number {
    const slot = this.#index.findOrInsert(metricKey(route, armId));
    return slot === -1 ? this.#overflow : slot * METRIC_FIELDS;
  }

  add(row: number, field: number, amount: number): void {
    const at = row + field;
    this.#stripe[at] = (this.#stripe[at] as number) + amount;
  }

  /** Counts one attempt on an arm; `outcome` is a position in `OUTCOMES`. */
  attempt(row: number, outcome: number, latencyMs: number): void {
    this.add(row, outcome, 1);
    this.add(row, FIELD.latencySumMs, latencyMs);
    this.add(row, FIELD.latencyBuckets + bucketOf(latencyMs), 1);
  }

  firstToken(row: number, elapsedMs: number): void {
    this.add(row, FIELD.firstTokenCount, 1);
    this.add(row, FIELD.firstTokenSumMs, elapsedMs);
    this.add(row, FIELD.firstTokenBuckets + bucketOf(elapsedMs), 1);
  }
}

/** The control thread's side: sums the stripes. */
export class MetricReader {
  readonly #index: IndexTable;
  readonly #stripes: readonly Float64Array<SharedArrayBuffer>[];

  constructor(memory: SharedMemory["metrics"]) {
    this.#index = new IndexTable(memory.index);
    this.#stripes = memory.stripes.map((buffer) => new Float64Array(buffer));
  }

  /**
   * The sums of one row since the process started, or undefined if nothing was ever linked to it.
   */
  read(route: string, armId: string): Float64Array | undefined {
    const slot = this.#index.find(metricKey(route, armId));
    if (slot === -1) return undefined;
    const sums = new Float64Array(METRIC_FIELDS);
    const start = slot * METRIC_FIELDS;
    for (const stripe of this.#stripes) {
      for (let field = 0; field < METRIC_FIELDS; field++) {
        sums[field] = (sums[field] as number) + (stripe[start + field] as number);
      }
    }
    return sums;
  }

  /** Keeps a row for a pair. The control thread alone, before a worker hears of the pair. */
  reserve(route: string, armId: string): void {
    this.#index.reserve(metricKey(route, armId));
  }

  /** Frees a row that no worker writes any more, and clears it for its next owner. */
  remove(route: string, armId: string): void {
    const key = metricKey(route, armId);
    const slot = this.#index.find(key);
    if (slot === -1) return;
    this.#clear(slot);
    this.#index.remove(key);
  }

  /**
   * Frees all other rows, which no worker writes any more; those that belong to no route stay.
   */
  keepOnly(rows: Iterable<{ readonly route: string; readonly armId: string }>): void {
    const keys = [OVERFLOW_KEY, metricKey(UNMATCHED_ROUTE, "")];
    for (const { route, armId } of [WORKER_KEY, ...rows]) keys.push(metricKey(route, armId));
    this.#index.keepOnly(keys, (slot) => this.#clear(slot));
  }

  #clear(slot: number): void {
    const start = slot * METRIC_FIELDS;
    for (const stripe of this.#stripes) stripe.fill(0, start, start + METRIC_FIELDS);
  }
}
