/**
 * What one change makes of one resource: a pure function, shared by the store and by the admission
 * writer's dry run, so that both answer alike. A result is deeply frozen JSON, equal to what is
 * read back from disk, and is the very same object as before where nothing changed.
 */
import { randomUUID } from "node:crypto";
import { toTimestamp } from "../base/clock.ts";
import { frozenCopy, jsonEqual } from "../base/json.ts";
import type { JsonObject } from "../base/json.ts";
import { keyOf, keyText } from "../resource/resource.ts";
import type { ObjectMeta, Resource, ResourceDraft, ResourceKey } from "../resource/resource.ts";
import { StoreError } from "./store.ts";
import type { Change } from "./store.ts";

export type ResourceChange = Exclude<Change, { readonly op: "record" }>;

export interface Stamp {
  /** The version that the write will have. */
  readonly version: number;
  readonly nowMs: number;
}

export function keyOfChange(change: ResourceChange): ResourceKey {
  return change.op === "delete" ? change.key : keyOf(change.resource);
}

/**
 * The resource after `change`: `before` itself where nothing changes, for a deletion the last state
 * under the version of the deletion. Throws StoreError AlreadyExists, NotFound or Conflict.
 */
export function resourceAfter(
  change: ResourceChange,
  before: Resource | undefined,
  stamp: Stamp,
): Resource {
  if (change.op === "create") return created(change.resource, before, stamp);
  const stored = expected(change, before);
  if (change.op === "update") return updated(change.resource, stored, stamp);
  if (change.op === "status") return withStatus(change.resource, stored, stamp);
  return deleted(stored, stamp);
}

function created(draft: ResourceDraft, before: Resource | undefined, stamp: Stamp): Resource {
  const key = keyOf(draft);
  if (before !== undefined) {
    throw new StoreError("AlreadyExists", `${keyText(key)} already exists`, key);
  }
  const { apiVersion, kind, metadata, ...content } = draft;
  const head = { uid: metadata.uid || randomUUID(), resourceVersion: text(stamp), generation: 1 };
  const creationTimestamp = toTimestamp(stamp.nowMs);
  const meta = { ...userMeta(metadata), ...head, creationTimestamp };
  return frozenCopy({ apiVersion, kind, metadata: meta, ...content });
}

function updated(draft: ResourceDraft, before: Resource, stamp: Stamp): Resource {
  const { apiVersion, kind, metadata, status: _ignored, ...content } = draft;
  const { apiVersion: oldVersion, kind: _kind, metadata: oldMeta, status, ...oldContent } = before;
  const sameContent = jsonEqual(content, oldContent) && apiVersion === oldVersion;
  const meta = userMeta(metadata);
  if (sameContent && jsonEqual(meta, userMeta(oldMeta))) return before;
  const { uid, creationTimestamp } = oldMeta;
  const generation = sameContent ? oldMeta.generation : oldMeta.generation + 1;
  const head = { uid, resourceVersion: text(stamp), generation, creationTimestamp };
  const next = { apiVersion, kind, metadata: { ...meta, ...head }, ...content };
  return frozenCopy(status === undefined ? next : { ...next, status });
}

function withStatus(draft: ResourceDraft, before: Resource, stamp: Stamp): Resource {
  const status = draft["status"] as JsonObject | undefined;
  if (jsonEqual(status, before.status)) return before;
  const { status: _old, ...rest } = before;
  const next = { ...rest, metadata: { ...before.metadata, resourceVersion: text(stamp) } };
  return frozenCopy(status === undefined ? next : { ...next, status });
}

function deleted(before: Resource, stamp: Stamp): Resource {
  return frozenCopy({ ...before, metadata: { ...before.metadata, resourceVersion: text(stamp) } });
}

/** The stored resource, if it is the one that the change means. */
function expected(
  change: Exclude<ResourceChange, { readonly op: "create" }>,
  before: Resource | undefined,
): Resource {
  const key = keyOfChange(change);
  if (before === undefined) {
    throw new StoreError("NotFound", `${keyText(key)} does not exist`, key);
  }
  const wanted = change.op === "delete" ? change : change.resource.metadata;
  const { uid, resourceVersion } = before.metadata;
  // Clients write an empty string where they mean none.
  if (wanted.uid && wanted.uid !== uid) {
    const problem = `${keyText(key)} has uid ${uid}, not ${wanted.uid}: it was deleted and created`;
    throw new StoreError("Conflict", problem, key);
  }
  if (wanted.resourceVersion && wanted.resourceVersion !== resourceVersion) {
    const versions = `it is at version ${resourceVersion}, not ${wanted.resourceVersion}`;
    throw new StoreError("Conflict", `${keyText(key)} has been modified: ${versions}`, key);
  }
  return before;
}

type UserMeta = Pick<ObjectMeta, "name" | "namespace" | "labels" | "annotations"> &
  Pick<ObjectMeta, "ownerReferences">;

/** The fields of metadata that a writer decides; an empty map or list counts as absent. */
function userMeta(meta: ResourceDraft["metadata"]): UserMeta {
  const { name, namespace, labels, annotations, ownerReferences } = meta;
  return {
    name,
    namespace,
    ...(labels !== undefined && Object.keys(labels).length > 0 && { labels }),
    ...(annotations !== undefined && Object.keys(annotations).length > 0 && { annotations }),
    ...(ownerReferences !== undefined && ownerReferences.length > 0 && { ownerReferences }),
  };
}

function text(stamp: Stamp): string {
  return String(stamp.version);
}
