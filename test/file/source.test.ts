/** Files and folders as a source: what is applied, kept, deleted and said, on real files. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { AdmissionError, createWriter } from "../../src/admission/writer.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { createFileRule, deletionNote } from "../../src/file/ownership.ts";
import { createFileSource, type FileSource, type LoadResult } from "../../src/file/source.ts";
import type { Backend } from "../../src/resource/backend.ts";
import { formatIssue, type Issue } from "../../src/resource/issue.ts";
import { parseResource } from "../../src/resource/parse.ts";
import type { Resource } from "../../src/resource/resource.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { type Change, StoreError } from "../../src/store/store.ts";
import { VirtualClock } from "../support/clock.ts";

function backend(name: string, port: number): string {
  return (
    `apiVersion: sluice.dev/v1alpha1\nkind: Backend\nmetadata: {name: ${name}}\n` +
    `spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${port}}}]}\n`
  );
}

class Fixture {
  readonly folder: string;
  readonly store = openSqliteStore({ path: ":memory:", clock: systemClock });
  readonly told: (readonly Issue[])[] = [];
  /** Set to refuse the next writes that hold a resource. */
  refusal: Error | undefined;
  readonly writer = createWriter({
    store: this.store,
    rules: [
      createFileRule(this.store, (resource) => this.declares(resource)),
      (change) => this.#review(change),
    ],
  });
  /** What the source at hand says; see FileSource. */
  declares: FileSource["declares"] = () => false;

  constructor(t: TestContext) {
    this.folder = mkdtempSync(path.join(tmpdir(), "sluice-file-"));
    t.after(() => {
      this.store.close();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  #review(change: Change): { additions: readonly Change[]; warnings: readonly string[] } {
    if (this.refusal !== undefined && change.op !== "record") throw this.refusal;
    return { additions: [], warnings: [] };
  }

  write(name: string, text: string): void {
    const place = path.join(this.folder, name);
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, text);
  }

  remove(name: string): void {
    rmSync(path.join(this.folder, name), { recursive: true });
  }

  /** A source over the folder, or over files in it; a new one stands for a restart. */
  source(names: readonly string[] = [], clock: Clock = systemClock): FileSource {
    return createFileSource({
      paths: names.length === 0 ? [this.folder] : names.map((name) => path.join(this.folder, name)),
      store: this.store,
      writer: this.writer,
      clock,
      onIssues: (issues) => this.told.push(issues),
    });
  }

  load(...names: string[]): Promise<LoadResult> {
    return this.source(names).load();
  }

  async applied(...names: string[]): Promise<number> {
    const { issues, applied } = await this.load(...names);
    assert.deepEqual(issues.map(formatIssue), []);
    return applied;
  }

  /** "a:9001,b:9002": name and port of every Backend. */
  get state(): string {
    const ports = this.store.list("Backend").map((resource) => {
      const { endpoints } = (resource as Backend).spec;
      return `${resource.metadata.name}:${endpoints[0]?.ip?.port}`;
    });
    return ports.join(",");
  }

  get(name: string): Resource {
    const found = this.store.get("Backend", "default", name);
    assert.ok(found);
    return found;
  }

  /** What a person does through the API. */
  async edit(name: string, port: number): Promise<readonly string[]> {
    const { metadata } = this.get(name);
    const spec = { endpoints: [{ ip: { address: "127.0.0.1", port } }] };
    const { apiVersion, kind } = this.get(name);
    const resource = { apiVersion, kind, metadata, spec };
    return (await this.writer.write([{ op: "update", resource }])).warnings;
  }

  async delete(name: string): Promise<readonly string[]> {
    const key = { kind: "Backend", namespace: "default", name };
    return (await this.writer.write([{ op: "delete", key }])).warnings;
  }

  async create(name: string, port: number): Promise<void> {
    const parsed = parseResource({
      apiVersion: "sluice.dev/v1alpha1",
      kind: "Backend",
      metadata: { name },
      spec: { endpoints: [{ ip: { address: "127.0.0.1", port } }] },
    });
    assert.ok(parsed.ok);
    await this.writer.write([{ op: "create", resource: parsed.draft }]);
  }
}

