/**
 * The plan of a rollout: (what was seen, now) → (status, effects, when to look again). Pure: the same
 * input gives the same plan, and a plan that was carried out gives none that does more. One move a
 * time; the write that carries it out wakes the controller for the next.
 */
import type { Resource } from "../resource/resource.ts";
import { withBackground } from "./background.ts";
import { withConditions, type Standing } from "./conditions.ts";
import { contextOf, isServed, stepIndexOf, type Context, type TrialContext } from "./context.ts";
import { pruneEffects, strayRunEffects } from "./history.ts";
import {
  abort,
  beginRevision,
  finish,
  pauseInconclusive,
  recordLive,
  restartSteps,
  restAtStable,
  resume,
  retry,
  standStill,
} from "./moves.ts";
import { armId, hashOf, recordRevision, WORKLOAD_KINDS, workloadKeyOf } from "./revision.ts";
import type { Effect, Move, RolloutPlan, RolloutSeen, RunSeen } from "./seen.ts";
import { stepsHash } from "./spec.ts";
import type { RolloutStatus, TrafficWeights } from "./status.ts";
import { isInconclusive, isPauseRunning, moveStep } from "./steps.ts";
import { desiredSplit, type DesiredSplit } from "./weight.ts";

const UNSAVED_LOOK_MS = 1000;

/** Decides what becomes of one Rollout. `nowMs` is wall time, milliseconds since the epoch. */
export function planRollout(seen: RolloutSeen, nowMs: number): RolloutPlan {
  const context = contextOf(seen, nowMs);
  const plan = complete(context, decide(context));
  const { canary, stable } = context.split;
  const overdue = plan.late && context.spec.progressDeadlineAbort && !isAborted(plan.status);
  if (!overdue || canary === undefined || stable === undefined) return plan;
  const why = plan.status.message?.replace("ProgressDeadlineExceeded: ", "") ?? "";
  return complete(context, abort({ ...context, canary, stable }, why));
}

function decide(context: Context): Move {
  const problem = problemOf(context);
  if (problem !== undefined) return standStill(context, problem);
  const { rollout, workload, revisions } = context.seen;
  const unrecorded = recordRevision(rollout, workload?.spec ?? {}, revisions);
  if (unrecorded !== undefined) return recordLive(context, unrecorded);
  const { canary, stable } = context.split;
  if (canary === undefined || stable === undefined) return restAtStable(context);
  return decideTrial({ ...context, canary, stable });
}

/** Why the spec cannot be followed (Argo: the InvalidSpec condition). */
function problemOf(context: Context): string | undefined {
  const { rollout, workload, rival } = context.seen;
  const key = workloadKeyOf(rollout);
  if (key === undefined) return "spec.workloadRef: Required value: name a Backend";
  if (!WORKLOAD_KINDS.includes(key.kind)) {
    return `spec.workloadRef.kind: Unsupported value: "${key.kind}": one of ${WORKLOAD_KINDS.join(", ")}`;
  }
  if (rival !== undefined) {
    return `spec.workloadRef: ${key.kind} "${key.name}" already belongs to the older Rollout "${rival}"`;
  }
  if (workload === undefined) return `spec.workloadRef: ${key.kind} "${key.name}" not found`;
  return undefined;
}

type Situation =
  | "updated"
  | "aborted"
  | "retried"
  | "edited"
  | "full"
  | "failed"
  | "inconclusive"
  | "resumed"
  | "finishing"
  | "stepping";

function decideTrial(context: TrialContext): Move {
  const situation = situationOf(context);
  switch (situation) {
    case "updated":
      return beginRevision(context);
    case "aborted":
      return abort(context, "");
    case "retried":
      return retry(context);
    case "edited":
      return restartSteps(context);
    case "full":
      return finish(context);
    case "failed":
      return abort(context, failureText(context));
    case "inconclusive":
      return pauseInconclusive(context, inconclusiveRun(context)?.name ?? "");
    case "resumed":
      return resume(context);
    case "finishing":
      return withBackground(context, finish(context));
    case "stepping":
      return withBackground(context, moveStep(context));
    default:
      return situation satisfies never;
  }
}

/** In order of precedence: what a person said, then what was measured, then the steps. */
function situationOf(context: TrialContext): Situation {
  const { status, spec, canary } = context;
  if (status.currentPodHash !== hashOf(canary)) return "updated";
  if (status.abort === true) return "aborted";
  if (status.abortedAt !== undefined) return "retried";
  if (status.currentStepHash !== stepsHash(spec.canary.steps)) return "edited";
  if (status.promoteFull === true) return "full";
  if (failedRun(context) !== undefined) return "failed";
  const paused = (status.pauseConditions ?? []).length > 0;
  if (status.controllerPause === true && !paused) return "resumed";
  if (inconclusiveRun(context) !== undefined && !isInconclusive(context)) return "inconclusive";
  return stepIndexOf(context) >= spec.canary.steps.length ? "finishing" : "stepping";
}

