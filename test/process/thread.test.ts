/** A supervised thread: brought back at growing intervals, and not at all once its end is expected. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "../../src/base/log.ts";
import { SupervisedThread } from "../../src/process/thread.ts";
import { VirtualClock } from "../support/clock.ts";
import { eventually } from "../support/sluice.ts";

const SCRIPT = new URL("./mortal-thread.ts", import.meta.url);

/** What a thread did, and how to make it die. */
function mortal({ dies }: { dies: boolean }) {
  const clock = new VirtualClock();
  const waits: number[] = [];
  const crashes: string[] = [];
  const reports: string[] = [];
  const life = { dies, restarts: 0 };
  const log: Logger = {
    info: () => undefined,
    warn: () => undefined,
    error: (fields) => void waits.push((fields as { waitMs: number }).waitMs),
  };
  const thread = new SupervisedThread({
    name: "mortal",
    youngGenerationMb: 16,
    script: SCRIPT,
    data: () => ({ dies: life.dies }),
    clock,
    log,
    onRestart: () => life.restarts++,
    onReport: ({ type }) => reports.push(type),
    onCrash: (reason) => crashes.push(reason),
  });
  return { thread, clock, waits, crashes, reports, life };
}

test("a thread that keeps dying is started at growing intervals, up to five seconds", async () => {
  const { thread, clock, waits, crashes, life } = mortal({ dies: true });
  for (let crash = 1; crash <= 10; crash++) {
    await eventually(`crash ${crash}`, () => crashes.length === crash);
    const waitMs = waits.at(-1) ?? 0;
    clock.advance(waitMs * 0.9);
    if (waitMs > 0) assert.equal(life.restarts, crash - 1);
    clock.advance(waitMs * 0.1);
    assert.equal(life.restarts, crash);
  }
  assert.deepEqual(waits, [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  assert.deepEqual(new Set(crashes), new Set(["nothing to live for"]));
  thread.expectEnd();
  await thread.kill();
  await thread.ended;
});

test("a thread that lived for a while is started again at once", async () => {
  const { thread, clock, waits, crashes, reports, life } = mortal({ dies: false });
  await eventually("it lives", () => reports.length === 1);
  for (const [index, livedMs] of [1000, 1000, 10_001, 1000].entries()) {
    clock.advance(livedMs);
    await thread.kill();
    assert.equal(crashes.length, index + 1);
    clock.advance(waits.at(-1) ?? 0);
    await eventually("it lives again", () => reports.length === index + 2);
  }
  assert.deepEqual(waits, [0, 50, 0, 50]);
  assert.equal(life.restarts, 4);
  thread.expectEnd();
  await thread.kill();
});

test("the end of a thread that waits to be started again is its end", async () => {
  const { thread, clock, crashes, waits } = mortal({ dies: true });
  await eventually("the first crash", () => crashes.length === 1);
  clock.advance(0);
  await eventually("the second crash", () => crashes.length === 2);
  assert.equal(waits[1], 50);
  thread.expectEnd();
  await thread.ended;
  assert.equal(clock.pendingCount, 0);
});

test("a thread that is told to stop ends once and stays dead", async () => {
  const { thread, clock, crashes, reports, life } = mortal({ dies: false });
  await eventually("it lives", () => reports.length === 1);
  thread.expectEnd();
  thread.post({ type: "stop" });
  await thread.ended;
  assert.equal(clock.pendingCount, 0);
  assert.deepEqual([crashes, life.restarts], [[], 0]);
});
