/**
 * Which file applied what: a record in the store for each resource that came from a file, committed
 * together with the resource. It tells a change of a file from a mere restart, and whose a resource
 * is when its document goes.
 */
import type { AdmissionRule } from "../admission/writer.ts";
import { isJsonObject, type JsonValue } from "../base/json.ts";
import { keyText, type ResourceKey } from "../resource/resource.ts";
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

/** What to tell whoever changes a file's resource by other means; undefined for others. */
export function ownershipWarning(store: Store, key: ResourceKey): string | undefined {
  const value = store.records("file").get(keyText(key));
  const record = value === undefined ? undefined : toRecord(value);
  const stored = store.get(key.kind, key.namespace, key.name);
  if (record === undefined || !isOwned(record, stored?.metadata.uid)) return undefined;
  return `${displayPath(record.file)}:${record.line} will win at its next change`;
}

/** The rule that warns of changes to a file's resources; it refuses nothing. */
export function createFileRule(store: Store): AdmissionRule {
  return (change) => {
    if (change.op !== "update" && change.op !== "delete") return { additions: [], warnings: [] };
    const key = change.op === "delete" ? change.key : keyOfUpdate(change.resource);
    const warning = ownershipWarning(store, key);
    return { additions: [], warnings: warning === undefined ? [] : [warning] };
  };
}

function keyOfUpdate(resource: {
  readonly kind: string;
  readonly metadata: { readonly namespace: string; readonly name: string };
}): ResourceKey {
  const { namespace, name } = resource.metadata;
  return { kind: resource.kind, namespace, name };
}
