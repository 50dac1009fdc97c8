/** What people do, as Argo's command line sends it: the patches, and the refusals with their reason. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { JsonObject } from "../../src/base/json.ts";
import {
  abortPatch,
  pausePatch,
  promotePatch,
  resumePatch,
  retryPatch,
  undoPatch,
  type Action,
} from "../../src/rollout/actions.ts";
import { revisionsOf } from "../../src/rollout/revision.ts";
import { statusOf } from "../../src/rollout/status.ts";
import { backendDraft, NAMESPACE, rolloutDraft, RolloutWorld } from "../support/rollout-world.ts";

const STEPS = [{ setWeight: 20 }, { pause: {} }, { setWeight: 60 }, { pause: {} }];

async function pausedWorld(): Promise<RolloutWorld> {
  const world = new RolloutWorld();
  world.start();
  await world.apply(backendDraft({ version: "1", connectTimeout: "1s" }));
  await world.apply(rolloutDraft({ strategy: { canary: { steps: STEPS } } }));
  await world.advance(1000);
  await world.edit({ version: "2" });
  await world.advance(1000);
  return world;
}

/** Sends an action as the command line does, and lets the controller act. */
async function send(world: RolloutWorld, action: Action): Promise<void> {
  assert.ok(action.ok, action.ok ? "" : action.message);
  for (const patch of action.patches) {
    if (patch.type === "json") {
      const [operation] = patch.body as unknown as [{ readonly value: JsonObject }];
      const live = world.store.get(patch.key.kind, NAMESPACE, patch.key.name);
      assert.ok(live);
      await world.apply({ ...live, spec: operation.value });
    } else {
      await world.patchRollout(patch.body as JsonObject);
    }
  }
  await world.advance(1000);
}

function recorded(world: RolloutWorld): ReturnType<typeof revisionsOf> {
  return revisionsOf(world.rollout(), world.store.list("ControllerRevision", NAMESPACE));
}

describe("actions", () => {
  it("promote ends a pause, and the next promote the next", async () => {
    const world = await pausedWorld();
    await send(world, promotePatch(world.rollout(), { full: false }));
    assert.match(world.describe(), /Paused .*step=3 weight=60 /);
    await send(world, promotePatch(world.rollout(), { full: false }));
    assert.match(world.describe(), /Healthy stable=v2#2 current=v2#2/);
    await world.kill();
  });

  it("promote --full skips all that is left", async () => {
    const world = await pausedWorld();
    await send(world, promotePatch(world.rollout(), { full: true }));
    assert.match(world.describe(), /Healthy stable=v2#2/);
    await world.kill();
  });

  it("promote of a rollout that a person paused resumes it as well", async () => {
    const world = await pausedWorld();
    await send(world, pausePatch(world.rollout()));
    assert.match(world.describe(), /Paused .*manually paused/);
    await send(world, promotePatch(world.rollout(), { full: false }));
    assert.match(world.describe(), /Paused .*step=3 weight=60 .*CanaryPauseStep/);
    await world.kill();
  });

  it("abort, then retry: the same revision from its first step", async () => {
    const world = await pausedWorld();
    await send(world, abortPatch(world.rollout()));
    assert.match(world.describe(), /Degraded .*weight=0 gate=closed/);
    await send(world, retryPatch(world.rollout()));
    assert.match(world.describe(), /Paused .*current=v2#2 step=1 weight=20 gate=open/);
    await world.kill();
  });

  it("pause holds, resume goes on", async () => {
    const world = await pausedWorld();
    await send(world, pausePatch(world.rollout()));
    await send(world, resumePatch(world.rollout()));
    assert.match(world.describe(), /Paused .*step=1 weight=20 .*CanaryPauseStep/);
    await world.kill();
  });

  it("undo writes the old spec whole, not merged into the new one", async () => {
    const world = await pausedWorld();
    await world.edit({ version: "3", idleTimeout: "9s" });
    await world.advance(1000);
    await send(world, undoPatch(world.rollout(), recorded(world), 0));
    assert.match(world.describe(), /stable=v1#1 current=v2#4 step=1/);
    await send(world, undoPatch(world.rollout(), recorded(world), 1));
    assert.match(world.describe(), /Healthy stable=v1#5 current=v1#5/);
    const live = world.store.get("Backend", NAMESPACE, "checkout");
    assert.equal(live?.spec?.["connectTimeout"], "1s");
    assert.equal(live?.spec?.["idleTimeout"], undefined);
    await world.kill();
  });

  it("says why there is nothing to do", async () => {
    const world = await pausedWorld();
    const refusals = (): readonly [Action, RegExp][] => [
      [retryPatch(world.rollout()), /is not aborted/],
      [undoPatch(world.rollout(), recorded(world), 9), /has no revision 9; it has 2, 1/],
      [undoPatch(world.rollout(), recorded(world), 2), /is at revision 2 already/],
    ];
    for (const [action, expected] of refusals()) assertRefused(action, expected);
    await send(world, abortPatch(world.rollout()));
    assertRefused(promotePatch(world.rollout(), { full: true }), /is aborted: retry it first/);
    await send(world, retryPatch(world.rollout()));
    await send(world, promotePatch(world.rollout(), { full: true }));
    assertRefused(promotePatch(world.rollout(), { full: false }), /is fully promoted/);
    assertRefused(abortPatch(world.rollout()), /is fully promoted/);
    assertRefused(resumePatch(world.rollout()), /is not paused/);
    await send(world, pausePatch(world.rollout()));
    assertRefused(pausePatch(world.rollout()), /is paused already/);
    assert.equal(statusOf(world.rollout()).phase, "Paused");
    await world.kill();
  });
});

function assertRefused(action: Action, expected: RegExp): void {
  assert.equal(action.ok, false);
  if (!action.ok) assert.match(action.message, expected);
}
