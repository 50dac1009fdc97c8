/** Folders that come and go are followed by the system's notifications, not by looking alone. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { watchFolders } from "../../src/file/watch.ts";

const TIMEOUT_MS = 20_000;
/** Longer waits are looks, which the tests make by hand; shorter ones wait for quiet. */
const LOOK_MS_MIN = 1500;

class Watched {
  readonly folder: string;
  /** Whether a change waits to be told. */
  isChanging = false;
  #look: (() => void) | undefined;
  #lookPlanned: () => void = () => undefined;
  #changes = 0;
  #waiting: { readonly count: number; readonly resolve: () => void } | undefined;

  constructor(t: TestContext) {
    const root = mkdtempSync(path.join(tmpdir(), "sluice-watch-"));
    this.folder = path.join(root, "config");
    mkdirSync(this.folder);
    const clock: Clock = {
      ...systemClock,
      after: (delayMs, action) => {
        if (delayMs < LOOK_MS_MIN) return this.#afterQuiet(delayMs, action);
        this.#look = action;
        this.#lookPlanned();
        return () => undefined;
      },
    };
    const onChange = (): void => {
      this.#changes++;
      if (this.#changes >= (this.#waiting?.count ?? Infinity)) this.#waiting?.resolve();
    };
    const stop = watchFolders({ paths: [this.folder], clock, onChange });
    t.after(() => {
      stop();
      rmSync(root, { recursive: true, force: true });
    });
  }

  #afterQuiet(delayMs: number, action: () => void): () => void {
    this.isChanging = true;
    return systemClock.after(delayMs, () => {
      this.isChanging = false;
      action();
    });
  }

  /** Acts, and resolves when a change has been noticed since. */
  async notices(act: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#waiting = { count: this.#changes + 1, resolve: () => resolve(undefined) };
    act();
    await promise;
  }

  /** What happens every two seconds. */
  look(): void {
    const look = this.#look;
    assert.ok(look, "a look is planned");
    this.#look = undefined;
    look();
  }

  /** The same; resolves when it is over. */
  async looks(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#lookPlanned = () => resolve(undefined);
    this.look();
    await promise;
  }

  write(name: string, text: string): void {
    writeFileSync(path.join(this.folder, name), text);
  }
}

test("a folder that was removed and made anew is followed", { timeout: TIMEOUT_MS }, async (t) => {
  const watched = new Watched(t);
  await watched.notices(() => undefined);
  await watched.notices(() => rmSync(watched.folder, { recursive: true }));
  mkdirSync(watched.folder);
  await watched.notices(() => watched.look());
  await watched.notices(() => watched.write("a.yaml", "a: 1"));
});

test("a folder that another took the place of is followed", { timeout: TIMEOUT_MS }, async (t) => {
  const watched = new Watched(t);
  await watched.notices(() => undefined);
  await watched.notices(() => renameSync(watched.folder, `${watched.folder}.old`));
  mkdirSync(watched.folder);
  await watched.notices(() => watched.look());
  await watched.notices(() => watched.write("a.yaml", "a: 1"));
});

test("links swapped as in a mounted ConfigMap are noticed", { timeout: TIMEOUT_MS }, async (t) => {
  const watched = new Watched(t);
  for (const version of ["..1", "..2"]) {
    mkdirSync(path.join(watched.folder, version));
    watched.write(`${version}/a.yaml`, `a: ${version}`);
  }
  symlinkSync("..1", path.join(watched.folder, "..data"));
  symlinkSync("..data/a.yaml", path.join(watched.folder, "a.yaml"));
  await watched.notices(() => undefined);
  await watched.notices(() => {
    symlinkSync("..2", path.join(watched.folder, "..data_tmp"));
    renameSync(path.join(watched.folder, "..data_tmp"), path.join(watched.folder, "..data"));
  });
});

test("what was told is not told again by the next look", { timeout: TIMEOUT_MS }, async (t) => {
  const watched = new Watched(t);
  const made = `${watched.folder}.yaml`;
  writeFileSync(made, "a: 1");
  await watched.notices(() => undefined);
  // One event, where writing in the folder would be several.
  await watched.notices(() => renameSync(made, path.join(watched.folder, "a.yaml")));
  await watched.looks();
  assert.equal(watched.isChanging, false);
});
