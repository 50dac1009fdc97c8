/**
 * The store's contract on a real SQLite file: compare-and-set, versions and generations, all or
 * nothing, watch and its history, owners, records, and the same state after it is opened again.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";
import type { Change, StoreErrorCode, WatchEvent } from "../../src/store/store.ts";
import { HISTORY_EVENTS_MAX } from "../../src/store/history.ts";
import { openStore } from "./open-store.ts";

function config(name: string, more: Partial<ResourceDraft> = {}): ResourceDraft {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    data: { name },
    ...more,
    metadata: { name, namespace: "shop", ...more.metadata },
  };
}

function create(name: string, more: Partial<ResourceDraft> = {}): Change {
  return { op: "create", resource: config(name, more) };
}

function fails(promise: Promise<unknown>, code: StoreErrorCode): Promise<void> {
  return assert.rejects(promise, { name: "StoreError", code });
}

/** An update of "a" with these fields of metadata. */
function at(meta: object): ResourceDraft {
  return config("a", { data: { x: "1" }, metadata: { name: "a", namespace: "shop", ...meta } });
}

/** Creates at "NAMESPACE/NAME". */
function inPlace(place: string): Change {
  const [namespace = "", name = ""] = place.split("/");
  return create(name, { metadata: { name, namespace } });
}

/** Resolves after everything committed so far has been delivered. */
function delivered(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

test("create gives uid, version, generation and time, and freezes the result", async (t) => {
  const { store } = openStore(t);
  const [first, second] = await store.commit([create("a"), create("b")]);
  assert.equal(first?.metadata.resourceVersion, "1");
  assert.equal(second?.metadata.resourceVersion, "2");
  assert.equal(first.metadata.generation, 1);
  assert.equal(first.metadata.creationTimestamp, "2026-01-01T00:00:00Z");
  assert.match(first.metadata.uid, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  assert.notEqual(first.metadata.uid, second.metadata.uid);
  assert.equal(store.get("ConfigMap", "shop", "a"), first);
  assert.ok(Object.isFrozen(first) && Object.isFrozen(first["data"]));
  assert.equal(store.resourceVersion, 2);
  await fails(store.commit([create("a")]), "AlreadyExists");
});

test("a caller's object is copied, not kept", async (t) => {
  const { store } = openStore(t);
  const data: Record<string, string | undefined> = { kept: "1", absent: undefined };
  await store.commit([create("a", { data })]);
  data["kept"] = "changed";
  assert.deepEqual(store.get("ConfigMap", "shop", "a")?.["data"], { kept: "1" });
});

test("what JSON cannot hold is refused and nothing is written", async (t) => {
  const { store } = openStore(t);
  const draft = create("a", { data: { big: NaN } });
  await assert.rejects(store.commit([create("b"), draft]), TypeError);
  assert.equal(store.resourceVersion, 0);
  assert.deepEqual(store.list("ConfigMap"), []);
});

test("update replaces all but status and counts generations of content only", async (t) => {
  const { store } = openStore(t);
  await store.commit([create("a", { status: { phase: "Old" } })]);
  const labelled = config("a", { metadata: { name: "a", namespace: "shop", labels: { x: "y" } } });
  const [relabelled] = await store.commit([{ op: "update", resource: labelled }]);
  assert.equal(relabelled?.metadata.generation, 1);
  assert.deepEqual(relabelled.metadata.labels, { x: "y" });
  const changed = config("a", { data: { name: "new" }, status: { phase: "Forged" } });
  const [updated] = await store.commit([{ op: "update", resource: changed }]);
  assert.equal(updated?.metadata.generation, 2);
  assert.equal(updated.metadata.labels, undefined);
  assert.deepEqual(updated.status, { phase: "Old" });
  assert.equal(updated.metadata.uid, relabelled.metadata.uid);
});

test("an update that changes nothing is not a write", async (t) => {
  const { store } = openStore(t);
  const [first] = await store.commit([create("a", { status: { phase: "Ready" } })]);
  const events: WatchEvent[] = [];
  store.watch((event) => events.push(event));
  const status = config("a", { status: { phase: "Ready" } });
  const same = config("a", { metadata: { name: "a", namespace: "shop", labels: {} } });
  const results = await store.commit([
    { op: "update", resource: same },
    { op: "status", resource: status },
  ]);
  assert.deepEqual(results, [first, first]);
  await delivered();
  assert.deepEqual(events, []);
  assert.equal(store.resourceVersion, 1);
});

test("status replaces status alone and keeps the generation", async (t) => {
  const { store } = openStore(t);
  await store.commit([create("a")]);
  const resource = config("a", { data: { ignored: "yes" }, status: { phase: "Ready" } });
  const [written] = await store.commit([{ op: "status", resource }]);
  assert.deepEqual(written?.status, { phase: "Ready" });
  assert.deepEqual(written?.["data"], { name: "a" });
  assert.equal(written?.metadata.generation, 1);
  assert.equal(written?.metadata.resourceVersion, "2");
});

test("compare-and-set: uid and resourceVersion that differ are conflicts", async (t) => {
  const { store } = openStore(t);
  const [first] = await store.commit([create("a")]);
  const uid = first?.metadata.uid ?? "";
  const key = { kind: "ConfigMap", namespace: "shop", name: "a" };
  const refused: readonly Change[] = [
    { op: "update", resource: at({ resourceVersion: "7" }) },
    { op: "update", resource: at({ uid: "other" }) },
    { op: "status", resource: at({ resourceVersion: "7" }) },
    { op: "delete", key, resourceVersion: "7" },
    { op: "delete", key, uid: "other" },
  ];
  for (const change of refused) await fails(store.commit([change]), "Conflict");
  assert.equal(store.get("ConfigMap", "shop", "a"), first);
  await store.commit([{ op: "update", resource: at({ resourceVersion: "1", uid }) }]);
  await store.commit([{ op: "delete", key, resourceVersion: "2", uid }]);
  await fails(store.commit([{ op: "delete", key }]), "NotFound");
  await fails(store.commit([{ op: "update", resource: at({}) }]), "NotFound");
});

test("of two writers with one version, one wins, also within one turn", async (t) => {
  const { store } = openStore(t);
  await store.commit([create("a")]);
  const write = (value: string): Promise<readonly (Resource | undefined)[]> => {
    const metadata = { name: "a", namespace: "shop", resourceVersion: "1" };
    return store.commit([{ op: "update", resource: config("a", { data: { value }, metadata }) }]);
  };
  const results = await Promise.allSettled(["x", "y", "z"].map(write));
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "rejected"],
  );
  assert.deepEqual(store.get("ConfigMap", "shop", "a")?.["data"], { value: "x" });
});

