/**
 * kill -9 in the middle of writing, and WALs cut anywhere: every acknowledged version reads back,
 * every commit is there whole or not at all.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { seededRandom } from "../../src/base/random.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { SqliteStore } from "../../src/store/sqlite.ts";
import { StillClock, openStore, temporaryDirectory } from "./open-store.ts";

const KILLS = process.env["SLUICE_LONG"] === undefined ? 10 : 200;
const WRITES_PER_SECOND_MIN = 50;
const WRITER = new URL("write-until-killed.ts", import.meta.url);

interface Acknowledged {
  readonly count: number;
  readonly version: number;
}

/** Lets a child write and kills it after `writes` acknowledgements; returns the newest by name. */
async function writeAndKill(
  file: string,
  writes: number,
): Promise<{ readonly acknowledged: ReadonlyMap<string, Acknowledged>; readonly rate: number }> {
  const child = spawn(process.execPath, [fileURLToPath(WRITER), file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const acknowledged = new Map<string, Acknowledged>();
  let seen = 0;
  let beganAtMs = 0;
  let rate = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [name = "", count, version] = line.split(" ");
    acknowledged.set(name, { count: Number(count), version: Number(version) });
    if (seen === 0) beganAtMs = performance.now();
    if (++seen !== writes) continue;
    rate = (1000 * seen) / (performance.now() - beganAtMs);
    child.kill("SIGKILL");
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  assert.equal(child.signalCode, "SIGKILL");
  return { acknowledged, rate };
}

function countOf(store: SqliteStore, name: string): unknown {
  const data = store.get("ConfigMap", "shop", name)?.["data"] as { count: unknown } | undefined;
  return data?.count;
}

test(`${KILLS} × kill -9 while writing: every acknowledged version reads back`, async (t) => {
  const file = path.join(temporaryDirectory(t), "store.db");
  const random = seededRandom(7);
  let newest = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const { acknowledged, rate } = await writeAndKill(file, 20 + Math.floor(random() * 100));
    assert.ok(rate >= WRITES_PER_SECOND_MIN, `only ${rate} acknowledged writes per second`);
    const store = openSqliteStore({ path: file, clock: new StillClock() });
    for (const [name, { count, version }] of acknowledged) {
      const stored = store.get("ConfigMap", "shop", name);
      assert.ok(Number(stored?.metadata.resourceVersion) >= version, `${name} lost ${version}`);
      assert.ok(Number(countOf(store, name)) >= count, `${name} lost count ${count}`);
      assert.ok(version > newest, "a version was given twice");
    }
    for (const [name, count] of store.records("file")) assert.equal(countOf(store, name), count);
    newest = store.resourceVersion;
    store.close();
  }
});

test("a thread ended while writing leaves a store that the next one opens at once", async (t) => {
  const file = path.join(temporaryDirectory(t), "store.db");
  for (let round = 0; round < 5; round++) {
    const worker = new Worker(WRITER, { argv: [file] });
    const acknowledged = new Map<string, number>();
    let seen = 0;
    await new Promise<void>((resolve) => {
      worker.on("message", (line: string) => {
        const [name = "", , version] = line.split(" ");
        acknowledged.set(name, Number(version));
        if (++seen === 50) resolve();
      });
    });
    await worker.terminate();
    const store = openSqliteStore({ path: file, clock: new StillClock() });
    for (const [name, version] of acknowledged) {
      const stored = store.get("ConfigMap", "shop", name);
      assert.ok(Number(stored?.metadata.resourceVersion) >= version);
    }
    for (const [name, count] of store.records("file")) assert.equal(countOf(store, name), count);
    store.close();
  }
});

test("a WAL cut or damaged anywhere leaves a whole number of commits", async (t) => {
  const { store, file } = openStore(t);
  const commits = 12;
  for (let count = 1; count <= commits; count++) {
    const metadata = { name: "a", namespace: "shop" };
    const resource = { apiVersion: "v1", kind: "ConfigMap", metadata, data: { count } };
    await store.commit([
      { op: count === 1 ? "create" : "update", resource },
      { op: "record", table: "file", key: "a", value: count },
    ]);
  }
  const database = readFileSync(file);
  const log = readFileSync(`${file}-wal`);
  assert.ok(log.length > commits * 4096, "every commit stands in the WAL");
  const copy = path.join(temporaryDirectory(t), "store.db");
  const reopen = (): number => {
    const opened = openSqliteStore({ path: copy, clock: new StillClock() });
    const version = opened.resourceVersion;
    assert.equal(countOf(opened, "a") ?? 0, version);
    assert.equal(opened.records("file").get("a") ?? 0, version);
    opened.close();
    return version;
  };
  const versions: number[] = [];
  for (let length = 0; length <= log.length; length += 1371) {
    copyFileSync(file, copy);
    writeFileSync(`${copy}-wal`, log);
    truncateSync(`${copy}-wal`, length);
    versions.push(reopen());
  }
  assert.deepEqual(
    versions,
    versions.toSorted((a, b) => a - b),
  );
  const random = seededRandom(3);
  for (let round = 0; round < 40; round++) {
    const damaged = Buffer.from(log);
    const at = Math.floor(random() * log.length);
    damaged[at] = (damaged[at] as number) ^ 0x10;
    writeFileSync(copy, database);
    writeFileSync(`${copy}-wal`, damaged);
    reopen();
  }
  writeFileSync(copy, database);
  writeFileSync(`${copy}-wal`, log);
  assert.equal(reopen(), commits);
});
