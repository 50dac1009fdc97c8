/**
 * What rollouts demand of every change: that an edit of a workload and the revision it begins are one
 * commit (no moment exists in which an unproven spec has no record), and that nobody pulls away, by
 * deleting a Rollout or a revision, what keeps traffic on the proven one.
 */
import { isJsonObject, jsonEqual, type JsonObject } from "../base/json.ts";
import type { Resource, ResourceDraft, ResourceKey } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import {
  dataOf,
  HASH_LABEL,
  isOwnedBy,
  numberOf,
  recordRevision,
  revisionsOf,
  rolloutOf,
  WORKLOAD_KINDS,
  workloadKeyOf,
} from "../rollout/revision.ts";
import { desiredSplit } from "../rollout/weight.ts";
import type { Change } from "../store/store.ts";
import { AdmissionError, type AdmissionView, type Review } from "./writer.ts";

/** Says what becomes of the live spec when its Rollout goes: "live" or "stable". */
export const ADOPT_ANNOTATION = "sluice.dev/adopt";

const NOTHING: Review = { additions: [], warnings: [] };

/** The AdmissionRule of rollouts. Throws AdmissionError. */
export function rolloutRule(change: Change, view: AdmissionView): Review {
  switch (change.op) {
    case "create":
    case "update":
      return reviewWrite(change, view);
    case "delete":
      return reviewDeletion(change.key, view);
    case "status":
    case "record":
      return NOTHING;
    default:
      return change satisfies never;
  }
}

function reviewWrite(
  change: Extract<Change, { readonly op: "create" | "update" }>,
  view: AdmissionView,
): Review {
  const { resource } = change;
  if (WORKLOAD_KINDS.includes(resource.kind)) return reviewWorkload(resource, view);
  if (resource.kind === "ControllerRevision") return reviewRevision(resource, view);
  if (resource.kind !== "Rollout") return NOTHING;
  return change.op === "create" ? reviewNewRollout(resource, view) : reviewRollout(resource, view);
}

function reviewWorkload(workload: ResourceDraft, view: AdmissionView): Review {
  const { namespace } = workload.metadata;
  const rollout = rolloutOf(keyOf(workload), view.list("Rollout", namespace));
  return rollout === undefined ? NOTHING : record(rollout, specOf(workload), view);
}

/** A Rollout that is created over a live workload takes what is served by now as its first revision. */
function reviewNewRollout(rollout: ResourceDraft, view: AdmissionView): Review {
  const key = workloadKeyOf(rollout);
  if (key === undefined) return NOTHING;
  const older = rolloutOf(key, view.list("Rollout", key.namespace));
  if (older !== undefined && older.metadata.name !== rollout.metadata.name) {
    const other = `Rollout "${older.metadata.name}"`;
    const what = `${key.kind} "${key.name}" already belongs to the older ${other}`;
    return { additions: [], warnings: [`${what}: this Rollout does nothing`] };
  }
  const workload = view.get(key.kind, key.namespace, key.name);
  if (workload === undefined) return NOTHING;
  return record(rollout, specOf(workload), view);
}

function reviewRollout(rollout: ResourceDraft, view: AdmissionView): Review {
  const { namespace, name } = rollout.metadata;
  const before = view.get("Rollout", namespace, name);
  const [old, next] = [before && workloadKeyOf(before), workloadKeyOf(rollout)];
  if (before === undefined || jsonEqual(old, next)) return NOTHING;
  const recorded = revisionsOf(before, view.list("ControllerRevision", namespace));
  if (recorded.length === 0) return record(rollout, liveSpec(next, view), view);
  throw new AdmissionError(
    `spec.workloadRef: Invalid value: cannot be changed from ${old?.kind} "${old?.name}", ` +
      `whose revisions this Rollout has recorded: create another Rollout`,
  );
}

/** Revisions are written by Sluice alone: an edit of one would change what "stable" means. */
function reviewRevision(revision: ResourceDraft, view: AdmissionView): Review {
  const { namespace, name } = revision.metadata;
  const before = view.get("ControllerRevision", namespace, name);
  if (before === undefined) {
    if (!ownedByRollout(revision)) return NOTHING;
  } else if (!ownedByRollout(before) || jsonEqual(recordedIn(before), recordedIn(revision))) {
    return NOTHING;
  }
  throw new AdmissionError(
    `ControllerRevision "${name}" is recorded by its Rollout: edit the workload instead`,
  );
}

