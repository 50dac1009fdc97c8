/** Events: counted where the same happens again, kept for an hour, never more than a fixed number. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createEventExpiry, eventChange } from "../../src/control/event.ts";
import type { Resource } from "../../src/resource/resource.ts";
import { kindOf } from "../../src/resource/kinds.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { VirtualClock } from "../support/clock.ts";

const HOUR_MS = 3_600_000;

function bench() {
  const clock = new VirtualClock();
  const store = openSqliteStore({ path: ":memory:", clock });
  const expiry = createEventExpiry({ store, clock });
  const emit = async (message: string, regarding = rollout("checkout")): Promise<void> => {
    const text = { reason: "RolloutPaused", message };
    const options = { store, nowMs: clock.now(), component: "rollouts-controller" };
    await store.commit([eventChange(regarding, text, options)]);
  };
  const expire = () => expiry.reconcile(new AbortController().signal);
  return { clock, store, emit, expire };
}

function rollout(name: string): Resource {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: {
      name,
      namespace: "shop",
      uid: `uid-of-${name}`,
      resourceVersion: "7",
      generation: 1,
      creationTimestamp: "2026-01-01T00:00:00Z",
    },
  };
}

describe("events", () => {
  it("say what happened to what, as the kind's schema wants it", async () => {
    const { store, emit } = bench();
    await emit("Rollout is paused");
    const [event] = store.list("Event", "shop");
    assert.ok(event);
    assert.deepEqual(event["involvedObject"], {
      apiVersion: "argoproj.io/v1alpha1",
      kind: "Rollout",
      name: "checkout",
      namespace: "shop",
      uid: "uid-of-checkout",
      resourceVersion: "7",
    });
    assert.equal(event["type"], "Normal");
    const { metadata, ...rest } = event;
    const written = { ...rest, metadata: { name: metadata.name, namespace: "shop" } };
    assert.equal(kindOf("Event")?.schema.safeParse(written).success, true);
  });

  it("count the same happening again, and tell apart what differs", async () => {
    const { clock, store, emit } = bench();
    await emit("a");
    clock.advance(5000);
    await emit("a");
    await emit("b");
    await emit("a", rollout("other"));
    const counts = store.list("Event", "shop").map((event) => Number(event["count"]));
    assert.deepEqual(
      counts.toSorted((a, b) => a - b),
      [1, 1, 2],
    );
    const twice = store.list("Event").find((event) => event["count"] === 2);
    assert.equal(twice?.["firstTimestamp"], "2026-01-01T00:00:00Z");
    assert.equal(twice?.["lastTimestamp"], "2026-01-01T00:00:05Z");
  });

  it("go an hour after they last happened", async () => {
    const { clock, store, emit, expire } = bench();
    await emit("early");
    clock.advance(HOUR_MS / 2);
    await emit("late");
    const { wakeAtMs } = await expire();
    assert.equal(wakeAtMs, clock.now() + HOUR_MS / 2);
    clock.advance(HOUR_MS / 2);
    await emit("late");
    await expire();
    assert.deepEqual(
      store.list("Event").map((event) => event["message"]),
      ["late"],
    );
    clock.advance(HOUR_MS);
    assert.deepEqual(await expire(), { wakeAtMs: undefined });
    assert.equal(store.list("Event").length, 0);
  });

  it("are never more than a fixed number: the oldest go first, some at a time", async () => {
    const { clock, store, expire } = bench();
    const options = { store, nowMs: clock.now(), component: "test" };
    const changes = Array.from({ length: 5700 }, (_, index) =>
      eventChange(rollout("checkout"), { reason: "R", message: `${index}` }, options),
    );
    await store.commit(changes);
    for (let round = 0; (await expire()).wakeAtMs === clock.now(); round++) assert.ok(round < 20);
    assert.equal(store.list("Event").length, 5000);
  });
});
