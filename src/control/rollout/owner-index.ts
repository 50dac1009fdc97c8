/**
 * Finds what belongs to a Rollout without looking at everything: revisions and runs by their owner,
 * Rollouts by their workload. It is made anew when the store has changed and somebody asks.
 */
import { keyText, type Resource, type ResourceKey } from "../../resource/resource.ts";
import { rolloutOf, workloadKeyOf } from "../../rollout/revision.ts";
import type { Store } from "../../store/store.ts";

type OwnedKind = "ControllerRevision" | "AnalysisRun";

interface Grouping {
  /** What the groups were made of: the store hands out the same list until something changes. */
  readonly list: readonly Resource[];
  readonly groups: ReadonlyMap<string, readonly Resource[]>;
}

export class OwnerIndex {
  readonly #store: Pick<Store, "list">;
  readonly #groupings = new Map<string, Grouping>();

  constructor(store: Pick<Store, "list">) {
    this.#store = store;
  }

  /** Resources of a kind that name a Rollout of this name and namespace as an owner. */
  owned(kind: OwnedKind, rollout: Resource): readonly Resource[] {
    const { namespace, name } = rollout.metadata;
    return this.#grouped(kind, ownerKeys).get(`${namespace}/${name}`) ?? [];
  }

  /** The Rollout that governs a workload. */
  governing(key: ResourceKey | undefined): Resource | undefined {
    if (key === undefined) return undefined;
    const named = this.#grouped("Rollout", workloadKeys).get(keyText(key)) ?? [];
    return rolloutOf(key, named);
  }

  #grouped(
    kind: string,
    keysOf: (resource: Resource) => readonly string[],
  ): ReadonlyMap<string, readonly Resource[]> {
    const list = this.#store.list(kind);
    const known = this.#groupings.get(kind);
    if (known?.list === list) return known.groups;
    const groups = new Map<string, Resource[]>();
    for (const resource of list) {
      for (const key of keysOf(resource)) {
        const group = groups.get(key) ?? [];
        group.push(resource);
        groups.set(key, group);
      }
    }
    this.#groupings.set(kind, { list, groups });
    return groups;
  }
}

function ownerKeys(resource: Resource): readonly string[] {
  const { namespace, ownerReferences = [] } = resource.metadata;
  return ownerReferences
    .filter(({ kind }) => kind === "Rollout")
    .map(({ name }) => `${namespace}/${name}`);
}

function workloadKeys(rollout: Resource): readonly string[] {
  const key = workloadKeyOf(rollout);
  return key === undefined ? [] : [keyText(key)];
}
