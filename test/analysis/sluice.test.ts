/** The `sluice` provider over readings, and windows over the real shared counters. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Outcome } from "../../src/analysis/plan-run.ts";
import { type ArmReading, measureSluice, windowOf } from "../../src/analysis/provider/sluice.ts";
import { type WindowReading, Windows } from "../../src/metric/window.ts";
import type { SluiceMetric } from "../../src/resource/analysis.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { FIELD, MetricReader, MetricRecorder } from "../../src/shared/metrics.ts";
import { VirtualClock } from "../support/clock.ts";

function reading(more: Partial<ArmReading> = {}): ArmReading {
  return {
    requests: 100,
    ok: 90,
    inputTokens: 1000,
    outputTokens: 500,
    firstTokens: 10,
    elapsedMs: 60_000,
    latencyMs: (quantile) => quantile * 100,
    firstTokenMs: (quantile) => quantile * 10,
    ...more,
  };
}

const EMPTY = reading({
  requests: 0,
  ok: 0,
  firstTokens: 0,
  inputTokens: 0,
  outputTokens: 0,
  latencyMs: () => undefined,
  firstTokenMs: () => undefined,
});

interface Case {
  readonly spec: SluiceMetric;
  readonly canary?: ArmReading;
  readonly stable?: ArmReading | undefined;
  readonly expected: number | RegExp | Outcome["kind"];
}

const STABLE = reading({ ok: 99 });

const CASES: readonly Case[] = [
  { spec: { metric: "success-rate" }, expected: 0.9 },
  { spec: { metric: "error-rate" }, expected: 0.1 },
  { spec: { metric: "success-rate", arm: "stable" }, expected: 0.99 },
  { spec: { metric: "success-rate", arm: "difference" }, expected: 0.9 - 0.99 },
  { spec: { metric: "success-rate", arm: "ratio" }, expected: 0.9 / 0.99 },
  { spec: { metric: "request-count" }, expected: 100 },
  { spec: { metric: "request-rate" }, expected: 100 / 60 },
  { spec: { metric: "latency" }, expected: 95 },
  { spec: { metric: "latency", quantile: 0.5 }, expected: 50 },
  { spec: { metric: "input-tokens" }, expected: 1000 },
  { spec: { metric: "output-tokens" }, expected: 500 },
  { spec: { metric: "tokens-per-second" }, expected: 500 / 60 },
  { spec: { metric: "time-to-first-token", quantile: 0.9 }, expected: 9 },
  // Two arms without an error are alike; an error against none is infinitely worse.
  {
    spec: { metric: "error-rate", arm: "ratio" },
    canary: reading({ ok: 100 }),
    stable: reading({ ok: 100 }),
    expected: 1,
  },
  {
    spec: { metric: "error-rate", arm: "ratio" },
    stable: reading({ ok: 100 }),
    expected: Infinity,
  },
  { spec: { metric: "request-count" }, canary: EMPTY, expected: 0 },
  { spec: { metric: "success-rate" }, canary: EMPTY, expected: /^waiting for 1 samples, has 0$/ },
  {
    spec: { metric: "success-rate", minSamples: 20 },
    canary: reading({ requests: 3 }),
    expected: /^waiting for 20 samples, has 3$/,
  },
  {
    spec: { metric: "success-rate", minSamples: "20", arm: "ratio" },
    stable: reading({ requests: 3 }),
    expected: /^waiting for 20 samples of stable, has 3$/,
  },
  {
    spec: { metric: "time-to-first-token", minSamples: 20 },
    expected: /^waiting for 20 samples, has 10$/,
  },
  {
    spec: { metric: "request-count", window: "60s" },
    canary: reading({ elapsedMs: 1200 }),
    expected: /^waiting for 1m of traffic, has 1s$/,
  },
  { spec: { metric: "success-rate", noData: "wait" }, canary: EMPTY, expected: "waiting" },
  { spec: { metric: "success-rate", arm: "ratio" }, stable: undefined, expected: "error" },
];

test("a metric of readings", () => {
  for (const { spec, canary = reading(), expected, ...rest } of CASES) {
    const stable = "stable" in rest ? rest.stable : STABLE;
    const outcome = measureSluice(spec, { canary, stable });
    const shown = JSON.stringify({ spec, outcome });
    if (typeof expected === "number") {
      assert.ok(outcome.kind === "value", shown);
      assert.equal(outcome.value, expected, shown);
    } else if (typeof expected === "string") {
      assert.equal(outcome.kind, expected, shown);
    } else {
      assert.ok(outcome.kind === "waiting", shown);
      assert.match(outcome.message, expected);
    }
  }
});

test("noData says what too few samples mean", () => {
  for (const [noData, phase] of [
    ["pause", "Inconclusive"],
    ["fail", "Failed"],
    ["pass", "Successful"],
  ] as const) {
    const spec: SluiceMetric = { metric: "success-rate", minSamples: 20, noData };
    const outcome = measureSluice(spec, { canary: reading({ requests: 3 }), stable: undefined });
    assert.ok(outcome.kind === "verdict");
    assert.equal(outcome.phase, phase);
    assert.equal(outcome.message, "success-rate canary has no data (needs 20 samples, has 3)");
  }
});

test("a measurement explains itself", () => {
  const spec: SluiceMetric = { metric: "latency", quantile: 0.99, window: "5s" };
  const outcome = measureSluice(spec, { canary: reading(), stable: undefined });
  assert.ok(outcome.kind === "value");
  assert.equal(outcome.description, "latency p99 canary 99 over 5s (100 samples)");
  assert.equal(windowOf(spec), 5000);
  assert.equal(windowOf({ metric: "latency" }), 60_000);
});

const ROUTE = "shop/checkout";
const CANARY = "Backend/shop/checkout@b";

function world(): {
  clock: VirtualClock;
  windows: Windows;
  reader: MetricReader;
  workers: MetricRecorder[];
  attempt: (
    outcome: number,
    count?: number,
    options?: { arm?: string; latencyMs?: number },
  ) => void;
  read: (windowMs: number, options?: { ageMs?: number; arm?: string }) => WindowReading;
} {
  const memory = allocateSharedMemory(2).metrics;
  const clock = new VirtualClock();
  const reader = new MetricReader(memory);
  const windows = new Windows({ reader, clock });
  const workers = [new MetricRecorder(memory, 0), new MetricRecorder(memory, 1)];
  let turn = 0;
  return {
    clock,
    windows,
    reader,
    workers,
    attempt: (outcome, count = 1, { arm = CANARY, latencyMs = 5 } = {}) => {
      for (let each = 0; each < count; each++) {
        const worker = workers[turn++ % workers.length] as MetricRecorder;
        worker.attempt(worker.row(ROUTE, arm), outcome, latencyMs);
      }
    },
    read: (windowMs, { ageMs = Infinity, arm = CANARY } = {}) =>
      windows.read({ routes: [ROUTE], arm, windowMs, ageMs }),
  };
}

test("a window holds what happened within it, over all workers", () => {
  const { clock, windows, attempt, read } = world();
  attempt(FIELD.ok, 1000);
  windows.watch([{ route: ROUTE, arm: CANARY, windowMs: 5000 }]);
  attempt(FIELD.ok, 30);
  attempt(FIELD.status5xx, 10);
  assert.equal(read(5000).requests, 40, "what came before the watch is not looked at");
  assert.equal(read(5000).ok, 30);
  for (let second = 0; second < 10; second++) {
    clock.advance(1000);
    attempt(FIELD.ok, 7);
  }
  clock.advance(100);
  assert.equal(read(5000).requests, 35);
  assert.ok(Math.abs(read(5000).elapsedMs - 5000) <= 200);
  assert.equal(read(2000).requests, 14);
  assert.ok((read(5000).latencyMs(0.5) ?? 0) > 4);
  clock.advance(20_000);
  assert.deepEqual([read(5000).requests, read(5000).latencyMs(0.5)], [0, undefined]);
  windows.close();
  assert.equal(clock.pendingCount, 0);
});

test("every outcome but ok is an error, and counts as a sample", () => {
  const { windows, attempt, read } = world();
  windows.watch([{ route: ROUTE, arm: CANARY, windowMs: 5000 }]);
  for (const outcome of [1, 2, 3, 4, 5]) attempt(outcome);
  attempt(FIELD.ok);
  assert.deepEqual([read(5000).requests, read(5000).ok], [6, 1]);
});

test("a window never looks past the age it is given, nor at another arm", () => {
  const { clock, windows, attempt, read } = world();
  windows.watch([
    { route: ROUTE, arm: CANARY, windowMs: 60_000 },
    { route: ROUTE, arm: "other", windowMs: 60_000 },
  ]);
  attempt(FIELD.status5xx, 50);
  attempt(FIELD.ok, 3, { arm: "other" });
  clock.advance(10_000);
  attempt(FIELD.ok, 5);
  assert.equal(read(60_000).requests, 55);
  assert.equal(read(60_000, { ageMs: 5000 }).requests, 5);
  assert.equal(read(60_000, { arm: "other" }).requests, 3);
  assert.equal(read(60_000, { arm: "unwatched" }).elapsedMs, 0);
});

test("a row that was freed and begun anew does not count backwards", () => {
  const { clock, windows, reader, attempt, read } = world();
  windows.watch([{ route: ROUTE, arm: CANARY, windowMs: 5000 }]);
  attempt(FIELD.ok, 100);
  clock.advance(1000);
  reader.remove(ROUTE, CANARY);
  attempt(FIELD.status5xx, 4);
  assert.deepEqual([read(5000).requests, read(5000).ok], [4, 0]);
  clock.advance(1000);
  assert.equal(read(5000).requests, 4);
});

test("rings are as few as are watched, and bounded in what they hold", () => {
  const { clock, windows, attempt, read } = world();
  const pairs = Array.from({ length: 2100 }, (_, index) => ({
    route: `shop/r${index}`,
    arm: CANARY,
    windowMs: 5000,
  }));
  assert.equal(windows.watch(pairs), 100);
  assert.equal(windows.watch([{ route: ROUTE, arm: CANARY, windowMs: 3_600_000 }]), 0);
  attempt(FIELD.ok, 1);
  clock.advance(4_000_000);
  assert.equal(read(3_600_000).requests, 0);
  windows.watch([]);
  assert.equal(clock.pendingCount, 0);
});

test("tokens and time to first token of LLM routes", () => {
  const { windows, workers, attempt, read } = world();
  windows.watch([{ route: ROUTE, arm: CANARY, windowMs: 5000 }]);
  const [worker] = workers as [MetricRecorder, MetricRecorder];
  const row = worker.row(ROUTE, CANARY);
  worker.add(row, FIELD.inputTokens, 12);
  worker.add(row, FIELD.outputTokens, 34);
  worker.firstToken(row, 200);
  attempt(FIELD.ok);
  const seen = read(5000);
  assert.deepEqual([seen.inputTokens, seen.outputTokens, seen.firstTokens], [12, 34, 1]);
  assert.ok(Math.abs((seen.firstTokenMs(0.5) ?? 0) - 200) < 30);
});
