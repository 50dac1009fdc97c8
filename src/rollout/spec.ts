/**
 * A Rollout's spec as its controller reads it: Argo's field names, defaults filled in, durations
 * parsed. The schema of the kind has refused everything else before it was stored; what is read here
 * is still read defensively, for a stored document may be older than the schema.
 */
import { parseDurationOrSeconds } from "../base/duration.ts";
import { contentHash } from "../base/hash.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import type { Resource } from "../resource/resource.ts";

/** Argo's `RolloutAnalysis`: what a step or the background runs. */
export interface RolloutAnalysis {
  readonly templates: readonly { readonly templateName: string; readonly clusterScope?: boolean }[];
  readonly args?: readonly JsonObject[];
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

/** The spec of a Rollout with Argo's defaults. */
export function specOf(rollout: Resource): RolloutSpecView {
  const spec = rollout.spec ?? {};
  const analysis = objectOf(spec["analysis"]);
  const canary = objectOf(objectOf(spec["strategy"])["canary"]);
  const background = canary["analysis"];
  return {
    paused: spec["paused"] === true,
    revisionHistoryLimit: numberOr(spec["revisionHistoryLimit"], REVISION_HISTORY_LIMIT),
    progressDeadlineMs: 1000 * numberOr(spec["progressDeadlineSeconds"], PROGRESS_DEADLINE_SECONDS),
    progressDeadlineAbort: spec["progressDeadlineAbort"] === true,
    successfulRunHistoryLimit: numberOr(analysis["successfulRunHistoryLimit"], RUN_HISTORY_LIMIT),
    unsuccessfulRunHistoryLimit: numberOr(
      analysis["unsuccessfulRunHistoryLimit"],
      RUN_HISTORY_LIMIT,
    ),
    canary: {
      steps: Array.isArray(canary["steps"]) ? (canary["steps"] as CanaryStep[]) : [],
      ...(isJsonObject(background) && {
        analysis: background as unknown as NonNullable<CanarySpec["analysis"]>,
      }),
    },
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

function objectOf(value: JsonValue | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

function numberOr(value: JsonValue | undefined, fallback: number): number {
  return typeof value === "number" ? value : fallback;
}
