/**
 * The rollout controller against failures: a crash at every commit, a full disk, a person who writes
 * at the same time, and somebody who writes past admission.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { JsonObject } from "../../src/base/json.ts";
import type { Resource } from "../../src/resource/resource.ts";
import { statusOf } from "../../src/rollout/status.ts";
import { StoreError, type Change } from "../../src/store/store.ts";
import {
  backendDraft,
  NAMESPACE,
  rolloutDraft,
  RolloutWorld,
  templateDraft,
} from "../support/rollout-world.ts";

const STEPS = [{ setWeight: 5 }, { pause: { duration: "3s" } }, { setWeight: 50 }];
const CANARY = { analysis: { templates: [{ templateName: "healthy" }] }, steps: STEPS };

async function startedWorld(options: { readonly pagesMax?: number } = {}): Promise<RolloutWorld> {
  const world = new RolloutWorld(options);
  world.start();
  await world.apply(templateDraft());
  await world.apply(backendDraft({ version: "1" }));
  await world.apply(rolloutDraft({ strategy: { canary: CANARY } }));
  await world.advance(1000);
  return world;
}

type When = "before" | "after" | "never";

/** Kills the controller at its `count`th commit, on either side of the write; tells how many came. */
function killAtCommit(world: RolloutWorld, count: number, when: When): () => number {
  const commit = world.store.commit.bind(world.store);
  let seen = 0;
  world.store.commit = async (changes: readonly Change[]) => {
    const own = changes.some(({ op }) => op === "status");
    if (own) seen++;
    if (!own || seen !== count || when === "never") return await commit(changes);
    if (when === "after") await commit(changes);
    world.store.commit = commit;
    void world.kill();
    throw new StoreError("Unavailable", "the process was killed");
  };
  return () => seen;
}

/** One life that may end at a commit, and one that does not. */
async function play(world: RolloutWorld, count: number, when: When): Promise<number> {
  const commit = world.store.commit.bind(world.store);
  const commits = killAtCommit(world, count, when);
  await world.edit({ version: "2" });
  await world.advance(12_000);
  const total = commits();
  world.store.commit = commit;
  await world.kill();
  world.start();
  await world.advance(20_000);
  return total;
}

/** Plays the same rollout once for every commit of it, with a crash there. */
async function playEveryCrash(
  traffic: RolloutWorld["traffic"],
  when: When,
  check: (world: RolloutWorld, where: string) => void,
): Promise<void> {
  for (let count = 0, total = 1; count <= total; count++) {
    const world = await startedWorld();
    world.traffic = traffic;
    const commits = await play(world, count, count === 0 ? "never" : when);
    if (count === 0) total = commits;
    check(world, `killed ${when} commit ${count}: ${world.describe()}`);
    await world.kill();
    assert.ok(total > 5 && total < 200, `${total} commits`);
  }
}

