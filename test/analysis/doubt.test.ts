/**
 * Verdicts that may be chance: few samples stray, and a good canary must not be rolled back by that,
 * nor a bad one be kept for long. Simulated with a seed, so that the counts are exact.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Observation,
  type RunPlan,
  type Waits,
  planRun,
} from "../../src/analysis/plan-run.ts";
import {
  rangeOfDifference,
  rangeOfQuantile,
  rangeOfRatio,
  rangeOfShare,
} from "../../src/analysis/provider/confidence.ts";
import { type ArmReading, measureSluice } from "../../src/analysis/provider/sluice.ts";
import type { Metric } from "../../src/analysis/run.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { SluiceMetric } from "../../src/resource/analysis.ts";

const START_MS = Date.UTC(2026, 0, 1);
const WINDOW_MS = 5000;

/** DESIGN §4: fewer than 95 of a hundred within five seconds, of twenty samples or more. */
const SPEC: SluiceMetric = { metric: "success-rate", window: "5s", minSamples: 20 };
const METRIC: Metric = { name: "m", interval: "1s", failureCondition: "result < 0.95" };

function reading(requests: number, ok: number): ArmReading {
  return {
    requests,
    ok,
    inputTokens: 0,
    outputTokens: 0,
    firstTokens: 0,
    elapsedMs: WINDOW_MS,
    latencyMs: () => undefined,
    firstTokenMs: () => undefined,
  };
}

/** A run that is looked at whenever its plan asks for it; `look` gives what its window holds. */
function playUntil(endMs: number, look: (elapsedMs: number) => ArmReading): RunPlan {
  let nowMs = START_MS;
  let waits: Waits = new Map();
  let observations: readonly Observation[] = [];
  const base = { spec: { metrics: [METRIC] }, metrics: { ok: true, value: [METRIC] } as const };
  const rest = { secrets: [], inFlight: new Set<string>() };
  let plan = planRun(
    { ...base, ...rest, status: { phase: "Pending" }, observations, waits },
    nowMs,
  );
  while (plan.status.phase === "Running" && nowMs - START_MS < endMs) {
    if (plan.measure.length > 0) {
      const outcome = measureSluice(SPEC, { canary: look(nowMs - START_MS), stable: undefined });
      observations = [{ metric: "m", startedAtMs: nowMs, finishedAtMs: nowMs, outcome }];
    } else {
      observations = [];
      nowMs = plan.wakeAtMs ?? assert.fail("nothing is due any more");
    }
    plan = planRun({ ...base, ...rest, status: plan.status, observations, waits }, nowMs);
    waits = plan.waits;
  }
  return plan;
}

/** Seconds until a canary of this rate of errors is failed, or undefined; 25 requests a second. */
function simulate(errorRate: number, seed: number, endMs: number): number | undefined {
  const random = seededRandom(seed);
  const events: { atMs: number; failed: boolean }[] = [];
  for (let atMs = 0; atMs < endMs; atMs += -Math.log(1 - random()) * 40) {
    events.push({ atMs, failed: random() < errorRate });
  }
  const plan = playUntil(endMs, (elapsedMs) => {
    const seen = events.filter(({ atMs }) => atMs <= elapsedMs && atMs > elapsedMs - WINDOW_MS);
    return reading(seen.length, seen.filter(({ failed }) => !failed).length);
  });
  if (plan.status.phase !== "Failed") return undefined;
  return (Date.parse(plan.status.completedAt ?? "") - START_MS) / 1000;
}

test("of a thousand good canaries, one in a hundred bad answers, no more than ten are failed", () => {
  let failed = 0;
  for (let seed = 0; seed < 1000; seed++) {
    if (simulate(0.01, seed, 10_000) !== undefined) failed++;
  }
  assert.ok(failed <= 10, `${failed} were failed`);
});

test("a canary that fails one request in five is caught within three seconds", () => {
  const times = Array.from({ length: 500 }, (_, seed) => simulate(0.2, seed, 30_000) ?? Infinity);
  const late = times.filter((seconds) => seconds > 3).length;
  assert.ok(late <= 10, `${late} of 500 were caught late`);
  const median = times.toSorted((a, b) => a - b)[250] as number;
  assert.ok(median <= 1.25, `the median is ${median} s`);
});

test("what may be chance is said, and counts once it has lasted for the window", () => {
  const doubtful = playUntil(4000, () => reading(20, 18));
  assert.equal(doubtful.status.phase, "Running");
  const [result] = doubtful.status.metricResults ?? [];
  assert.equal(
    result?.message,
    "waiting for certainty: success-rate canary 0.9 over 5s (20 samples): result < 0.95 is true, which may be chance",
  );
  assert.equal(result?.measurements, undefined);
  const lasting = playUntil(60_000, () => reading(20, 18));
  assert.equal(lasting.status.phase, "Failed");
  assert.equal(lasting.status.completedAt, new Date(START_MS + WINDOW_MS).toISOString());
});

test("a doubt ends with the first good value", () => {
  const plan = playUntil(60_000, (elapsedMs) => reading(20, elapsedMs % 4000 < 3000 ? 18 : 20));
  assert.equal(plan.status.phase, "Running");
});

test("what is certain is acted on at once", () => {
  const plan = playUntil(60_000, () => reading(20, 14));
  assert.equal(plan.status.phase, "Failed");
  assert.equal(plan.status.completedAt, new Date(START_MS).toISOString());
});

test("ranges hold the value and narrow with samples", () => {
  const few = rangeOfShare(18, 20);
  const many = rangeOfShare(1800, 2000);
  assert.ok(few.low < 0.9 && few.high > 0.95 && few.high < 1);
  assert.ok(many.low > 0.88 && many.high < 0.92);
  assert.deepEqual(rangeOfShare(0, 20).low, 0);
  assert.ok(Math.abs(rangeOfShare(20, 20).high - 1) < 1e-9);
  assert.deepEqual(rangeOfQuantile(0.95, 1).high, 1);
  assert.deepEqual(rangeOfDifference({ low: 1, high: 2 }, { low: 3, high: 5 }), {
    low: -4,
    high: -1,
  });
  assert.deepEqual(rangeOfRatio({ low: 1, high: 2 }, { low: 0, high: 4 }), {
    low: 0.25,
    high: Infinity,
  });
});

test("a ratio to a stable arm without errors is infinite, but in doubt", () => {
  const spec: SluiceMetric = { metric: "error-rate", arm: "ratio", window: "5s" };
  const outcome = measureSluice(spec, { canary: reading(30, 29), stable: reading(500, 500) });
  assert.ok(outcome.kind === "value");
  assert.equal(outcome.value, Infinity);
  assert.ok((outcome.doubt?.low ?? Infinity) < 5);
});
