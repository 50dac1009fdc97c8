/**
 * The writer: rules are asked about each change with what came before it, what they add lands in
 * the same transaction, and two writers at once never act on what is no longer so.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { AdmissionError, createWriter } from "../../src/admission/writer.ts";
import type { AdmissionRule, Writer } from "../../src/admission/writer.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { SqliteStore } from "../../src/store/sqlite.ts";
import type { Change } from "../../src/store/store.ts";

function draft(name: string, value: string, more: object = {}): ResourceDraft {
  const metadata = { name, namespace: "shop", ...more };
  return { apiVersion: "v1", kind: "ConfigMap", metadata, data: { value } };
}

function create(name: string, value = "1"): Change {
  return { op: "create", resource: draft(name, value) };
}

function update(name: string, value: string, more: object = {}): Change {
  return { op: "update", resource: draft(name, value, more) };
}

function setUp(t: TestContext, rules: readonly AdmissionRule[] = []) {
  const store = openSqliteStore({ path: ":memory:", clock: systemClock });
  t.after(() => store.close());
  return { store, writer: createWriter({ store, rules, clock: systemClock }) };
}

function valueOf(store: SqliteStore, name: string): unknown {
  return (store.get("ConfigMap", "shop", name)?.["data"] as { value?: unknown } | undefined)?.value;
}

const NOTHING = { additions: [], warnings: [] };

/** Records every change of a ConfigMap in a Secret of the same name, whose owner it is. */
const recordRule: AdmissionRule = (change, view) => {
  if (change.op !== "create" && change.op !== "update") return NOTHING;
  const { name, namespace, uid = "" } = change.resource.metadata;
  const before = view.get("ConfigMap", namespace, name);
  const owner = { apiVersion: "v1", kind: "ConfigMap", name, uid: before?.metadata.uid ?? uid };
  const metadata = { name, namespace, ownerReferences: [owner] };
  const seen = (before?.["data"] as { value?: string } | undefined)?.value ?? "nothing";
  const resource = { apiVersion: "v1", kind: "Secret", metadata, data: { seen } };
  const op = view.get("Secret", namespace, name) === undefined ? "create" : "update";
  return { additions: [{ op, resource }], warnings: [`saw ${seen}`] };
};

function seenBy(store: SqliteStore, name: string): unknown {
  return (store.get("Secret", "shop", name)?.["data"] as { seen?: unknown } | undefined)?.seen;
}

test("additions land in the same transaction and can own by uid", async (t) => {
  const { store, writer } = setUp(t, [recordRule]);
  const { resources, warnings } = await writer.write([create("a"), create("b")]);
  assert.deepEqual(
    resources.map((resource) => resource?.metadata.name),
    ["a", "b"],
  );
  assert.deepEqual(warnings, ["saw nothing"]);
  const owner = store.get("Secret", "shop", "a")?.metadata.ownerReferences?.[0];
  assert.equal(owner?.uid, resources[0]?.metadata.uid);
  await writer.write([{ op: "delete", key: { kind: "ConfigMap", namespace: "shop", name: "a" } }]);
  assert.equal(store.get("Secret", "shop", "a"), undefined);
});

test("a rule sees the changes before its own, and none of its batch after a refusal", async (t) => {
  const seen: unknown[] = [];
  const rule: AdmissionRule = (change, view) => {
    seen.push(view.list("ConfigMap", "shop").map(({ metadata }) => metadata.name));
    if (change.op === "create" && change.resource.metadata.name === "bad") {
      throw new AdmissionError("bad is refused");
    }
    return NOTHING;
  };
  const { store, writer } = setUp(t, [rule]);
  await assert.rejects(writer.write([create("a"), create("b"), create("bad")]), {
    name: "AdmissionError",
    message: "bad is refused",
  });
  assert.deepEqual(seen, [[], ["a"], ["a", "b"]]);
  assert.equal(store.resourceVersion, 0);
});

