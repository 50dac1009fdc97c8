/**
 * The main job on a virtual clock: the real rollout and analysis controllers over the real shared
 * counters, with requests that fail at a rate. A bad canary is at weight 0 within three seconds, a
 * good one is promoted, and without traffic nothing is.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRandom } from "../../src/base/random.ts";
import { createAnalysisRunController } from "../../src/control/analysis-run/reconcile.ts";
import { Windows } from "../../src/metric/window.ts";
import { statusOf } from "../../src/rollout/status.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { MetricReader, MetricRecorder } from "../../src/shared/metrics.ts";
import {
  backendDraft,
  NAMESPACE,
  rolloutDraft,
  RolloutWorld,
  type WorldOptions,
} from "../support/rollout-world.ts";

const ROUTE = `${NAMESPACE}/web`;
const TICK_MS = 10;
const SEEDS = process.env["SLUICE_LONG"] === "1" ? 200 : 20;

/** Four looks a second at 40 samples or more: what tells 20 % from 1 % within 75 requests. */
const TEMPLATE = {
  apiVersion: "argoproj.io/v1alpha1",
  kind: "AnalysisTemplate",
  metadata: { name: "healthy", namespace: NAMESPACE },
  spec: {
    metrics: [
      {
        name: "success-rate",
        interval: "250ms",
        failureLimit: 0,
        failureCondition: "result < 0.92",
        provider: {
          plugin: {
            sluice: {
              metric: "success-rate",
              arm: "canary",
              window: "5s",
              minSamples: 40,
              noData: "wait",
            },
          },
        },
      },
    ],
  },
};

interface Load {
  readonly perSecond: number;
  readonly canaryErrors: number;
  readonly stableErrors: number;
}

class Job {
  readonly world: RolloutWorld;
  /** Virtual time of the first request that the canary got. */
  firstCanaryMs: number | undefined;
  canaryErrors = 0;
  readonly #recorder: MetricRecorder;
  readonly #random: () => number;
  #stopped = false;

  constructor(seed: number) {
    const memory = allocateSharedMemory(1);
    const reader = new MetricReader(memory.metrics);
    this.#recorder = new MetricRecorder(memory.metrics, 0);
    this.#random = seededRandom(seed);
    const analysis: WorldOptions["analysis"] = ({ store, clock, dataPlane, wake }) =>
      createAnalysisRunController({
        store,
        clock,
        dataPlane,
        wake,
        windows: new Windows({ reader, clock }),
      });
    this.world = new RolloutWorld({ analysis });
  }

  async begin(load: Load): Promise<void> {
    const { world } = this;
    world.start();
    await world.apply(TEMPLATE);
    await world.apply(backendDraft({ version: "1" }));
    const analysis = { templates: [{ templateName: "healthy" }] };
    const pause = { pause: { duration: "10s" } };
    const steps = [{ setWeight: 5 }, pause, { setWeight: 50 }, pause];
    await world.apply(rolloutDraft({ strategy: { canary: { analysis, steps } } }));
    this.#send(load);
    await world.advance(3000);
    await world.edit({ version: "2" });
  }

  async end(): Promise<void> {
    this.#stopped = true;
    await this.world.kill();
    assert.deepEqual(this.world.problems, []);
  }

  /** One tick's requests, each to an arm by its weight, as a worker counts them. */
  #send(load: Load): void {
    if (this.#stopped) return;
    const arms = this.world.acknowledged?.arms ?? [];
    for (let sent = 0; sent < (load.perSecond * TICK_MS) / 1000; sent++) {
      const canary = arms.find(({ role }) => role === "canary");
      const toCanary = this.#random() < (canary?.weightBp ?? 0) / 10_000;
      const arm = toCanary ? canary : arms.find(({ role }) => role === "stable");
      if (arm === undefined) continue;
      if (toCanary) {
        assert.notEqual(this.world.gates.get(arm.id), undefined);
        this.firstCanaryMs ??= this.world.elapsedMs;
      }
      // A closed gate sends the request to the stable arm.
      const open = this.world.gates.get(arm.id) !== false;
      const isCanary = arm.role === "canary" && open;
      const id = open ? arm.id : (arms.find(({ role }) => role === "stable")?.id ?? "");
      const failed = this.#random() < (isCanary ? load.canaryErrors : load.stableErrors);
      if (failed && isCanary) this.canaryErrors++;
      this.#recorder.attempt(this.#recorder.row(ROUTE, id), failed ? 1 : 0, 5);
    }
    this.world.clock.after(TICK_MS, () => this.#send(load));
  }
}

describe("the main job", () => {
  it("takes a canary with 20 % errors to weight 0 within three seconds", async () => {
    let late = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      const job = new Job(seed);
      await job.begin({ perSecond: 500, canaryErrors: 0.2, stableErrors: 0.01 });
      while (job.firstCanaryMs === undefined) await job.world.advance(TICK_MS);
      await job.world.advance(3000);
      if (statusOf(job.world.rollout()).abort !== true) late++;
      await job.world.advance(3000);
      const status = statusOf(job.world.rollout());
      const where = `seed ${seed}: ${job.world.describe()}`;
      assert.equal(status.abort, true, where);
      assert.equal(status.canary?.weights?.canary.weight, 0, where);
      assert.equal(status.canary?.weights?.verified, true, where);
      assert.match(status.message ?? "", /success-rate/, where);
      await job.end();
    }
    // Of some 75 requests fewer than 8 % fail by chance in one case of a hundred.
    assert.ok(late <= SEEDS * 0.03, `${late} of ${SEEDS} took longer`);
  });

  it("promotes a canary that is as good as the stable version, for every seed", async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const job = new Job(seed);
      await job.begin({ perSecond: 500, canaryErrors: 0.01, stableErrors: 0.01 });
      await job.world.advance(30_000);
      assert.match(job.world.describe(), /Healthy stable=v2#2/, `seed ${seed}`);
      const runs = job.world.runs().map((run) => run.status?.["phase"]);
      assert.deepEqual(runs, ["Successful"]);
      await job.end();
    }
  });

  it("promotes nothing without traffic, and says what it waits for", async () => {
    const job = new Job(1);
    await job.begin({ perSecond: 0, canaryErrors: 0, stableErrors: 0 });
    await job.world.advance(300_000);
    assert.match(
      job.world.describe(),
      /Progressing stable=v1#1 current=v2#2 step=1 weight=5 .*waiting for 40 samples, has 0/,
    );
    await job.end();
  });

  it("goes on from where it stood after a kill, on fresh data", async () => {
    const job = new Job(3);
    await job.begin({ perSecond: 500, canaryErrors: 0.01, stableErrors: 0.01 });
    await job.world.advance(6000);
    await job.world.kill();
    await job.world.advance(60_000);
    job.world.start();
    await job.world.advance(1000);
    assert.match(job.world.describe(), /Paused .*step=1 weight=5 gate=open/);
    await job.world.advance(25_000);
    assert.match(job.world.describe(), /Healthy stable=v2#2/);
    await job.end();
  });
});