test("a commit is all or nothing, and its failure is not that of its turn", async (t) => {
  const { store, reopen } = openStore(t);
  const record: Change = { op: "record", table: "file", key: "f", value: 1 };
  const results = await Promise.allSettled([
    store.commit([create("a")]),
    store.commit([create("b"), record, create("a")]),
    store.commit([create("c")]),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  for (const each of [store, reopen()]) {
    const names = each.list("ConfigMap").map(({ metadata }) => metadata.name);
    assert.deepEqual(names, ["a", "c"]);
    assert.equal(each.records("file").size, 0);
    assert.equal(each.resourceVersion, 2);
  }
});

test("lists are ordered by namespace and name, and one handed out never changes", async (t) => {
  const { store } = openStore(t);
  const places = ["b/x", "a/z", "a/b", "c/a", "a/ab", "b/a"];
  await store.commit(places.map(inPlace));
  const before = store.list("ConfigMap");
  const seen = [...before];
  const texts = before.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  assert.deepEqual(texts, places.toSorted());
  assert.deepEqual(
    store.list("ConfigMap", "a").map(({ metadata }) => metadata.name),
    ["ab", "b", "z"],
  );
  assert.deepEqual(store.list("ConfigMap", "missing"), []);
  assert.deepEqual(store.list("Secret"), []);
  const key = { kind: "ConfigMap", namespace: "a", name: "b" };
  await store.commit([{ op: "delete", key }, inPlace("a/c")]);
  assert.deepEqual([...before], seen);
  assert.deepEqual(
    store.list("ConfigMap", "a").map(({ metadata }) => metadata.name),
    ["ab", "c", "z"],
  );
});

test("deleting an owner deletes what it alone owns, in one commit and to any depth", async (t) => {
  const { store, reopen } = openStore(t);
  const [one, two] = await store.commit([create("one"), create("two")]);
  const owned = (name: string, owners: readonly (Resource | undefined)[]): Change => {
    const ownerReferences = owners.flatMap((owner) =>
      owner === undefined
        ? []
        : [
            {
              apiVersion: "v1",
              kind: owner.kind,
              name: owner.metadata.name,
              uid: owner.metadata.uid,
            },
          ],
    );
    return create(name, { metadata: { name, namespace: "shop", ownerReferences } });
  };
  const [child] = await store.commit([owned("child", [one]), owned("shared", [one, two])]);
  await store.commit([owned("grandchild", [child])]);
  const events: WatchEvent[] = [];
  store.watch((event) => events.push(event));
  await store.commit([
    { op: "delete", key: { kind: "ConfigMap", namespace: "shop", name: "one" } },
  ]);
  await delivered();
  assert.deepEqual(
    events.map(({ type, resource }) => `${type} ${resource.metadata.name}`),
    ["DELETED one", "DELETED child", "DELETED grandchild"],
  );
  assert.equal(store.owned(two?.metadata.uid ?? "").length, 1);
  await store.commit([
    { op: "delete", key: { kind: "ConfigMap", namespace: "shop", name: "two" } },
  ]);
  assert.deepEqual(store.list("ConfigMap"), []);
  assert.deepEqual(reopen().list("ConfigMap"), []);
});

test("watch delivers each event once, in order, after the commit's caller", async (t) => {
  const { store } = openStore(t);
  const order: string[] = [];
  const stop = store.watch((event) => {
    order.push(`${event.type} ${event.resource.metadata.resourceVersion}`);
  });
  await store.commit([create("a"), create("b")]);
  order.push("caller");
  const status = config("a", { status: { phase: "Ready" } });
  const key = { kind: "ConfigMap", namespace: "shop", name: "a" };
  await store.commit([{ op: "status", resource: status }]);
  const [last] = await store.commit([{ op: "delete", key }]);
  assert.equal(last?.metadata.resourceVersion, "3");
  await delivered();
  assert.deepEqual(order, ["caller", "ADDED 1", "ADDED 2", "MODIFIED 3", "DELETED 4"]);
  stop();
  await store.commit([create("c")]);
  await delivered();
  assert.equal(order.length, 5);
});

test("a watch from an old version replays, also after a restart", async (t) => {
  const { store, reopen } = openStore(t);
  await store.commit([create("a")]);
  await store.commit([{ op: "update", resource: config("a", { data: { v: "2" } }) }]);
  const key = { kind: "ConfigMap", namespace: "shop", name: "a" };
  await store.commit([{ op: "delete", key }]);
  const replay = async (from: typeof store): Promise<readonly WatchEvent[]> => {
    const events: WatchEvent[] = [];
    from.watch((event) => events.push(event), 0);
    await delivered();
    return events;
  };
  const first = await replay(store);
  assert.deepEqual(
    first.map(({ type, previous }) => [type, previous?.["data"]]),
    [
      ["ADDED", undefined],
      ["MODIFIED", { name: "a" }],
      ["DELETED", { v: "2" }],
    ],
  );
  assert.equal(first[2]?.resource.metadata.resourceVersion, "3");
  assert.deepEqual(await replay(reopen()), first);
});

test("a version older than the history, or from the future, is Gone", async (t) => {
  const { store, reopen } = openStore(t);
  const names = Array.from({ length: HISTORY_EVENTS_MAX + 1500 }, (_, index) => `c${index}`);
  let seen = 0;
  store.watch(() => seen++);
  await store.commit(names.map((name) => create(name)));
  await delivered();
  assert.equal(seen, names.length, "a commit larger than the history reaches a listener whole");
  await store.commit([create("last")]);
  await delivered();
  const newest = store.resourceVersion;
  const oldest = newest - HISTORY_EVENTS_MAX;
  for (const each of [store, reopen()]) {
    each.watch(() => undefined, oldest)();
    assert.throws(() => each.watch(() => undefined, newest + 1), { code: "Gone" });
    assert.throws(() => each.watch(() => undefined, 0), { code: "Gone" });
  }
});

test("records are snapshots, committed with resources and read back", async (t) => {
  const { store, reopen } = openStore(t);
  const outbox = { op: "record", table: "outbox" } as const;
  const value = { n: 1 };
  await store.commit([create("a"), { ...outbox, key: "x", value }, { ...outbox, key: "y", value }]);
  const before = store.records("outbox");
  const removal: Change = { ...outbox, key: "x", value: undefined };
  await store.commit([removal, { ...outbox, key: "z", value: [2] }]);
  assert.deepEqual([...before.keys()], ["x", "y"]);
  const after = [
    ["y", { n: 1 }],
    ["z", [2]],
  ];
  assert.deepEqual([...store.records("outbox")], after);
  assert.deepEqual([...reopen().records("outbox")], after);
});

test("versions go on after a restart, even where the newest write was a deletion", async (t) => {
  const { store, reopen } = openStore(t);
  await store.commit([create("a"), create("b")]);
  await store.commit([{ op: "delete", key: { kind: "ConfigMap", namespace: "shop", name: "b" } }]);
  const again = reopen();
  const [next] = await again.commit([create("c")]);
  assert.equal(next?.metadata.resourceVersion, "4");
});

test("a field named __proto__ is data like any other", async (t) => {
  const { store, reopen } = openStore(t);
  const data: unknown = JSON.parse('{"__proto__": {"polluted": true}}');
  await store.commit([create("a", { data: data as object })]);
  for (const each of [store, reopen()]) {
    const stored = each.get("ConfigMap", "shop", "a")?.["data"] as object;
    assert.deepEqual(Object.keys(stored), ["__proto__"]);
    assert.equal("polluted" in stored, false);
  }
});

test("after close, commits are refused by name and queued ones are on disk", async (t) => {
  const { store, reopen } = openStore(t);
  const queued = store.commit([create("a")]);
  store.close();
  await queued;
  await fails(store.commit([create("b")]), "Unavailable");
  assert.equal(reopen().list("ConfigMap").length, 1);
});
