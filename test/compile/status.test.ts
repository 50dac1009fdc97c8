/** Statuses: what a draft makes of what is stored. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../../src/base/json.ts";
import { compile } from "../../src/compile/compile.ts";
import type { StatusDraft } from "../../src/compile/compiled.ts";
import { formatProblem, problemsOf } from "../../src/compile/problems.ts";
import { mergeStatus } from "../../src/compile/status.ts";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";
import { ResourceSet } from "./resource-set.ts";

const FIRST = "2026-01-01T00:00:00Z";
const LATER = "2026-01-01T00:01:00Z";

const GATEWAY = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: sluice, listeners: [{name: http, protocol: HTTP, port: 8080}]}
`;

const ROUTE = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: sluice.dev, kind: Backend, name: shop}]}]
`;

const BACKEND = `
apiVersion: sluice.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 9001}}]}
`;

/** The draft for a resource, and the resource as the set holds it. */
function draftFor(set: ResourceSet, kind: string, name: string): [Resource, StatusDraft] {
  const resource = set.get(kind, "default", name);
  const draft = compile(set).statuses.find(({ key }) => key.kind === kind && key.name === name);
  assert.ok(resource && draft);
  return [resource, draft];
}

/** Writes the merged status, as a controller would; false where there was nothing to write. */
function settle(set: ResourceSet, kind: string, name: string, timestamp: string): boolean {
  const [resource, draft] = draftFor(set, kind, name);
  const status = mergeStatus(resource, draft, timestamp);
  if (status === undefined) return false;
  set.apply({ ...resource, status }, { statusOnly: true });
  return true;
}

function conditionsOf(set: ResourceSet): readonly JsonObject[] {
  const status = set.get("HTTPRoute", "default", "shop")?.status as {
    parents: { controllerName: string; conditions: JsonObject[] }[];
  };
  return status.parents.find((one) => one.controllerName.startsWith("sluice"))?.conditions ?? [];
}

test("a condition keeps its time while its status stays, and is written once", () => {
  const set = ResourceSet.parse([GATEWAY, ROUTE].join("---"));
  assert.equal(settle(set, "HTTPRoute", "shop", FIRST), true);
  assert.equal(settle(set, "HTTPRoute", "shop", LATER), false);
  const [, resolved] = conditionsOf(set);
  assert.equal(resolved?.["status"], "False");
  assert.equal(resolved["lastTransitionTime"], FIRST);
  assert.equal(resolved["observedGeneration"], 1);

  const parsed = ResourceSet.parse(BACKEND).get("Backend", "default", "shop");
  set.apply(parsed as ResourceDraft);
  assert.equal(settle(set, "HTTPRoute", "shop", LATER), true);
  const [accepted, repaired] = conditionsOf(set);
  assert.deepEqual(
    [accepted?.["lastTransitionTime"], repaired?.["status"], repaired?.["lastTransitionTime"]],
    [FIRST, "True", LATER],
  );
});

test("entries of other controllers and conditions of other kinds stay", () => {
  const set = ResourceSet.parse([GATEWAY, ROUTE].join("---"));
  const theirs = { controllerName: "example.com/other", parentRef: { name: "edge" } };
  const route = set.get("HTTPRoute", "default", "shop");
  const status = { parents: [theirs], conditions: [{ type: "Theirs", status: "True" }] };
  set.apply({ ...route, status } as ResourceDraft, { statusOnly: true });
  settle(set, "HTTPRoute", "shop", FIRST);
  const merged = set.get("HTTPRoute", "default", "shop")?.status as {
    parents: JsonObject[];
    conditions: JsonObject[];
  };
  assert.deepEqual(merged.parents[0], theirs);
  assert.equal(merged.parents.length, 2);
  assert.deepEqual(merged.conditions, status.conditions);
});

test("a socket that no worker could open is said on its listener and its Gateway", () => {
  const set = ResourceSet.parse(GATEWAY);
  set.unavailableSockets.set("socket/:::8080", "Cannot listen on :::8080: EADDRINUSE");
  assert.deepEqual(problemsOf(compile(set)).map(formatProblem), [
    "Gateway default/edge (listener http): Programmed: PortUnavailable: " +
      "Cannot listen on :::8080: EADDRINUSE",
  ]);
  assert.equal(compile(set).parts.size, 0);
  const [, draft] = draftFor(set, "Gateway", "edge");
  assert.deepEqual(
    draft.conditions?.map(({ type, status, reason }) => [type, status, reason]),
    [
      ["Accepted", "True", "Accepted"],
      ["Programmed", "False", "AddressNotUsable"],
    ],
  );
});

test("no value of a Secret stands in the Program, in a status or in a problem", () => {
  const set = ResourceSet.parse(`
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {apiKey: sk-do-not-show, other: "line\\nbreak-do-not-show"}
---
${GATEWAY}
---
apiVersion: sluice.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  apiKeyAuth: {credentialRefs: [{name: key}], extractFrom: [{headers: [x-api-key]}]}
---
apiVersion: sluice.dev/v1alpha1
kind: BackendSecurityPolicy
metadata: {name: provider-key}
spec:
  targetRefs: [{group: sluice.dev, kind: AIServiceBackend, name: provider}]
  type: APIKey
  apiKey: {secretRef: {name: key}}
---
apiVersion: sluice.dev/v1alpha1
kind: AIServiceBackend
metadata: {name: provider}
spec: {schema: {name: OpenAI}, backendRef: {name: shop}}
---
apiVersion: sluice.dev/v1alpha1
kind: AIGatewayRoute
metadata: {name: chat}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: provider}]}]}
---
${BACKEND}`);
  const compiled = compile(set);
  assert.equal(compiled.credentials.get("Secret/default/key/apiKey"), "sk-do-not-show");
  const shown = JSON.stringify([
    [...compiled.parts.values()],
    compiled.statuses,
    problemsOf(compiled),
  ]);
  assert.match(shown, /"digest":"[0-9a-f]{64}"/);
  assert.doesNotMatch(shown, /do-not-show/);
});
