/** Wall time in one process never goes back, and meets the system's again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { steadyClock } from "../../src/base/steady-clock.ts";
import { START_MS, VirtualClock } from "../support/clock.ts";

test("time follows the system's clock, also where that is set ahead", () => {
  const system = new VirtualClock();
  const clock = steadyClock(system);
  system.advance(1234);
  assert.equal(clock.now(), START_MS + 1234);
  system.setWallTime(START_MS + 3_600_000);
  assert.equal(clock.now(), START_MS + 3_600_000);
});

test("set back, it goes on from where it was until the two meet", () => {
  const system = new VirtualClock();
  const clock = steadyClock(system);
  system.advance(10_000);
  assert.equal(clock.now(), START_MS + 10_000);
  system.setWallTime(START_MS);
  assert.equal(clock.now(), START_MS + 10_000);
  system.advance(100_000);
  assert.equal(clock.now(), START_MS + 109_000);
  system.advance(1_000_000);
  assert.equal(clock.now(), START_MS + 1_100_000);
});

test("looking often does not hold it up", () => {
  const system = new VirtualClock();
  const clock = steadyClock(system);
  system.setWallTime(START_MS - 60_000);
  for (let look = 0; look < 10_000; look++) {
    system.advance(0.1);
    clock.now();
  }
  assert.ok(Math.abs(clock.now() - (START_MS + 990)) <= 1, String(clock.now() - START_MS));
});
