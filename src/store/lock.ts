/**
 * One process per data directory. The lock is an exclusive transaction that is held open on a small
 * database of its own: the operating system lets go of it when the process ends, however it ends,
 * so a lock is never left behind.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "./store.ts";

/** A database that nobody refers to would be collected and closed, and the lock with it. */
const held = new Set<DatabaseSync>();

/** The store's database inside a data directory. */
export function storePath(directory: string): string {
  return path.join(directory, "store.db");
}

/**
 * Makes the directory where it is missing, closes it to other users (0700) and locks it until the
 * returned function is called or the process ends. Throws StoreError Unavailable that says who
 * holds the lock or what else is wrong.
 */
export function lockDataDirectory(directory: string): () => void {
  const owner = path.join(directory, "lock.pid");
  try {
    makeDirectory(path.resolve(directory));
    if ((statSync(directory).mode & 0o077) !== 0) chmodSync(directory, 0o700);
  } catch (error) {
    throw problem(`Cannot use the data directory ${directory}`, error);
  }
  const database = lock(path.join(directory, "lock.db"), directory, owner);
  try {
    writeFileSync(owner, `${process.pid}\n`);
  } catch {
    // A full disk must not keep Sluice from starting: the file only tells others whom to look for.
  }
  return () => {
    if (held.delete(database)) database.close();
  };
}

/**
 * With its parents. Node's own `recursive` never ends where the parent is there and takes no new
 * entry, as in /proc.
 */
function makeDirectory(directory: string): void {
  if (existsSync(directory)) return;
  const parent = path.dirname(directory);
  if (parent !== directory) makeDirectory(parent);
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    // Another process may have been quicker; which of them has it, the lock decides.
    if (!existsSync(directory)) throw error;
  }
}

function lock(file: string, directory: string, owner: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: 0 });
    database.exec("BEGIN EXCLUSIVE");
    held.add(database);
    return database;
  } catch (error) {
    database?.close();
    if (!isLocked(error)) throw problem(`Cannot lock the data directory ${directory}`, error);
    const who = `another Sluice (process ${pidIn(owner)}) is using it`;
    const hint = "stop that one, or choose another directory with --data";
    throw problem(`Cannot use the data directory ${directory}`, new Error(`${who}; ${hint}`));
  }
}

/** SQLITE_BUSY */
function isLocked(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === 5;
}

function pidIn(file: string): string {
  try {
    return /^\d+/.exec(readFileSync(file, "utf8"))?.[0] ?? "unknown";
  } catch {
    return "unknown";
  }
}

function problem(what: string, error: unknown): StoreError {
  const reason = error instanceof Error ? error.message : String(error);
  return new StoreError("Unavailable", `${what}: ${reason}`, undefined, error);
}
