/**
 * The store on SQLite: everything is read from memory, and a commit is answered when it is on disk.
 *
 * Commits asked for in one turn of the event loop share one transaction and one sync, but each is
 * all or nothing: one that is refused leaves the others alone, and where the disk refuses them
 * together they are tried one by one. A turn's commits are worked out, written and published
 * without a break in between, so nobody sees memory ahead of the disk — except for commits with
 * `evenUnsaved`, which a disk that refuses them only delays.
 *
 * The watch history is kept on disk too and survives a restart: a row per write serves both.
 */
import type { Cancel, Clock } from "../base/clock.ts";
import { deepFreeze } from "../base/json.ts";
import type { JsonValue } from "../base/json.ts";
import type { Resource } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { Disk } from "./disk.ts";
import type { RecordRow, RevisionRow } from "./disk.ts";
import { History } from "./history.ts";
import type { HistoryEntry } from "./history.ts";
import { Overlay } from "./overlay.ts";
import type { RecordWrite } from "./overlay.ts";
import { StoreError } from "./store.ts";
import type { Change, RecordTable, Store, WatchEvent } from "./store.ts";
import { ResourceTable } from "./table.ts";
import { Unsaved } from "./unsaved.ts";

export interface SqliteStoreOptions {
  /** A file's path, or ":memory:". */
  readonly path: string;
  readonly clock: Clock;
  /** The largest the database may become, in pages of 4 KB. */
  readonly pagesMax?: number;
}

/**
 * Opens or creates a store. Throws StoreError Unavailable that says what is wrong with the file.
 */
export function openSqliteStore(options: SqliteStoreOptions): SqliteStore {
  return new SqliteStore(options);
}

type Records = Readonly<Record<RecordTable, ReadonlyMap<string, JsonValue>>>;
type Results = readonly (Resource | undefined)[];

interface Job {
  readonly changes: readonly Change[];
  readonly resolve: (results: Results) => void;
  readonly reject: (error: unknown) => void;
}

/** A job worked out on a layer of its own, but not written. */
interface Draft {
  readonly job: Job;
  readonly layer: Overlay;
  readonly results: Results;
}

/** What the disk has refused is offered to it again this often. */
const UNSAVED_RETRY_MS = 1000;
/** Old history is removed from disk by as many versions at a time, or more. */
const PRUNE_VERSIONS = 1000;
/** … and not while what was just written is on its way to the workers. */
const PRUNE_DELAY_MS = 1000;

export class SqliteStore implements Store {
  resourceVersion = 0;
  readonly #clock: Clock;
  readonly #disk: Disk;
  readonly #table = new ResourceTable();
  readonly #history: History;
  #records: Records = { outbox: new Map(), file: new Map() };
  readonly #unsaved = new Unsaved();
  #cancelRetry: Cancel | undefined;
  #cancelPrune: Cancel | undefined;
  #queue: Job[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  /** How far history is removed from disk, or was last tried to be. */
  #prunedFloor: number;
  #closed = false;

  constructor(options: SqliteStoreOptions) {
    this.#clock = options.clock;
    this.#disk = new Disk(options);
    this.#prunedFloor = this.#disk.floor();
    this.#history = new History(this.#prunedFloor);
    try {
      this.#loadAll();
    } catch (error) {
      this.#disk.close();
      throw error;
    }
    this.#history.trim();
    this.#prune();
  }

  get unsavedCount(): number {
    return this.#unsaved.statusCount;
  }

  get(kind: string, namespace: string, name: string): Resource | undefined {
    return this.#table.get(kind, namespace, name);
  }

  list(kind: string, namespace?: string): readonly Resource[] {
    return this.#table.list(kind, namespace);
  }

  /** The resources that name `uid` as an owner. */
  owned(uid: string): readonly Resource[] {
    return this.#table.owned(uid);
  }

  records(table: RecordTable): ReadonlyMap<string, JsonValue> {
    return this.#records[table];
  }

