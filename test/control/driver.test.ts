/** The driver: signals add up, one activation at a time, backoff after a failure, a clean stop. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createDriver, type Driver } from "../../src/control/driver.ts";
import type { Reconciler } from "../../src/control/reconciler.ts";
import { settle, VirtualClock } from "../support/clock.ts";

interface Bench {
  readonly clock: VirtualClock;
  readonly driver: Driver;
  readonly startedAtMs: number[];
  readonly errors: string[];
}

function bench(reconcile: Reconciler["reconcile"]): Bench {
  const clock = new VirtualClock();
  const startedAtMs: number[] = [];
  const errors: string[] = [];
  const driver = createDriver({
    reconcilers: [
      {
        name: "one",
        reconcile: (signal) => {
          startedAtMs.push(clock.monotonic());
          return reconcile(signal);
        },
      },
    ],
    clock,
    random: () => 1,
    onError: (name, error, failures) => errors.push(`${name} ${failures} ${String(error)}`),
  });
  return { clock, driver, startedAtMs, errors };
}

describe("driver", () => {
  it("runs at the start, at a signal and at the time asked for", async () => {
    const { clock, driver, startedAtMs } = bench(async () => ({ wakeAtMs: clock.now() + 500 }));
    driver.start();
    await clock.advanceSettled(700);
    driver.signal();
    await clock.advanceSettled(600);
    assert.deepEqual(startedAtMs, [0, 500, 700, 1200]);
    await driver.stop();
    assert.equal(clock.pendingCount, 0);
  });

  it("makes one activation of many signals, and one more of those that come meanwhile", async () => {
    let release = (): void => undefined;
    let running = 0;
    const { clock, driver, startedAtMs } = bench(async () => {
      running++;
      assert.equal(running, 1);
      await new Promise<void>((resolve) => (release = resolve));
      running--;
      return { wakeAtMs: undefined };
    });
    driver.start();
    driver.signal();
    driver.signal();
    await settle();
    for (let count = 0; count < 5; count++) driver.signal();
    assert.equal(driver.states()[0]?.running, true);
    release();
    await settle();
    assert.equal(startedAtMs.length, 2);
    release();
    await settle();
    assert.equal(startedAtMs.length, 2);
    assert.equal(driver.states()[0]?.runs, 2);
    await driver.stop();
    assert.equal(clock.pendingCount, 0);
  });

  it("retries with a growing delay, shows the last error, and forgets it after a success", async () => {
    let failing = true;
    const { clock, driver, startedAtMs, errors } = bench(async () => {
      if (failing) throw new Error("the disk is full");
      return { wakeAtMs: undefined };
    });
    driver.start();
    await clock.advanceSettled(1000);
    assert.deepEqual(startedAtMs, [0, 100, 300, 700]);
    assert.equal(driver.states()[0]?.failures, 4);
    assert.equal(driver.states()[0]?.lastError, "the disk is full");
    assert.equal(errors[3], "one 4 Error: the disk is full");
    failing = false;
    await clock.advanceSettled(1000);
    assert.deepEqual(startedAtMs.slice(4), [1500]);
    assert.equal(driver.states()[0]?.lastError, undefined);
    assert.equal(driver.states()[0]?.failures, 0);
    await driver.stop();
  });

  it("bounds the delay, and a signal cuts it down to the first", async () => {
    const { clock, driver, startedAtMs } = bench(() => Promise.reject(new Error("no")));
    driver.start();
    await clock.advanceSettled(200_000);
    const gaps = startedAtMs.slice(1).map((at, index) => at - (startedAtMs[index] ?? 0));
    assert.equal(Math.max(...gaps), 30_000);
    const before = startedAtMs.length;
    driver.signal();
    await clock.advanceSettled(99);
    driver.signal();
    assert.equal(startedAtMs.length, before);
    await clock.advanceSettled(1);
    assert.equal(startedAtMs.length, before + 1);
    await driver.stop();
  });

  it("stops: what runs is told, waited for, and nothing starts any more", async () => {
    const { clock, driver, startedAtMs, errors } = bench(
      (signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(new Error("aborted")));
        }),
    );
    driver.start();
    await settle();
    await driver.stop();
    driver.signal();
    await clock.advanceSettled(60_000);
    assert.equal(startedAtMs.length, 1);
    assert.deepEqual(errors, []);
    assert.equal(clock.pendingCount, 0);
  });
});
