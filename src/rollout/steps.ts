/**
 * The steps of a canary: how each begins, when it has ended, and what ending means. A step ends only
 * when the data plane serves its weight, and the canary gets more only on a fresh verdict; a person
 * who promotes decides instead of both.
 */
import { toTimestamp } from "../base/clock.ts";
import { referenceTo, phaseEvents, verdictMissing } from "./background.ts";
import { stepIndexOf, type TrialContext } from "./context.ts";
import { workloadKeyOf } from "./revision.ts";
import type { Move } from "./seen.ts";
import { pauseMs, stepText, type CanaryStep } from "./spec.ts";
import type { CanaryStatus, RolloutStatus } from "./status.ts";

/** How often the served time of a pause is saved: at most this much is waited for again after a crash. */
export const CHECKPOINT_MS = 5000;

/** What the current step does next: begins, goes on, or ends. */
export function moveStep(context: TrialContext): Move {
  const index = stepIndexOf(context);
  const step = context.spec.canary.steps[index];
  if (step === undefined) return { status: context.status, effects: [] };
  const begun = context.status.canary?.step?.index === index;
  if (!begun) {
    if (context.spec.paused) return { status: context.status, effects: [] };
    return beginStep(context, step);
  }
  if (isInconclusive(context)) return { status: context.status, effects: [] };
  const outcome = assessStep(context, step);
  if (outcome.done && !context.spec.paused) return endStep(context, []);
  return outcome.move;
}

/** The move that leaves the current step behind; `effects` say why, where that is not its own end. */
export function endStep(context: TrialContext, effects: Move["effects"]): Move {
  const index = stepIndexOf(context);
  const { steps } = context.spec.canary;
  const step = steps[index];
  const text = step === undefined ? "" : stepText(step);
  return {
    status: {
      ...context.status,
      currentStepIndex: Math.min(index + 1, steps.length),
      pauseConditions: undefined,
      controllerPause: false,
      canary: {
        ...context.status.canary,
        currentStepAnalysisRunStatus: undefined,
        step: undefined,
      },
    },
    effects: [
      ...effects,
      {
        type: "event",
        reason: "RolloutStepCompleted",
        message: `Rollout step ${index + 1}/${steps.length} completed (${text})`,
      },
    ],
    progressed: true,
  };
}

function beginStep(context: TrialContext, step: CanaryStep): Move {
  const index = stepIndexOf(context);
  const startedAt = toTimestamp(context.nowMs);
  const canary: CanaryStatus = {
    ...context.status.canary,
    currentStepAnalysisRunStatus: undefined,
    step: { index, startedAt },
  };
  const begun: RolloutStatus = { ...context.status, currentStepIndex: index, canary };
  if (step.analysis !== undefined) return beginAnalysis(context, step.analysis, begun);
  if (step.pause === undefined) return { status: begun, effects: [], progressed: true };
  return {
    status: {
      ...begun,
      pauseConditions: [{ reason: "CanaryPauseStep", startTime: startedAt }],
      controllerPause: true,
    },
    effects: [],
    progressed: true,
  };
}

function beginAnalysis(
  context: TrialContext,
  analysis: NonNullable<CanaryStep["analysis"]>,
  begun: RolloutStatus,
): Move {
  const stepIndex = stepIndexOf(context);
  const { canary, stable } = context;
  const request = { analysis, purpose: "Step" as const, stepIndex, canary, stable };
  const prepared = context.seen.prepareRun(request);
  // A template that is not there yet may come: documents may arrive in any order.
  if (!prepared.ok) return { status: context.status, effects: [], waiting: prepared.message };
  const { name } = prepared.draft.metadata;
  const reference = { name, status: "Pending" };
  return {
    status: { ...begun, canary: { ...begun.canary, currentStepAnalysisRunStatus: reference } },
    effects: [
      { type: "create-run", draft: prepared.draft },
      {
        type: "event",
        reason: "AnalysisRunRunning",
        message: `Step Analysis Run '${name}' started`,
      },
    ],
    progressed: true,
  };
}

interface Outcome {
  readonly done: boolean;
  readonly move: Move;
}