test("a dry run shows what would be stored and writes nothing", async (t) => {
  const { store, writer } = setUp(t, [recordRule]);
  await writer.write([create("a")]);
  const version = store.resourceVersion;
  const result = await writer.write([update("a", "2"), create("b")], { dryRun: true });
  assert.deepEqual(result.resources[0]?.["data"], { value: "2" });
  assert.equal(result.resources[0]?.metadata.generation, 2);
  assert.equal(result.resources[1]?.metadata.generation, 1);
  assert.deepEqual(result.warnings, ["saw 1", "saw nothing"]);
  assert.equal(store.resourceVersion, version);
  const taken = writer.write([create("a")], { dryRun: true });
  await assert.rejects(taken, { code: "AlreadyExists" });
});

/** Writes while the first review is going on, as another writer of the same turn would. */
function racing(store: SqliteStore, change: Change): { writer: Writer; reviews: () => number } {
  let reviews = 0;
  const race: AdmissionRule = () => {
    if (reviews++ === 0) void store.commit([change]);
    return NOTHING;
  };
  return { writer: createWriter({ store, rules: [race, recordRule] }), reviews: () => reviews };
}

test("a change without a version is reviewed again after a race", async (t) => {
  const { store } = setUp(t);
  await store.commit([create("a")]);
  const { writer, reviews } = racing(store, update("a", "raced"));
  await writer.write([update("a", "2")]);
  assert.equal(reviews(), 2);
  assert.equal(valueOf(store, "a"), "2");
  assert.equal(seenBy(store, "a"), "raced", "the rule decided on what was replaced in the end");
});

test("a change with a version of its own is refused after a race", async (t) => {
  const { store } = setUp(t);
  const [first] = await store.commit([create("a")]);
  const { writer } = racing(store, update("a", "raced"));
  const resourceVersion = first?.metadata.resourceVersion;
  const change = update("a", "2", { resourceVersion });
  await assert.rejects(writer.write([change]), { name: "StoreError", code: "Conflict" });
  assert.equal(valueOf(store, "a"), "raced");
  assert.equal(seenBy(store, "a"), undefined);
});

test("a deletion or creation that lost a race says so in the words of what is now", async (t) => {
  const { store } = setUp(t);
  await store.commit([create("a")]);
  const key = { kind: "ConfigMap", namespace: "shop", name: "a" };
  const gone = racing(store, { op: "delete", key }).writer.write([update("a", "2")]);
  await assert.rejects(gone, { code: "NotFound" });
  const taken = racing(store, create("a")).writer.write([create("a")]);
  await assert.rejects(taken, { code: "AlreadyExists" });
});

test("two changes of one resource in one batch follow one another", async (t) => {
  const { store, writer } = setUp(t, [recordRule]);
  await writer.write([create("a"), update("a", "2"), update("a", "3")]);
  assert.equal(valueOf(store, "a"), "3");
  assert.equal(seenBy(store, "a"), "2");
});

test("people choose neither a uid nor a status for what they create", async (t) => {
  const { writer } = setUp(t);
  const forged = { ...draft("a", "1", { uid: "chosen" }), status: { phase: "Forged" } };
  const { resources } = await writer.write([{ op: "create", resource: forged }]);
  assert.notEqual(resources[0]?.metadata.uid, "chosen");
  assert.equal(resources[0]?.status, undefined);
});

test("warnings of the writer itself come beside those of rules, each once", async (t) => {
  const { store } = setUp(t);
  const warnings = (): readonly string[] => ["routes.yaml:3 will win at its next change"];
  const writer = createWriter({ store, rules: [recordRule], warnings });
  const result = await writer.write([create("a"), create("b")]);
  assert.deepEqual(result.warnings, ["routes.yaml:3 will win at its next change", "saw nothing"]);
});

test("many writers of one resource at once all get their turn", async (t) => {
  const { store, writer } = setUp(t, [recordRule]);
  await writer.write([create("a")]);
  const values = Array.from({ length: 30 }, (_, index) => `v${index}`);
  await Promise.all(values.map((value) => writer.write([update("a", value)])));
  assert.ok(values.includes(String(valueOf(store, "a"))));
  assert.equal(store.get("ConfigMap", "shop", "a")?.metadata.generation, 1 + values.length);
});