/** Argo: Failed and Error both abort. */
function failedRun(context: TrialContext): RunSeen | undefined {
  return [context.backgroundRun, context.stepRun].find(
    (run) => run?.phase === "Failed" || run?.phase === "Error",
  );
}

function inconclusiveRun(context: TrialContext): RunSeen | undefined {
  return [context.backgroundRun, context.stepRun].find((run) => run?.phase === "Inconclusive");
}

function failureText(context: TrialContext): string {
  const run = failedRun(context);
  return run?.message === "" ? `Analysis Run '${run.name}' is ${run.phase}` : (run?.message ?? "");
}

/** Draws weights, conditions, phase, gates and what is to be cleared away from a move. */
function complete(context: Context, move: Move): RolloutPlan & { readonly late: boolean } {
  const { seen, nowMs } = context;
  const weighed = withWeights(context, move.status);
  const split = splitAfter(seen, weighed);
  const standing = standingOf(context, move, split);
  const result = withConditions(weighed, {
    context,
    move,
    standing,
    verified: isServed(seen, split),
  });
  // The store says nothing when the disk takes what it had refused.
  const unsavedMs = seen.unsaved ? nowMs + UNSAVED_LOOK_MS : undefined;
  const wakes = [move.wakeAtMs, result.wakeAtMs, unsavedMs].filter(
    (at) => at !== undefined && at > nowMs,
  );
  return {
    status: result.status,
    effects: [
      ...gateEffects(seen, split, result.status),
      ...move.effects,
      ...(move.invalid === undefined ? strayRunEffects(seen, result.status, split) : []),
      ...result.effects,
      ...(move.invalid === undefined ? pruneEffects(context, split, result.status) : []),
    ],
    wakeAtMs: wakes.length === 0 ? undefined : Math.min(...(wakes as number[])),
    late: result.late,
  };
}

function standingOf(context: Context, move: Move, split: DesiredSplit): Standing {
  if (move.invalid !== undefined) return "invalid";
  if (isAborted(move.status)) return "aborted";
  if (context.spec.paused && move.status.promoteFull !== true) return "paused";
  if (split.canary === undefined || split.stable === undefined) return "stable";
  if (move.status.promoteFull === true) return "progressing";
  const after = { ...context, ...split, status: move.status } as TrialContext;
  return isPauseRunning(after) ? "paused" : "progressing";
}

function isAborted(status: RolloutStatus): boolean {
  return status.abort === true && status.abortedAt !== undefined;
}

function splitAfter(seen: RolloutSeen, status: RolloutStatus): DesiredSplit {
  return desiredSplit({ ...seen.rollout, status: { ...status } as never }, seen.revisions);
}

/** `status.canary.weights`: what the data plane has acknowledged, verified where that is wanted. */
function withWeights(context: Context, status: RolloutStatus): RolloutStatus {
  const { seen } = context;
  // What is served then is the rival's.
  if (seen.rival !== undefined) return { ...status, canary: undefined };
  const split = splitAfter(seen, status);
  const before = status.canary?.weights;
  const { acknowledged } = seen;
  const weights: TrafficWeights =
    acknowledged === undefined
      ? {
          canary: before?.canary ?? { weight: 0 },
          stable: before?.stable ?? { weight: 100 },
          verified: false,
        }
      : {
          canary: destination(acknowledged.canaryWeight, acknowledged.canaryHash),
          stable: destination(100 - acknowledged.canaryWeight, acknowledged.stableHash),
          verified: isServed(seen, split),
        };
  return { ...status, canary: { ...status.canary, weights } };
}

function destination(weight: number, hash: string | undefined): TrafficWeights["canary"] {
  return hash === undefined ? { weight } : { weight, podTemplateHash: hash };
}

/**
 * An abort closes the canary at once, ahead of the generation that takes its weight; else weights
 * decide. The stable arm stays open at any weight, for it answers what the canary fails to.
 */
function gateEffects(
  seen: RolloutSeen,
  split: DesiredSplit,
  status: RolloutStatus,
): readonly Effect[] {
  const key = workloadKeyOf(seen.rollout);
  if (key === undefined || seen.rival !== undefined) return [];
  const gate = (revision: Resource, open: boolean): Effect => ({
    type: "gate",
    arm: armId(key.kind, key.namespace, key.name, hashOf(revision)),
    open,
  });
  return [
    ...(split.stable === undefined ? [] : [gate(split.stable, true)]),
    ...(split.canary === undefined ? [] : [gate(split.canary, status.abort !== true)]),
  ];
}
