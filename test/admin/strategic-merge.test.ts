/** Strategic merge patches as kubectl sends them for Kubernetes' own kinds. */
import assert from "node:assert/strict";
import test from "node:test";
import { ApiError } from "../../src/admin/api-error.ts";
import { applyStrategicMerge, takesStrategicMerge } from "../../src/admin/strategic-merge.ts";
import type { JsonObject } from "../../src/base/json.ts";

interface Case {
  readonly name: string;
  readonly kind: string;
  readonly target: JsonObject;
  readonly patch: JsonObject;
  readonly result: JsonObject;
}

const CASES: readonly Case[] = [
  {
    name: "maps merge, null removes",
    kind: "ConfigMap",
    target: { data: { a: "1", b: "2" } },
    patch: { data: { b: null, c: "3" } },
    result: { data: { a: "1", c: "3" } },
  },
  {
    name: "ports merge by port",
    kind: "Service",
    target: {
      spec: {
        ports: [
          { port: 80, name: "http", targetPort: 8080 },
          { port: 443, name: "https" },
        ],
      },
    },
    patch: { spec: { ports: [{ port: 80, targetPort: 9090 }] } },
    result: {
      spec: {
        ports: [
          { port: 80, name: "http", targetPort: 9090 },
          { port: 443, name: "https" },
        ],
      },
    },
  },
  {
    name: "a port is added, one deleted, and the order set",
    kind: "Service",
    target: { spec: { ports: [{ port: 80 }, { port: 443 }] } },
    patch: {
      spec: {
        "$setElementOrder/ports": [{ port: 8443 }, { port: 80 }],
        ports: [{ port: 8443 }, { $patch: "delete", port: 443 }],
      },
    },
    result: { spec: { ports: [{ port: 8443 }, { port: 80 }] } },
  },
  {
    name: "a list is replaced on demand",
    kind: "Service",
    target: { spec: { ports: [{ port: 80 }, { port: 443 }] } },
    patch: { spec: { ports: [{ $patch: "replace" }, { port: 1 }] } },
    result: { spec: { ports: [{ port: 1 }] } },
  },
  {
    name: "an object is replaced on demand",
    kind: "Service",
    target: { spec: { selector: { app: "a", tier: "b" } } },
    patch: { spec: { selector: { $patch: "replace", app: "c" } } },
    result: { spec: { selector: { app: "c" } } },
  },
  {
    name: "an object is deleted on demand",
    kind: "Service",
    target: { spec: { selector: { app: "a" }, ports: [] } },
    patch: { spec: { selector: { $patch: "delete" } } },
    result: { spec: { ports: [] } },
  },
  {
    name: "only the retained keys stay",
    kind: "Service",
    target: { spec: { type: "ClusterIP", clusterIP: "None", selector: {} } },
    patch: { spec: { $retainKeys: ["type"], type: "ClusterIP" } },
    result: { spec: { type: "ClusterIP" } },
  },
  {
    name: "endpoints are atomic",
    kind: "EndpointSlice",
    target: { endpoints: [{ addresses: ["10.0.0.1"] }] },
    patch: { endpoints: [{ addresses: ["10.0.0.2"] }] },
    result: { endpoints: [{ addresses: ["10.0.0.2"] }] },
  },
  {
    name: "owners merge by uid, primitives of finalizers are deleted",
    kind: "Secret",
    target: { metadata: { ownerReferences: [{ uid: "1", name: "a" }], finalizers: ["x", "y"] } },
    patch: {
      metadata: {
        ownerReferences: [{ uid: "2", name: "b" }],
        "$deleteFromPrimitiveList/finalizers": ["x"],
      },
    },
    result: {
      metadata: {
        ownerReferences: [
          { uid: "1", name: "a" },
          { uid: "2", name: "b" },
        ],
        finalizers: ["y"],
      },
    },
  },
];

test("strategic merge patch", async (t) => {
  for (const { name, kind, target, patch, result } of CASES) {
    await t.test(name, () => {
      const before = structuredClone(target);
      assert.deepEqual(applyStrategicMerge(kind, target, patch), result);
      assert.deepEqual(target, before, "the input is unchanged");
    });
  }
});

function isBad(error: unknown): boolean {
  return error instanceof ApiError && error.code === 400;
}

test("what is no strategic merge patch is refused", () => {
  const patches: JsonObject[] = [
    { $patch: "explode" },
    { spec: { ports: ["80"] } },
    { spec: { ports: [{ name: "no key" }] } },
    { "$unknown/ports": [] },
    { $retainKeys: "type" },
  ];
  for (const patch of patches) {
    assert.throws(
      () => applyStrategicMerge("Service", { spec: {} }, patch),
      isBad,
      JSON.stringify(patch),
    );
  }
});

test("only Kubernetes' own kinds take it", () => {
  assert.equal(takesStrategicMerge("Secret"), true);
  assert.equal(takesStrategicMerge("Rollout"), false);
});
