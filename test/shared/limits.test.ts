/**
 * Limits: GCRA on one thread against a clock moved by hand, and its bound under real contention.
 */
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { hash64 } from "../../src/base/hash.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Limits, allocateLimits, type LimitDecision } from "../../src/shared/limits.ts";
import { runTogether } from "../support/shared-run.ts";
import type { Admission } from "../support/shared-worker.ts";

const MS = 1_000_000n;

test("a bucket admits its burst at once and then one token per interval", () => {
  const limits = new Limits(allocateLimits(64));
  const take = (atMs: number): LimitDecision =>
    limits.take(1n, { nowNs: () => BigInt(atMs) * MS, intervalNs: 10n * MS, burst: 3 });
  const cases: readonly (readonly [number, LimitDecision, number?])[] = [
    [1000, "admitted"],
    [1000, "admitted"],
    [1000, "admitted"],
    [1000, "limited", 10],
    [1009, "limited", 1],
    [1010, "admitted"],
    [1010, "limited", 10],
    [1030, "admitted"],
    [1030, "admitted"],
    [1030, "limited", 10],
    [9000, "admitted"],
    [9000, "admitted"],
    [9000, "admitted"],
    [9000, "limited", 10],
  ];
  for (const [index, [atMs, decision, waitMs]] of cases.entries()) {
    assert.equal(take(atMs), decision, `take ${index} at ${atMs} ms`);
    if (waitMs !== undefined) assert.equal(limits.waitMs, waitMs, `wait ${index}`);
  }
});

test("a bucket of one admits its rate at twice the load or more, also in ragged bursts", () => {
  const random = seededRandom(7);
  const loads: readonly (readonly [perSecond: number, tickMs: number, jitterMs: number])[] = [
    [200, 0, 1],
    [230, 0, 1],
    [250, 0, 1],
    [333, 0, 1],
    [1000, 0, 1],
    [7777, 0, 0.1],
    [500, 10, 8],
    [250, 20, 15],
  ];
  for (const [perSecond, tickMs, jitterMs] of loads) {
    const limits = new Limits(allocateLimits(64));
    let admitted = 0;
    let lastMs = 0;
    for (let turn = 0; turn < perSecond * 60; turn++) {
      const dueMs = (turn * 1000) / perSecond;
      const tickedMs = tickMs === 0 ? dueMs : Math.ceil(dueMs / tickMs) * tickMs;
      lastMs = Math.max(lastMs, tickedMs + random() * jitterMs);
      const atNs = BigInt(Math.round(lastMs * 1e6)) + 1n;
      const rate = { nowNs: () => atNs, intervalNs: 10n * MS, burst: 1 };
      if (limits.take(5n, rate) !== "admitted") continue;
      admitted += 1;
      const bound = 1 + Number(atNs) / 1e7;
      assert.ok(admitted <= bound, `${admitted} by ${atNs} ns at ${perSecond}/s`);
    }
    const what = `${admitted} admitted at ${perSecond}/s in ticks of ${tickMs} ms`;
    assert.ok(Math.abs(admitted - 6000) <= 30, what);
  }
});

test("a bucket of one token saves up nothing over a long pause", () => {
  const limits = new Limits(allocateLimits(64));
  const take = (atMs: number): LimitDecision =>
    limits.take(1n, { nowNs: () => BigInt(atMs) * MS, intervalNs: 10n * MS, burst: 1 });
  assert.deepEqual(
    [take(1000), take(1000), take(5000), take(5000), take(5009), take(5010)],
    ["admitted", "limited", "admitted", "limited", "limited", "admitted"],
  );
});

test("keys whose cells are all in use find none, until one expires", () => {
  const limits = new Limits(allocateLimits(16));
  const take = (key: bigint, nowNs: bigint): LimitDecision =>
    limits.take(key, { nowNs: () => nowNs, intervalNs: 1000n, burst: 1 });
  for (let key = 1n; key <= 16n; key++) assert.equal(take(key, 5000n), "admitted");
  assert.equal(take(99n, 5000n), "full");
  assert.equal(take(16n, 5000n), "limited");
  assert.equal(take(99n, 6000n), "admitted");
  assert.equal(take(99n, 6000n), "limited");
});

// Races whose windows are too short to be met by chance are made to happen: another thread's turn
// is taken where this one reads a clock.

test("a key that gets a cell while another thread is about to give it one has one bucket", () => {
  const buffer = allocateLimits(16);
  const [here, there] = [new Limits(buffer), new Limits(buffer)];
  const rate = { nowNs: () => 5000n, intervalNs: 1000n, burst: 1 };
  const decisions: LimitDecision[] = [];
  // The lock's token is read from this clock, after the key was looked for and not found.
  const clock = mock.method(process.hrtime, "bigint", () => {
    clock.mock.restore();
    decisions.push(there.take(7n, rate));
    return process.hrtime.bigint();
  });
  decisions.push(here.take(7n, rate));
  assert.deepEqual(decisions, ["admitted", "limited"]);
});

