/**
 * A Rollout's status: Argo's fields, under Argo's names, because Argo's own tools read and patch
 * them. What Sluice adds is `canary.step`: which step has begun, and how long of it traffic was
 * served, so that a pause outlives a restart without counting the time in which nobody looked.
 */
import { isJsonObject, type JsonObject, type JsonValue } from "../base/json.ts";
import type { Resource } from "../resource/resource.ts";

export type RolloutPhase = "Healthy" | "Degraded" | "Progressing" | "Paused";

export type PauseReason = "CanaryPauseStep" | "InconclusiveAnalysisRun";

export interface PauseCondition {
  readonly reason: PauseReason;
  readonly startTime: string;
}

/** Argo's `RolloutCondition`: a condition that also says when it was last renewed. */
export interface RolloutCondition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly lastUpdateTime: string;
  readonly lastTransitionTime: string;
}

export interface WeightDestination {
  /** Percent of requests. */
  readonly weight: number;
  readonly podTemplateHash?: string;
}

/** What the data plane has acknowledged; `verified` when that is what is wanted. */
export interface TrafficWeights {
  readonly canary: WeightDestination;
  readonly stable: WeightDestination;
  readonly verified: boolean;
}

/** Argo's `RolloutAnalysisRunStatus`. */
export interface RunReference {
  readonly name: string;
  readonly status: string;
  readonly message?: string;
}

export interface StepProgress {
  /** The step that has begun; its weight counts from then on. */
  readonly index: number;
  readonly startedAt: string;
  /** Milliseconds of it during which traffic was served, as last saved. */
  readonly servedMs?: number;
}

export interface CanaryStatus {
  readonly weights?: TrafficWeights | undefined;
  readonly currentStepAnalysisRunStatus?: RunReference | undefined;
  readonly currentBackgroundAnalysisRunStatus?: RunReference | undefined;
  readonly step?: StepProgress | undefined;
}

export interface RolloutStatus {
  readonly observedGeneration?: string | undefined;
  readonly phase?: RolloutPhase | undefined;
  readonly message?: string | undefined;
  readonly abort?: boolean | undefined;
  readonly abortedAt?: string | undefined;
  readonly promoteFull?: boolean | undefined;
  readonly pauseConditions?: readonly PauseCondition[] | undefined;
  readonly controllerPause?: boolean | undefined;
  readonly currentStepIndex?: number | undefined;
  readonly currentStepHash?: string | undefined;
  readonly currentPodHash?: string | undefined;
  readonly stableRS?: string | undefined;
  readonly canary?: CanaryStatus | undefined;
  readonly conditions?: readonly RolloutCondition[] | undefined;
}

/**
 * The status of a Rollout. What a tool has set to null counts as absent at any depth: status can be
 * patched by anybody who may patch it, and no patch may stop the controller.
 */
export function statusOf(rollout: Pick<Resource, "status">): RolloutStatus {
  return withoutNulls(rollout.status ?? {}) as RolloutStatus;
}

function withoutNulls(value: JsonValue | undefined): JsonValue | undefined {
  if (Array.isArray(value)) {
    return value.filter((item) => item !== null).map((item) => withoutNulls(item) ?? null);
  }
  if (!isJsonObject(value)) return value;
  const kept: Record<string, JsonValue | undefined> = {};
  for (const [field, inner] of Object.entries(value)) {
    if (inner !== null) kept[field] = withoutNulls(inner);
  }
  return kept;
}

/** A status as it is stored: fields that are undefined left out, all the way down. */
export function toStoredStatus(status: RolloutStatus): JsonObject {
  return JSON.parse(JSON.stringify(status)) as JsonObject;
}
