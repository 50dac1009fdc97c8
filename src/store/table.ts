/**
 * Resources in memory: by key, by kind in order, and by owner. A list that has been handed out
 * never changes: the next write to its kind works on a copy. That makes reading a list free and a
 * write cost one copy of pointers.
 */
import type { Resource, ResourceKey } from "../resource/resource.ts";

/** What can be read of a set of resources; `owned` finds what names `uid` as an owner. */
export interface ResourceView {
  get(kind: string, namespace: string, name: string): Resource | undefined;
  list(kind: string, namespace?: string): readonly Resource[];
  owned?(uid: string): readonly Resource[];
}

/** One kind's resources, ordered by namespace and name. */
class KindTable {
  readonly #byName = new Map<string, Resource>();
  #rows: Resource[] = [];
  /** Whether somebody may hold `#rows`. */
  #shared = false;

  get(namespace: string, name: string): Resource | undefined {
    return this.#byName.get(`${namespace}/${name}`);
  }

  list(namespace: string | undefined): readonly Resource[] {
    if (namespace === undefined) {
      this.#shared = true;
      return this.#rows;
    }
    const start = position(this.#rows, namespace, "");
    let end = start;
    while (this.#rows[end]?.metadata.namespace === namespace) end++;
    return this.#rows.slice(start, end);
  }

  put(key: ResourceKey, resource: Resource | undefined): void {
    if (this.#shared) this.#rows = this.#rows.slice();
    this.#shared = false;
    const name = `${key.namespace}/${key.name}`;
    const at = position(this.#rows, key.namespace, key.name);
    const held = this.#byName.has(name) ? 1 : 0;
    if (resource === undefined) {
      this.#rows.splice(at, held);
      this.#byName.delete(name);
      return;
    }
    if (held === 1) this.#rows[at] = resource;
    else this.#rows.splice(at, 0, resource);
    this.#byName.set(name, resource);
  }
}

export class ResourceTable implements ResourceView {
  readonly #kinds = new Map<string, KindTable>();
  readonly #owned = new Map<string, Set<Resource>>();

  get(kind: string, namespace: string, name: string): Resource | undefined {
    return this.#kinds.get(kind)?.get(namespace, name);
  }

  list(kind: string, namespace?: string): readonly Resource[] {
    return this.#kinds.get(kind)?.list(namespace) ?? [];
  }

  owned(uid: string): readonly Resource[] {
    return [...(this.#owned.get(uid) ?? [])];
  }

  /** Sets the resource of a key, or removes it where `resource` is undefined. */
  put(key: ResourceKey, resource: Resource | undefined): void {
    let table = this.#kinds.get(key.kind);
    if (table === undefined) this.#kinds.set(key.kind, (table = new KindTable()));
    const before = table.get(key.namespace, key.name);
    if (before !== undefined) this.#disown(before);
    table.put(key, resource);
    for (const owner of resource?.metadata.ownerReferences ?? []) {
      const owned = this.#owned.get(owner.uid) ?? new Set();
      this.#owned.set(owner.uid, owned.add(resource as Resource));
    }
  }

  #disown(resource: Resource): void {
    for (const owner of resource.metadata.ownerReferences ?? []) {
      const owned = this.#owned.get(owner.uid);
      owned?.delete(resource);
      if (owned?.size === 0) this.#owned.delete(owner.uid);
    }
  }
}

/** Where a name stands, or would stand, in rows ordered by namespace and name. */
function position(rows: readonly Resource[], namespace: string, name: string): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const meta = (rows[middle] as Resource).metadata;
    const before = meta.namespace < namespace || (meta.namespace === namespace && meta.name < name);
    if (before) low = middle + 1;
    else high = middle;
  }
  return low;
}
