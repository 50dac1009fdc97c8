/**
 * Windows over the shared counters: for each watched pair of route and arm, a ring of readings taken
 * on the clock. A window is the difference between now and one of them. It never spans a revision
 * (arms are per revision) nor a restart of the control thread (rings begin empty), and a query may
 * forbid it to look past a point of time.
 */
import type { Cancel, Clock } from "../base/clock.ts";
import { BUCKETS, quantileOf } from "../shared/histogram.ts";
import { FIELD, METRIC_FIELDS, type MetricReader, OUTCOMES } from "../shared/metrics.ts";

/** Readings of one ring: a window is known to a fiftieth of its length. */
const READINGS_PER_WINDOW = 50;
const SAMPLE_MS_MIN = 100;
const SAMPLE_MS_MAX = 10_000;
/** Rings that may be alive at once; each holds up to 52 readings of 3 KB. */
const RINGS_MAX = 2000;

export interface Watched {
  /** "NAMESPACE/NAME". */
  readonly route: string;
  readonly arm: string;
  readonly windowMs: number;
}

export interface WindowQuery {
  readonly routes: readonly string[];
  readonly arm: string;
  readonly windowMs: number;
  /** Nothing that was counted longer ago than this is looked at. */
  readonly ageMs: number;
}

/** What the attempts on one arm came to within a window. */
export interface WindowReading {
  readonly requests: number;
  readonly ok: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly firstTokens: number;
  /** What the window really covers, milliseconds. */
  readonly elapsedMs: number;
  latencyMs(quantile: number): number | undefined;
  firstTokenMs(quantile: number): number | undefined;
}

interface Sample {
  readonly atMs: number;
  readonly sums: Float64Array;
}

interface Ring {
  readonly route: string;
  readonly arm: string;
  windowMs: number;
  /** Oldest first. */
  samples: Sample[];
}

export class Windows {
  readonly #reader: Pick<MetricReader, "read">;
  readonly #clock: Clock;
  readonly #rings = new Map<string, Ring>();
  #cancelTimer: Cancel | undefined;

  constructor(options: { readonly reader: Pick<MetricReader, "read">; readonly clock: Clock }) {
    this.#reader = options.reader;
    this.#clock = options.clock;
  }

  /**
   * Says what is watched from now on: rings are begun for new pairs and dropped for all others.
   * Returns how many pairs found no room.
   */
  watch(pairs: readonly Watched[]): number {
    const wanted = new Map<string, Watched>();
    for (const pair of pairs) {
      const key = ringKey(pair.route, pair.arm);
      const before = wanted.get(key);
      if (before === undefined || before.windowMs < pair.windowMs) wanted.set(key, pair);
    }
    for (const key of this.#rings.keys()) if (!wanted.has(key)) this.#rings.delete(key);
    let refused = 0;
    for (const [key, { route, arm, windowMs }] of wanted) {
      const ring = this.#rings.get(key);
      if (ring !== undefined) ring.windowMs = windowMs;
      else if (this.#rings.size >= RINGS_MAX) refused++;
      else this.#begin(key, { route, arm, windowMs, samples: [] });
    }
    this.#keepTime();
    return refused;
  }

  /** What happened on an arm within the window, over all its routes that are watched. */
  read({ routes, arm, windowMs, ageMs }: WindowQuery): WindowReading {
    const nowMs = this.#clock.monotonic();
    const total = new Float64Array(METRIC_FIELDS);
    let elapsedMs = routes.length === 0 ? 0 : Infinity;
    for (const route of routes) {
      const ring = this.#rings.get(ringKey(route, arm));
      const now = ring === undefined ? undefined : this.#sample(ring, nowMs);
      const base =
        ring === undefined ? undefined : baseOf(ring.samples, nowMs - windowMs, nowMs - ageMs);
      elapsedMs = Math.min(elapsedMs, base === undefined ? 0 : nowMs - base.atMs);
      if (now === undefined || base === undefined) continue;
      for (let field = 0; field < METRIC_FIELDS; field++) {
        const grown = (now.sums[field] as number) - (base.sums[field] as number);
        total[field] = (total[field] as number) + grown;
      }
    }
    return readingOf(total, elapsedMs);
  }

  close(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#rings.clear();
  }

  #begin(key: string, ring: Ring): void {
    this.#rings.set(key, ring);
    ring.samples.push(this.#sample(ring, this.#clock.monotonic()));
  }

  /**
   * Reads a row. A row that shrank was freed and given to its pair anew: what was read of its
   * former life is forgotten.
   */
  #sample(ring: Ring, atMs: number): Sample {
    const sums = this.#reader.read(ring.route, ring.arm) ?? new Float64Array(METRIC_FIELDS);
    const last = ring.samples.at(-1);
    if (last !== undefined && hasShrunk(last.sums, sums)) {
      ring.samples = [{ atMs: last.atMs, sums: new Float64Array(METRIC_FIELDS) }];
    }
    return { atMs, sums };
  }

  #keepTime(): void {
    if (this.#rings.size === 0) {
      this.#cancelTimer?.();
      this.#cancelTimer = undefined;
      return;
    }
    this.#cancelTimer ??= this.#clock.after(SAMPLE_MS_MIN, () => {
      this.#cancelTimer = undefined;
      this.#tick();
      this.#keepTime();
    });
  }

  #tick(): void {
    const nowMs = this.#clock.monotonic();
    for (const ring of this.#rings.values()) {
      const last = ring.samples.at(-1);
      if (last !== undefined && nowMs - last.atMs < intervalMs(ring.windowMs)) continue;
      const sample = this.#sample(ring, nowMs);
      ring.samples.push(sample);
      // One reading older than the window stays: it is where the window begins.
      const start = nowMs - ring.windowMs;
      const second = ring.samples.findIndex(({ atMs }) => atMs > start);
      if (second > 1) ring.samples.splice(0, second - 1);
    }
  }
}

function ringKey(route: string, arm: string): string {
  return `${route}\n${arm}`;
}

/** A little less than the share of the window, so that a tick that comes early still counts. */
function intervalMs(windowMs: number): number {
  const share = windowMs / READINGS_PER_WINDOW;
  return Math.min(Math.max(share, SAMPLE_MS_MIN), SAMPLE_MS_MAX) - SAMPLE_MS_MIN / 2;
}

/** Where a window begins: the newest reading before it, else the oldest that is allowed. */
function baseOf(
  samples: readonly Sample[],
  startMs: number,
  earliestMs: number,
): Sample | undefined {
  const allowed = samples.filter(({ atMs }) => atMs >= earliestMs);
  return allowed.findLast(({ atMs }) => atMs <= startMs) ?? allowed[0];
}

function hasShrunk(before: Float64Array, now: Float64Array): boolean {
  return OUTCOMES.some((outcome) => (now[FIELD[outcome]] ?? 0) < (before[FIELD[outcome]] ?? 0));
}

function readingOf(sums: Float64Array, elapsedMs: number): WindowReading {
  const field = (position: number): number => sums[position] as number;
  const quantile = (start: number, share: number): number | undefined =>
    quantileOf(sums.subarray(start, start + BUCKETS), share);
  return {
    requests: OUTCOMES.reduce((total, outcome) => total + field(FIELD[outcome]), 0),
    ok: field(FIELD.ok),
    inputTokens: field(FIELD.inputTokens),
    outputTokens: field(FIELD.outputTokens),
    firstTokens: field(FIELD.firstTokenCount),
    elapsedMs,
    latencyMs: (share) => quantile(FIELD.latencyBuckets, share),
    firstTokenMs: (share) => quantile(FIELD.firstTokenBuckets, share),
  };
}
