/**
 * A copy of the store while it is in use: SQLite's own backup, which reads one consistent state
 * beside the writer, from the same process or another one.
 */
import { existsSync, rmSync } from "node:fs";
import { DatabaseSync, backup } from "node:sqlite";
import { checkIntegrity } from "./schema.ts";
import { StoreError } from "./store.ts";

/** Copying all in one step holds one read transaction, so that a busy writer cannot starve it. */
const PAGES_PER_STEP = 0x7f_ff_ff_ff;

/**
 * Copies the store at `from` to the new file `to`, and checks the copy. Throws StoreError
 * Unavailable; nothing is left at `to` then, and a file that was there before is never touched.
 */
export async function backupStore(from: string, to: string): Promise<void> {
  const what = `Cannot back up ${from} to ${to}`;
  if (existsSync(to)) throw new StoreError("Unavailable", `${what}: the file exists already`);
  let source: DatabaseSync | undefined;
  try {
    source = new DatabaseSync(from, { readOnly: true });
    await backup(source, to, { rate: PAGES_PER_STEP });
    checkCopy(to);
  } catch (error) {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(to + suffix, { force: true });
    const reason = error instanceof Error ? error.message : String(error);
    throw new StoreError("Unavailable", `${what}: ${reason}`, undefined, error);
  } finally {
    source?.close();
  }
}

function checkCopy(file: string): void {
  const copy = new DatabaseSync(file);
  try {
    // A single file is easier to carry than one with a WAL beside it.
    copy.exec("PRAGMA journal_mode = DELETE");
    checkIntegrity(copy);
  } finally {
    copy.close();
  }
}