test("what files that are not named any more have left is said", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 2)}---\n${backend("c", 3)}`);
  f.write("b.yaml", backend("c", 4));
  await f.load("a.yaml");
  assert.deepEqual(f.source(["a.yaml"]).left(), []);
  assert.deepEqual(f.source().left(), [], "a folder names the files in it");
  await f.load("b.yaml");
  await f.delete("a");
  const left = f.source(["b.yaml"]).left();
  assert.equal(left.length, 1);
  assert.match(
    left[0] ?? "",
    /a\.yaml is not named any more, and what it said stays until it is deleted: Backend\/default\/b$/,
    "c is another file's now, and a is gone",
  );
});

test("files and folders are applied, changed and deleted with their documents", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 2)}`);
  f.write("deep/er/c.yml", backend("c", 3));
  f.write(
    "d.json",
    JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "n" } }),
  );
  f.write("notes.txt", "kind: nothing");
  f.write(".hidden.yaml", "kind: nothing");
  assert.equal(await f.applied(), 4);
  assert.equal(f.state, "a:1,b:2,c:3");
  assert.ok(f.store.get("Namespace", "", "n"));

  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 5)}`);
  assert.equal(await f.applied(), 1);
  assert.equal(f.get("a").metadata.generation, 1);
  assert.equal(f.state, "a:1,b:5,c:3");

  f.write("a.yaml", backend("b", 5));
  f.remove("deep");
  assert.equal(await f.applied(), 2);
  assert.equal(f.state, "b:5");
  f.remove("a.yaml");
  assert.equal(await f.applied(), 1);
  assert.equal(f.state, "");
  assert.equal([...f.store.records("file").keys()].join(), "Namespace//n");
});

test("neither a restart nor touching a file reverts an edit made through the API", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", backend("a", 1));
  await f.applied();
  const shown = path.join(f.folder, "a.yaml");
  assert.deepEqual(await f.edit("a", 7), [`${shown}:1 will win at its next change`]);
  assert.equal(await f.applied(), 0);
  f.write("a.yaml", `# a comment\n\n${backend("a", 1)}`);
  assert.equal(await f.applied(), 0);
  assert.equal(f.state, "a:7");
  assert.deepEqual(await f.edit("a", 8), [`${shown}:3 will win at its next change`]);

  f.write("a.yaml", backend("a", 2));
  assert.equal(await f.applied(), 1);
  assert.equal(f.state, "a:2");
});

test("a resource that the API deleted comes back with the next change of its document", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("b", 1)}---\n${backend("a", 1)}`);
  await f.applied();
  assert.deepEqual(f.source().deleted(), []);
  const gone: string[] = [];
  const unwatch = f.store.watch(({ type, resource }) => {
    const note = type === "DELETED" ? deletionNote(f.store, resource) : undefined;
    if (note !== undefined) gone.push(note);
  });
  const place = path.join(f.folder, "a.yaml");
  assert.deepEqual(await f.delete("a"), [
    `${place}:6 declares Backend/default/a, which stays deleted until that document is changed or applied`,
  ]);
  assert.equal(await f.applied(), 0, "neither a scan nor a restart brings it back …");
  assert.equal(f.state, "b:1");
  const said =
    `${place}:6: Backend/default/a was deleted through the API, and stays so; change the ` +
    `document, or \`sluice apply -f ${place}\`, to bring it back`;
  assert.deepEqual(f.source().deleted(), [said], "… but both say so, at the start …");
  assert.deepEqual(gone, [said], "… and when it happens");
  f.write("a.yaml", `${backend("b", 1)}---\n${backend("a", 2)}`);
  assert.equal(await f.applied(), 1);
  assert.equal(f.state, "a:2,b:1");
  f.remove("a.yaml");
  await f.applied();
  assert.deepEqual(f.source().deleted(), []);
  assert.equal(gone.length, 1, "what a file deletes itself needs no word");
  unwatch();
});

