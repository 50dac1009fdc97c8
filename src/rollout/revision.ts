/**
 * Revisions: what a workload's spec was, each time it began to mean something new. A workload named
 * by a Rollout is never routed from its live spec, only from these records, so an unproven version
 * cannot get traffic before the Rollout gives it some. Pure: what is to be written comes back as data.
 */
import { contentHash } from "../base/hash.ts";
import { isJsonObject, jsonEqual, type JsonObject } from "../base/json.ts";
import { type Resource, type ResourceDraft, type ResourceKey } from "../resource/resource.ts";

/** Argo's label for the hash of a pod template; here it names the revision of a workload. */
export const HASH_LABEL = "rollouts-pod-template-hash";
/** Argo's annotation for the number of a revision. */
const NUMBER_ANNOTATION = "rollout.argoproj.io/revision";
/** "KIND/NAMESPACE/NAME" of the workload that a revision, or an analysis of it, is about. */
const WORKLOAD_ANNOTATION = "sluice.dev/workload";

/** Kinds that a Rollout's `spec.workloadRef` can name. */
export const WORKLOAD_KINDS: readonly string[] = ["Backend", "AIServiceBackend"];

const HASH_DIGITS = 10;

/** What a ControllerRevision write must do; the caller turns it into a store change. */
export type RevisionWrite =
  | { readonly op: "create"; readonly resource: ResourceDraft }
  | { readonly op: "update"; readonly resource: ResourceDraft };

/** "KIND/NAMESPACE/NAME@REVISION": what metrics and gates are keyed by. */
export function armId(kind: string, namespace: string, name: string, revision: string): string {
  return `${kind}/${namespace}/${name}@${revision}`;
}

/** The revision part of an arm's id; the whole text where it has none. */
export function revisionOfArm(id: string): string {
  return id.slice(id.lastIndexOf("@") + 1);
}

/**
 * Names what a workload's spec means: its `version` where it has one (an edit under the same version
 * amends the revision), else all of its content.
 */
export function revisionHash(kind: string, spec: JsonObject): string {
  const identity = typeof spec["version"] === "string" ? { version: spec["version"] } : { spec };
  return contentHash({ kind, ...identity }).slice(0, HASH_DIGITS);
}

/** The name of a ControllerRevision, as Argo names a ReplicaSet. */
export function revisionName(rolloutName: string, hash: string): string {
  return `${rolloutName}-${hash}`;
}

/** The hash under which a recorded revision is known: its label. */
export function hashOf(revision: Resource): string {
  return revision.metadata.labels?.[HASH_LABEL] ?? revision.metadata.name;
}

/** The number of a recorded revision; a revision that was gone back to has a new, higher number. */
export function numberOf(revision: Resource | ResourceDraft): number {
  return typeof revision["revision"] === "number" ? revision["revision"] : 0;
}

/** The workload's spec as it was recorded. */
export function dataOf(revision: Resource | ResourceDraft): JsonObject {
  return isJsonObject(revision["data"]) ? revision["data"] : {};
}

/** What people call a revision: its version label, or its hash where it has none. */
export function versionOf(revision: Resource): string {
  const version = dataOf(revision)["version"];
  return typeof version === "string" ? version : hashOf(revision);
}

/** The revisions out of `list` that `rollout` owns, lowest number first. */
export function revisionsOf(rollout: Resource, list: readonly Resource[]): readonly Resource[] {
  return list
    .filter((revision) => isOwnedBy(revision, rollout))
    .toSorted((a, b) => numberOf(a) - numberOf(b));
}

/**
 * Whether `rollout` owns `resource`. An owner reference written in the same commit that creates the
 * Rollout cannot know its uid yet, so an empty uid goes by the name.
 */
export function isOwnedBy(resource: Resource, rollout: Resource): boolean {
  if (resource.metadata.namespace !== rollout.metadata.namespace) return false;
  return (resource.metadata.ownerReferences ?? []).some(
    (owner) =>
      owner.kind === "Rollout" &&
      owner.name === rollout.metadata.name &&
      (owner.uid === "" || owner.uid === rollout.metadata.uid),
  );
}

