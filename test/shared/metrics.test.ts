/** Rows, gates and index tables: exact under contention, and reused only when told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ALWAYS_CLOSED, ALWAYS_OPEN, Gates } from "../../src/shared/gates.ts";
import { IndexTable } from "../../src/shared/index-table.ts";
import { METRIC_SLOTS_MAX, allocateSharedMemory } from "../../src/shared/memory.ts";
import { FIELD, MetricReader, MetricRecorder, OVERFLOW_KEY } from "../../src/shared/metrics.ts";
import { BUCKETS, bucketBound, bucketOf, quantileOf } from "../../src/shared/histogram.ts";
import { runTogether } from "../support/shared-run.ts";

test("threads that insert the same keys agree on every index", async () => {
  const buffer = new SharedArrayBuffer(4096 * 8);
  const keys = Array.from({ length: 3000 }, (_, index) => `key ${index}`);
  const orders = [keys, keys.toReversed(), [...keys.slice(1500), ...keys.slice(0, 1500)], keys];
  const results = await runTogether<readonly number[]>(
    orders.map((order) => ({ type: "insert", buffer, keys: order })),
  );
  const indexes = new Map<string, number>();
  for (const [worker, order] of orders.entries()) {
    for (const [at, key] of order.entries()) {
      const index = results[worker]?.[at] as number;
      assert.equal(indexes.get(key) ?? index, index, key);
      indexes.set(key, index);
    }
  }
  assert.equal(new Set(indexes.values()).size, keys.length);
});

test("a freed place goes to the next reserved key, and others keep theirs", () => {
  const table = new IndexTable(new SharedArrayBuffer(8 * 8));
  const kept = Array.from({ length: 8 }, (_, index) => table.reserve(`k${index}`));
  assert.equal(table.reserve("one too many"), -1);
  table.remove("k3");
  assert.equal(table.find("k3"), -1);
  assert.equal(table.findOrInsert("anybody"), -1, "only the control thread takes freed places");
  assert.equal(table.reserve("next"), kept[3]);
  assert.equal(table.reserve("next"), kept[3]);
  for (const index of [0, 1, 2, 4, 5, 6, 7]) assert.equal(table.find(`k${index}`), kept[index]);
});

test("counts of all workers add up exactly", async () => {
  const memory = allocateSharedMemory(4).metrics;
  const rounds = 200_000;
  await runTogether([0, 1, 2, 3].map((worker) => ({ type: "count", memory, worker, rounds })));
  const sums = new MetricReader(memory).read("default/a", "Backend/default/a@1");
  assert.equal(sums?.[FIELD.ok], 4 * rounds);
  assert.equal(sums?.[FIELD.limited], 8 * rounds);
  assert.equal(sums?.[FIELD.latencySumMs], 12 * rounds);
  assert.equal(sums?.[FIELD.latencyBuckets + bucketOf(3)], 4 * rounds);
});

test("a freed row starts at nothing for its next owner", () => {
  const memory = allocateSharedMemory(1).metrics;
  const reader = new MetricReader(memory);
  const recorder = new MetricRecorder(memory, 0);
  reader.reserve("r", "old");
  recorder.add(recorder.row("r", "old"), FIELD.ok, 5);
  reader.remove("r", "old");
  assert.equal(reader.read("r", "old"), undefined);
  reader.reserve("r", "old");
  assert.equal(reader.read("r", "old")?.[FIELD.ok], 0);
});

test("when there is no row left, counts go to the overflow row", () => {
  const memory = allocateSharedMemory(1).metrics;
  const recorder = new MetricRecorder(memory, 0);
  for (let index = 1; index < METRIC_SLOTS_MAX; index++) recorder.row("r", `${index}`);
  const row = recorder.row("r", "too many");
  recorder.add(row, FIELD.ok, 1);
  const [route = "", armId = ""] = OVERFLOW_KEY.split("\n");
  assert.equal(new MetricReader(memory).read(route, armId)?.[FIELD.ok], 1);
});

test("gates are open until closed, for every holder of the memory", () => {
  const { gates } = allocateSharedMemory(1);
  const control = new Gates(gates);
  const worker = new Gates(gates);
  control.reserve("a");
  const gate = worker.gateOf("a");
  assert.ok(worker.isOpen(gate));
  control.set("a", false);
  assert.ok(!worker.isOpen(gate));
  control.set("a", true);
  assert.ok(worker.isOpen(gate));
  control.set("a", false);
  control.remove("a");
  control.reserve("a");
  assert.ok(worker.isOpen(worker.gateOf("a")));
  assert.ok(worker.isOpen(ALWAYS_OPEN));
  assert.ok(!worker.isOpen(ALWAYS_CLOSED));
});

test("every value lies in its bucket, and quantiles are off by at most an eighth", () => {
  for (let value = 0.01; value < 2 ** 17; value *= 1.013) {
    const bucket = bucketOf(value);
    const lower = bucket === 0 ? 0 : bucketBound(bucket - 1);
    assert.ok(value >= lower && value <= bucketBound(bucket), `${value} in bucket ${bucket}`);
  }
  assert.equal(bucketOf(Number.NaN), 0);
  assert.equal(bucketOf(-1), 0);
  assert.equal(bucketOf(1e9), BUCKETS - 1);
  const counts = new Float64Array(BUCKETS);
  for (let value = 1; value <= 1000; value++)
    counts[bucketOf(value)] = (counts[bucketOf(value)] ?? 0) + 1;
  for (const quantile of [0.5, 0.95, 0.99]) {
    const found = quantileOf(counts, quantile) as number;
    assert.ok(Math.abs(found - quantile * 1000) <= quantile * 125, `${quantile}: ${found}`);
  }
  assert.equal(quantileOf(new Float64Array(BUCKETS), 0.5), undefined);
});