describe("a crash at every commit", () => {
  for (const when of ["before", "after"] as const) {
    it(`${when} the write, a good version is promoted all the same`, () =>
      playEveryCrash("good", when, (world, where) => {
        const { stableRS, currentPodHash } = statusOf(world.rollout());
        assert.equal(stableRS, currentPodHash, where);
        assert.match(world.describe(), /Healthy stable=v2#2/, where);
      }));

    it(`${when} the write, a bad version ends at weight 0 all the same`, () =>
      playEveryCrash("bad", when, (world, where) => {
        assert.equal(statusOf(world.rollout()).abort, true, where);
        assert.match(world.describe(), /Degraded stable=v1#1 .*weight=0 gate=closed/, where);
      }));
  }
});

describe("a full disk", () => {
  it("does not keep an abort from taking effect, and a condition says so", async () => {
    const world = await startedWorld({ pagesMax: 120 });
    await world.edit({ version: "2" });
    await world.advance(1500);
    await fillDisk(world);
    world.traffic = "bad";
    await world.advance(3000);
    const status = statusOf(world.rollout());
    assert.equal(status.abort, true, world.describe());
    assert.match(world.describe(), /weight=0 gate=closed/);
    assert.equal(status.canary?.weights?.verified, true);
    const warned = status.conditions?.find(({ type }) => type === "StoreUnavailable");
    assert.equal(warned?.status, "True");
    assert.ok(world.store.unsavedCount > 0);
    await world.kill();
  });

  it("holds back everything else: no step advances that is not on disk", async () => {
    const world = await startedWorld({ pagesMax: 120 });
    await world.edit({ version: "2" });
    await world.advance(1500);
    await fillDisk(world);
    const before = world.describe();
    await world.advance(10_000);
    assert.equal(statusOf(world.rollout()).currentStepIndex, 1, before);
    assert.match(world.describe(), /weight=5 gate=open/);
    assert.match(world.driver.states()[0]?.lastError ?? "", /full|refuse|space/i);
    await world.kill();
  });
});

/** Writes until nothing more fits, in ever smaller pieces. */
async function fillDisk(world: RolloutWorld): Promise<void> {
  for (let size = 64_000, number = 0; size >= 1; number++) {
    const value = "x".repeat(size);
    try {
      await world.store.commit([{ op: "record", table: "file", key: `fill-${number}`, value }]);
    } catch (error) {
      assert.ok(error instanceof StoreError && error.code === "Unavailable", String(error));
      size = Math.floor(size / 2);
    }
  }
}

describe("others who write", () => {
  it("records the live spec where somebody has written past admission", async () => {
    const world = await startedWorld();
    const live = world.store.get("Backend", NAMESPACE, "checkout");
    assert.ok(live);
    const spec = { ...live.spec, version: "7" };
    await world.store.commit([{ op: "update", resource: { ...live, spec } }]);
    await world.advance(1000);
    assert.match(world.describe(), /stable=v1#1 current=v7#2/);
    await world.kill();
  });

  it("goes on whatever a person patches into the status", async () => {
    const patches: readonly JsonObject[] = [
      { canary: null },
      { canary: { step: null, weights: null, currentBackgroundAnalysisRunStatus: null } },
      { canary: { currentBackgroundAnalysisRunStatus: { name: "gone", status: "Failed" } } },
      { canary: { step: { index: 99, startedAt: "never" } } },
      { conditions: null, phase: null, pauseConditions: [], controllerPause: true },
      { conditions: [{ type: "Progressing", status: "True" }], observedGeneration: 7 },
      { currentStepIndex: -3 },
      { currentStepIndex: 1, currentStepHash: null },
      { stableRS: "nobody", currentPodHash: "nobody" },
    ];
    for (const status of patches) {
      const world = await startedWorld();
      await world.edit({ version: "2" });
      await world.advance(1500);
      await world.patchRollout({ status });
      await world.advance(20_000);
      const where = `${JSON.stringify(status)}: ${world.describe()}`;
      assert.deepEqual(world.problems, [], where);
      assert.match(world.describe(), /Healthy stable=v2#2/, where);
      await world.kill();
    }
    const world = await startedWorld();
    const { metadata, ...rest } = world.rollout();
    await world.store.commit([{ op: "status", resource: { ...rest, metadata, status: null } }]);
    await world.advance(1000);
    assert.match(world.describe(), /Healthy stable=v1#1/);
    await world.kill();
  });

  it("plans anew where a person's write came first", async () => {
    const world = await startedWorld();
    await world.edit({ version: "2" });
    await world.advance(1000);
    const commit = world.store.commit.bind(world.store);
    let stolen = false;
    world.store.commit = async (changes: readonly Change[]) => {
      if (!stolen && changes.some((change) => isAbort(change))) {
        stolen = true;
        const rollout = world.rollout();
        const metadata = { ...rollout.metadata, resourceVersion: "", labels: { by: "hand" } };
        await commit([{ op: "update", resource: { ...rollout, metadata } }]);
      }
      return await commit(changes);
    };
    await world.patchRollout({ status: { abort: true } });
    await world.advance(100);
    assert.equal(stolen, true);
    assert.match(world.describe(), /Degraded .*weight=0 gate=closed/);
    assert.deepEqual(world.problems, []);
    await world.kill();
  });

  it("keeps no more history than the limits say", async () => {
    const world = new RolloutWorld();
    world.start();
    await world.apply(templateDraft());
    await world.apply(backendDraft({ version: "0" }));
    const history = { successfulRunHistoryLimit: 2, unsuccessfulRunHistoryLimit: 1 };
    const strategy = { canary: { ...CANARY, steps: [{ setWeight: 50 }] } };
    await world.apply(rolloutDraft({ strategy, analysis: history, revisionHistoryLimit: 3 }));
    for (let version = 1; version <= 8; version++) {
      world.traffic = version % 2 === 0 ? "bad" : "good";
      await world.edit({ version: String(version) });
      await world.advance(6000);
    }
    const kept = world.store.list("ControllerRevision", NAMESPACE);
    assert.ok(kept.length <= 5, `${kept.length}`);
    assert.ok(world.runs().length <= 4, `${world.runs().length}`);
    assert.match(world.describe(), /Degraded stable=v7#8 current=v8#9/);
    await world.kill();
  });
});

/** The controller's own write of an abort, which says when it was. */
function isAbort(change: Change): boolean {
  return change.op === "status" && statusOf(change.resource as Resource).abortedAt !== undefined;
}

describe("clocks", () => {
  it("a measurement from before a restart is no fresh verdict, though the clock was set back", async () => {
    const world = new RolloutWorld();
    world.start();
    await world.apply(templateDraft());
    await world.apply(backendDraft({ version: "1" }));
    await world.apply(rolloutDraft({ strategy: { canary: CANARY } }));
    await world.edit({ version: "2" });
    await world.advance(1500);
    assert.match(world.describe(), /step=1 weight=5 /);
    await world.kill();
    world.clock.setWallTime(world.clock.now() - 3_600_000);
    world.traffic = "none";
    world.start();
    await world.advance(60_000);
    assert.match(world.describe(), /step=1 weight=5 /);
    world.traffic = "good";
    await world.advance(10_000);
    assert.match(world.describe(), /Healthy stable=v2#2/);
    await world.kill();
  });

  for (const [name, jumpMs] of [
    ["back", -3_600_000],
    ["ahead", 3_600_000],
  ] as const) {
    it(`a wall clock that is set ${name} makes a pause neither longer nor shorter`, async () => {
      const world = new RolloutWorld();
      world.start();
      await world.apply(backendDraft({ version: "1" }));
      await world.apply(rolloutDraft({ strategy: { canary: { steps: STEPS } } }));
      await world.edit({ version: "2" });
      await world.advance(1000);
      world.clock.setWallTime(world.clock.now() + jumpMs);
      await world.patchRollout({ metadata: { labels: { touched: "yes" } } });
      await world.advance(1800);
      assert.match(world.describe(), /Paused .*step=1 weight=5 /);
      await world.advance(400);
      assert.match(world.describe(), /Healthy stable=v2#2/);
      await world.kill();
    });
  }
});
