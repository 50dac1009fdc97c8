/**
 * The compiler at the size that the figures speak of: 5,000 routes and 500 rolled-out Backends.
 * Time is not asserted, for other work shares the machine; what is asserted is what makes it short:
 * which parts are new objects, and that none outgrows a message.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "../../src/compile/compile.ts";
import type { Compiled } from "../../src/compile/compiled.ts";
import type { PartKey } from "../../src/compile/program.ts";
import { recompile } from "../../src/compile/recompile.ts";
import { recordRevision } from "../../src/rollout/revision.ts";
import type { JsonObject } from "../../src/base/json.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { ResourceSet } from "./resource-set.ts";

const ROUTES = 5000;
const BACKENDS = 500;
const PART_CHARACTERS_MAX = 64 * 1024;

test("5,000 routes: parts stay small, and a new weight replaces one part", () => {
  const set = bigSet();
  const first = compile(set);
  assert.equal([...first.parts.values()].filter((part) => part.type === "rule").length, ROUTES);
  for (const part of first.parts.values()) {
    assert.ok(JSON.stringify(part).length <= PART_CHARACTERS_MAX, `${part.key} is too large`);
  }
  assert.deepEqual(changedKeys(first, compile(set, first)), []);

  set.apply(backend(7, "2"));
  const change = set.apply(revision(set, 7, "2"));
  const second = recompile(first, set, [change]);
  assert.deepEqual(
    changedKeys(first, second).filter((key) => key.startsWith("split/")),
    ["split/Backend/default/backend-7"],
  );
  assert.equal(changedKeys(first, second).length, 2);

  const weighted = set.apply(rollout(7, { promoteFull: true, currentPodHash: hashOf(set, "2") }), {
    statusOnly: true,
  });
  const third = recompile(second, set, [weighted]);
  assert.deepEqual(changedKeys(second, third), ["split/Backend/default/backend-7"]);
  const split = third.parts.get("split/Backend/default/backend-7");
  assert.equal(split?.type === "split" && split.arms[0]?.weightBp, 10_000);
});

test("5,000 routes: one new route replaces its page and adds its rule", () => {
  const set = bigSet();
  const first = compile(set);
  const change = set.apply(route(ROUTES));
  const second = recompile(first, set, [change]);
  const changed = changedKeys(first, second);
  assert.deepEqual(
    changed.filter((key) => key.startsWith("rule/")),
    [`rule/HTTPRoute/default/route-${ROUTES}/0`],
  );
  assert.equal(changed.length, 2, changed.join(" "));
});

function bigSet(): ResourceSet {
  const set = new ResourceSet();
  set.apply({
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { name: "edge", namespace: "default" },
    spec: {
      gatewayClassName: "sluice",
      listeners: [{ name: "http", protocol: "HTTP", port: 8080 }],
    },
  });
  for (let index = 0; index < BACKENDS; index++) {
    set.apply(backend(index, "1"));
    set.apply(rollout(index, {}));
    set.apply(revision(set, index, "1"));
  }
  for (let index = 0; index < ROUTES; index++) set.apply(route(index));
  return set;
}

function route(index: number): ResourceDraft {
  const path = { type: "PathPrefix", value: `/service/${index}` };
  const backendRefs = [
    { group: "sluice.dev", kind: "Backend", name: `backend-${index % BACKENDS}`, weight: 1 },
  ];
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: { name: `route-${index}`, namespace: "default" },
    spec: {
      parentRefs: [{ group: "gateway.networking.k8s.io", kind: "Gateway", name: "edge" }],
      hostnames: [`host-${index % 10}.example.com`],
      rules: [{ matches: [{ path }], backendRefs }],
    },
  };
}

function backend(index: number, version: string): ResourceDraft {
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "Backend",
    metadata: { name: `backend-${index}`, namespace: "default" },
    spec: backendSpec(version),
  };
}

function backendSpec(version: string): JsonObject {
  return { version, endpoints: [{ ip: { address: "127.0.0.1", port: 9000 + Number(version) } }] };
}

function rollout(index: number, status: JsonObject): ResourceDraft {
  const workloadRef = {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "Backend",
    name: `backend-${index}`,
  };
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: { name: `rollout-${index}`, namespace: "default" },
    spec: { workloadRef, strategy: { canary: { steps: [{ setWeight: 5 }] } } },
    status,
  };
}

/** The record of a revision, as the admission rule writes it. */
function revision(set: ResourceSet, index: number, version: string): ResourceDraft {
  const owner = set.get("Rollout", "default", `rollout-${index}`);
  assert.ok(owner);
  const known = set
    .list("ControllerRevision")
    .filter((one) => one.metadata.ownerReferences?.[0]?.uid === owner.metadata.uid);
  const write = recordRevision(owner, backendSpec(version), version === "1" ? [] : known);
  assert.ok(write);
  return write.resource;
}

function hashOf(set: ResourceSet, version: string): string {
  const found = set
    .list("ControllerRevision")
    .find((one) => (one["data"] as JsonObject)["version"] === version);
  return found?.metadata.labels?.["rollouts-pod-template-hash"] ?? "";
}

/** Keys of the parts that are new objects. */
function changedKeys(before: Compiled, after: Compiled): readonly PartKey[] {
  return [...after.parts]
    .filter(([key, part]) => before.parts.get(key) !== part)
    .map(([key]) => key);
}
