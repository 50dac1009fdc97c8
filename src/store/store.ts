/**
 * The store's interface: versioned resources, atomic commits with compare-and-set, a watch with
 * history, and local records (outbox, file ownership) that are committed together with resources.
 *
 * Reads are synchronous, from memory. A commit resolves only when it is on disk.
 */
import type { JsonValue } from "../base/json.ts";
import type { Resource, ResourceDraft, ResourceKey } from "../resource/resource.ts";

export type Change =
  /**
   * Refused with `AlreadyExists` where the key is taken. A `metadata.uid` that is given is kept:
   * the admission writer sets one, so that what is created beside a resource can name it as its
   * owner.
   */
  | { readonly op: "create"; readonly resource: ResourceDraft }
  /**
   * Replaces all but status. Refused with `Conflict` where `metadata.resourceVersion` is given and
   * is not the stored one, with `NotFound` where there is nothing. An update that changes nothing
   * is not a write: it returns the stored resource.
   */
  | { readonly op: "update"; readonly resource: ResourceDraft }
  /**
   * Replaces status alone, under the same compare-and-set. With `evenUnsaved`, a disk that refuses
   * the write does not stop it: the status is served from memory at once and written again until it
   * is on disk, together with the other changes of its commit. That is for an abort, which must
   * work with a full disk.
   */
  | { readonly op: "status"; readonly resource: ResourceDraft; readonly evenUnsaved?: true }
  /**
   * Refused with `Conflict` where `uid` or `resourceVersion` is given and differs. What has this
   * resource for its only living owner (`metadata.ownerReferences`) is deleted in the same commit.
   */
  | {
      readonly op: "delete";
      readonly key: ResourceKey;
      readonly uid?: string;
      readonly resourceVersion?: string;
    }
  /** Sets a local record, or removes it where `value` is undefined. */
  | {
      readonly op: "record";
      readonly table: RecordTable;
      readonly key: string;
      readonly value: JsonValue | undefined;
    };

/** outbox: notifications not yet delivered. file: which file applied what. */
export type RecordTable = "outbox" | "file";

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  /** As written; for DELETED the last state, with the resourceVersion of the deletion. */
  readonly resource: Resource;
  /** The state before, for selectors that a resource leaves; undefined for ADDED. */
  readonly previous: Resource | undefined;
}

export type StoreErrorCode =
  | "AlreadyExists"
  | "NotFound"
  | "Conflict"
  /** The watch history no longer reaches back to the version asked for. */
  | "Gone"
  /** The disk refused the write; memory and disk are as before. */
  | "Unavailable";

export class StoreError extends Error {
  readonly code: StoreErrorCode;
  readonly key: ResourceKey | undefined;

  constructor(code: StoreErrorCode, message: string, key?: ResourceKey, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StoreError";
    this.code = code;
    this.key = key;
  }
}

export interface Store {
  /** The version of the newest write; 0 for an empty store. */
  readonly resourceVersion: number;
  /** Statuses served from memory that the disk has refused so far. */
  readonly unsavedCount: number;
  get(kind: string, namespace: string, name: string): Resource | undefined;
  /** All of a kind, in all namespaces or in one, ordered by namespace and name. */
  list(kind: string, namespace?: string): readonly Resource[];
  /** A snapshot of one table of local records. */
  records(table: RecordTable): ReadonlyMap<string, JsonValue>;
  /**
   * Writes all changes or none; each change of a resource takes the next version. The result holds,
   * for each change in order, the resource as it now is (for a deletion: as it was; undefined for a
   * record). Throws StoreError.
   */
  commit(changes: readonly Change[]): Promise<readonly (Resource | undefined)[]>;
  /**
   * Calls `listener` for every event after version `since` (default: from now on), in order, each
   * event once, always asynchronously to the commit's caller. Throws StoreError `Gone`.
   */
  watch(listener: (event: WatchEvent) => void, since?: number): () => void;
  close(): void;
}