test("what is applied again as its file declares it is the file's again", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 1)}---\n${backend("c", 1)}`);
  const source = f.source();
  await source.load();
  f.declares = (resource) => source.declares(resource);
  for (const name of ["a", "b"]) await f.delete(name);
  await f.create("a", 1);
  await f.create("b", 2);
  const place = path.join(f.folder, "a.yaml");
  assert.deepEqual(await f.edit("a", 1), [`${place}:1 will win at its next change`]);
  assert.deepEqual(await f.edit("b", 2), [], "another one is the API's");
  f.write("a.yaml", backend("c", 1));
  await source.load();
  assert.equal(f.state, "b:2,c:1");
});

test("where many were deleted, the first are named and the others counted", async (t) => {
  const f = new Fixture(t);
  const names = Array.from({ length: 23 }, (_each, index) => `b${index + 10}`);
  f.write("a.yaml", names.map((name) => backend(name, 1)).join("---\n"));
  await f.applied();
  for (const name of names) await f.delete(name);
  const said = f.source().deleted();
  assert.equal(said.length, 21);
  assert.equal(said.at(-1), "… and 3 more that the API has deleted");
  assert.deepEqual(f.source(["other.yaml"]).deleted(), [], "files that are not named say nothing");
});

test("a file deletes only what it still owns", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 1)}`);
  await f.applied();
  await f.edit("a", 7);
  await f.delete("b");
  await f.create("b", 9);
  assert.deepEqual(await f.edit("b", 9), [], "b is the API's own now");
  f.remove("a.yaml");
  assert.equal(await f.applied(), 1);
  assert.equal(f.state, "b:9");
  assert.equal(f.store.records("file").size, 0);
});

test("a file that is emptied deletes nothing: it may be about to be written", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 1)}`);
  await f.applied();
  for (const text of ["", "# nothing\n"]) {
    f.write("a.yaml", text);
    const { issues, applied } = await f.load();
    assert.equal(applied, 0);
    assert.match(issues.map(formatIssue).join(), /a\.yaml: is empty; its 2 resources stay/);
    assert.equal(f.state, "a:1,b:1");
  }
  f.write("a.yaml", backend("a", 2));
  await f.applied();
  assert.equal(f.state, "a:2");
});

test("a file takes over what the API made, once it speaks of it", async (t) => {
  const f = new Fixture(t);
  await f.create("a", 9);
  const { uid } = f.get("a").metadata;
  f.write("a.yaml", backend("a", 1));
  assert.equal(await f.applied(), 1);
  assert.equal(f.state, "a:1");
  assert.equal(f.get("a").metadata.uid, uid);
  f.remove("a.yaml");
  assert.equal(await f.applied(), 1);
  assert.equal(f.state, "");
});

test("a file is accepted whole or not at all; its last good version stays", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 1)}`);
  f.write("c.yaml", backend("c", 1));
  await f.applied();
  f.write("a.yaml", `${backend("a", 2)}---\n${backend("d", 99_999)}`);
  f.write("c.yaml", backend("c", 2));
  const { issues, applied } = await f.load();
  assert.equal(applied, 1);
  assert.equal(f.state, "a:1,b:1,c:2");
  assert.match(issues.map(formatIssue).join(), /a\.yaml:9:\d+: spec\.endpoints\[0\]\.ip\.port: /);
});

test("a document may move between files without being deleted or reverted", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", `${backend("a", 1)}---\n${backend("b", 1)}`);
  await f.applied();
  await f.edit("b", 7);
  const { uid } = f.get("b").metadata;
  f.write("a.yaml", backend("a", 1));
  f.write("b.yaml", backend("b", 1));
  assert.equal(await f.applied(), 0);
  assert.equal(f.state, "a:1,b:7");
  assert.equal(f.get("b").metadata.uid, uid);
  renameSync(path.join(f.folder, "b.yaml"), path.join(f.folder, "0.yaml"));
  assert.equal(await f.applied(), 0);
  f.remove("0.yaml");
  assert.equal(await f.applied(), 1);
  assert.equal(f.state, "a:1");
});

test("of two files with one resource the one that applied it stands", async (t) => {
  const f = new Fixture(t);
  f.write("b.yaml", backend("a", 1));
  await f.applied();
  f.write("a.yaml", `${backend("a", 2)}---\n${backend("z", 2)}`);
  const { issues } = await f.load();
  assert.equal(f.state, "a:1", "the second file is refused whole");
  assert.match(
    issues.map(formatIssue).join(),
    /a\.yaml:1:1: metadata\.name: Backend\/default\/a stands in .*b\.yaml already$/,
  );
  f.remove("b.yaml");
  assert.equal(await f.applied(), 2);
  assert.equal(f.state, "a:2,z:2");
});

