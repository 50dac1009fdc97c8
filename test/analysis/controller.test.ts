/**
 * The AnalysisRun controller on a real store, the real shared counters, a real Prometheus-like
 * server and a clock moved by hand.
 */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { newAnalysisRun } from "../../src/analysis/new-run.ts";
import {
  type AnalysisRunStatus,
  type Metric,
  isFinal,
  lastMeasuredAtMs,
  statusOf,
  unmeasuredSince,
  waitingMessage,
} from "../../src/analysis/run.ts";
import { seededRandom } from "../../src/base/random.ts";
import {
  type AnalysisRunController,
  createAnalysisRunController,
} from "../../src/control/analysis-run/reconcile.ts";
import { type Driver, createDriver } from "../../src/control/driver.ts";
import { Windows } from "../../src/metric/window.ts";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { FIELD, MetricReader, MetricRecorder } from "../../src/shared/metrics.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { Store } from "../../src/store/store.ts";
import { VirtualClock, settle } from "../support/clock.ts";

const ROUTE = "shop/checkout";
const CANARY = "Backend/shop/checkout@b";
const STABLE = "Backend/shop/checkout@a";
const SPLIT = "split/Backend/shop/checkout";

/** DESIGN §4: the template of the main job. */
const SUCCESS_RATE: Metric = {
  name: "success-rate",
  interval: "1s",
  failureLimit: 0,
  failureCondition: "result < 0.95",
  provider: {
    plugin: {
      sluice: {
        metric: "success-rate",
        arm: "canary",
        window: "5s",
        minSamples: 20,
        noData: "wait",
      },
    },
  },
};

class World {
  readonly clock = new VirtualClock();
  readonly store: Store;
  readonly #memory = allocateSharedMemory(1).metrics;
  readonly #recorder = new MetricRecorder(this.#memory, 0);
  #controller: AnalysisRunController;
  #driver: Driver;
  /** Statuses that were written, in order. */
  readonly written: AnalysisRunStatus[] = [];

