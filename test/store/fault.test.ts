/**
 * Disks that refuse: whatever fails, memory and disk stay as before, and later commits work again.
 * The full disk is a real one where the tests may mount it.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync, rmdirSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Change, Store } from "../../src/store/store.ts";
import { openStore } from "./open-store.ts";

function create(name: string, text = ""): Change {
  const metadata = { name, namespace: "shop" };
  return {
    op: "create",
    resource: { apiVersion: "v1", kind: "ConfigMap", metadata, data: { text } },
  };
}

function status(name: string, phase: string, evenUnsaved = false): Change {
  const metadata = { name, namespace: "shop" };
  const resource = { apiVersion: "v1", kind: "ConfigMap", metadata, status: { phase } };
  return { op: "status", resource, ...(evenUnsaved && { evenUnsaved }) };
}

const UNAVAILABLE = { name: "StoreError", code: "Unavailable" };

function contentOf(store: Store): string {
  return JSON.stringify([store.list("ConfigMap"), [...store.records("outbox")]]);
}

/** Makes the database refuse a row by a trigger that `action` names: ABORT, FAIL or ROLLBACK. */
function refuse(file: string, condition: string, action = "ROLLBACK"): () => void {
  const other = new DatabaseSync(file);
  other.exec(`CREATE TRIGGER refuse BEFORE INSERT ON revision WHEN ${condition}
    BEGIN SELECT RAISE(${action}, 'database or disk is full'); END`);
  return () => {
    other.exec("DROP TRIGGER refuse");
    other.close();
  };
}

test("whichever write of a commit fails, nothing of it is left and the next works", async (t) => {
  for (const action of ["ABORT", "FAIL", "ROLLBACK"]) {
    for (let failing = 2; failing <= 5; failing++) {
      const { store, file, reopen } = openStore(t);
      await store.commit([create("before")]);
      const before = contentOf(store);
      const allow = refuse(file, `NEW.version = ${failing}`, action);
      const changes = ["a", "b", "c", "d"].map((name) => create(name));
      const record: Change = { op: "record", table: "outbox", key: "k", value: 1 };
      await assert.rejects(store.commit([record, ...changes]), UNAVAILABLE);
      assert.equal(contentOf(store), before);
      assert.equal(store.resourceVersion, 1);
      allow();
      await store.commit(changes);
      const after = contentOf(store);
      assert.equal(store.resourceVersion, 5);
      assert.equal(contentOf(reopen()), after);
    }
  }
});

