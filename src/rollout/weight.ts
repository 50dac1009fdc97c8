/**
 * Which revisions of a resource get traffic, and how much: one pure function that the compiler and
 * the rollout controller share, so that what is compiled and what is waited for cannot differ. The
 * desired weight is stored nowhere: it follows from spec, status and revisions.
 */
import type { Resource } from "../resource/resource.ts";
import { hashOf, numberOf } from "./revision.ts";
import { specOf, stepsHash, type CanaryStep } from "./spec.ts";
import { statusOf } from "./status.ts";

export interface DesiredSplit {
  /** The revision that is proven; undefined only while none has been recorded. */
  readonly stable: Resource | undefined;
  /** The revision on trial, while there is one; also while its weight is 0. */
  readonly canary: Resource | undefined;
  /** Percent of requests for the canary, 0 to 100. */
  readonly canaryWeight: number;
}

/** `revisions` are the ControllerRevisions that the Rollout owns. */
export function desiredSplit(rollout: Resource, revisions: readonly Resource[]): DesiredSplit {
  const sorted = revisions.toSorted((a, b) => numberOf(a) - numberOf(b));
  const current = sorted.at(-1);
  const { stableRS } = statusOf(rollout);
  // With no stable yet, the first revision is stable: also where its record was deleted by hand.
  const stable = sorted.find((revision) => hashOf(revision) === stableRS) ?? sorted[0];
  if (current === undefined || stable === undefined || current === stable) {
    return { stable, canary: undefined, canaryWeight: 0 };
  }
  return { stable, canary: current, canaryWeight: canaryWeight(rollout, hashOf(current)) };
}

function canaryWeight(rollout: Resource, currentHash: string): number {
  const status = statusOf(rollout);
  // A revision that the controller has not looked at yet gets nothing.
  if (status.currentPodHash !== currentHash || status.abort === true) return 0;
  if (status.promoteFull === true) return 100;
  const { steps } = specOf(rollout).canary;
  const changed = status.currentStepHash !== stepsHash(steps);
  const index = changed ? 0 : Math.max(0, status.currentStepIndex ?? 0);
  if (index >= steps.length) {
    // Without steps there is no step to begin, so a new revision waits for the pause to end.
    return steps.length === 0 && status.canary?.step === undefined ? 0 : 100;
  }
  const begun = !changed && status.canary?.step?.index === index;
  return weightAt(steps, begun ? index : index - 1);
}

/** Percent that the canary has once step `index` has begun: the last `setWeight` up to it, else 0. */
export function weightAt(steps: readonly CanaryStep[], index: number): number {
  if (index >= steps.length) return 100;
  for (let at = index; at >= 0; at--) {
    const weight = steps[at]?.setWeight;
    if (weight !== undefined) return weight;
  }
  return 0;
}
