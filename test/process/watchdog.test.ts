/** A worker whose event loop stands still is found by its silence, and none that is only late. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Watchdog } from "../../src/process/watchdog.ts";
import { VirtualClock } from "../support/clock.ts";

const LIMIT_MS = 10_000;

function watched(workers: number) {
  const clock = new VirtualClock();
  const heartbeats = new SharedArrayBuffer(workers * 4);
  const beats = new Int32Array(heartbeats);
  const hung: number[] = [];
  const onHung = (index: number): void => void hung.push(index);
  const watchdog = new Watchdog({ heartbeats, clock, limitMs: LIMIT_MS, onHung });
  return { clock, beats, hung, watchdog };
}

test("one that stands still for the limit is named once in that time; the others are not", () => {
  const { clock, beats, hung, watchdog } = watched(3);
  for (let second = 1; second <= 15; second++) {
    Atomics.add(beats, 0, 2);
    if (second <= 5) Atomics.add(beats, 1, 2);
    Atomics.add(beats, 2, 1);
    clock.advance(1000);
    assert.deepEqual(hung, second < 15 ? [] : [1], `after ${second} s`);
  }
  watchdog.close();
  assert.equal(clock.pendingCount, 0);
});

test("one that was started again has its time from then on", () => {
  const { clock, beats, hung, watchdog } = watched(1);
  Atomics.add(beats, 0, 1);
  clock.advance(LIMIT_MS + 1000);
  assert.deepEqual(hung, [0]);
  watchdog.restarted(0);
  Atomics.add(beats, 0, 1);
  clock.advance(LIMIT_MS);
  assert.deepEqual(hung, [0]);
  clock.advance(1000);
  assert.deepEqual(hung, [0, 0]);
  watchdog.close();
});

test("one that has not begun is given a minute", () => {
  const { clock, hung, watchdog } = watched(1);
  clock.advance(59_000);
  assert.deepEqual(hung, []);
  clock.advance(1000);
  assert.deepEqual(hung, [0]);
  watchdog.close();
});
