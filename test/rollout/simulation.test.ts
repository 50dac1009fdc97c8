/**
 * Seeded simulation: rollouts under random traffic, people and crashes, and the properties that must
 * hold whatever happens. A failure prints its seed; `SEED=n` plays that one alone.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seededRandom, type Random } from "../../src/base/random.ts";
import { lastMeasuredAtMs } from "../../src/analysis/run.ts";
import type { Resource } from "../../src/resource/resource.ts";
import { hashOf, numberOf, revisionsOf } from "../../src/rollout/revision.ts";
import { statusOf } from "../../src/rollout/status.ts";
import { desiredSplit } from "../../src/rollout/weight.ts";
import {
  backendDraft,
  NAMESPACE,
  rolloutDraft,
  ROLLOUT,
  RolloutWorld,
  templateDraft,
  type Traffic,
} from "../support/rollout-world.ts";

const SEEDS = process.env["SLUICE_LONG"] === "1" ? 300 : 25;
const TRAFFIC: readonly Traffic[] = ["good", "good", "good", "bad", "none", "unclear", "broken"];
const STEPS = [
  { setWeight: 5 },
  { pause: { duration: "3s" } },
  { setWeight: 25 },
  { setWeight: 50 },
  { pause: { duration: 2 } },
];

function seeds(): readonly number[] {
  const one = process.env["SEED"];
  return one === undefined ? Array.from({ length: SEEDS }, (_, seed) => seed) : [Number(one)];
}

function pick<T>(list: readonly T[], random: Random): T {
  return list[Math.floor(random() * list.length)] as T;
}

async function newWorld(): Promise<RolloutWorld> {
  const world = new RolloutWorld();
  world.start();
  await world.apply(templateDraft());
  await world.apply(backendDraft({ version: "0" }));
  const analysis = { templates: [{ templateName: "healthy" }] };
  await world.apply(rolloutDraft({ strategy: { canary: { analysis, steps: STEPS } } }));
  await world.advance(100);
  return world;
}

describe("simulation", () => {
  for (const seed of seeds()) {
    it(`unattended, seed ${seed}`, () => unattended(seed));
    it(`with people and crashes, seed ${seed}`, () => attended(seed));
  }
});

/** Nobody does anything but edit: weight may rise only on a fresh good verdict. */
async function unattended(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const world = await newWorld();
  const watcher = new RiseWatcher(world);
  for (let version = 1; version <= 3; version++) {
    await world.edit({ version: String(version) });
    for (let round = 0; round < 12; round++) {
      world.traffic = pick(TRAFFIC, random);
      if (random() < 0.15) {
        await world.kill();
        await world.advance(random() * 20_000);
        world.start();
        watcher.restarted();
      }
      await world.advance(random() * 3000);
      await assertAtRest(world);
      watcher.check();
    }
  }
  await world.kill();
  assert.deepEqual(world.problems, []);
}

/** Whatever people do: abort means nothing for the canary, and the parts always sum to the whole. */
async function attended(seed: number): Promise<void> {
  const random = seededRandom(seed + 10_000);
  const world = await newWorld();
  let version = 0;
  const acts: readonly (() => Promise<void>)[] = [
    () => world.edit({ version: String(++version) }),
    () => world.edit({ version: String(Math.max(0, version - 1)) }),
    () => world.patchRollout({ status: { abort: true } }),
    () => world.patchRollout({ status: { abort: false } }),
    () => world.patchRollout({ status: { pauseConditions: null } }),
    () => world.patchRollout({ status: { promoteFull: true } }),
    () => world.patchRollout({ spec: { paused: random() < 0.5 } }),
    () => crash(world, random),
    () => changeSteps(world, random),
    () => removeOneRun(world, random),
    async () => void (world.traffic = pick(TRAFFIC, random)),
    async () => void (world.traffic = "good"),
  ];
  for (let round = 0; round < 40; round++) {
    await pick(acts, random)();
    await world.advance(random() * 2500);
    await assertAtRest(world);
    assertSafe(world);
  }
  await world.kill();
  assert.deepEqual(world.problems, []);
}

async function crash(world: RolloutWorld, random: Random): Promise<void> {
  await world.kill();
  await world.advance(random() * 5000);
  world.start();
}

async function changeSteps(world: RolloutWorld, random: Random): Promise<void> {
  const steps = STEPS.slice(0, Math.floor(random() * (STEPS.length + 1)));
  await world.patchRollout({ spec: { strategy: { canary: { steps } } } });
}