/** What makes a revision what it is; other labels and annotations are anybody's. */
function recordedIn(revision: Resource | ResourceDraft): readonly unknown[] {
  const { labels, ownerReferences } = revision.metadata;
  return [dataOf(revision), numberOf(revision), labels?.[HASH_LABEL], ownerReferences];
}

function reviewDeletion(key: ResourceKey, view: AdmissionView): Review {
  const resource = view.get(key.kind, key.namespace, key.name);
  if (resource === undefined) return NOTHING;
  if (key.kind === "Rollout") return reviewRolloutDeletion(resource, view);
  if (key.kind === "ControllerRevision") return reviewRevisionDeletion(resource, view);
  return NOTHING;
}

function reviewRolloutDeletion(rollout: Resource, view: AdmissionView): Review {
  const { namespace, name } = rollout.metadata;
  const key = workloadKeyOf(rollout);
  const rollouts = view.list("Rollout", namespace);
  const workload = key === undefined ? undefined : view.get(key.kind, namespace, key.name);
  if (key === undefined || workload === undefined) return NOTHING;
  if (rolloutOf(key, rollouts)?.metadata.name !== name) return NOTHING;
  const revisions = revisionsOf(rollout, view.list("ControllerRevision", namespace));
  const { stable } = desiredSplit(rollout, revisions);
  const adopted = adoption(rollout, workload, stable);
  // Another Rollout for the same workload takes over from here, with what is adopted as its first.
  const heir = rolloutOf(
    key,
    rollouts.filter((each) => each.metadata.name !== name),
  );
  const spec = adopted ?? specOf(workload);
  const inherited = heir === undefined ? NOTHING : record(heir, spec, view);
  if (adopted === undefined) return inherited;
  const metadata = { ...workload.metadata, resourceVersion: "" };
  const revert: Change = { op: "update", resource: { ...workload, metadata, spec: adopted } };
  return { additions: [revert, ...inherited.additions], warnings: inherited.warnings };
}

/** The spec that the workload must be set back to when its Rollout goes; undefined: it stays. */
function adoption(
  rollout: Resource,
  workload: Resource,
  stable: Resource | undefined,
): JsonObject | undefined {
  if (stable === undefined || jsonEqual(dataOf(stable), specOf(workload))) return undefined;
  const adopt = rollout.metadata.annotations?.[ADOPT_ANNOTATION];
  if (adopt === "live") return undefined;
  if (adopt === "stable") return dataOf(stable);
  const { kind } = workload;
  throw new AdmissionError(
    `Rollout "${rollout.metadata.name}" cannot be deleted: ${kind} "${workload.metadata.name}" ` +
      `differs from its stable revision. Annotate the Rollout ${ADOPT_ANNOTATION}=live to serve ` +
      `the ${kind} as it is, or ${ADOPT_ANNOTATION}=stable to set it back`,
  );
}

function reviewRevisionDeletion(revision: Resource, view: AdmissionView): Review {
  const { namespace, name } = revision.metadata;
  const rollouts = view.list("Rollout", namespace);
  const rollout = rollouts.find((each) => isOwnedBy(revision, each));
  if (rollout === undefined) return NOTHING;
  const revisions = revisionsOf(rollout, view.list("ControllerRevision", namespace));
  const { stable, canary } = desiredSplit(rollout, revisions);
  const role = revision === stable ? "stable" : revision === canary ? "canary" : undefined;
  if (role === undefined) return NOTHING;
  const owner = `Rollout "${rollout.metadata.name}"`;
  throw new AdmissionError(`ControllerRevision "${name}" is the ${role} revision of ${owner}`);
}

function record(
  rollout: Resource | ResourceDraft,
  spec: JsonObject | undefined,
  view: AdmissionView,
): Review {
  if (spec === undefined) return NOTHING;
  const { namespace } = rollout.metadata;
  const list = view.list("ControllerRevision", namespace);
  const write = recordRevision(rollout, spec, revisionsOf(rollout as Resource, list));
  return write === undefined ? NOTHING : { additions: [write], warnings: [] };
}

function liveSpec(key: ResourceKey | undefined, view: AdmissionView): JsonObject | undefined {
  const workload = key && view.get(key.kind, key.namespace, key.name);
  return workload && specOf(workload);
}

function specOf(workload: Resource | ResourceDraft): JsonObject {
  const spec = workload["spec"];
  return isJsonObject(spec) ? spec : {};
}

function ownedByRollout(revision: Resource | ResourceDraft): boolean {
  return (revision.metadata.ownerReferences ?? []).some(({ kind }) => kind === "Rollout");
}
