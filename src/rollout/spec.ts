/**
 * A Rollout's spec as its controller reads it: Argo's field names, defaults filled in, durations
 * parsed. The schema of the kind has refused everything else before it was stored.
 */
import { parseDurationOrSeconds } from "../base/duration.ts";
import { contentHash } from "../base/hash.ts";
import type { Resource } from "../resource/resource.ts";

/** An argument of a run; a `valueFrom` is resolved when the run is made. */
export interface RolloutArgument {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly podTemplateHashValue?: "Stable" | "Latest";
    readonly fieldRef?: { readonly fieldPath: string };
  };
}

/** Argo's `RolloutAnalysis`: what a step or the background runs. */
export interface RolloutAnalysis {
  readonly templates: readonly { readonly templateName: string; readonly clusterScope?: boolean }[];
  readonly args?: readonly RolloutArgument[];
  readonly dryRun?: readonly { readonly metricName: string }[];
  readonly measurementRetention?: readonly {
    readonly metricName: string;
    readonly limit: number | string;
  }[];
}

/** Exactly one key is set. */
export interface CanaryStep {
  readonly setWeight?: number;
  /** Without a duration until somebody promotes. */
  readonly pause?: { readonly duration?: string | number };
  readonly analysis?: RolloutAnalysis;
}

export interface CanarySpec {
  readonly steps: readonly CanaryStep[];
  readonly analysis?: RolloutAnalysis & { readonly startingStep?: number };
}

export interface RolloutSpecView {
  readonly paused: boolean;
  readonly revisionHistoryLimit: number;
  readonly progressDeadlineMs: number;
  readonly progressDeadlineAbort: boolean;
  readonly successfulRunHistoryLimit: number;
  readonly unsuccessfulRunHistoryLimit: number;
  readonly canary: CanarySpec;
}

/** Argo's defaults. */
const REVISION_HISTORY_LIMIT = 10;
const PROGRESS_DEADLINE_SECONDS = 600;
const RUN_HISTORY_LIMIT = 5;

/** The fields that are read, as the schema has admitted them. */
interface StoredSpec {
  readonly paused?: boolean;
  readonly revisionHistoryLimit?: number;
  readonly progressDeadlineSeconds?: number;
  readonly progressDeadlineAbort?: boolean;
  readonly analysis?: {
    readonly successfulRunHistoryLimit?: number;
    readonly unsuccessfulRunHistoryLimit?: number;
  };
  readonly strategy?: { readonly canary?: Partial<CanarySpec> };
}

/** The spec of a Rollout with Argo's defaults. */
export function specOf(rollout: Resource): RolloutSpecView {
  const spec = (rollout.spec ?? {}) as StoredSpec;
  const { analysis = {}, strategy } = spec;
  const { steps = [], analysis: background } = strategy?.canary ?? {};
  return {
    paused: spec.paused === true,
    revisionHistoryLimit: spec.revisionHistoryLimit ?? REVISION_HISTORY_LIMIT,
    progressDeadlineMs: 1000 * (spec.progressDeadlineSeconds ?? PROGRESS_DEADLINE_SECONDS),
    progressDeadlineAbort: spec.progressDeadlineAbort === true,
    successfulRunHistoryLimit: analysis.successfulRunHistoryLimit ?? RUN_HISTORY_LIMIT,
    unsuccessfulRunHistoryLimit: analysis.unsuccessfulRunHistoryLimit ?? RUN_HISTORY_LIMIT,
    canary: { steps, ...(background !== undefined && { analysis: background }) },
  };
}

/** Argo's `currentStepHash`: an edit of the steps in mid-rollout starts them over. */
export function stepsHash(steps: readonly CanaryStep[]): string {
  return contentHash(steps).slice(0, 10);
}

/** Milliseconds that a pause step lasts; undefined for one that only a person ends. */
export function pauseMs(step: CanaryStep): number | undefined {
  const duration = step.pause?.duration;
  return duration === undefined ? undefined : parseDurationOrSeconds(duration);
}

/** A step for people, as Argo's tools print it: "setWeight: 5", "pause: 10s", "analysis". */
export function stepText(step: CanaryStep): string {
  if (step.setWeight !== undefined) return `setWeight: ${step.setWeight}`;
  if (step.pause === undefined) return "analysis";
  const { duration } = step.pause;
  if (duration === undefined) return "pause";
  return `pause: ${typeof duration === "number" ? `${duration}s` : duration}`;
}