  commit(changes: readonly Change[]): Promise<Results> {
    if (this.#closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      this.#queue.push({ changes, resolve, reject });
      this.#scheduled ??= setImmediate(() => this.#flush());
    });
  }

  watch(listener: (event: WatchEvent) => void, since = this.resourceVersion): () => void {
    return this.#history.watch(listener, since, this.resourceVersion);
  }

  /** Writes what is queued, tries once more to save what the disk has refused, and lets go. */
  close(): void {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    this.#cancelRetry?.();
    this.#cancelPrune?.();
    if (!this.#unsaved.isEmpty) this.#save([]);
    this.#history.close();
    this.#disk.close();
  }

  #loadAll(): void {
    const records = { outbox: new Map<string, JsonValue>(), file: new Map<string, JsonValue>() };
    this.#disk.loadRecords((table, key, value) => records[table].set(key, deepFreeze(value)));
    this.#records = records;
    this.#disk.loadRevisions((row) => this.#load(row));
  }

  #load(row: RevisionRow): void {
    const key = { kind: row.kind, namespace: row.namespace, name: row.name };
    const previous = this.#table.get(row.kind, row.namespace, row.name);
    const resource = deepFreeze(parseBody(row));
    this.#table.put(key, row.deleted ? undefined : resource);
    this.resourceVersion = row.version;
    if (row.version <= this.#prunedFloor) return;
    // Created and deleted while the disk refused writes: on disk it never was.
    if (row.deleted && previous === undefined) return;
    const type = row.deleted ? "DELETED" : previous === undefined ? "ADDED" : "MODIFIED";
    const event: WatchEvent = { type, resource, previous };
    this.#history.add([{ version: row.version, event, size: row.body.length }]);
  }

  #flush(): void {
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    const jobs = this.#queue;
    this.#queue = [];
    if (jobs.length > 1 && this.#commitTogether(jobs)) return;
    for (const job of jobs) this.#commitAlone(job);
  }

  /** False, with nothing done, where the disk refused the jobs together. */
  #commitTogether(jobs: readonly Job[]): boolean {
    const group = this.#newLayer(this.#table, this.resourceVersion);
    const drafts: Draft[] = [];
    const refused: (() => void)[] = [];
    for (const job of jobs) {
      try {
        const draft = this.#draft(job, this.#newLayer(group, group.version));
        group.absorb(draft.layer);
        drafts.push(draft);
      } catch (error) {
        refused.push(() => job.reject(error));
      }
    }
    const rows = rowsOf(group);
    if (this.#save([rows]) !== undefined) return false;
    this.#publish(group, rows.revisions);
    for (const { job, results } of drafts) job.resolve(results);
    for (const refuse of refused) refuse();
    return true;
  }

  #commitAlone(job: Job): void {
    try {
      const layer = this.#newLayer(this.#table, this.resourceVersion);
      const { results } = this.#draft(job, layer);
      const rows = rowsOf(layer);
      const error = this.#save([rows]);
      if (error !== undefined) {
        if (!job.changes.some((change) => change.op === "status" && change.evenUnsaved)) {
          throw error;
        }
        this.#unsaved.add(rows, job.changes);
        this.#retryLater();
      }
      this.#publish(layer, rows.revisions);
      job.resolve(results);
    } catch (error) {
      job.reject(error);
    }
  }

  #draft(job: Job, layer: Overlay): Draft {
    return { job, layer, results: job.changes.map((change) => layer.apply(change)) };
  }

  #newLayer(base: ResourceTable | Overlay, version: number): Overlay {
    return new Overlay(base, { version, nowMs: this.#clock.now() });
  }

  /** Writes what is still unsaved and then `batches`, all or nothing; returns why it failed. */
  #save(batches: readonly Rows[]): StoreError | undefined {
    const all = [...(this.#unsaved.isEmpty ? [] : [this.#unsaved.batch()]), ...batches];
    const revisions = all.flatMap((batch) => batch.revisions);
    const records = all.flatMap((batch) => batch.records);
    if (revisions.length === 0 && records.length === 0) return undefined;
    try {
      this.#disk.write({ revisions, records });
    } catch (error) {
      if (error instanceof StoreError) return error;
      throw error;
    }
    this.#unsaved.clear();
    return undefined;
  }

  #retryLater(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#clock.after(UNSAVED_RETRY_MS, () => {
      this.#cancelRetry = undefined;
      if (!this.#unsaved.isEmpty && this.#save([]) !== undefined) this.#retryLater();
    });
  }

  #publish(layer: Overlay, revisions: readonly RevisionRow[]): void {
    for (const { type, resource } of layer.events) {
      this.#table.put(keyOf(resource), type === "DELETED" ? undefined : resource);
    }
    if (layer.records.length > 0) this.#records = withRecords(this.#records, layer.records);
    this.resourceVersion = layer.version;
    this.#history.add(
      revisions.map(({ version, body }, index): HistoryEntry => ({
        version,
        event: layer.events[index] as WatchEvent,
        size: body.length,
      })),
    );
    this.#pruneLater();
  }

  /** Nobody waits for it, and what was published is waited for. */
  #pruneLater(): void {
    if (this.#history.floor - this.#prunedFloor < PRUNE_VERSIONS) return;
    this.#cancelPrune ??= this.#clock.after(PRUNE_DELAY_MS, () => {
      this.#cancelPrune = undefined;
      this.#prune();
    });
  }

  /** The disk may hold more history than memory; a prune that it refuses is tried again later. */
  #prune(): void {
    const { floor } = this.#history;
    if (floor === this.#prunedFloor) return;
    this.#prunedFloor = floor;
    try {
      this.#disk.prune(floor);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
  }
}

interface Rows {
  readonly revisions: readonly RevisionRow[];
  readonly records: readonly RecordRow[];
}

/** One row for each event of the layer, in order, and for each record that it sets. */
function rowsOf(layer: Overlay): Rows {
  const revisions = layer.events.map(({ type, resource }): RevisionRow => {
    const { kind, metadata } = resource;
    const version = Number(metadata.resourceVersion);
    const { namespace, name } = metadata;
    const body = JSON.stringify(resource);
    return { version, kind, namespace, name, deleted: type === "DELETED", body };
  });
  const records = layer.records.map(({ table, key, value }): RecordRow => {
    return { table, key, value: value === undefined ? undefined : JSON.stringify(value) };
  });
  return { revisions, records };
}

/** A map that has been handed out never changes, so each write of records makes a new one. */
function withRecords(tables: Records, writes: readonly RecordWrite[]): Records {
  const next = { outbox: new Map(tables.outbox), file: new Map(tables.file) };
  for (const { table, key, value } of writes) {
    if (value === undefined) next[table].delete(key);
    else next[table].set(key, value);
  }
  return next;
}

function parseBody(row: RevisionRow): Resource {
  try {
    return JSON.parse(row.body) as Resource;
  } catch (error) {
    const what = `${row.kind}/${row.namespace}/${row.name} at version ${row.version}`;
    throw new Error(`${what} is damaged; restore a backup`, { cause: error });
  }
}

function closedError(): StoreError {
  return new StoreError("Unavailable", "The store is closed");
}
