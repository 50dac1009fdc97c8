/**
 * The store's database on disk: loads everything once, then writes each batch in one transaction
 * that is synced before `write` returns (WAL, synchronous FULL). A write that fails leaves nothing
 * behind, and the next one starts afresh. No other file of the store speaks SQL to its tables.
 */
import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";
import type { JsonValue } from "../base/json.ts";
import { checkIntegrity, migrate } from "./schema.ts";
import { StoreError } from "./store.ts";
import type { RecordTable } from "./store.ts";

export interface RevisionRow {
  readonly version: number;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly deleted: boolean;
  /** The resource as JSON text; of a deletion the last state under the deletion's version. */
  readonly body: string;
}

export interface RecordRow {
  readonly table: RecordTable;
  readonly key: string;
  /** JSON text, or undefined to remove the record. */
  readonly value: string | undefined;
}

export interface Batch {
  readonly revisions: readonly RevisionRow[];
  readonly records: readonly RecordRow[];
}

export interface DiskOptions {
  /** A file's path, or ":memory:". */
  readonly path: string;
  /** The largest the database may become, in pages of 4 KB; undefined: SQLite's own limit. */
  readonly pagesMax?: number | undefined;
}

/** How long to wait, when opening, for another process that holds the database for a moment. */
const OPEN_TIMEOUT_MS = 1000;
/** The same for a write: it holds up the whole thread, and a backup does not stand in its way. */
const WRITE_TIMEOUT_MS = 50;
/** The WAL is cut to this size when it begins anew. */
const WAL_BYTES_MAX = 64 * 1024 * 1024;

export class Disk {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #setRecord: StatementSync;
  readonly #removeRecord: StatementSync;

  /** Throws StoreError Unavailable that names the file and what is wrong with it. */
  constructor(options: DiskOptions) {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(options.path, { timeout: OPEN_TIMEOUT_MS });
      prepare(database, options.pagesMax);
      this.#insert = database.prepare(
        `INSERT INTO revision (version, kind, namespace, name, deleted, body)
         VALUES (?, ?, ?, ?, ?, ?)`,
      );
      this.#setRecord = database.prepare(
        "INSERT OR REPLACE INTO record (source, key, value) VALUES (?, ?, ?)",
      );
      this.#removeRecord = database.prepare("DELETE FROM record WHERE source = ? AND key = ?");
    } catch (error) {
      database?.close();
      throw unavailable(`Cannot open the store ${options.path}`, error);
    }
    this.#path = options.path;
    this.#database = database;
  }

  /** Calls back with every revision that is kept, oldest first. Throws StoreError Unavailable. */
  loadRevisions(add: (row: RevisionRow) => void): void {
    this.#load(() => {
      const query = this.#database.prepare("SELECT * FROM revision ORDER BY version");
      for (const row of query.iterate()) {
        add({
          version: Number(row["version"]),
          kind: String(row["kind"]),
          namespace: String(row["namespace"]),
          name: String(row["name"]),
          deleted: row["deleted"] === 1,
          body: String(row["body"]),
        });
      }
    });
  }

  loadRecords(add: (table: RecordTable, key: string, value: JsonValue) => void): void {
    this.#load(() => {
      for (const row of this.#database.prepare("SELECT * FROM record").iterate()) {
        const table = String(row["source"]) as RecordTable;
        add(table, String(row["key"]), JSON.parse(String(row["value"])) as JsonValue);
      }
    });
  }

  /** The oldest version that a watch may begin after. */
  floor(): number {
    return Number(this.#database.prepare("SELECT floor FROM history").get()?.["floor"]);
  }

  /** Writes all or nothing and syncs it. Throws StoreError Unavailable. */
  write(batch: Batch): void {
    this.#transact(() => {
      for (const row of batch.revisions) {
        const { version, kind, namespace, name, deleted, body } = row;
        this.#insert.run(version, kind, namespace, name, deleted ? 1 : 0, body);
      }
      for (const { table, key, value } of batch.records) {
        if (value === undefined) this.#removeRecord.run(table, key);
        else this.#setRecord.run(table, key, value);
      }
    });
  }

  /** Forgets what a watch that begins at `floor` or later does not need. Throws as `write`. */
  prune(floor: number): void {
    this.#transact(() => {
      this.#database
        .prepare(
          `DELETE FROM revision WHERE version <= :floor AND (deleted = 1 OR EXISTS (
             SELECT 1 FROM revision AS newer
             WHERE newer.kind = revision.kind AND newer.namespace = revision.namespace
               AND newer.name = revision.name
               AND newer.version > revision.version AND newer.version <= :floor))`,
        )
        .run({ floor });
      this.#database.prepare("UPDATE history SET floor = ?").run(floor);
    });
  }

  close(): void {
    this.#database.close();
  }

  #transact(work: () => void): void {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      work();
      this.#database.exec("COMMIT");
    } catch (error) {
      // A full disk or an I/O error may have made SQLite roll back by itself.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw unavailable("The store cannot write", error);
    }
  }

  #load(work: () => void): void {
    try {
      work();
    } catch (error) {
      throw unavailable(`Cannot read the store ${this.#path}`, error);
    }
  }
}

function prepare(database: DatabaseSync, pagesMax: number | undefined): void {
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
  database.exec(`PRAGMA journal_size_limit = ${WAL_BYTES_MAX}`);
  if (pagesMax !== undefined) database.exec(`PRAGMA max_page_count = ${pagesMax}`);
  checkIntegrity(database);
  migrate(database);
  database.exec(`PRAGMA busy_timeout = ${WRITE_TIMEOUT_MS}`);
}

function unavailable(what: string, error: unknown): StoreError {
  const reason = error instanceof Error ? error.message : String(error);
  return new StoreError("Unavailable", `${what}: ${reason}`, undefined, error);
}
