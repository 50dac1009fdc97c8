/** Revisions and the split that follows from them: tables of cases for the pure rules. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { JsonObject } from "../../src/base/json.ts";
import type { Resource } from "../../src/resource/resource.ts";
import {
  armId,
  dataOf,
  hashOf,
  HASH_LABEL,
  numberOf,
  recordRevision,
  revisionHash,
  revisionOfArm,
  revisionsOf,
  rolloutOf,
} from "../../src/rollout/revision.ts";
import { stepsHash, type CanaryStep } from "../../src/rollout/spec.ts";
import type { RolloutStatus } from "../../src/rollout/status.ts";
import { desiredSplit, weightAt } from "../../src/rollout/weight.ts";

const STEPS: readonly CanaryStep[] = [
  { setWeight: 5 },
  { pause: { duration: "10s" } },
  { setWeight: 50 },
  { pause: {} },
];

function meta(name: string, createdAt = "2026-01-01T00:00:00Z"): Resource["metadata"] {
  return {
    name,
    namespace: "shop",
    uid: `uid-${name}`,
    resourceVersion: "1",
    generation: 1,
    creationTimestamp: createdAt,
  };
}

function rollout(status: RolloutStatus = {}, steps = STEPS): Resource {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: meta("checkout"),
    spec: {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: "checkout" },
      strategy: { canary: { steps: steps as never } },
    },
    status: status as JsonObject,
  };
}

function revision(number: number, spec: JsonObject): Resource {
  const write = recordRevision(rollout(), spec, []);
  assert.ok(write);
  const { metadata } = write.resource;
  const full = { ...meta(metadata.name), ...metadata } as Resource["metadata"];
  return { ...write.resource, metadata: full, revision: number };
}

describe("what is a new revision", () => {
  const v1 = revision(1, { version: "1", endpoints: ["a"] });
  const v2 = revision(2, { version: "2", endpoints: ["a"] });
  const cases: readonly [string, readonly Resource[], JsonObject, string][] = [
    ["the first spec", [], { version: "1" }, "create #1"],
    ["the same spec", [v1], { version: "1", endpoints: ["a"] }, "nothing"],
    ["an edit under the same version", [v1], { version: "1", endpoints: ["b"] }, "update #1"],
    ["another version", [v1], { version: "2", endpoints: ["a"] }, "create #2"],
    ["the version goes away", [v1], { endpoints: ["a"] }, "create #2"],
    ["back to an old content", [v1, v2], { version: "1", endpoints: ["a"] }, "update #3"],
    ["back to an old version, other content", [v1, v2], { version: "1" }, "create #3"],
    ["no version, another content", [revision(1, { a: 1 })], { a: 2 }, "create #2"],
    ["no version, the same content", [revision(1, { a: 1 })], { a: 1 }, "nothing"],
    ["a version that is no text", [revision(1, { version: 1 })], { version: 1, a: 1 }, "create #2"],
  ];
  for (const [name, revisions, spec, expected] of cases) {
    it(`${name}: ${expected}`, () => {
      const write = recordRevision(rollout(), spec, revisions);
      const actual = write === undefined ? "nothing" : `${write.op} #${numberOf(write.resource)}`;
      assert.equal(actual, expected);
      if (write !== undefined) assert.deepEqual(dataOf(write.resource), spec);
      const taken = revisions.map(({ metadata }) => metadata.name);
      if (write?.op === "create") assert.ok(!taken.includes(write.resource.metadata.name));
    });
  }

  it("names a version by its version, and a spec without one by its content", () => {
    const first = revisionHash("Backend", { version: "1", a: 1 });
    assert.equal(revisionHash("Backend", { version: "1", a: 2 }), first);
    assert.notEqual(revisionHash("AIServiceBackend", { version: "1", a: 1 }), first);
    assert.notEqual(revisionHash("Backend", { a: 1 }), revisionHash("Backend", { a: 2 }));
    assert.match(first, /^[0-9a-f]{10}$/);
  });

  it("is owned by the Rollout and carries its number and hash", () => {
    const write = recordRevision(rollout(), { version: "1" }, []);
    const { metadata } = write?.resource ?? assert.fail();
    assert.equal(metadata.ownerReferences?.[0]?.uid, "uid-checkout");
    assert.equal(metadata.annotations?.["rollout.argoproj.io/revision"], "1");
    assert.equal(metadata.name, `checkout-${metadata.labels?.[HASH_LABEL]}`);
  });

  it("does not take another Rollout's revisions for its own", () => {
    const own = revision(1, { version: "1" });
    const owner = { ...own.metadata.ownerReferences?.[0], uid: "uid-of-one-deleted" } as never;
    const foreign = { ...own, metadata: { ...own.metadata, ownerReferences: [owner] } };
    assert.deepEqual(revisionsOf(rollout(), [foreign, own]), [own]);
  });

  it("has an arm whose id ends in its hash", () => {
    const id = armId("Backend", "shop", "checkout", "0a1b");
    assert.equal(id, "Backend/shop/checkout@0a1b");
    assert.equal(revisionOfArm(id), "0a1b");
  });
});

describe("which of several Rollouts governs", () => {
  const key = { kind: "Backend", namespace: "shop", name: "checkout" };
  const named = (name: string, createdAt: string): Resource => ({
    ...rollout(),
    metadata: meta(name, createdAt),
  });
  const cases: readonly [string, readonly Resource[], string | undefined][] = [
    ["none", [], undefined],
    ["the older", [named("b", "2026-01-02T00:00:00Z"), named("c", "2026-01-01T00:00:00Z")], "c"],
    ["by name", [named("b", "2026-01-01T00:00:00Z"), named("a", "2026-01-01T00:00:00Z")], "a"],
    [
      "one not stored yet is the youngest",
      [named("a", ""), named("b", "2026-01-01T00:00:00Z")],
      "b",
    ],
  ];
  for (const [name, rollouts, expected] of cases) {
    it(name, () => assert.equal(rolloutOf(key, rollouts)?.metadata.name, expected));
  }

  it("none of another namespace, kind or name", () => {
    for (const change of [{ namespace: "x" }, { kind: "AIServiceBackend" }, { name: "x" }]) {
      assert.equal(rolloutOf({ ...key, ...change }, [rollout()]), undefined);
    }
  });
});

describe("the desired split", () => {
  const v1 = revision(1, { version: "1" });
  const v2 = revision(2, { version: "2" });
  const trial: RolloutStatus = {
    stableRS: hashOf(v1),
    currentPodHash: hashOf(v2),
    currentStepHash: stepsHash(STEPS),
    currentStepIndex: 0,
  };
  const begun = (index: number): RolloutStatus => ({
    ...trial,
    currentStepIndex: index,
    canary: { step: { index, startedAt: "" } },
  });
  const cases: readonly [string, RolloutStatus, readonly Resource[], string][] = [
    ["no revision", {}, [], "-/- 0"],
    ["with no stable yet the first is stable", {}, [v1], "1/- 0"],
    ["an edit before the controller looked", {}, [v2, v1], "1/2 0"],
    ["stable alone", { stableRS: hashOf(v1) }, [v1], "1/- 0"],
    [
      "a new revision before the controller looked",
      { ...begun(3), currentPodHash: "x" },
      [v1, v2],
      "1/2 0",
    ],
    ["a step that has not begun", trial, [v1, v2], "1/2 0"],
    ["the first weight", begun(0), [v1, v2], "1/2 5"],
    ["a pause keeps the weight", begun(1), [v1, v2], "1/2 5"],
    ["the next weight before it begins", { ...begun(1), currentStepIndex: 2 }, [v1, v2], "1/2 5"],
    ["the next weight", begun(2), [v1, v2], "1/2 50"],
    ["after the last step", { ...trial, currentStepIndex: 4 }, [v1, v2], "1/2 100"],
    ["aborted", { ...begun(3), abort: true }, [v1, v2], "1/2 0"],
    [
      "aborted beats promoteFull",
      { ...begun(3), abort: true, promoteFull: true },
      [v1, v2],
      "1/2 0",
    ],
    ["promoteFull", { ...trial, promoteFull: true }, [v1, v2], "1/2 100"],
    ["edited steps start over", { ...begun(3), currentStepHash: "x" }, [v1, v2], "1/2 0"],
    ["a stable whose record is gone", { ...begun(2), stableRS: "x" }, [v1, v2], "1/2 50"],
    ["nulls that a tool has left", { ...begun(2), abort: null } as never, [v1, v2], "1/2 50"],
  ];
  for (const [name, status, revisions, expected] of cases) {
    it(`${name}: ${expected}`, () => {
      const split = desiredSplit(rollout(status), revisions);
      const label = (each: Resource | undefined) => (each === undefined ? "-" : numberOf(each));
      const actual = `${label(split.stable)}/${label(split.canary)} ${split.canaryWeight}`;
      assert.equal(actual, expected);
    });
  }

  it("without steps everything moves once the trial has begun", () => {
    const status = { ...trial, currentStepHash: stepsHash([]), currentStepIndex: undefined };
    assert.equal(desiredSplit(rollout(status as never, []), [v1, v2]).canaryWeight, 0);
    const on = { ...status, canary: { step: { index: 0, startedAt: "" } } };
    assert.equal(desiredSplit(rollout(on as never, []), [v1, v2]).canaryWeight, 100);
  });

  it("takes the last setWeight at or before a step (Argo)", () => {
    const weights = [-1, 0, 1, 2, 3, 4].map((index) => weightAt(STEPS, index));
    assert.deepEqual(weights, [0, 5, 5, 50, 50, 100]);
  });
});