function assessStep(context: TrialContext, step: CanaryStep): Outcome {
  if (step.analysis !== undefined) return assessAnalysis(context);
  return step.pause === undefined ? assessWeight(context) : assessPause(context, step);
}

/** Argo: a weight counts once it is verified; here that is what all workers have acknowledged. */
function assessWeight(context: TrialContext): Outcome {
  const move: Move = { status: context.status, effects: [] };
  if (!context.verified) return { done: false, move: { ...move, waiting: notServedText(context) } };
  const next = context.spec.canary.steps[stepIndexOf(context) + 1];
  const raisesNext = next === undefined || next.setWeight !== undefined;
  const waiting = raisesNext ? verdictMissing(context) : undefined;
  return { done: waiting === undefined, move: { ...move, waiting } };
}

function assessPause(context: TrialContext, step: CanaryStep): Outcome {
  const move: Move = { status: context.status, effects: [] };
  const durationMs = pauseMs(step);
  if (durationMs === undefined) return { done: false, move };
  if (!context.verified) return { done: false, move: { ...move, waiting: notServedText(context) } };
  const leftMs = durationMs - context.seen.stepServedMs;
  if (leftMs > 0) {
    // At least one millisecond, for what is left can be less than the wall clock can tell.
    const wakeAtMs = context.nowMs + Math.ceil(Math.min(leftMs, CHECKPOINT_MS));
    return { done: false, move: { ...withCheckpoint(context), wakeAtMs } };
  }
  const waiting = verdictMissing(context);
  return { done: waiting === undefined, move: { ...move, waiting } };
}

function assessAnalysis(context: TrialContext): Outcome {
  const run = context.stepRun;
  const reference = context.status.canary?.currentStepAnalysisRunStatus;
  if (run === undefined || reference === undefined) {
    // A person has deleted the run: the step begins again.
    const canary = { ...context.status.canary, step: undefined };
    return { done: false, move: { status: { ...context.status, canary }, effects: [] } };
  }
  const canary = { ...context.status.canary, currentStepAnalysisRunStatus: referenceTo(run) };
  const move: Move = {
    status: { ...context.status, canary },
    effects: phaseEvents(reference, run),
    waiting: run.waiting ?? `waiting for Analysis Run '${run.name}'`,
  };
  if (run.phase !== "Successful") return { done: false, move };
  const waiting = verdictMissing(context);
  return { done: waiting === undefined, move: waiting === undefined ? move : { ...move, waiting } };
}

/** Whether the time of a pause still runs: its phase is Paused; afterwards it waits for a verdict. */
export function isPauseRunning(context: TrialContext): boolean {
  if (isInconclusive(context)) return true;
  const pauses = context.status.pauseConditions ?? [];
  const step = context.spec.canary.steps[stepIndexOf(context)];
  if (step?.pause === undefined || pauses.length === 0) return false;
  const durationMs = pauseMs(step);
  return durationMs === undefined || context.seen.stepServedMs < durationMs;
}

/** Whether an inconclusive analysis holds the rollout, at whatever step, until a person decides. */
export function isInconclusive(context: Pick<TrialContext, "status">): boolean {
  const pauses = context.status.pauseConditions ?? [];
  return pauses.some(({ reason }) => reason === "InconclusiveAnalysisRun");
}

/** Why the data plane does not serve what is wanted, for a person. */
export function notServedText(context: Pick<TrialContext, "seen">): string {
  const { seen } = context;
  const key = workloadKeyOf(seen.rollout);
  if (!seen.routed) return `no route sends requests to ${key?.kind} "${key?.name}"`;
  return "waiting for all workers to serve the new weight";
}

function withCheckpoint(context: TrialContext): Move {
  const { status, seen } = context;
  const step = status.canary?.step;
  if (step === undefined || seen.stepServedMs - (step.servedMs ?? 0) < CHECKPOINT_MS) {
    return { status, effects: [] };
  }
  const saved = { ...step, servedMs: Math.floor(seen.stepServedMs) };
  return { status: { ...status, canary: { ...status.canary, step: saved } }, effects: [] };
}
