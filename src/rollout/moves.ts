/**
 * The moves of a rollout that are not steps: a first revision, a new one, an abort, a retry, a
 * promotion, and standing still. Each returns the whole next status; no move looks at time but to
 * write it down.
 */
import { toTimestamp } from "../base/clock.ts";
import { referenceTo, verdictMissing } from "./background.ts";
import { revisionText, stepIndexOf, type Context, type TrialContext } from "./context.ts";
import { hashOf, type RevisionWrite } from "./revision.ts";
import type { Effect, Move } from "./seen.ts";
import { stepsHash } from "./spec.ts";
import type { RolloutStatus } from "./status.ts";
import { endStep, isInconclusive, notServedText } from "./steps.ts";

/** Nothing can be decided; what is served stays as it is. */
export function standStill(context: Context, invalid: string): Move {
  return { status: context.status, effects: [], invalid };
}

/**
 * The live spec is not the newest revision: it is recorded, as admission does in the commit that
 * accepts an edit. That happens where somebody wrote to the store past admission, and repairs it.
 */
export function recordLive(context: Context, write: RevisionWrite): Move {
  return { status: context.status, effects: [{ type: "write-revision", write }] };
}

/** All traffic belongs to one revision: nothing is on trial. */
export function restAtStable(context: Context): Move {
  const { status, split } = context;
  const stable = split.stable;
  if (stable === undefined) return { status, effects: [] };
  const hash = hashOf(stable);
  const arrived = status.stableRS !== hash || status.currentPodHash !== hash;
  const reason = status.stableRS === hash ? "Rollback to stable" : "Initial deploy";
  return {
    status: proven(context, hash),
    effects: arrived ? [completed(revisionText(stable), reason)] : [],
    progressed: arrived,
  };
}

/** A revision that was not seen before starts over, whatever became of the one before it. */
export function beginRevision(context: TrialContext): Move {
  const message = `Rollout updated to ${revisionText(context.canary)}`;
  return {
    status: startedOver(context),
    effects: [{ type: "event", reason: "RolloutUpdated", message }],
    progressed: true,
  };
}

/** Argo: `retry` clears `status.abort`; the same revision starts over at step 0. */
export function retry(context: TrialContext): Move {
  const message = `Rollout retries the update to ${revisionText(context.canary)}`;
  return {
    status: startedOver(context),
    effects: [{ type: "event", reason: "RolloutRetry", message }],
    progressed: true,
  };
}

/** Argo: an edit of the steps in mid-rollout resets the index; analysis goes on. */
export function restartSteps(context: TrialContext): Move {
  const { steps } = context.spec.canary;
  const canary = {
    ...context.status.canary,
    step: undefined,
    currentStepAnalysisRunStatus: undefined,
  };
  return {
    status: {
      ...context.status,
      ...stepStart(steps),
      pauseConditions: undefined,
      controllerPause: false,
      canary,
    },
    effects: [
      { type: "event", reason: "RolloutUpdated", message: "Rollout restarts at its changed steps" },
    ],
    progressed: true,
  };
}

/** The canary gets nothing from now on, until a retry or a new revision; the spec stays as it is. */
export function abort(context: TrialContext, why: string): Move {
  const { status } = context;
  const told = why === "" ? "" : `: ${why}`;
  const message = `Rollout aborted update to ${revisionText(context.canary)}${told}`;
  return {
    status: {
      ...status,
      abort: true,
      abortedAt: status.abortedAt ?? toTimestamp(context.nowMs),
      promoteFull: undefined,
      ...stepStart(context.spec.canary.steps),
      pauseConditions: undefined,
      controllerPause: false,
      canary: { ...status.canary, ...endedRuns(context), step: undefined },
    },
    effects:
      status.abortedAt === undefined
        ? [{ type: "event", reason: "RolloutAborted", message, warning: true }]
        : [],
    progressed: status.abortedAt === undefined,
    waiting: message,
  };
}

