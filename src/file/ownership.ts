/**
 * Which file applied what: a record in the store for each resource that came from a file, committed
 * together with the resource. It tells a change of a file from a mere restart, and whose a resource
 * is when its document goes.
 */
import type { AdmissionRule, Review } from "../admission/writer.ts";
import { isJsonObject, type JsonValue } from "../base/json.ts";
import {
  keyOf,
  keyText,
  type Resource,
  type ResourceDraft,
  type ResourceKey,
} from "../resource/resource.ts";
import type { Change, Store } from "../store/store.ts";
import { displayPath } from "./scan.ts";

export interface FileRecord {
  /** Absolute path. */
  readonly file: string;
  readonly line: number;
  /** Of the document as last applied from the file. */
  readonly hash: string;
  /** Of the resource; a record of an earlier version may not have it. */
  readonly uid?: string;
}

export type FileRecords = ReadonlyMap<string, FileRecord>;

/** All records by the text of the resource's key. */
export function readRecords(store: Store): FileRecords {
  const records = new Map<string, FileRecord>();
  for (const [key, value] of store.records("file")) {
    const record = toRecord(value);
    if (record !== undefined) records.set(key, record);
  }
  return records;
}

function toRecord(value: JsonValue): FileRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { file, line, hash, uid } = value;
  if (typeof file !== "string" || typeof line !== "number" || typeof hash !== "string") {
    return undefined;
  }
  return { file, line, hash, ...(typeof uid === "string" && { uid }) };
}

export function recordChange(key: string, record: FileRecord | undefined): Change {
  return {
    op: "record",
    table: "file",
    key,
    value: record === undefined ? undefined : { ...record },
  };
}

/** Whether the resource is still the one that the file created. */
export function isOwned(record: FileRecord, uid: string | undefined): boolean {
  return uid !== undefined && (record.uid === undefined || record.uid === uid);
}

/** The record of the file that made the resource of this uid, and has not lost it since. */
function recordOf(store: Store, key: ResourceKey, uid: string | undefined): FileRecord | undefined {
  const value = store.records("file").get(keyText(key));
  const record = value === undefined ? undefined : toRecord(value);
  return record !== undefined && isOwned(record, uid) ? record : undefined;
}

const NOTHING: Review = { additions: [], warnings: [] };

/**
 * The rule that warns of changes to a file's resources; it refuses nothing. What was deleted and is
 * applied again just as its file declares it (`declares`) is the file's again.
 */
export function createFileRule(
  store: Store,
  declares: (resource: ResourceDraft) => boolean = () => false,
): AdmissionRule {
  return (change) => {
    if (change.op === "create") return reviewCreation(store, change.resource, declares);
    if (change.op !== "update" && change.op !== "delete") return NOTHING;
    const key = change.op === "delete" ? change.key : keyOf(change.resource);
    const stored = store.get(key.kind, key.namespace, key.name);
    const record = recordOf(store, key, stored?.metadata.uid);
    if (record === undefined) return NOTHING;
    const warning =
      change.op === "update"
        ? `${placeOf(record)} will win at its next change`
        : `${placeOf(record)} declares ${keyText(key)}, which stays deleted until that document ` +
          "is changed or applied";
    return { additions: [], warnings: [warning] };
  };
}

function reviewCreation(
  store: Store,
  resource: ResourceDraft,
  declares: (resource: ResourceDraft) => boolean,
): Review {
  const key = keyText(keyOf(resource));
  const value = store.records("file").get(key);
  const record = value === undefined ? undefined : toRecord(value);
  const { uid } = resource.metadata;
  if (record === undefined || uid === undefined || !declares(resource)) return NOTHING;
  return { additions: [recordChange(key, { ...record, uid })], warnings: [] };
}

/** What the log says when a resource goes that a file declares still; undefined for others. */
export function deletionNote(store: Store, resource: Resource): string | undefined {
  const key = keyOf(resource);
  const record = recordOf(store, key, resource.metadata.uid);
  return record === undefined ? undefined : deletedText(keyText(key), record);
}

/**
 * The same of a deletion that is known by its record alone. A file does not take back what a person
 * did: as with an edit, its next change does.
 */
export function deletedText(key: string, record: FileRecord): string {
  return (
    `${placeOf(record)}: ${key} was deleted through the API, and stays so; change the document, or ` +
    `\`sluice apply -f ${displayPath(record.file)}\`, to bring it back`
  );
}

function placeOf({ file, line }: FileRecord): string {
  return `${displayPath(file)}:${line}`;
}