test("a commit that the disk refuses does not take its neighbours with it", async (t) => {
  const { store, file, reopen } = openStore(t);
  const allow = refuse(file, "NEW.name = 'b'");
  const results = await Promise.allSettled(
    ["a", "b", "c"].map((name) => store.commit([create(name)])),
  );
  allow();
  assert.deepEqual(
    results.map((result) => result.status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  const kept = contentOf(store);
  assert.deepEqual(
    store.list("ConfigMap").map(({ metadata }) => metadata.name),
    ["a", "c"],
  );
  assert.equal(contentOf(reopen()), kept);
});

test("an unsaved status is served at once and saved once the disk allows", async (t) => {
  const { store, file, clock, reopen } = openStore(t);
  await store.commit([create("a"), create("b")]);
  const phases: unknown[] = [];
  store.watch(({ resource }) => phases.push(resource.status?.["phase"]));
  const allow = refuse(file, "1");
  const announced: Change = { op: "record", table: "outbox", key: "k", value: "aborted" };
  await store.commit([status("a", "Degraded", true), announced]);
  await store.commit([status("a", "Aborted", true)]);
  assert.deepEqual(store.get("ConfigMap", "shop", "a")?.status, { phase: "Aborted" });
  assert.equal(store.unsavedCount, 1);
  assert.equal(store.records("outbox").get("k"), "aborted");
  await assert.rejects(store.commit([create("c")]), UNAVAILABLE);
  clock.runDue();
  assert.equal(store.unsavedCount, 1);
  assert.equal(clock.waiting, 1, "what is unsaved is tried again");
  allow();
  clock.runDue();
  assert.equal(store.unsavedCount, 0);
  assert.equal(clock.waiting, 0);
  assert.deepEqual(phases, ["Degraded", "Aborted"]);
  await store.commit([status("a", "Healthy")]);
  const after = contentOf(store);
  const again = reopen();
  assert.equal(contentOf(again), after);
  assert.equal(again.resourceVersion, store.resourceVersion);
});

test("the next commit saves what is unsaved, in the same transaction", async (t) => {
  const { store, file, reopen } = openStore(t);
  await store.commit([create("a")]);
  const allow = refuse(file, "1");
  await store.commit([status("a", "Aborted", true)]);
  allow();
  await store.commit([create("b")]);
  assert.equal(store.unsavedCount, 0);
  const after = contentOf(store);
  assert.equal(contentOf(reopen()), after);
});

test("only a disk is excused: an unsaved status still obeys compare-and-set", async (t) => {
  const { store, file } = openStore(t);
  await store.commit([create("a")]);
  const allow = refuse(file, "1");
  t.after(allow);
  const change = status("a", "Aborted", true);
  assert.ok(change.op === "status");
  const metadata = { ...change.resource.metadata, resourceVersion: "99" };
  const stale: Change = { ...change, resource: { ...change.resource, metadata } };
  await assert.rejects(store.commit([stale]), { name: "StoreError", code: "Conflict" });
  assert.equal(store.unsavedCount, 0);
});

test("a store at its page limit refuses by name and takes what still fits", async (t) => {
  const { store, file, reopen } = openStore(t, { pagesMax: 60 });
  await store.commit([create("small")]);
  const big = "x".repeat(400_000);
  await assert.rejects(store.commit([create("big", big)]), {
    ...UNAVAILABLE,
    message: /database or disk is full/,
  });
  await store.commit([create("also-small")]);
  const names = store.list("ConfigMap").map(({ metadata }) => metadata.name);
  assert.deepEqual(names, ["also-small", "small"]);
  const before = contentOf(store);
  const roomier = reopen({ path: file, pagesMax: 1000 });
  assert.equal(contentOf(roomier), before);
  await roomier.commit([create("big", big)]);
});

test("history beyond its limit is removed from disk", async (t) => {
  const { store, file, reopen } = openStore(t);
  await store.commit([create("a")]);
  const changes = Array.from({ length: 11_500 }, (_, index) => status("a", `p${index}`));
  await store.commit(changes);
  const again = reopen();
  assert.deepEqual(again.get("ConfigMap", "shop", "a")?.status, { phase: "p11499" });
  assert.equal(again.resourceVersion, 11_501);
  const database = new DatabaseSync(file, { readOnly: true });
  const row = database.prepare("SELECT count(*) AS count FROM revision").get();
  database.close();
  assert.equal(row?.["count"], 10_001, "the history and the state before its first event");
});

/** A file system of its own with little room, or undefined where the tests may not mount one. */
function smallDisk(t: TestContext): string | undefined {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-disk-"));
  t.after(() => {
    spawnSync("env", ["umount", "-l", directory]);
    rmdirSync(directory);
  });
  const mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory];
  return spawnSync("env", mount).status === 0 ? directory : undefined;
}

test("a really full disk: refused by name, but for an abort, until there is room", async (t) => {
  const directory = smallDisk(t);
  if (directory === undefined) return t.skip("needs the right to mount a tmpfs");
  const { store, clock, reopen } = openStore(t, { path: path.join(directory, "store.db") });
  await store.commit([create("a")]);
  const filler = path.join(directory, "filler");
  const free = (): number => statfsSync(directory).bavail * statfsSync(directory).bsize;
  while (free() > 0) appendFileSync(filler, Buffer.alloc(4096));
  const acknowledged = ["a"];
  let failure: unknown;
  for (let index = 0; failure === undefined && index < 2000; index++) {
    const name = `b${String(index).padStart(4, "0")}`;
    try {
      await store.commit([create(name)]);
      acknowledged.push(name);
    } catch (error) {
      failure = error;
    }
  }
  assert.equal((failure as { code?: string }).code, "Unavailable");
  assert.match(String(failure), /full|disk I\/O error/);
  const names = (): readonly string[] =>
    store.list("ConfigMap").map(({ metadata }) => metadata.name);
  assert.deepEqual(names(), acknowledged);
  await store.commit([status("a", "Aborted", true)]);
  assert.deepEqual(store.get("ConfigMap", "shop", "a")?.status, { phase: "Aborted" });
  assert.equal(store.unsavedCount, 1);
  rmSync(filler);
  clock.runDue();
  assert.equal(store.unsavedCount, 0);
  await store.commit([create("z")]);
  const after = contentOf(store);
  assert.deepEqual(names(), [...acknowledged, "z"]);
  assert.equal(contentOf(reopen()), after);
});
