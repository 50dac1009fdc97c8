/**
 * Swapping under a load that never stops, on real worker threads: no request sees two generations,
 * every generation is seen by every worker, and a program of 5,000 routes stalls nobody. With
 * SLUICE_LONG=1 it is 1,000 generations in 60 s.
 */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { env } from "node:process";
import { test } from "node:test";
import { MessageChannel, Worker } from "node:worker_threads";
import { systemClock } from "../../src/base/clock.ts";
import type { MatchEntry, Part, RulePart } from "../../src/compile/program.ts";
import { createDelivery, type Delivery } from "../../src/delivery/delivery.ts";
import { Gates } from "../../src/shared/gates.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { MetricReader } from "../../src/shared/metrics.ts";
import type { DeliveryWorkerCommand, DeliveryWorkerReport } from "../support/delivery-worker.ts";
import { SOCKET_KEY, pool, rule, split } from "../support/linking.ts";

const LONG = env.SLUICE_LONG === "1";

class Fleet implements AsyncDisposable {
  readonly delivery: Delivery;
  readonly #workers: readonly Worker[];
  readonly #events = new EventEmitter();

  constructor(delivery: Delivery, workers: readonly Worker[]) {
    this.delivery = delivery;
    this.#workers = workers;
    delivery.onAcknowledged(() => this.#events.emit("acknowledged"));
  }

  /** Workers that serve, and a delivery that they are attached to. */
  static async start(count: number): Promise<Fleet> {
    const memory = allocateSharedMemory(count);
    const script = new URL("../support/delivery-worker.ts", import.meta.url);
    const workers = Array.from(
      { length: count },
      (_, index) => new Worker(script, { workerData: { memory, index } }),
    );
    await Promise.all(workers.map((worker) => once(worker, "message")));
    const gates = new Gates(memory.gates);
    const rows = new MetricReader(memory.metrics);
    const delivery = createDelivery({ gates, rows, clock: systemClock });
    for (const [index, worker] of workers.entries()) {
      const { port1, port2 } = new MessageChannel();
      const attach: DeliveryWorkerCommand = { type: "attach", port: port2 };
      worker.postMessage(attach, [port2]);
      delivery.addWorker(index, port1);
    }
    return new Fleet(delivery, workers);
  }

  /** Publishes and waits until every worker has swapped; returns how long that took. */
  async publish(parts: ReadonlyMap<string, Part>): Promise<number> {
    const startMs = performance.now();
    const generation = this.delivery.publish({
      parts,
      credentials: new Map(),
      routesOf: new Map(),
    });
    while (this.delivery.acknowledgedGeneration < generation) {
      await once(this.#events, "acknowledged", { signal: AbortSignal.timeout(20_000) });
    }
    return performance.now() - startMs;
  }

  /** What each worker has seen since it was last asked. */
  async report(): Promise<readonly DeliveryWorkerReport[]> {
    return Promise.all(
      this.#workers.map(async (worker) => {
        const told = once(worker, "message");
        const command: DeliveryWorkerCommand = { type: "report" };
        post(worker, command);
        const [report] = (await told) as [DeliveryWorkerReport];
        return report;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.delivery.close();
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

function post(worker: Worker, command: DeliveryWorkerCommand): void {
  worker.postMessage(command);
}

/** The rule that every request of the load matches, saying `value` in three places. */
function saying(value: string): RulePart {
  return rule("default/swap", {
    filters: {
      requestHeaders: { set: [["x-g", value]] },
      responseHeaders: { set: [["x-g", value]] },
      rewrite: { path: { type: "ReplaceFullPath", value: `/${value}` } },
    },
    backends: [{ weight: 1, split: split("b0", 0).key }],
  });
}

/** A program of `count` routes on one host besides the one that the load asks for. */
function program(count: number, value: string): Map<string, Part> {
  const parts = new Map<string, Part>();
  const add = <T extends Part>(part: T): T => {
    parts.set(part.key, part);
    return part;
  };
  const listeners = [{ hostname: "", table: "table/t" }];
  add({ type: "socket", key: SOCKET_KEY, address: "127.0.0.1", port: 80, listeners });
  const entries: MatchEntry[] = [
    { path: { type: "PathPrefix", value: "/swap" }, rule: saying("").key },
  ];
  for (let index = 0; index < count; index++) {
    const backends = [{ weight: 1, split: split(`b${index % 500}`, 0).key }];
    const one = rule(`default/route-${index}`, { backends });
    add(one);
    entries.push({
      path: { type: "PathPrefix", value: `/team-${index % 50}/app-${index}` },
      rule: one.key,
    });
  }
  for (let index = 0; index < Math.min(count, 500); index++) {
    const { arms } = add(split(`b${index}`, 500));
    for (const arm of arms) add(pool(arm.pool));
  }
  const pages: string[] = [];
  for (let at = 0; at < entries.length; at += 64) {
    const key = `page/${at}`;
    pages.push(key);
    add({ type: "page", key, entries: entries.slice(at, at + 64) });
  }
  add({ type: "table", key: "table/t", hosts: [{ hostname: "", pages }] });
  add(saying(value));
  return parts;
}

test("every worker sees every generation, and no request sees two", async () => {
  const generations = LONG ? 1000 : 150;
  await using fleet = await Fleet.start(2);
  const parts = program(0, "g0");
  await fleet.publish(parts);
  await fleet.report();
  for (let turn = 1; turn <= generations; turn++) {
    const paced = LONG ? pause(50) : undefined;
    await fleet.publish(new Map([...parts, [saying("").key, saying(`g${turn}`)]]));
    // A worker may have swapped and not had a request since, so it is asked until it has.
    const waiting = new Set([0, 1]);
    for (let asked = 0; waiting.size > 0; asked++) {
      for (const [worker, { mixed, seen }] of (await fleet.report()).entries()) {
        assert.equal(mixed, 0, `g${turn}`);
        if (seen.includes(`g${turn}`)) waiting.delete(worker);
      }
      assert.ok(asked < 10_000, `g${turn} is acknowledged and not served`);
    }
    await paced;
  }
});

test("5,000 routes arrive without a stall, and one changed weight in no time", async (t) => {
  await using fleet = await Fleet.start(2);
  await fleet.publish(program(0, "g"));
  await fleet.report();
  const parts = program(5000, "g");
  const appliedMs = await fleet.publish(parts);
  const whole = await fleet.report();
  const times: number[] = [];
  for (let weightBp = 1; weightBp <= 15; weightBp++) {
    const changed = split("b7", weightBp * 100);
    times.push(await fleet.publish(new Map([...parts, [changed.key, changed]])));
  }
  const changes = await fleet.report();
  const medianMs = times.toSorted((a, b) => a - b)[7] as number;
  const stalls = [...whole, ...changes].map((one) => one.stallMsMax.toFixed(1)).join(", ");
  t.diagnostic(
    `applied ${appliedMs.toFixed(0)} ms; weight ${medianMs.toFixed(1)} ms; stalls ${stalls} ms`,
  );
  for (const { stallMsMax, mixed } of [...whole, ...changes]) {
    assert.equal(mixed, 0);
    assert.ok(stallMsMax <= 10, `a worker was busy for ${stallMsMax.toFixed(1)} ms at a stretch`);
  }
  assert.ok(medianMs <= 50, `a weight took ${medianMs.toFixed(1)} ms`);
  assert.ok(appliedMs <= 5000, `5,000 routes took ${appliedMs.toFixed(0)} ms`);
});

async function pause(ms: number): Promise<void> {
  await new Promise<void>((resolve) => systemClock.after(ms, resolve));
}
