/**
 * A Rollout as a person wants to see it: where it stands, what each arm gets, what was measured and
 * what that was compared with. Pure: resources and the time in, lines out.
 */
import { styleText } from "node:util";
import { formatDuration, parseDurationOrSeconds } from "../base/duration.ts";
import type { AnalysisRun } from "../resource/analysis.ts";
import type { Resource } from "../resource/resource.ts";
import { type CanaryStep, specOf } from "../rollout/spec.ts";
import { statusOf } from "../rollout/status.ts";

export interface RolloutSeen {
  readonly rollout: Resource;
  /** The runs that this rollout owns and that are not over, or were the last to end. */
  readonly runs: readonly AnalysisRun[];
  /** Version labels by revision hash, from the ControllerRevisions. */
  readonly versions: ReadonlyMap<string, string>;
  readonly nowMs: number;
}

const BAR_WIDTH = 40;

const PHASE_COLOUR = {
  Healthy: "green",
  Successful: "green",
  Progressing: "cyan",
  Running: "cyan",
  Paused: "yellow",
  Inconclusive: "yellow",
  Degraded: "red",
  Failed: "red",
  Error: "red",
} as const;

/** Lines without a trailing newline; colours only where the output takes them. */
export function renderRollout(seen: RolloutSeen): string[] {
  const { rollout } = seen;
  const { name, namespace } = rollout.metadata;
  const status = statusOf(rollout);
  const phase = paint(status.phase ?? "Progressing");
  return [
    `${styleText("bold", `Rollout ${namespace}/${name}`)}  ${phase}`,
    ...(status.message ? [styleText("dim", `  ${status.message}`)] : []),
    ...renderArms(seen),
    ...renderSteps(seen),
    ...seen.runs.flatMap((run) => renderRun(run)),
  ];
}

function paint(phase: string): string {
  const colour = PHASE_COLOUR[phase as keyof typeof PHASE_COLOUR] ?? "dim";
  return styleText(colour, phase);
}

function renderArms({ rollout, versions }: RolloutSeen): string[] {
  const status = statusOf(rollout);
  const weights = status.canary?.weights;
  const canary = weights?.canary.weight ?? 0;
  const stable = weights?.stable.weight ?? 100 - canary;
  const verified = weights?.verified !== false ? "" : "  not yet on every worker";
  const line = (arm: string, hash: string | undefined, weight: number, note: string): string => {
    const version = (hash === undefined ? undefined : versions.get(hash)) ?? hash ?? "";
    const bar = "█".repeat(Math.round((weight / 100) * BAR_WIDTH));
    const share = `${weight}%`.padStart(4);
    return `  ${arm}  version ${version.padEnd(12)} ${share} ${bar}${note}`;
  };
  const lines = [line("stable", status.stableRS, stable, "")];
  if (status.currentPodHash !== undefined && status.currentPodHash !== status.stableRS) {
    lines.push(line("canary", status.currentPodHash, canary, verified));
  }
  return lines;
}

function renderSteps({ rollout, nowMs }: RolloutSeen): string[] {
  const status = statusOf(rollout);
  const { steps } = specOf(rollout).canary;
  if (steps.length === 0) return [];
  const rolling = status.currentPodHash !== status.stableRS && status.abort !== true;
  if (!rolling) return [styleText("dim", `  steps: ${steps.map(stepText).join(" → ")}`)];
  const current = status.currentStepIndex ?? 0;
  const pausedSince = status.pauseConditions?.[0]?.startTime;
  return steps.map((step, index) => {
    if (index < current) return `  ${styleText("green", "✔")} ${stepText(step)}`;
    if (index > current) return styleText("dim", `    ${stepText(step)}`);
    const left =
      step.pause?.duration === undefined || pausedSince === undefined
        ? ""
        : `  ${pauseLeft(step.pause.duration, pausedSince, nowMs)}`;
    return `  ${styleText("cyan", "●")} ${stepText(step)}${left}`;
  });
}

/** One step in words: "setWeight 5", "pause 10s", "pause until promoted", "analysis healthy". */
export function stepText(step: CanaryStep): string {
  if (step.setWeight !== undefined) return `setWeight ${step.setWeight}`;
  if (step.pause !== undefined) {
    const { duration } = step.pause;
    if (duration === undefined) return "pause until promoted";
    return `pause ${typeof duration === "number" ? `${duration}s` : duration}`;
  }
  const templates = step.analysis?.templates ?? [];
  return `analysis ${templates.map((template) => template.templateName).join(", ")}`;
}

function pauseLeft(duration: string | number, since: string, nowMs: number): string {
  const durationMs = parseDurationOrSeconds(duration) ?? 0;
  const leftMs = Date.parse(since) + durationMs - nowMs;
  return styleText("dim", leftMs > 0 ? `${formatDuration(leftMs)} left` : "waiting for a verdict");
}

function renderRun(run: AnalysisRun): string[] {
  const status = run.status ?? {};
  return [
    `  analysis ${run.metadata.name}  ${paint(status.phase ?? "Pending")}`,
    ...(status.metricResults ?? []).map((result) => {
      const last = result.measurements?.at(-1);
      const counts = styleText("dim", `${result.successful ?? 0} good, ${result.failed ?? 0} bad`);
      const waits = `    … ${result.name}: ${result.message ?? "not measured yet"}`;
      if (last === undefined) return styleText("dim", waits);
      return `    ${markOf(last.phase)} ${last.message ?? `${result.name} ${last.value}`}  ${counts}`;
    }),
  ];
}

/** How one measurement came out, as one coloured character. */
export function markOf(phase: string): string {
  if (phase === "Successful") return styleText("green", "✔");
  return phase === "Failed" || phase === "Error" ? styleText("red", "✘") : styleText("yellow", "?");
}