/** The workload that a Rollout names in its own namespace; undefined where it names none. */
export function workloadKeyOf(rollout: Resource | ResourceDraft): ResourceKey | undefined {
  const spec = rollout["spec"];
  const reference = isJsonObject(spec) ? spec["workloadRef"] : undefined;
  if (!isJsonObject(reference)) return undefined;
  const { kind, name } = reference;
  if (typeof kind !== "string" || typeof name !== "string") return undefined;
  return { kind, namespace: rollout.metadata.namespace, name };
}

/**
 * The Rollout that governs a workload: of several that name it the oldest, by name where they are of
 * one second. `rollouts` may hold Rollouts of other workloads and namespaces.
 */
export function rolloutOf(key: ResourceKey, rollouts: readonly Resource[]): Resource | undefined {
  let winner: Resource | undefined;
  for (const rollout of rollouts) {
    const named = workloadKeyOf(rollout);
    if (named?.kind !== key.kind || named.name !== key.name) continue;
    if (named.namespace !== key.namespace) continue;
    if (winner === undefined || isOlder(rollout, winner)) winner = rollout;
  }
  return winner;
}

/**
 * What must be written so that the newest revision is `spec`: nothing if it is; the revision amended
 * where `spec.version` is set and unchanged; an old revision renumbered where its content came back;
 * else a new one. `revisions` are those that the Rollout owns.
 */
export function recordRevision(
  rollout: Resource | ResourceDraft,
  spec: JsonObject,
  revisions: readonly Resource[],
): RevisionWrite | undefined {
  const newest = revisions.toSorted((a, b) => numberOf(a) - numberOf(b)).at(-1);
  if (newest !== undefined && jsonEqual(dataOf(newest), spec)) return undefined;
  const version = spec["version"];
  if (newest !== undefined && typeof version === "string") {
    if (dataOf(newest)["version"] === version) {
      return { op: "update", resource: { ...newest, data: spec } };
    }
  }
  const number = (newest === undefined ? 0 : numberOf(newest)) + 1;
  const old = revisions.find((revision) => jsonEqual(dataOf(revision), spec));
  if (old !== undefined) return { op: "update", resource: renumbered(old, number) };
  const hash = freeHash(workloadKeyOf(rollout)?.kind ?? "", spec, revisions);
  return { op: "create", resource: newRevision(rollout, spec, { hash, number }) };
}

function isOlder(a: Resource, b: Resource): boolean {
  // A Rollout that is only about to be stored has no time of creation yet: it is the youngest.
  const timeA = a.metadata.creationTimestamp || "~";
  const timeB = b.metadata.creationTimestamp || "~";
  return timeA === timeB ? a.metadata.name < b.metadata.name : timeA < timeB;
}

/**
 * A version that returns with another content than was recorded under it is a new revision, and must
 * not be counted, nor gated, under the old one's name.
 */
function freeHash(kind: string, spec: JsonObject, revisions: readonly Resource[]): string {
  const taken = new Set(revisions.map((revision) => hashOf(revision)));
  let hash = revisionHash(kind, spec);
  for (let attempt = 0; taken.has(hash); attempt++) {
    hash = contentHash({ kind, spec, attempt }).slice(0, HASH_DIGITS);
  }
  return hash;
}

function renumbered(revision: Resource, number: number): ResourceDraft {
  const annotations = { ...revision.metadata.annotations, [NUMBER_ANNOTATION]: String(number) };
  return { ...revision, revision: number, metadata: { ...revision.metadata, annotations } };
}

function newRevision(
  rollout: Resource | ResourceDraft,
  spec: JsonObject,
  identity: { readonly hash: string; readonly number: number },
): ResourceDraft {
  const workload = workloadKeyOf(rollout);
  const { name, namespace } = rollout.metadata;
  return {
    apiVersion: "apps/v1",
    kind: "ControllerRevision",
    metadata: {
      name: revisionName(name, identity.hash),
      namespace,
      labels: { [HASH_LABEL]: identity.hash },
      annotations: {
        [NUMBER_ANNOTATION]: String(identity.number),
        [WORKLOAD_ANNOTATION]: `${workload?.kind}/${namespace}/${workload?.name}`,
      },
      ownerReferences: [
        {
          apiVersion: "argoproj.io/v1alpha1",
          kind: "Rollout",
          name,
          uid: rollout.metadata.uid ?? "",
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    revision: identity.number,
    data: spec,
  };
}
