/**
 * What is found when a store is opened: nothing, a damaged file, another program's, a newer
 * version's, another process. Each is named; none is overwritten. And the copy that a backup makes.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { Change } from "../../src/store/store.ts";
import { backupStore } from "../../src/store/backup.ts";
import { lockDataDirectory, storePath } from "../../src/store/lock.ts";
import { MIGRATIONS, checkIntegrity, migrate } from "../../src/store/schema.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { StillClock, openStore, temporaryDirectory } from "./open-store.ts";

function create(name: string): Change {
  const metadata = { name, namespace: "shop" };
  return {
    op: "create",
    resource: { apiVersion: "v1", kind: "ConfigMap", metadata, data: { name } },
  };
}

function refusal(file: string, message: RegExp): void {
  const before = readFileSync(file);
  const open = (): unknown => openSqliteStore({ path: file, clock: new StillClock() });
  assert.throws(open, (error: Error) => {
    assert.equal(error.name, "StoreError");
    assert.match(error.message, message);
    assert.ok(error.message.includes(file), error.message);
    return true;
  });
  assert.deepEqual(readFileSync(file), before);
}

test("a newer version's store is refused by name", (t) => {
  const { store, file } = openStore(t);
  store.close();
  const database = new DatabaseSync(file);
  database.exec(`PRAGMA user_version = ${MIGRATIONS.length + 1}`);
  database.close();
  refusal(file, /schema version \d+ .* written by a newer version/);
});

test("another program's database and what is no database are refused by name", (t) => {
  const directory = temporaryDirectory(t);
  const foreign = path.join(directory, "foreign.db");
  const database = new DatabaseSync(foreign);
  // In WAL mode already, so that not even the mode is changed.
  database.exec("PRAGMA journal_mode = WAL; CREATE TABLE other (id INTEGER)");
  database.close();
  refusal(foreign, /another program/);
  const text = path.join(directory, "text.db");
  writeFileSync(text, "this is not a database, but long enough to be taken for one".repeat(20));
  refusal(text, /not a database/);
});

test("a damaged page is found when the store is opened, and named", async (t) => {
  const { store, file } = openStore(t);
  const names = Array.from({ length: 500 }, (_, index) => `c${index}`);
  await store.commit(names.map((name) => create(name)));
  store.close();
  const bytes = readFileSync(file);
  bytes.fill(0xff, 4096 * 4, 4096 * 9);
  writeFileSync(file, bytes);
  refusal(file, /damaged|malformed/);
});

test("a row that is no JSON is named", async (t) => {
  const { store, file } = openStore(t);
  await store.commit([create("a")]);
  store.close();
  const database = new DatabaseSync(file);
  database.exec("UPDATE revision SET body = '{'");
  database.close();
  refusal(file, /ConfigMap\/shop\/a at version 1 is damaged/);
});

test("migrations run once, in order, each with its number", () => {
  const database = new DatabaseSync(":memory:");
  const ran: number[] = [];
  const first = [
    (db: DatabaseSync) => {
      ran.push(1);
      db.exec("CREATE TABLE one (id INTEGER)");
    },
  ];
  const both = [...first, () => void ran.push(2)];
  migrate(database, first);
  migrate(database, both);
  migrate(database, both);
  assert.deepEqual(ran, [1, 2]);
  assert.equal(database.prepare("PRAGMA user_version").get()?.["user_version"], 2);
  assert.throws(() => migrate(database, first), /newer version/);
});

test("a migration that fails leaves the old version as it was", () => {
  const database = new DatabaseSync(":memory:");
  const first = [(db: DatabaseSync) => db.exec("CREATE TABLE one (id INTEGER)")];
  migrate(database, first);
  const broken = (db: DatabaseSync): void => {
    db.exec("DROP TABLE one");
    throw new Error("broken");
  };
  assert.throws(() => migrate(database, [...first, broken]), /broken/);
  database.prepare("SELECT * FROM one").all();
  assert.equal(database.prepare("PRAGMA user_version").get()?.["user_version"], 1);
});

test("a data directory is locked for as long as its process lives", async (t) => {
  const directory = path.join(temporaryDirectory(t), "data");
  mkdirSync(directory, { mode: 0o755 });
  const module = new URL("../../src/store/lock.ts", import.meta.url).href;
  const script = `import { lockDataDirectory } from ${JSON.stringify(module)};
    lockDataDirectory(${JSON.stringify(directory)});
    globalThis.gc();
    process.stdout.write("locked");
    process.stdin.resume();`;
  const command = ["--expose-gc", "--input-type=module-typescript", "-e", script];
  const child = spawn(process.execPath, command, { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  const who = new RegExp(`process ${child.pid}\\).*--data`);
  assert.throws(() => lockDataDirectory(directory), { name: "StoreError", message: who });
  child.kill("SIGKILL");
  await once(child, "exit");
  const unlock = lockDataDirectory(directory);
  const second = spawnSync(process.execPath, command, { encoding: "utf8" });
  assert.match(second.stderr, new RegExp(`process ${process.pid}\\)`));
  unlock();
  lockDataDirectory(directory)();
});

test("a data directory that cannot be made is named", (t) => {
  const file = path.join(temporaryDirectory(t), "file");
  writeFileSync(file, "");
  assert.throws(() => lockDataDirectory(path.join(file, "data")), /Cannot use the data directory/);
});

test("where a folder takes no entry, the start fails rather than hangs", (t) => {
  if (process.platform !== "linux") return t.skip("/proc is Linux's");
  const lockModule = JSON.stringify(import.meta.resolve("../../src/store/lock.ts"));
  const script = `import(${lockModule}).then((lock) => lock.lockDataDirectory("/proc/sluice/data"))`;
  const child = spawnSync(process.execPath, ["-e", script], { encoding: "utf8", timeout: 20_000 });
  assert.equal(child.status, 1, child.stderr);
  assert.match(child.stderr, /Cannot use the data directory \/proc\/sluice\/data: ENOENT/);
});

test("a backup of a store in use is whole, opens, and never overwrites", async (t) => {
  const directory = temporaryDirectory(t);
  const { store, file } = openStore(t, { path: storePath(directory) });
  await store.commit(["a", "b", "c"].map((name) => create(name)));
  const copy = path.join(directory, "copy.db");
  const [, written] = await Promise.all([backupStore(file, copy), store.commit([create("d")])]);
  assert.equal(written.length, 1);
  const database = new DatabaseSync(copy, { readOnly: true });
  checkIntegrity(database);
  database.close();
  const restored = openSqliteStore({ path: copy, clock: new StillClock() });
  const names = restored.list("ConfigMap").map(({ metadata }) => metadata.name);
  restored.close();
  assert.deepEqual(names.slice(0, 3), ["a", "b", "c"]);
  await assert.rejects(backupStore(file, copy), /exists already/);
  const missing = path.join(directory, "missing.db");
  await assert.rejects(backupStore(missing, path.join(directory, "none.db")), /Cannot back up/);
  assert.throws(() => statSync(path.join(directory, "none.db")));
  rmSync(copy);
});
