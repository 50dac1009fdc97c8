/**
 * The store as it would be after some changes: a layer over a view that is left as it is. A commit
 * is worked out on one and then written; a dry run is one that is thrown away.
 *
 * Deleting an owner deletes what it alone owned, in the same commit: a resource goes when the last
 * of its owners has gone (Kubernetes' background garbage collection, without the delay).
 */
import { frozenCopy } from "../base/json.ts";
import type { JsonValue } from "../base/json.ts";
import type { Resource, ResourceKey } from "../resource/resource.ts";
import { keyOf, keyText } from "../resource/resource.ts";
import { keyOfChange, resourceAfter } from "./change.ts";
import type { Change, RecordTable, WatchEvent } from "./store.ts";
import type { ResourceView } from "./table.ts";

export interface RecordWrite {
  readonly table: RecordTable;
  readonly key: string;
  readonly value: JsonValue | undefined;
}

interface Put {
  readonly key: ResourceKey;
  readonly resource: Resource | undefined;
}

export class Overlay implements ResourceView {
  /** The version of the newest write, on the layer or below it. */
  version: number;
  readonly events: WatchEvent[] = [];
  readonly records: RecordWrite[] = [];
  readonly #base: ResourceView;
  readonly #nowMs: number;
  /** By kind and key text; the resource is undefined where the layer deletes it. */
  readonly #puts = new Map<string, Map<string, Put>>();

  constructor(base: ResourceView, options: { readonly version: number; readonly nowMs: number }) {
    this.#base = base;
    this.version = options.version;
    this.#nowMs = options.nowMs;
  }

  get(kind: string, namespace: string, name: string): Resource | undefined {
    const put = this.#puts.get(kind)?.get(keyText({ kind, namespace, name }));
    return put === undefined ? this.#base.get(kind, namespace, name) : put.resource;
  }

  list(kind: string, namespace?: string): readonly Resource[] {
    const below = this.#base.list(kind, namespace);
    const puts = this.#puts.get(kind);
    if (puts === undefined) return below;
    const kept = below.filter((resource) => !puts.has(keyText(keyOf(resource))));
    const here = [...puts.values()].filter(
      ({ key }) => namespace === undefined || key.namespace === namespace,
    );
    return [...kept, ...here.flatMap(resourcesOf)].toSorted(byName);
  }

  owned(uid: string): readonly Resource[] {
    const below = this.#base.owned?.(uid) ?? [];
    const kept = below.filter(
      (resource) => this.#puts.get(resource.kind)?.has(keyText(keyOf(resource))) !== true,
    );
    for (const puts of this.#puts.values()) {
      for (const { resource } of puts.values()) {
        if (resource !== undefined && isOwnedBy(resource, uid)) kept.push(resource);
      }
    }
    return kept;
  }

  /**
   * Applies one change and returns what a commit returns for it. Throws StoreError AlreadyExists,
   * NotFound or Conflict; the layer is then as before.
   */
  apply(change: Change): Resource | undefined {
    if (change.op === "record") {
      const value = change.value === undefined ? undefined : frozenCopy(change.value);
      this.records.push({ table: change.table, key: change.key, value });
      return undefined;
    }
    const key = keyOfChange(change);
    const before = this.get(key.kind, key.namespace, key.name);
    const stamp = { version: this.version + 1, nowMs: this.#nowMs };
    const after = resourceAfter(change, before, stamp);
    if (after === before) return before;
    this.version++;
    if (change.op !== "delete") {
      const type = before === undefined ? "ADDED" : "MODIFIED";
      this.#put({ type, resource: after, previous: before });
      return after;
    }
    this.#put({ type: "DELETED", resource: after, previous: before });
    this.#deleteOwned(after.metadata.uid);
    return before;
  }

  /** Takes over everything that `layer`, which lies on this one, has written. */
  absorb(layer: Overlay): void {
    this.version = layer.version;
    for (const event of layer.events) this.#put(event);
    this.records.push(...layer.records);
  }

  #put(event: WatchEvent): void {
    const key = keyOf(event.resource);
    const resource = event.type === "DELETED" ? undefined : event.resource;
    const puts = this.#puts.get(key.kind) ?? new Map<string, Put>();
    this.#puts.set(key.kind, puts.set(keyText(key), { key, resource }));
    this.events.push(event);
  }

  #deleteOwned(uid: string): void {
    for (const resource of this.owned(uid)) {
      const owners = resource.metadata.ownerReferences ?? [];
      if (owners.some((owner) => owner.uid !== uid && this.#isAlive(owner, resource))) continue;
      const key = keyOf(resource);
      // An owner that was deleted on the way may have taken this one with it.
      if (this.get(key.kind, key.namespace, key.name) === undefined) continue;
      this.apply({ op: "delete", key });
    }
  }

  /** An owner lives in the namespace of what it owns, or in none. */
  #isAlive(owner: { kind: string; name: string; uid: string }, owned: Resource): boolean {
    return [owned.metadata.namespace, ""].some(
      (namespace) => this.get(owner.kind, namespace, owner.name)?.metadata.uid === owner.uid,
    );
  }
}

function resourcesOf(put: Put): readonly Resource[] {
  return put.resource === undefined ? [] : [put.resource];
}

function isOwnedBy(resource: Resource, uid: string): boolean {
  return resource.metadata.ownerReferences?.some((owner) => owner.uid === uid) ?? false;
}

function byName(a: Resource, b: Resource): number {
  const [left, right] = [a.metadata, b.metadata];
  if (left.namespace !== right.namespace) return left.namespace < right.namespace ? -1 : 1;
  if (left.name === right.name) return 0;
  return left.name < right.name ? -1 : 1;
}
