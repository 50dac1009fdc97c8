/**
 * Random histories with a disk that refuses now and then: whoever follows the watch has what the
 * store has, a store that is opened again has it too, and versions only ever rise. The seed is in
 * the test's name.
 */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { seededRandom } from "../../src/base/random.ts";
import type { Random } from "../../src/base/random.ts";
import { keyText, keyOf } from "../../src/resource/resource.ts";
import type { Resource } from "../../src/resource/resource.ts";
import { StoreError } from "../../src/store/store.ts";
import type { Change, Store, WatchEvent } from "../../src/store/store.ts";
import { openStore } from "./open-store.ts";

const SEEDS = process.env["SLUICE_LONG"] === undefined ? 10 : 200;
const TURNS = 100;
const NAMES = ["a", "b", "c", "d"];
const KINDS = ["ConfigMap", "Rollout"];

function pick<T>(random: Random, values: readonly T[]): T {
  return values[Math.floor(random() * values.length)] as T;
}

function randomChange(random: Random, store: Store): Change {
  const key = { kind: pick(random, KINDS), namespace: "shop", name: pick(random, NAMES) };
  const stored = store.get(key.kind, key.namespace, key.name);
  const count = Math.floor(random() * 5);
  if (random() < 0.1) return { op: "record", table: "outbox", key: key.name, value: count };
  if (random() < 0.15) return { op: "delete", key };
  const version =
    random() < 0.3 ? { resourceVersion: stored?.metadata.resourceVersion ?? "1" } : {};
  const owner = store.get("Rollout", "shop", pick(random, NAMES));
  const owners =
    owner === undefined || key.kind === "Rollout" || random() < 0.5
      ? {}
      : { ownerReferences: [{ ...keyOf(owner), apiVersion: "v1", uid: owner.metadata.uid }] };
  const metadata = { ...version, ...owners, namespace: key.namespace, name: key.name };
  const resource = {
    apiVersion: "v1",
    kind: key.kind,
    metadata,
    spec: { count },
    status: { count },
  };
  if (stored === undefined) return { op: "create", resource };
  if (random() < 0.5) return { op: "update", resource };
  return { op: "status", resource, ...(random() < 0.5 && { evenUnsaved: true as const }) };
}

/** What a follower of the watch holds; each event must fit what it holds already. */
class Replica {
  readonly resources = new Map<string, Resource>();
  version = 0;

  apply({ type, resource, previous }: WatchEvent): void {
    const key = keyText(keyOf(resource));
    const version = Number(resource.metadata.resourceVersion);
    assert.ok(version > this.version, "versions rise");
    this.version = version;
    assert.deepEqual(previous, this.resources.get(key));
    assert.equal(type === "ADDED", previous === undefined);
    if (type === "DELETED") this.resources.delete(key);
    else this.resources.set(key, resource);
  }
}

function stateOf(store: Store): unknown {
  const resources = KINDS.flatMap((kind) => store.list(kind));
  return { resources, outbox: Object.fromEntries(store.records("outbox")) };
}

function byKey(resources: Iterable<Resource>): readonly Resource[] {
  return [...resources].toSorted((a, b) => (keyText(keyOf(a)) < keyText(keyOf(b)) ? -1 : 1));
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function follow(store: Store, replica: Replica): Promise<void> {
  store.watch((event) => replica.apply(event), 0);
  await turn();
  await turn();
  const stored = KINDS.flatMap((kind) => store.list(kind));
  assert.deepEqual(byKey(replica.resources.values()), byKey(stored));
}

/** Makes every write of a resource fail, or lets it pass again. */
function createSwitch(file: string): { readonly set: (refusing: boolean) => void; close(): void } {
  const other = new DatabaseSync(file);
  const refuse = `CREATE TRIGGER IF NOT EXISTS refuse BEFORE INSERT ON revision
    BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END`;
  return {
    set: (refusing) => other.exec(refusing ? refuse : "DROP TRIGGER IF EXISTS refuse"),
    close: () => other.close(),
  };
}

for (let seed = 1; seed <= SEEDS; seed++) {
  test(`random history ${seed}`, async (t) => {
    const random = seededRandom(seed);
    const { store, file, clock, reopen } = openStore(t);
    const disk = createSwitch(file);
    t.after(() => disk.close());
    const live = new Replica();
    store.watch((event) => live.apply(event));
    let refused = 0;
    let unsaved = 0;
    for (let round = 0; round < TURNS; round++) {
      disk.set(random() < 0.3);
      const commits = Array.from({ length: 1 + Math.floor(random() * 3) }, () => {
        const length = 1 + Math.floor(random() * 3);
        return store.commit(Array.from({ length }, () => randomChange(random, store)));
      });
      for (const result of await Promise.allSettled(commits)) {
        if (result.status === "fulfilled") continue;
        assert.ok(result.reason instanceof StoreError, String(result.reason));
        refused++;
      }
      unsaved += store.unsavedCount;
      if (random() < 0.2) clock.runDue();
    }
    assert.ok(refused > 0 && unsaved > 0, "the history was worth following");
    disk.set(false);
    clock.runDue();
    assert.equal(store.unsavedCount, 0);
    await turn();
    assert.deepEqual(
      byKey(live.resources.values()),
      byKey(KINDS.flatMap((kind) => store.list(kind))),
    );
    await follow(store, new Replica());
    const before = stateOf(store);
    const { resourceVersion } = store;
    const again = reopen();
    assert.deepEqual(stateOf(again), before);
    assert.equal(again.resourceVersion, resourceVersion);
    await follow(again, new Replica());
  });
}