  /** `pagesMax` is where the disk is full, in pages of 4 KB. */
  constructor({ pagesMax }: { readonly pagesMax?: number } = {}) {
    const limit = pagesMax === undefined ? {} : { pagesMax };
    this.store = openSqliteStore({ path: ":memory:", clock: this.clock, ...limit });
    [this.#controller, this.#driver] = this.#start();
    this.store.watch(({ resource }) => {
      if (resource.kind === "AnalysisRun") this.written.push(statusOf(resource));
      this.#driver.signal();
    });
  }

  #start(): [AnalysisRunController, Driver] {
    const { clock, store } = this;
    const controller = createAnalysisRunController({
      store,
      clock,
      windows: new Windows({ reader: new MetricReader(this.#memory), clock }),
      dataPlane: { routesOf: (key) => (key === SPLIT ? [ROUTE] : []) },
      wake: () => this.#driver.signal("analysis-run"),
    });
    const driver = createDriver({ reconcilers: [controller], clock, random: seededRandom(1) });
    driver.start();
    return [controller, driver];
  }

  /** The control thread dies and comes back; counters and store stay. */
  async restart(): Promise<void> {
    await this.#driver.stop();
    this.#controller.close();
    [this.#controller, this.#driver] = this.#start();
    await settle();
  }

  traffic(outcome: keyof typeof FIELD, count: number, arm = CANARY): void {
    const row = this.#recorder.row(ROUTE, arm);
    for (let each = 0; each < count; each++) this.#recorder.attempt(row, FIELD[outcome], 5);
  }

  async create(draft: ResourceDraft): Promise<Resource> {
    const [created] = await this.store.commit([{ op: "create", resource: draft }]);
    await settle();
    return created as Resource;
  }

  async createRun(metrics: readonly Metric[], args: object[] = []): Promise<void> {
    const owner = await this.create(draftOf("Rollout", "checkout", {}));
    await this.create(
      draftOf("AnalysisTemplate", "healthy", {
        metrics,
        args,
      }),
    );
    const made = newAnalysisRun({
      templates: [{ templateName: "healthy" }],
      view: this.store,
      owner,
      name: "run",
      arms: { canary: CANARY, stable: STABLE, split: SPLIT },
    });
    assert.ok(made.ok, made.ok ? "" : made.message);
    await this.create(made.draft);
  }

  get run(): Resource {
    const run = this.store.get("AnalysisRun", "shop", "run");
    assert.ok(run);
    return run;
  }

  get status(): AnalysisRunStatus {
    return statusOf(this.run);
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advanceSettled(ms);
  }

  async close(): Promise<void> {
    await this.#driver.stop();
    this.#controller.close();
    this.store.close();
    assert.equal(this.clock.pendingCount, 0, "timers are left");
  }
}

function draftOf(kind: string, name: string, spec: object): ResourceDraft {
  const apiVersion = "argoproj.io/v1alpha1";
  return { apiVersion, kind, metadata: { name, namespace: "shop" }, spec };
}

test("without traffic the run waits, and says for what", async () => {
  const world = new World();
  await world.createRun([SUCCESS_RATE]);
  await world.advance(30_000);
  assert.equal(world.status.phase, "Running");
  assert.equal(waitingMessage(world.run), "success-rate: waiting for 20 samples, has 0");
  assert.equal(world.status.metricResults?.[0]?.measurements, undefined);
  const { length } = world.written;
  await world.advance(30_000);
  assert.equal(world.written.length, length, "a run that only waits writes nothing new");
  await world.close();
});

test("a bad canary fails the run within a second of its twentieth sample", async () => {
  const world = new World();
  await world.createRun([SUCCESS_RATE]);
  await world.advance(10_000);
  world.traffic("ok", 16);
  world.traffic("status5xx", 4);
  world.traffic("ok", 1000, STABLE);
  await world.advance(1000);
  assert.equal(world.status.phase, "Failed");
  const [result] = world.status.metricResults ?? [];
  assert.equal(
    result?.measurements?.[0]?.message,
    "success-rate canary 0.8 over 5s (20 samples): result < 0.95 is true",
  );
  assert.equal(result?.measurements?.[0]?.value, "0.8");
  assert.match(
    world.status.message ?? "",
    /assessed Failed due to failed \(1\) > failureLimit \(0\)/,
  );
  await world.close();
});

test("a good canary is measured every second, and the rollout can tell when", async () => {
  const world = new World();
  await world.createRun([SUCCESS_RATE]);
  const stepMs = world.clock.now() + 3000;
  for (let second = 0; second < 3; second++) {
    world.traffic("ok", 25);
    await world.advance(1000);
  }
  assert.deepEqual(unmeasuredSince(world.run, stepMs + 500, world.clock.now()), ["success-rate"]);
  world.traffic("ok", 25);
  await world.advance(1000);
  assert.equal(world.status.phase, "Running");
  assert.deepEqual(unmeasuredSince(world.run, stepMs, world.clock.now()), []);
  assert.ok((lastMeasuredAtMs(world.run).get("success-rate") ?? 0) >= stepMs);
  assert.ok((world.status.metricResults?.[0]?.count ?? 0) >= 3);
  await world.close();
});

test("terminate ends a run well; a final run is left alone", async () => {
  const world = new World();
  await world.createRun([SUCCESS_RATE]);
  const { run } = world;
  const spec = { ...run.spec, terminate: true };
  await world.store.commit([
    { op: "update", resource: { ...run, spec, metadata: { name: "run", namespace: "shop" } } },
  ]);
  await settle();
  assert.equal(world.status.phase, "Successful");
  const { length } = world.written;
  world.traffic("status5xx", 100);
  await world.advance(10_000);
  assert.equal(world.written.length, length);
  await world.close();
});

test("after a restart windows begin anew and the run goes on from its status", async () => {
  const world = new World();
  await world.createRun([{ ...SUCCESS_RATE, failureLimit: 1 }]);
  world.traffic("status5xx", 30);
  await world.advance(500);
  assert.equal(world.status.metricResults?.[0]?.failed, 1);
  await world.restart();
  await world.advance(2000);
  assert.equal(world.status.phase, "Running", "what happened before the restart counts no more");
  assert.equal(waitingMessage(world.run), "success-rate: waiting for 20 samples, has 0");
  world.traffic("status5xx", 30);
  await world.advance(1000);
  assert.equal(world.status.phase, "Failed");
  assert.equal(world.status.metricResults?.[0]?.failed, 2);
  await world.close();
});

test("a later run does not look at what happened before it began", async () => {
  const world = new World();
  await world.createRun([SUCCESS_RATE]);
  world.traffic("status5xx", 30);
  await world.advance(300);
  assert.equal(world.status.phase, "Failed");
  const { annotations } = world.run.metadata;
  const { apiVersion, kind, spec } = world.run;
  const metadata = { name: "retry", namespace: "shop", annotations: annotations ?? {} };
  await world.create({ apiVersion, kind, metadata, spec: spec ?? {} });
  await world.advance(3000);
  const retry = world.store.get("AnalysisRun", "shop", "retry") as Resource;
  assert.equal(statusOf(retry).phase, "Running");
  assert.equal(waitingMessage(retry), "success-rate: waiting for 20 samples, has 0");
  await world.close();
});

test("a run of nobody's rollout cannot use the gateway's own metrics", async () => {
  const world = new World();
  await world.create(draftOf("AnalysisRun", "run", { metrics: [SUCCESS_RATE] }));
  await world.advance(60_000);
  assert.equal(world.status.phase, "Error");
  assert.match(world.status.message ?? "", /consecutiveErrors \(5\).*this run has no rollout/);
  await world.close();
});

test("prometheus: asked in the background, with secrets that no status shows", async () => {
  const seen: { authorization: string | undefined }[] = [];
  const server = createServer((request, response) => {
    seen.push({ authorization: request.headers.authorization });
    const result = [{ metric: {}, value: [1, "0.99"] }];
    response.end(JSON.stringify({ status: "success", data: { resultType: "vector", result } }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A test that fails must not keep its process alive.
  server.unref();
  const { port } = server.address() as AddressInfo;
  const world = new World();
  const token = Buffer.from("hunter2").toString("base64");
  const metadata = { name: "prom", namespace: "shop" };
  await world.create({ apiVersion: "v1", kind: "Secret", metadata, data: { token } });
  const metric: Metric = {
    name: "p",
    interval: "1s",
    count: 2,
    successCondition: "len(result) > 0 and result[0] >= 0.95",
    provider: {
      prometheus: {
        address: `http://127.0.0.1:${port}`,
        query: "up",
        headers: [{ key: "authorization", value: "Bearer {{args.token}}" }],
      },
    },
  };
  const arg = { name: "token", valueFrom: { secretKeyRef: { name: "prom", key: "token" } } };
  await world.createRun([metric], [arg]);
  const deadlineMs = performance.now() + 10_000;
  while (!isFinal(world.status.phase)) {
    assert.ok(performance.now() < deadlineMs, JSON.stringify(world.status));
    await world.advance(100);
  }
  assert.equal(world.status.phase, "Successful");
  assert.equal(world.status.metricResults?.[0]?.measurements?.[0]?.value, "[0.99]");
  assert.deepEqual(seen, [
    { authorization: "Bearer hunter2" },
    { authorization: "Bearer hunter2" },
  ]);
  assert.doesNotMatch(JSON.stringify(world.written), /hunter2/);
  await world.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test("a secret that is not there ends the run with words", async () => {
  const world = new World();
  const arg = { name: "token", valueFrom: { secretKeyRef: { name: "none", key: "k" } } };
  await world.createRun([{ name: "m", provider: {} }], [arg]);
  assert.equal(world.status.phase, "Error");
  assert.equal(world.status.message, 'unable to resolve metric arguments: secret "none" not found');
  await world.close();
});

test("a verdict is heard while the disk refuses writes", async () => {
  const world = new World({ pagesMax: 100 });
  await world.createRun([SUCCESS_RATE]);
  for (const size of [4000, 1]) {
    const fill = async (): Promise<void> => {
      for (let each = 0; each < 1000; each++) {
        await world.create(draftOf("ConfigMap", `c${size}-${each}`, { text: "x".repeat(size) }));
      }
    };
    await assert.rejects(fill, { code: "Unavailable" });
  }
  world.traffic("status5xx", 30);
  await world.advance(1000);
  assert.ok(world.store.unsavedCount > 0, "the disk is not full");
  assert.equal(world.status.phase, "Failed");
  await world.close();
});
