/** Workloads of Rollouts: the weights of their arms, and what is served while something is missing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../src/base/json.ts";
import { compile } from "../../src/compile/compile.ts";
import type { Arm } from "../../src/compile/program.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { stepsHash } from "../../src/rollout/spec.ts";
import { parseDrafts, ResourceSet } from "./resource-set.ts";

const STEPS = [{ setWeight: 5 }, { pause: {} }, { setWeight: 33 }, { pause: {} }];

const DOCUMENTS = `
apiVersion: sluice.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {version: "2", endpoints: [{ip: {address: 127.0.0.1, port: 9999}}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: shop}
spec:
  workloadRef: {apiVersion: sluice.dev/v1alpha1, kind: Backend, name: shop}
  strategy: {canary: {steps: ${JSON.stringify(STEPS)}}}
---
${revision("one", { number: 1, spec: { version: "1", endpoints: [endpoint(9001)] } })}
---
${revision("two", { number: 2, spec: { version: "2", endpoints: [endpoint(9002)] } })}
`;

function endpoint(port: number): JsonObject {
  return { ip: { address: "127.0.0.1", port } };
}

interface RevisionOptions {
  readonly number: number;
  readonly spec: JsonObject;
  readonly owner?: string;
}

function revision(hash: string, { number, spec, owner = "shop" }: RevisionOptions): string {
  const uid = `uid-of-Rollout/default/${owner}`;
  return JSON.stringify({
    apiVersion: "apps/v1",
    kind: "ControllerRevision",
    metadata: {
      name: `${owner}-${hash}`,
      labels: { "rollouts-pod-template-hash": hash },
      ownerReferences: [{ apiVersion: "argoproj.io/v1alpha1", kind: "Rollout", name: owner, uid }],
    },
    revision: number,
    data: spec,
  });
}

function withStatus(status: JsonObject): ResourceSet {
  const set = ResourceSet.parse(DOCUMENTS);
  const rollout = set.get("Rollout", "default", "shop");
  set.apply({ ...rollout, status } as ResourceDraft, { statusOnly: true });
  return set;
}

function armsOf(set: ResourceSet, key = "split/Backend/default/shop"): readonly Arm[] {
  const part = compile(set).parts.get(key);
  return part?.type === "split" ? part.arms : [];
}

const RUNNING = { stableRS: "one", currentPodHash: "two", currentStepHash: stepsHash(STEPS) };

const WEIGHTS: readonly (readonly [name: string, status: JsonObject, canaryBp: number])[] = [
  ["nothing seen yet", {}, 0],
  ["first step begun", { ...RUNNING, currentStepIndex: 0, canary: { step: { index: 0 } } }, 500],
  ["paused at 5", { ...RUNNING, currentStepIndex: 1 }, 500],
  ["paused at 33", { ...RUNNING, currentStepIndex: 3 }, 3300],
  ["all steps done", { ...RUNNING, currentStepIndex: 4 }, 10_000],
  ["aborted at 33", { ...RUNNING, currentStepIndex: 3, abort: true }, 0],
  ["promoted in full", { ...RUNNING, currentStepIndex: 1, promoteFull: true }, 10_000],
  ["steps were edited", { ...RUNNING, currentStepIndex: 3, currentStepHash: "other" }, 0],
  ["newer revision", { ...RUNNING, currentStepIndex: 3, currentPodHash: "zero" }, 0],
];

test("arms have the weights that the Rollout's status says, canary first", () => {
  for (const [name, status, canaryBp] of WEIGHTS) {
    assert.deepEqual(
      armsOf(withStatus(status)).map(({ id, role, version, weightBp }) => [
        id,
        role,
        version,
        weightBp,
      ]),
      [
        ["Backend/default/shop@two", "canary", "2", canaryBp],
        ["Backend/default/shop@one", "stable", "1", 10_000 - canaryBp],
      ],
      name,
    );
  }
});

test("the revisions are served, never the live spec, and the split has the Rollout's salt", () => {
  const { parts } = compile(withStatus({ stableRS: "two", currentPodHash: "two" }));
  const split = parts.get("split/Backend/default/shop");
  assert.equal(split?.type === "split" && split.salt, "uid-of-Rollout/default/shop");
  assert.deepEqual(
    [...parts.values()].flatMap((part) => (part.type === "pool" ? part.endpoints : [])),
    [{ host: "127.0.0.1", port: 9002 }],
  );
});

test("without its workload, or without any revision, nothing is served", () => {
  const deleted = withStatus(RUNNING);
  deleted.remove("Backend", "default", "shop");
  assert.deepEqual(armsOf(deleted), []);
  const unrecorded = withStatus({});
  unrecorded.remove("ControllerRevision", "default", "shop-one");
  unrecorded.remove("ControllerRevision", "default", "shop-two");
  assert.deepEqual(armsOf(unrecorded), []);
});

test("a route that sends its requests is the workload's, one that sends copies is not", () => {
  const set = withStatus(RUNNING);
  for (const draft of parseDrafts(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: sends}
spec: {rules: [{backendRefs: [{group: sluice.dev, kind: Backend, name: shop}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: copies}
spec:
  rules:
  - filters:
    - type: RequestMirror
      requestMirror: {backendRef: {group: sluice.dev, kind: Backend, name: shop}}
`)) {
    set.apply(draft);
  }
  assert.deepEqual(compile(set).routesOf.get("split/Backend/default/shop"), ["default/sends"]);
});

test("of two Rollouts for one workload the older holds", () => {
  const set = withStatus({ ...RUNNING, currentStepIndex: 1 });
  const [younger] = parseDrafts(`
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: a-younger}
spec:
  workloadRef: {apiVersion: sluice.dev/v1alpha1, kind: Backend, name: shop}
  strategy: {canary: {steps: [{setWeight: 100}]}}
`);
  assert.ok(younger);
  set.apply(younger);
  for (const [hash, number] of [
    ["three", 1],
    ["four", 2],
  ] as const) {
    const spec = { endpoints: [endpoint(9004)] };
    const [draft] = parseDrafts(revision(hash, { number, spec, owner: "a-younger" }));
    assert.ok(draft);
    set.apply(draft);
  }
  assert.deepEqual(
    armsOf(set).map((arm) => [arm.id, arm.weightBp]),
    [
      ["Backend/default/shop@two", 500],
      ["Backend/default/shop@one", 9500],
    ],
  );
});

test("an LLM provider reaches the stable revision of the Backend that it names", () => {
  const set = withStatus({ ...RUNNING, currentStepIndex: 3 });
  for (const draft of parseDrafts(`
apiVersion: sluice.dev/v1alpha1
kind: AIServiceBackend
metadata: {name: provider}
spec: {schema: {name: OpenAI}, backendRef: {name: shop}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: provider}
spec:
  workloadRef: {apiVersion: sluice.dev/v1alpha1, kind: AIServiceBackend, name: provider}
  strategy: {canary: {steps: [{setWeight: 10}]}}
---
${revision("p1", {
  number: 1,
  owner: "provider",
  spec: { schema: { name: "OpenAI" }, backendRef: { name: "shop" } },
})}
`)) {
    set.apply(draft);
  }
  const { parts } = compile(set);
  const arms = armsOf(set, "split/AIServiceBackend/default/provider");
  assert.deepEqual(
    arms.map(({ id, provider }) => [id, provider?.prefix]),
    [["AIServiceBackend/default/provider@p1", "/v1"]],
  );
  const pool = parts.get(arms[0]?.pool ?? "");
  assert.deepEqual(pool?.type === "pool" && pool.endpoints, [{ host: "127.0.0.1", port: 9001 }]);
});
