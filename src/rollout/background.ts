/**
 * The analysis that runs beside the steps. It begins with the first request that the canary may get,
 * not before (a query over no traffic is an error, not a verdict), and it holds back every step until
 * each of its metrics has spoken about data that is fresh: nobody is promoted without traffic.
 */
import { stepIndexOf, type TrialContext } from "./context.ts";
import type { Move, RunSeen } from "./seen.ts";
import type { RunReference } from "./status.ts";

/** Starts the background run if it is due and keeps its reference up to date, on top of `move`. */
export function withBackground(context: TrialContext, move: Move): Move {
  const { analysis } = context.spec.canary;
  const { status } = move;
  // A move that ends the trial ends its analysis.
  if (status.stableRS === status.currentPodHash || status.promoteFull === true) return move;
  const reference = status.canary?.currentBackgroundAnalysisRunStatus;
  if (reference !== undefined) {
    const run = context.seen.runs.find(({ name }) => name === reference.name);
    // A person has deleted it: the trial needs another.
    const next = run === undefined ? undefined : referenceTo(run);
    return {
      ...move,
      status: { ...status, canary: { ...status.canary, currentBackgroundAnalysisRunStatus: next } },
      effects: [...move.effects, ...phaseEvents(reference, run)],
    };
  }
  if (analysis === undefined || !isDue(context)) return move;
  const prepared = context.seen.prepareRun({
    analysis,
    purpose: "Background",
    stepIndex: undefined,
    canary: context.canary,
    stable: context.stable,
  });
  // Why there is no run says more than that one is waited for.
  if (!prepared.ok) return { ...move, waiting: prepared.message };
  const { name } = prepared.draft.metadata;
  const started: RunReference = { name, status: "Pending" };
  return {
    ...move,
    status: {
      ...status,
      canary: { ...status.canary, currentBackgroundAnalysisRunStatus: started },
    },
    effects: [
      ...move.effects,
      { type: "create-run", draft: prepared.draft },
      {
        type: "event",
        reason: "AnalysisRunRunning",
        message: `Background Analysis Run '${name}' started`,
      },
    ],
  };
}

/** What the current step must still wait for before the canary may be trusted with more, if anything. */
export function verdictMissing(context: TrialContext): string | undefined {
  if (context.spec.canary.analysis === undefined || !concernsStep(context)) return undefined;
  if (context.split.canaryWeight === 0) return undefined;
  const run = context.backgroundRun;
  if (run === undefined) return "waiting for the background analysis to start";
  const since = context.seen.servedSinceMs;
  if (since === undefined) return "waiting for the data plane to serve the canary";
  const metrics = run.unmeasuredSince(since);
  if (metrics.length === 0) return undefined;
  return run.waiting ?? `waiting for a verdict on fresh data of ${metrics.join(", ")}`;
}

/** A run's place in the Rollout's status (Argo: `RolloutAnalysisRunStatus`). */
export function referenceTo(run: RunSeen): RunReference {
  const message = run.waiting ?? run.message;
  return { name: run.name, status: run.phase, ...(message !== "" && { message }) };
}

/** An event where the run has come to another end than the status says. */
export function phaseEvents(reference: RunReference, run: RunSeen | undefined): Move["effects"] {
  if (run === undefined || !run.final || reference.status === run.phase) return [];
  const told = run.message === "" ? "" : `: ${run.message}`;
  const message = `Analysis Run '${run.name}' is ${run.phase}${told}`;
  const good = run.phase === "Successful";
  const reason = `AnalysisRun${run.phase}`;
  return [{ type: "event", reason, message, ...(!good && { warning: true as const }) }];
}

function isDue(context: TrialContext): boolean {
  return concernsStep(context) && context.split.canaryWeight > 0 && context.verified;
}

function concernsStep(context: TrialContext): boolean {
  return stepIndexOf(context) >= (context.spec.canary.analysis?.startingStep ?? 0);
}
