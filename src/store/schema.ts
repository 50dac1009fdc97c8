/**
 * The tables of the store's database and how an older one becomes a newer one. `user_version` holds
 * the schema version, `application_id` says that the file is Sluice's. A migration is appended,
 * never edited: each runs once, in one transaction with its version number.
 */
import type { DatabaseSync } from "node:sqlite";

/** "SLUI" */
const APPLICATION_ID = 0x53_4c_55_49;

export type Migration = (database: DatabaseSync) => void;

/** The migration at index n leads from schema version n to n + 1. */
export const MIGRATIONS: readonly Migration[] = [
  /**
   * Every write of a resource is a row of its own, so that one insert serves both the resource and
   * the watch history. The current state of a key is its newest row, unless that is a deletion.
   */
  (database) =>
    database.exec(`
      CREATE TABLE revision (
        version INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        deleted INTEGER NOT NULL,
        body TEXT NOT NULL
      ) STRICT;
      CREATE INDEX revision_by_key ON revision (kind, namespace, name, version);
      CREATE TABLE record (
        source TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (source, key)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE history (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        floor INTEGER NOT NULL
      ) STRICT;
      INSERT INTO history (id, floor) VALUES (1, 0);
    `),
];

/**
 * Brings `database` to the newest schema. Throws an Error that says what is wrong where the file is
 * not Sluice's, was written by a newer version, or is damaged.
 */
export function migrate(database: DatabaseSync, migrations = MIGRATIONS): void {
  const version = pragma(database, "user_version");
  const application = pragma(database, "application_id");
  const tables = database.prepare("SELECT count(*) AS count FROM sqlite_schema").get();
  const isEmpty = version === 0 && tables?.["count"] === 0;
  if (!isEmpty && application !== APPLICATION_ID) {
    throw new Error("it is a database of another program");
  }
  if (version > migrations.length) {
    throw new Error(
      `it has schema version ${version} and this version of Sluice knows ${migrations.length}: ` +
        "it was written by a newer version; use that one, or restore a backup",
    );
  }
  for (let from = version; from < migrations.length; from++) {
    runMigration(database, migrations[from] as Migration, from + 1);
  }
}

function runMigration(database: DatabaseSync, migration: Migration, version: number): void {
  database.exec("BEGIN IMMEDIATE");
  try {
    migration(database);
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    database.exec(`PRAGMA user_version = ${version}`);
    database.exec("COMMIT");
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

/** Throws an Error that names the damage, if SQLite finds any in the structure of the file. */
export function checkIntegrity(database: DatabaseSync): void {
  const rows = database.prepare("PRAGMA quick_check(5)").all();
  const findings = rows.map((row) => String(row["quick_check"]));
  if (findings.length === 1 && findings[0] === "ok") return;
  throw new Error(`it is damaged: ${findings.join("; ")}; restore a backup`);
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}
