/**
 * What a rollout leaves behind, and how much of it is kept: revisions to go back to, runs to read.
 * History is bounded, and a run that belongs to no trial any more is told to end.
 */
import type { Context } from "./context.ts";
import { numberOf } from "./revision.ts";
import type { Effect, RolloutSeen, RunSeen } from "./seen.ts";
import type { RolloutStatus } from "./status.ts";
import type { DesiredSplit } from "./weight.ts";

/** Ends runs that no trial refers to; at a promotion the background run thereby is Successful. */
export function strayRunEffects(
  seen: RolloutSeen,
  status: RolloutStatus,
  split: DesiredSplit,
): readonly Effect[] {
  const onTrial = split.canary !== undefined && status.abort !== true && !status.promoteFull;
  const wanted = onTrial ? referencedNames(status) : [];
  return seen.runs
    .filter((run) => !run.final && !run.terminating && !wanted.includes(run.name))
    .map(({ name }) => ({ type: "terminate-run", name }));
}

/** Deletes revisions beyond `revisionHistoryLimit` and runs beyond Argo's two history limits. */
export function pruneEffects(
  context: Context,
  split: DesiredSplit,
  status: RolloutStatus,
): readonly Effect[] {
  const { seen, spec } = context;
  const { namespace } = seen.rollout.metadata;
  const oldRevisions = seen.revisions
    .filter((revision) => revision !== split.stable && revision !== split.canary)
    .toSorted((a, b) => numberOf(b) - numberOf(a))
    .slice(spec.revisionHistoryLimit)
    .map((revision) => ({ kind: "ControllerRevision", name: revision.metadata.name }));
  const referenced = referencedNames(status);
  const ended = seen.runs.filter((run) => run.final && !referenced.includes(run.name));
  const good = ended.filter(({ phase }) => phase === "Successful");
  const bad = ended.filter(({ phase }) => phase !== "Successful");
  const oldRuns = [
    ...newestFirst(good).slice(spec.successfulRunHistoryLimit),
    ...newestFirst(bad).slice(spec.unsuccessfulRunHistoryLimit),
  ].map(({ name }) => ({ kind: "AnalysisRun", name }));
  return [...oldRevisions, ...oldRuns].map((each) => ({
    type: "delete",
    key: { ...each, namespace },
  }));
}

function referencedNames(status: RolloutStatus): readonly (string | undefined)[] {
  return [
    status.canary?.currentBackgroundAnalysisRunStatus?.name,
    status.canary?.currentStepAnalysisRunStatus?.name,
  ];
}

function newestFirst(runs: readonly RunSeen[]): readonly RunSeen[] {
  return runs.toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
}