async function removeOneRun(world: RolloutWorld, random: Random): Promise<void> {
  const runs = world.runs();
  if (runs.length > 0) await world.remove("AnalysisRun", pick(runs, random).metadata.name);
}

/** A plan that was carried out gives none that does more: another look writes nothing. */
async function assertAtRest(world: RolloutWorld): Promise<void> {
  await world.quiet();
  const before = world.store.resourceVersion;
  world.driver.signal();
  await world.quiet();
  assert.equal(world.store.resourceVersion, before, `${world.describe()} ${world.problems.join()}`);
}

function assertSafe(world: RolloutWorld): void {
  const status = statusOf(world.rollout());
  const { canary, stable, verified } = status.canary?.weights ?? {};
  const where = world.describe();
  if (verified) assert.equal((canary?.weight ?? 0) + (stable?.weight ?? 0), 100, where);
  const arms = world.acknowledged?.arms ?? [];
  if (arms.length > 0) assert.equal(sum(arms.map(({ weightBp }) => weightBp)), 10_000, where);
  const list = revisions(world);
  const split = desiredSplit(world.rollout(), list);
  assert.equal(split.stable && hashOf(split.stable), status.stableRS, where);
  assert.ok(list.length <= 12, `${list.length} revisions are kept`);
  assert.ok(world.runs().length <= 13, `${world.runs().length} runs are kept`);
  if (status.abort !== true) return;
  assert.equal(split.canaryWeight, 0, where);
  const arm = arms.find(({ role }) => role === "canary");
  const open = [...world.gates].filter(
    ([id, on]) => on && id.endsWith(status.currentPodHash ?? ""),
  );
  assert.deepEqual(split.canary === undefined ? [] : open, [], where);
  if (verified) assert.equal(arm?.weightBp ?? 0, 0, where);
}

function revisions(world: RolloutWorld): readonly Resource[] {
  return revisionsOf(world.rollout(), world.store.list("ControllerRevision", NAMESPACE));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/**
 * Sees every weight that is acknowledged, and demands of each rise from above 0, and of each
 * promotion, that a good measurement began after the weight before it was acknowledged.
 */
class RiseWatcher {
  readonly #world: RolloutWorld;
  #weight = 0;
  #canary = "";
  #sinceMs = 0;
  #stable = "";
  #failure: string | undefined;

  constructor(world: RolloutWorld) {
    this.#world = world;
    this.#stable = statusOf(world.rollout()).stableRS ?? "";
    world.store.watch(({ resource }) => {
      if (resource.kind === "Rollout" && resource.metadata.name === ROLLOUT) this.#see(resource);
    });
  }

  check(): void {
    assert.equal(this.#failure, undefined);
  }

  /** A rise that was decided before the crash is carried out after it. */
  restarted(): void {
    this.#sinceMs = this.#world.clock.now();
    this.#weight = desiredSplit(this.#world.rollout(), revisions(this.#world)).canaryWeight;
  }

  #see(resource: Resource): void {
    const status = statusOf(resource);
    const weights = status.canary?.weights;
    const canary = status.currentPodHash ?? "";
    if (status.stableRS !== this.#stable) {
      if (weights?.canary.weight !== 100) this.#fail("was promoted below 100");
      if (!this.#hasVerdict()) this.#fail("was promoted without a fresh good verdict");
    }
    this.#stable = status.stableRS ?? "";
    if (canary !== this.#canary) {
      this.#canary = canary;
      this.#weight = 0;
    }
    if (weights?.verified !== true || canary === this.#stable) return;
    const { weight } = weights.canary;
    if (weight > this.#weight && this.#weight > 0 && !this.#hasVerdict()) {
      this.#fail(`rose from ${this.#weight} to ${weight} without a fresh good verdict`);
    }
    if (weight !== this.#weight) this.#sinceMs = this.#world.clock.now();
    this.#weight = weight;
  }

  #hasVerdict(): boolean {
    return this.#world.runs().some((run) => {
      const started = lastMeasuredAtMs(run).get("success-rate") ?? 0;
      const results = (run.status?.["metricResults"] ?? []) as { phase: string }[];
      const good = results.every(({ phase }) => phase === "Running" || phase === "Successful");
      return good && started >= this.#sinceMs;
    });
  }

  #fail(why: string): void {
    const newest = revisions(this.#world).at(-1);
    const number = newest === undefined ? 0 : numberOf(newest);
    this.#failure ??= `revision ${number} ${why} at ${this.#world.elapsedMs} ms`;
  }
}