test("what cannot be read is an issue, and its resources stay", async (t) => {
  const f = new Fixture(t);
  f.write("sub/a.yaml", backend("a", 1));
  f.write("b.yaml", backend("b", 1));
  assert.equal(await f.applied("sub", "b.yaml"), 2);
  f.remove("sub");
  f.remove("b.yaml");
  const gone = await f.load("sub", "b.yaml", "never.yaml");
  assert.equal(f.state, "a:1,b:1");
  assert.equal(gone.issues.length, 3);
  for (const issue of gone.issues) assert.match(issue.message, /cannot be read: no such file/);

  const other = new Fixture(t);
  other.write("a.yaml", backend("a", 1));
  await other.applied();
  writeFileSync(path.join(other.folder, "a.yaml"), Buffer.from([0x61, 0xff, 0xfe]));
  symlinkSync("/nowhere", path.join(other.folder, "dangling.yaml"));
  symlinkSync(other.folder, path.join(other.folder, "loop"));
  symlinkSync("/dev/null", path.join(other.folder, "null.yaml"));
  const { issues } = await other.load();
  assert.deepEqual(
    issues.map(({ file, message }) => `${path.basename(file ?? "")}: ${message}`).toSorted(),
    [
      "a.yaml: is not UTF-8 text",
      "dangling.yaml: cannot be read: no such file or directory",
      "null.yaml: is not a regular file",
    ],
  );
  assert.equal(other.state, "a:1");
});

test("files that are no longer named keep their resources", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", backend("a", 1));
  f.write("b.yaml", backend("b", 1));
  await f.applied("a.yaml", "b.yaml");
  f.remove("a.yaml");
  assert.equal(await f.applied("b.yaml"), 0);
  assert.equal(f.state, "a:1,b:1");
});

test("a write that is refused is an issue of its file alone", async (t) => {
  const f = new Fixture(t);
  f.write("a.yaml", backend("a", 1));
  f.refusal = new AdmissionError("Backend a may not be");
  assert.match(
    (await f.load()).issues.map(formatIssue).join(),
    /a\.yaml: is not applied: Backend a/,
  );
  f.refusal = new StoreError("Unavailable", "the disk is full", {
    kind: "Backend",
    namespace: "default",
    name: "a",
  });
  assert.match((await f.load()).issues.map(formatIssue).join(), /a\.yaml:1:1: is not applied: the/);
  assert.equal(f.store.records("file").size, 0);
  f.refusal = undefined;
  assert.equal(await f.applied(), 1);
});

test("issues are told when they change, and when they are gone", async (t) => {
  const f = new Fixture(t);
  const source = f.source();
  f.write("a.yaml", "kind: Nothing");
  await source.load();
  await source.load();
  f.write("a.yaml", backend("a", 1));
  await source.load();
  assert.deepEqual(
    f.told.map((issues) => issues.length),
    [1, 0],
  );
});

test("a refused write is tried again without a change of the file", async (t) => {
  const f = new Fixture(t);
  const clock = new VirtualClock();
  f.write("a.yaml", backend("a", 1));
  f.refusal = new AdmissionError("not now");
  const source = f.source([], clock);
  const stop = source.watch();
  t.after(stop);
  const until = async (isReached: () => boolean): Promise<void> => {
    const deadlineMs = Date.now() + 20_000;
    while (!isReached()) {
      assert.ok(Date.now() < deadlineMs, "not reached in time");
      clock.advance(10);
      await nextTurn();
    }
  };
  await until(() => f.told.length === 1);
  f.refusal = undefined;
  const refusedAtMs = clock.monotonic();
  await until(() => f.state === "a:1" && f.told.length === 2);
  assert.ok(clock.monotonic() - refusedAtMs >= 4900, "not before its time");
  assert.deepEqual(f.told[1], []);
});

test(
  "watching follows edits, renames, new folders and deletions",
  { timeout: 30_000 },
  async (t) => {
    const f = new Fixture(t);
    f.write("a.yaml", backend("a", 1));
    const source = f.source();
    await source.load();
    const stop = source.watch();
    t.after(stop);
    /** Resolves when a commit has brought the Backends to this state. */
    const reaches = async (wanted: string): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      const check = (): void => void (f.state === wanted && resolve(undefined));
      const unwatch = f.store.watch(check);
      check();
      await promise;
      unwatch();
    };
    f.write("a.yaml", backend("a", 2));
    await reaches("a:2");
    f.write("new/b.yaml", backend("b", 1));
    await reaches("a:2,b:1");
    f.write("a.tmp", backend("a", 3));
    renameSync(path.join(f.folder, "a.tmp"), path.join(f.folder, "a.yaml"));
    await reaches("a:3,b:1");
    f.remove("new");
    await reaches("a:3");
    f.remove("a.yaml");
    await reaches("");
  },
);
