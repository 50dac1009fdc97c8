/**
 * Carries out the plan of one Rollout: gates first, for they need no disk, then everything else in
 * one commit, so that no crash can fall between two effects. The status write is a compare-and-set:
 * a plan made of what is no longer true changes nothing but a gate, which the next plan sets right.
 */
import { jsonEqual } from "../../base/json.ts";
import type { Resource } from "../../resource/resource.ts";
import type { Effect, RolloutPlan } from "../../rollout/seen.ts";
import { statusOf, toStoredStatus } from "../../rollout/status.ts";
import type { Change, Store } from "../../store/store.ts";
import type { DataPlaneView } from "../data-plane.ts";
import { eventChange } from "../event.ts";
import { announcements } from "../notification/announcement.ts";

export interface ApplyOptions {
  readonly store: Store;
  readonly dataPlane: DataPlaneView;
  readonly nowMs: number;
}

export const COMPONENT = "rollouts-controller";

/** Whether anything had to be written. Throws StoreError. */
export async function applyPlan(
  rollout: Resource,
  plan: RolloutPlan,
  options: ApplyOptions,
): Promise<boolean> {
  for (const effect of plan.effects) {
    if (effect.type === "gate") options.dataPlane.setGate(effect.arm, effect.open);
  }
  const changes = [
    ...statusChanges(rollout, plan),
    ...plan.effects.flatMap((effect) => changesOf(rollout, effect, options)),
  ];
  if (changes.length === 0) return false;
  await options.store.commit(changes);
  return true;
}

function statusChanges(rollout: Resource, plan: RolloutPlan): readonly Change[] {
  const status = toStoredStatus(plan.status);
  if (jsonEqual(status, rollout.status)) return [];
  // An abort takes effect even if the disk refuses to hold it; everything else waits for the disk.
  const unsaved = plan.status.abort === true ? { evenUnsaved: true as const } : {};
  return [
    { op: "status", resource: { ...rollout, status }, ...unsaved },
    ...announcements(rollout, statusOf(rollout), plan.status),
  ];
}

function changesOf(rollout: Resource, effect: Effect, options: ApplyOptions): readonly Change[] {
  const { store, nowMs } = options;
  switch (effect.type) {
    case "gate":
      return [];
    case "create-run":
      return [{ op: "create", resource: effect.draft }];
    case "write-revision":
      return [effect.write];
    case "delete":
      return store.get(effect.key.kind, effect.key.namespace, effect.key.name) === undefined
        ? []
        : [{ op: "delete", key: effect.key }];
    case "event":
      return [eventChange(rollout, effect, { store, nowMs, component: COMPONENT })];
    case "terminate-run":
      return terminationOf(rollout, effect.name, store);
    default:
      return effect satisfies never;
  }
}

/** Without a version, for the run's own controller writes its status all the time. */
function terminationOf(rollout: Resource, name: string, store: Store): readonly Change[] {
  const run = store.get("AnalysisRun", rollout.metadata.namespace, name);
  if (run === undefined) return [];
  const metadata = { ...run.metadata, resourceVersion: "" };
  return [{ op: "update", resource: { ...run, metadata, spec: { ...run.spec, terminate: true } } }];
}