/** Argo: an inconclusive run neither promotes nor aborts; a person has to look. */
export function pauseInconclusive(context: TrialContext, runName: string): Move {
  const { status } = context;
  const message = `Analysis Run '${runName}' is Inconclusive: promote or abort`;
  return {
    status: {
      ...status,
      pauseConditions: [
        ...(status.pauseConditions ?? []),
        { reason: "InconclusiveAnalysisRun", startTime: toTimestamp(context.nowMs) },
      ],
      controllerPause: true,
      canary: { ...status.canary, ...endedRuns(context) },
    },
    effects: [{ type: "event", reason: "AnalysisRunInconclusive", message, warning: true }],
  };
}

/** A person has cleared the pause conditions: the step ends, and an inconclusive run is forgotten. */
export function resume(context: TrialContext): Move {
  const background = context.backgroundRun;
  const forget = background?.phase === "Inconclusive";
  const { status } = context;
  const canary = {
    ...status.canary,
    ...(forget && { currentBackgroundAnalysisRunStatus: undefined }),
  };
  const resumed = { ...context, status: { ...status, canary } };
  if (stepIndexOf(context) >= context.spec.canary.steps.length) {
    // After the last step nothing is left to skip but the promotion's own conditions.
    const next = { ...resumed.status, promoteFull: true, controllerPause: false };
    return { status: next, effects: [], progressed: true };
  }
  return endStep(resumed, []);
}

/** After the last step, or with `promoteFull`: all traffic to the canary, then it is stable. */
export function finish(context: TrialContext): Move {
  const { status, spec, nowMs } = context;
  const full = status.promoteFull === true;
  const { steps } = spec.canary;
  if (!full && (spec.paused || isInconclusive(context))) return { status, effects: [] };
  if (steps.length === 0 && !full && status.canary?.step === undefined) {
    const step = { index: 0, startedAt: toTimestamp(nowMs) };
    const begun = { ...status, canary: { ...status.canary, step } };
    return { status: begun, effects: [], progressed: true };
  }
  if (!context.verified) return { status, effects: [], waiting: notServedText(context) };
  const waiting = steps.length === 0 && !full ? verdictMissing(context) : undefined;
  if (waiting !== undefined) return { status, effects: [], waiting };
  const reason = full ? "Full promotion requested" : `Completed all ${steps.length} canary steps`;
  return {
    status: proven(context, hashOf(context.canary)),
    effects: [completed(revisionText(context.canary), reason)],
    progressed: true,
  };
}

function completed(revision: string, reason: string): Effect {
  const message = `Rollout completed update to ${revision}: ${reason}`;
  return { type: "event", reason: "RolloutCompleted", message };
}

function proven(context: Context, hash: string): RolloutStatus {
  return {
    ...cleared(context.status),
    stableRS: hash,
    currentPodHash: hash,
    currentStepHash: stepsHash(context.spec.canary.steps),
    currentStepIndex: context.spec.canary.steps.length || undefined,
  };
}

function startedOver(context: TrialContext): RolloutStatus {
  return {
    ...cleared(context.status),
    stableRS: hashOf(context.stable),
    currentPodHash: hashOf(context.canary),
    ...stepStart(context.spec.canary.steps),
  };
}

/** A status without anything that belonged to one trial. */
function cleared(status: RolloutStatus): RolloutStatus {
  return {
    ...status,
    abort: undefined,
    abortedAt: undefined,
    promoteFull: undefined,
    pauseConditions: undefined,
    controllerPause: false,
    canary: { weights: status.canary?.weights },
  };
}

function stepStart(
  steps: TrialContext["spec"]["canary"]["steps"],
): Pick<RolloutStatus, "currentStepIndex" | "currentStepHash"> {
  return {
    currentStepIndex: steps.length === 0 ? undefined : 0,
    currentStepHash: stepsHash(steps),
  };
}

/** The references of runs, with what the runs came to, so that the status says what failed. */
function endedRuns(context: TrialContext): Partial<NonNullable<RolloutStatus["canary"]>> {
  const { backgroundRun, stepRun } = context;
  return {
    ...(backgroundRun !== undefined && {
      currentBackgroundAnalysisRunStatus: referenceTo(backgroundRun),
    }),
    ...(stepRun !== undefined && { currentStepAnalysisRunStatus: referenceTo(stepRun) }),
  };
}
