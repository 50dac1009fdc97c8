/** A store in a directory of its own that goes away with the test, and can be opened again. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import type { Clock } from "../../src/base/clock.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { SqliteStore, SqliteStoreOptions } from "../../src/store/sqlite.ts";

/** A clock that stands still until a test runs what is due. */
export class StillClock implements Clock {
  readonly #due = new Set<() => void>();

  now(): number {
    return Date.UTC(2026, 0, 1);
  }

  monotonic(): number {
    return 0;
  }

  after(_delayMs: number, action: () => void): () => void {
    this.#due.add(action);
    return () => this.#due.delete(action);
  }

  /** Runs everything that waits, however long it wanted to. */
  runDue(): void {
    const due = [...this.#due];
    this.#due.clear();
    for (const action of due) action();
  }

  get waiting(): number {
    return this.#due.size;
  }
}

export interface OpenStore {
  readonly store: SqliteStore;
  readonly file: string;
  readonly clock: StillClock;
  /** Closes what was opened before and opens the same file again. */
  readonly reopen: (options?: Partial<SqliteStoreOptions>) => SqliteStore;
}

export function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-store-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function openStore(t: TestContext, options: Partial<SqliteStoreOptions> = {}): OpenStore {
  const file = options.path ?? path.join(temporaryDirectory(t), "store.db");
  const clock = new StillClock();
  let store = openSqliteStore({ clock, ...options, path: file });
  t.after(() => store.close());
  const reopen: OpenStore["reopen"] = (more = {}) => {
    store.close();
    store = openSqliteStore({ clock, ...options, path: file, ...more });
    return store;
  };
  return { store, file, clock, reopen };
}
