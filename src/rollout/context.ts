/**
 * What a plan works with: everything seen, and what follows from it at once. Derived here so that no
 * two parts of a plan can disagree about which revision is on trial or whether it is served.
 */
import type { Resource } from "../resource/resource.ts";
import { hashOf, numberOf } from "./revision.ts";
import type { RolloutSeen, RunSeen } from "./seen.ts";
import { specOf, type RolloutSpecView } from "./spec.ts";
import { statusOf, type RolloutStatus } from "./status.ts";
import { desiredSplit, type DesiredSplit } from "./weight.ts";

export interface Context {
  readonly seen: RolloutSeen;
  readonly nowMs: number;
  readonly spec: RolloutSpecView;
  readonly status: RolloutStatus;
  readonly split: DesiredSplit;
  /** Whether every live worker serves exactly the split that is wanted. */
  readonly verified: boolean;
  readonly backgroundRun: RunSeen | undefined;
  readonly stepRun: RunSeen | undefined;
}

/** A context in which a canary is on trial. */
export interface TrialContext extends Context {
  readonly stable: Resource;
  readonly canary: Resource;
}

export function contextOf(seen: RolloutSeen, nowMs: number): Context {
  const status = statusOf(seen.rollout);
  const split = desiredSplit(seen.rollout, seen.revisions);
  const find = (name: string | undefined): RunSeen | undefined =>
    seen.runs.find((run) => run.name === name);
  return {
    seen,
    nowMs,
    spec: specOf(seen.rollout),
    status,
    split,
    verified: isServed(seen, split),
    backgroundRun: find(status.canary?.currentBackgroundAnalysisRunStatus?.name),
    stepRun: find(status.canary?.currentStepAnalysisRunStatus?.name),
  };
}

/** Whether the data plane has acknowledged exactly this split. */
export function isServed(seen: Pick<RolloutSeen, "acknowledged">, split: DesiredSplit): boolean {
  const { acknowledged } = seen;
  if (acknowledged === undefined || split.stable === undefined) return false;
  if (acknowledged.canaryWeight !== split.canaryWeight) return false;
  const canaryHash = split.canary === undefined ? undefined : hashOf(split.canary);
  if (split.canaryWeight > 0 && acknowledged.canaryHash !== canaryHash) return false;
  return split.canaryWeight === 100 || acknowledged.stableHash === hashOf(split.stable);
}

/** The step that the rollout is at; the number of steps once all are done. */
export function stepIndexOf(context: Context): number {
  const index = context.status.currentStepIndex ?? 0;
  return Math.max(0, Math.min(index, context.spec.canary.steps.length));
}

/** "revision 2 (1f0c9a77e2)", as it is called in messages. */
export function revisionText(revision: Resource): string {
  return `revision ${numberOf(revision)} (${hashOf(revision)})`;
}