test("a cell that is given away between being found and being used is left alone", () => {
  const buffer = allocateLimits(16);
  const [here, there] = [new Limits(buffer), new Limits(buffer)];
  const at = (nowNs: bigint, burst = 3) => ({ nowNs: () => nowNs, intervalNs: 1000n, burst });
  assert.equal(here.take(1n, at(5000n)), "admitted");
  for (let key = 2n; key <= 16n; key++) {
    for (let turn = 0; turn < 3; turn++) assert.equal(here.take(key, at(5000n)), "admitted");
  }
  // At 6,500 only the first key's cell has expired.
  let turns = 0;
  const rate = {
    ...at(6500n),
    nowNs: () => {
      if (turns++ === 0) assert.equal(there.take(99n, at(6500n)), "admitted");
      return 6500n;
    },
  };
  assert.equal(here.take(1n, rate), "full");
  const left = [0, 1, 2].map(() => there.take(99n, at(6500n)));
  assert.deepEqual(left, ["admitted", "admitted", "limited"], "the other key lost nothing");
});

test("a cell over which a thread died costs nobody more than one wait, and is used again", () => {
  const buffer = allocateLimits(2);
  const [dying, living] = [new Limits(buffer), new Limits(buffer)];
  const rate = { nowNs: () => 5000n, intervalNs: 1000n, burst: 1 };
  // The thread ends before the second store: the key is there, its time is not.
  const { store } = Atomics;
  const stores = mock.method(Atomics, "store", (...args: Parameters<typeof store>) => {
    if (stores.mock.callCount() === 1) throw new Error("the thread ends");
    return store(...args);
  });
  assert.throws(() => dying.take(1n, rate), /the thread ends/);
  stores.mock.restore();

  let waitedNs = 0n;
  const clock = mock.method(process.hrtime, "bigint", () => {
    const [seconds, nanoseconds] = process.hrtime();
    return BigInt(seconds) * 1000n * MS + BigInt(nanoseconds) + waitedNs;
  });
  // The key gets the other cell, and the waits come to one at most.
  const startedMs = performance.now();
  assert.equal(living.take(1n, rate), "admitted");
  for (let turn = 0; turn < 10_000; turn++) assert.equal(living.take(1n, rate), "limited");
  const tookMs = performance.now() - startedMs;
  assert.ok(tookMs < 1000, `${tookMs} ms`);
  assert.equal(living.take(2n, rate), "full");
  waitedNs = 2000n * MS;
  assert.equal(living.take(2n, rate), "admitted", "the abandoned cell");
  assert.equal(living.take(2n, rate), "limited");
  clock.mock.restore();
});

test("one key, four threads: never more than burst + rate × time, hardly less", async () => {
  const buffer = allocateLimits(1024);
  // A bucket that outlasts any pause of a crowded machine.
  const burst = 500;
  const intervalNs = 1_000_000n;
  const task = {
    type: "take" as const,
    buffer,
    keys: ["one"],
    intervalNs,
    burst,
    forNs: 1_000n * MS,
  };
  const logs = await runTogether<readonly Admission[]>([task, task, task, task]);
  const all = logs.flat().toSorted((a, b) => Number(a[2] - b[2]));
  const firstNs = all.reduce(
    (least, [, beforeNs]) => (beforeNs < least ? beforeNs : least),
    1n << 62n,
  );
  for (const [index, [, , afterNs]] of all.entries()) {
    const bound = burst + Number(afterNs - firstNs) / Number(intervalNs);
    assert.ok(index + 1 <= bound, `${index + 1} admitted after ${afterNs - firstNs} ns`);
  }
  // Between an admission and the next look at the clock a thread may have to wait for its turn.
  const [first, last] = [all[0] as Admission, all.at(-1) as Admission];
  const exact = burst + Number(last[1] - first[2]) / Number(intervalNs);
  assert.ok(all.length >= exact * 0.99, `${all.length} of ${exact}`);
});

test("many keys on few cells, four threads: no key ever has two buckets", async () => {
  const buffer = allocateLimits(32);
  const keys = Array.from({ length: 48 }, (_, index) => `key-${index}`);
  const burst = 2;
  const intervalNs = 30_000n;
  const tasks = [0, 12, 24, 36].map((shift) => ({
    type: "take" as const,
    buffer,
    keys: [...keys.slice(shift), ...keys.slice(0, shift)],
    intervalNs,
    burst,
    forNs: 700n * MS,
  }));
  const logs = await runTogether<readonly Admission[]>(tasks);
  const byKey = new Map<string, Admission[]>();
  for (const [worker, log] of logs.entries()) {
    for (const admission of log) {
      const key = tasks[worker]?.keys[admission[0]] as string;
      const admissions = byKey.get(key);
      if (admissions === undefined) byKey.set(key, [admission]);
      else admissions.push(admission);
    }
  }
  assert.ok(byKey.size > 40, `${byKey.size} keys were admitted`);
  for (const [key, admissions] of byKey) {
    const sorted = admissions.toSorted((a, b) => Number(a[2] - b[2]));
    // Any burst + k admissions must span k intervals; a few hundred spans show a second bucket.
    for (let first = 0; first < sorted.length; first++) {
      for (let more = 1; more <= 8 && first + burst + more - 1 < sorted.length; more++) {
        const from = sorted.slice(first, first + burst + more);
        const beforeNs = from.reduce((least, one) => (one[1] < least ? one[1] : least), 1n << 62n);
        const spanNs = (from.at(-1) as Admission)[2] - beforeNs;
        assert.ok(spanNs >= intervalNs * BigInt(more), `${key}: ${burst + more} in ${spanNs} ns`);
      }
    }
  }
});

test("the seed that hashes clients' values is one per process", () => {
  const buffer = allocateLimits(16);
  assert.equal(new Limits(buffer).seed, new Limits(buffer).seed);
  assert.notEqual(hash64("a", 1), hash64("a", 2));
});
