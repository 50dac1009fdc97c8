/**
 * What a person does to a rollout, as the patches that Argo's own command line sends: each is data,
 * to be sent to the API by whoever asks. Nothing here is known to the controller but by its effect.
 */
import type { JsonObject, JsonValue } from "../base/json.ts";
import type { Resource, ResourceKey } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { dataOf, numberOf, workloadKeyOf } from "./revision.ts";
import { specOf } from "./spec.ts";
import { statusOf } from "./status.ts";

/** One request: PATCH of `key`, of its status where `subresource` says so. */
export interface Patch {
  readonly key: ResourceKey;
  readonly subresource?: "status";
  /** merge: RFC 7386. json: RFC 6902. */
  readonly type: "merge" | "json";
  readonly body: JsonValue;
}

export type Action =
  | { readonly ok: true; readonly patches: readonly Patch[] }
  /** Why there is nothing to do, for the person who asked. */
  | { readonly ok: false; readonly message: string };

/** Ends the pause, or skips the current step where there is no pause; `full` skips all that is left. */
export function promotePatch(rollout: Resource, options: { readonly full: boolean }): Action {
  const status = statusOf(rollout);
  const spec = specOf(rollout);
  if (status.currentPodHash === status.stableRS) {
    return refuse(rollout, "is fully promoted: there is no canary to promote");
  }
  if (status.abort === true) return refuse(rollout, "is aborted: retry it first");
  if (options.full) return patchStatus(rollout, { promoteFull: true });
  const patches: Patch[] = [];
  if ((status.pauseConditions ?? []).length > 0) {
    patches.push(statusPatch(rollout, { pauseConditions: null }));
  } else if (!spec.paused) {
    const index = status.currentStepIndex ?? 0;
    if (index >= spec.canary.steps.length) return refuse(rollout, "has no step left to skip");
    patches.push(statusPatch(rollout, { pauseConditions: null, currentStepIndex: index + 1 }));
  }
  if (spec.paused) patches.push(specPatch(rollout, { paused: false }));
  return { ok: true, patches };
}

/** The canary gets nothing from now on; the spec stays as it is. */
export function abortPatch(rollout: Resource): Action {
  const status = statusOf(rollout);
  if (status.currentPodHash === status.stableRS) {
    return refuse(rollout, "is fully promoted: there is no canary to abort");
  }
  return patchStatus(rollout, { abort: true });
}

/** Starts the aborted revision over at its first step. */
export function retryPatch(rollout: Resource): Action {
  if (statusOf(rollout).abort !== true) return refuse(rollout, "is not aborted");
  return patchStatus(rollout, { abort: false });
}

/** Holds the rollout where it is; traffic and analysis go on. */
export function pausePatch(rollout: Resource): Action {
  if (specOf(rollout).paused) return refuse(rollout, "is paused already");
  return { ok: true, patches: [specPatch(rollout, { paused: true })] };
}

/** Ends a pause that a person began; a pause step is ended by `promotePatch`. */
export function resumePatch(rollout: Resource): Action {
  if (specOf(rollout).paused) {
    return { ok: true, patches: [specPatch(rollout, { paused: false })] };
  }
  if ((statusOf(rollout).pauseConditions ?? []).length > 0) {
    return patchStatus(rollout, { pauseConditions: null });
  }
  return refuse(rollout, "is not paused");
}

/**
 * Writes an old revision's spec to the workload, as a new update: the one numbered `toRevision`, or
 * the one before the newest where that is 0. `revisions` are those that the Rollout owns.
 */
export function undoPatch(
  rollout: Resource,
  revisions: readonly Resource[],
  toRevision: number,
): Action {
  const workload = workloadKeyOf(rollout);
  if (workload === undefined) return refuse(rollout, "names no workload");
  const newestFirst = revisions.toSorted((a, b) => numberOf(b) - numberOf(a));
  const target =
    toRevision === 0
      ? newestFirst[1]
      : newestFirst.find((revision) => numberOf(revision) === toRevision);
  if (target === undefined) {
    const numbers = newestFirst.map((revision) => numberOf(revision)).join(", ");
    const wanted =
      toRevision === 0 ? "has no revision to go back to" : `has no revision ${toRevision}`;
    return refuse(rollout, `${wanted}; it has ${numbers === "" ? "none" : numbers}`);
  }
  if (target === newestFirst[0]) return refuse(rollout, `is at revision ${toRevision} already`);
  // A merge would keep what the newer spec has and the older has not.
  const body = [{ op: "replace", path: "/spec", value: dataOf(target) }];
  return { ok: true, patches: [{ key: workload, type: "json", body }] };
}

function refuse(rollout: Resource, why: string): Action {
  return { ok: false, message: `Rollout "${rollout.metadata.name}" ${why}` };
}

function patchStatus(rollout: Resource, status: JsonObject): Action {
  return { ok: true, patches: [statusPatch(rollout, status)] };
}

function statusPatch(rollout: Resource, status: JsonObject): Patch {
  return { key: keyOf(rollout), subresource: "status", type: "merge", body: { status } };
}

function specPatch(rollout: Resource, spec: JsonObject): Patch {
  return { key: keyOf(rollout), type: "merge", body: { spec } };
}
