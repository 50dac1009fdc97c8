/**
 * What the rollout controller saw of the world, and what it is to do: the plain data on both sides
 * of the pure plan. Everything that a decision depends on stands in `RolloutSeen`.
 */
import type { Resource, ResourceDraft, ResourceKey } from "../resource/resource.ts";
import type { RevisionWrite } from "./revision.ts";
import type { RolloutAnalysis } from "./spec.ts";
import type { RolloutStatus } from "./status.ts";

/** The split that every live worker serves by now, by revision. */
export interface AcknowledgedWeights {
  readonly stableHash: string | undefined;
  readonly canaryHash: string | undefined;
  /** Percent of requests. */
  readonly canaryWeight: number;
}

export type RunPurpose = "Background" | "Step";

/** An AnalysisRun that the Rollout owns. */
export interface RunSeen {
  readonly name: string;
  readonly phase: string;
  /** Whether nothing follows that phase any more. */
  readonly final: boolean;
  readonly terminating: boolean;
  readonly message: string;
  /** "success-rate: waiting for 20 samples, has 3", while a metric waits for data. */
  readonly waiting: string | undefined;
  readonly createdAt: string;
  /** Metrics without a verdict on data from this time on, milliseconds since the epoch. */
  unmeasuredSince(sinceMs: number): readonly string[];
}

/** What a new run is for; the observer knows templates, names that are free and arguments. */
export interface RunRequest {
  readonly analysis: RolloutAnalysis;
  readonly purpose: RunPurpose;
  readonly stepIndex: number | undefined;
  readonly canary: Resource;
  readonly stable: Resource;
}

export type PreparedRun =
  | { readonly ok: true; readonly draft: ResourceDraft }
  | { readonly ok: false; readonly message: string };

export interface RolloutSeen {
  readonly rollout: Resource;
  /** The live workload; undefined where it does not exist. */
  readonly workload: Resource | undefined;
  /** Another Rollout, older, that governs the same workload. */
  readonly rival: string | undefined;
  /** Those that the Rollout owns. */
  readonly revisions: readonly Resource[];
  readonly runs: readonly RunSeen[];
  /** Undefined while no worker has acknowledged a split of the workload. */
  readonly acknowledged: AcknowledgedWeights | undefined;
  /** Whether any route sends requests to the workload. */
  readonly routed: boolean;
  /**
   * Since when this process has seen the data plane serve what is wanted, milliseconds since the
   * epoch; undefined while it does not. A restart begins anew, so that what was measured before it
   * does not end a step.
   */
  readonly servedSinceMs: number | undefined;
  /** Milliseconds of the current step during which that was so, over all restarts. */
  readonly stepServedMs: number;
  /** Since when this process has been looking. */
  readonly watchingSinceMs: number;
  /** Whether the disk refuses writes, so that a status is served that is not on it. */
  readonly unsaved: boolean;
  /** Pure: what the run would be, from the templates seen. */
  prepareRun(request: RunRequest): PreparedRun;
}

export type Effect =
  /** Opens or closes an arm on every worker at once; done before anything is written. */
  | { readonly type: "gate"; readonly arm: string; readonly open: boolean }
  | { readonly type: "create-run"; readonly draft: ResourceDraft }
  | { readonly type: "terminate-run"; readonly name: string }
  | { readonly type: "delete"; readonly key: ResourceKey }
  | { readonly type: "write-revision"; readonly write: RevisionWrite }
  | {
      readonly type: "event";
      readonly reason: string;
      readonly message: string;
      readonly warning?: true;
    };

/** All of it but the gates lands in one commit, so that no crash can fall between two effects. */
export interface RolloutPlan {
  readonly status: RolloutStatus;
  readonly effects: readonly Effect[];
  /** Milliseconds since the epoch. */
  readonly wakeAtMs: number | undefined;
}

/** One move of a rollout, before conditions, weights and phase are drawn from it. */
export interface Move {
  readonly status: RolloutStatus;
  readonly effects: readonly Effect[];
  readonly wakeAtMs?: number | undefined;
  /** What is waited for, for a person. */
  readonly waiting?: string | undefined;
  /** Whether the rollout got on: the progress deadline starts over. */
  readonly progressed?: boolean;
  /** Why the spec cannot be followed. */
  readonly invalid?: string;
}
