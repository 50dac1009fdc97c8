/**
 * What to do about an AnalysisRun now: a pure function of the run, of what has been observed since,
 * and of the time. It says the run's next status, which metrics to measure, and when to look again.
 * Measuring is left to the controller, so that this file can be tested with a clock moved by hand.
 */
import { parseDurationOrSeconds } from "../base/duration.ts";
import type { JsonValue } from "../base/json.ts";
import {
  type RunVerdict,
  assessRun,
  effectiveCount,
  evaluateResult,
  isTerminating,
} from "./judge.ts";
import { type Resolved, redact } from "./resolve-args.ts";
import {
  type AnalysisRunSpec,
  type AnalysisRunStatus,
  type Measurement,
  type Metric,
  type MetricResult,
  isFinal,
  isWaiting,
} from "./run.ts";
import { type MetricRules, metricRules, validateMetrics } from "./validate-run.ts";

/** After an error, whatever the interval (Argo: DefaultErrorRetryInterval). */
const ERROR_RETRY_MS = 10_000;
/** How soon a metric that waits for data is looked at again. */
const WAIT_RETRY_MS = 250;

/** What a provider found. */
export type Outcome =
  | {
      readonly kind: "value";
      /** What conditions see as `result`. */
      readonly value: JsonValue;
      /** The value as status shows it. */
      readonly text: string;
      /** What was measured: "success-rate canary 0.81 over 5s (42 samples)"; may be empty. */
      readonly description: string;
    }
  /** The provider knows the verdict without a condition: what `noData` says. */
  | {
      readonly kind: "verdict";
      readonly phase: "Successful" | "Failed" | "Inconclusive";
      readonly message: string;
    }
  /** Too little data: nothing is recorded and the metric is looked at again soon. */
  | { readonly kind: "waiting"; readonly message: string }
  | { readonly kind: "error"; readonly message: string };

export interface Observation {
  readonly metric: string;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly outcome: Outcome;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface RunSeen {
  readonly spec: AnalysisRunSpec;
  readonly status: AnalysisRunStatus;
  /** The metrics with their arguments in place, or why they could not be put there. */
  readonly metrics: Resolved<readonly Metric[]>;
  /** Values that no status may show. */
  readonly secrets: readonly string[];
  /** Measurements finished since `status` was written, oldest first. */
  readonly observations: readonly Observation[];
  /** Metrics that are being measured right now. */
  readonly inFlight: ReadonlySet<string>;
  /** When each waiting metric was last looked at. */
  readonly waitedAtMs: ReadonlyMap<string, number>;
}

export interface RunPlan {
  readonly status: AnalysisRunStatus;
  /** Names of metrics to measure now. */
  readonly measure: readonly string[];
  readonly wakeAtMs: number | undefined;
}

/** The next status of a run, what to measure, and when to look again. */
export function planRun(seen: RunSeen, nowMs: number): RunPlan {
  const { status } = seen;
  if (isFinal(status.phase)) return { status, measure: [], wakeAtMs: undefined };
  const startedAt = status.startedAt ?? timestamp(nowMs);
  const prepared = prepare(seen);
  if (!prepared.ok) {
    const message = redact(prepared.message, seen.secrets);
    return finished({ ...status, phase: "Error", message, startedAt }, nowMs);
  }
  const { metrics, rules } = prepared.value;
  const metricResults = fold(seen, { metrics, rules, nowMs });
  const terminate = seen.spec.terminate === true;
  const input = { metrics, metricResults, dryRun: rules.dryRun, terminate };
  const verdict = assessRun(input);
  const next = nextStatus({ ...status, startedAt }, verdict, rules);
  if (isFinal(next.phase)) return finished(next, nowMs);
  if (isTerminating({ ...input, metricResults: verdict.metricResults })) {
    return planRun({ ...seen, status: next, observations: [] }, nowMs);
  }
  return schedule(next, { seen, metrics, nowMs });
}

/** RFC 3339 with milliseconds: a verdict may come sooner than a second after its traffic. */
export function timestamp(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

function finished(status: AnalysisRunStatus, nowMs: number): RunPlan {
  const final = { ...status, completedAt: timestamp(nowMs) };
  return { status: final, measure: [], wakeAtMs: undefined };
}

function prepare(
  seen: RunSeen,
): Resolved<{ readonly metrics: readonly Metric[]; readonly rules: MetricRules }> {
  if (!seen.metrics.ok) {
    return { ok: false, message: `unable to resolve metric arguments: ${seen.metrics.message}` };
  }
  const metrics = seen.metrics.value;
  const fault = validateMetrics(metrics);
  if (fault !== undefined) return { ok: false, message: `analysis spec invalid: ${fault}` };
  const rules = metricRules(seen.spec);
  if (!rules.ok) return { ok: false, message: `analysis spec invalid: ${rules.message}` };
  return { ok: true, value: { metrics, rules: rules.rules } };
}

/** The results of all metrics, in the order of the spec, with what was observed added. */
function fold(
  { status, observations, secrets }: RunSeen,
  { metrics, rules, nowMs }: { metrics: readonly Metric[]; rules: MetricRules; nowMs: number },
): readonly MetricResult[] {
  const before = new Map((status.metricResults ?? []).map((result) => [result.name, result]));
  return metrics.map((metric) => {
    const { name } = metric;
    let result: MetricResult = before.get(name) ?? { name, phase: "Pending" };
    if (rules.dryRun.has(name)) result = { ...result, dryRun: true };
    for (const observation of observations) {
      if (observation.metric !== name || isFinal(result.phase)) continue;
      result = record(result, metric, { observation, secrets, nowMs });
    }
    const measurements = result.measurements?.slice(-rules.retentionOf(name));
    return measurements === undefined ? result : { ...result, measurements };
  });
}

function record(
  result: MetricResult,
  metric: Metric,
  {
    observation,
    secrets,
    nowMs,
  }: { observation: Observation; secrets: readonly string[]; nowMs: number },
): MetricResult {
  const { outcome } = observation;
  if (outcome.kind === "waiting") {
    const message = redact(outcome.message, secrets);
    return message === result.message ? result : { ...result, message };
  }
  const measurement = measurementOf(outcome, metric, { observation, secrets, nowMs });
  const measured = {
    ...counted(result, measurement.phase),
    measurements: [...(result.measurements ?? []), measurement],
  };
  // The waiting is over: what was measured is said instead.
  return withMessage(measured, measurement.message);
}

function withMessage<T extends { readonly message?: string }>(
  holder: T,
  message: string | undefined,
): Omit<T, "message"> & { readonly message?: string } {
  const copy: Omit<T, "message"> & { message?: string } = { ...holder };
  if (message === undefined || message === "") delete copy.message;
  else copy.message = message;
  return copy;
}

function measurementOf(
  outcome: Exclude<Outcome, { kind: "waiting" }>,
  metric: Metric,
  {
    observation,
    secrets,
    nowMs,
  }: { observation: Observation; secrets: readonly string[]; nowMs: number },
): Measurement {
  const base = {
    startedAt: timestamp(observation.startedAtMs),
    finishedAt: timestamp(observation.finishedAtMs),
    ...(observation.metadata === undefined ? {} : { metadata: observation.metadata }),
  };
  if (outcome.kind === "error") {
    return { ...base, phase: "Error", message: redact(outcome.message, secrets) };
  }
  if (outcome.kind === "verdict") {
    return { ...base, phase: outcome.phase, message: redact(outcome.message, secrets) };
  }
  const { phase, reason } = evaluateResult(outcome.value, metric, nowMs);
  const described = [outcome.description, reason].filter((part) => part !== "").join(": ");
  // Argo's providers leave the message empty unless something went wrong; ours always explain.
  const message = outcome.description === "" && phase === "Successful" ? "" : described;
  return {
    ...base,
    phase,
    value: redact(outcome.text, secrets),
    ...(message === "" ? {} : { message: redact(message, secrets) }),
  };
}

/** A result with the counters moved on. Errors do not count as measurements. */
function counted(result: MetricResult, phase: Measurement["phase"]): MetricResult {
  const { count = 0, successful = 0, failed = 0, inconclusive = 0, error = 0 } = result;
  const taken = { ...result, count: count + 1, consecutiveError: 0, consecutiveSuccess: 0 };
  if (phase === "Failed") return { ...taken, failed: failed + 1 };
  if (phase === "Inconclusive") return { ...taken, inconclusive: inconclusive + 1 };
  if (phase === "Successful") {
    const consecutiveSuccess = (result.consecutiveSuccess ?? 0) + 1;
    return { ...taken, successful: successful + 1, consecutiveSuccess };
  }
  const consecutiveError = (result.consecutiveError ?? 0) + 1;
  return { ...result, error: error + 1, consecutiveError, consecutiveSuccess: 0 };
}

function nextStatus(
  status: AnalysisRunStatus,
  verdict: RunVerdict,
  rules: MetricRules,
): AnalysisRunStatus {
  return {
    ...withMessage(status, verdict.message),
    phase: verdict.phase,
    metricResults: verdict.metricResults,
    runSummary: verdict.runSummary,
    ...(rules.dryRun.size === 0 ? {} : { dryRunSummary: verdict.dryRunSummary }),
  };
}

/** What is due now, and when the next metric will be. */
function schedule(
  status: AnalysisRunStatus,
  { seen, metrics, nowMs }: { seen: RunSeen; metrics: readonly Metric[]; nowMs: number },
): RunPlan {
  const measure: string[] = [];
  let wakeAtMs: number | undefined;
  const results = new Map((status.metricResults ?? []).map((result) => [result.name, result]));
  for (const metric of metrics) {
    if (seen.inFlight.has(metric.name)) continue;
    const result = results.get(metric.name) ?? { name: metric.name, phase: "Pending" as const };
    const dueAtMs = dueAt(metric, result, { status, waitedAtMs: seen.waitedAtMs });
    if (dueAtMs === undefined) continue;
    if (dueAtMs <= nowMs) measure.push(metric.name);
    else wakeAtMs = Math.min(wakeAtMs ?? Infinity, dueAtMs);
  }
  return { status, measure, wakeAtMs };
}

/** When a metric wants its next measurement; undefined if it wants none. */
function dueAt(
  metric: Metric,
  result: MetricResult,
  { status, waitedAtMs }: { status: AnalysisRunStatus; waitedAtMs: ReadonlyMap<string, number> },
): number | undefined {
  if (isFinal(result.phase)) return undefined;
  const waitedAt = isWaiting(result.message) ? waitedAtMs.get(metric.name) : undefined;
  if (waitedAt !== undefined) return waitedAt + WAIT_RETRY_MS;
  const last = result.measurements?.at(-1);
  if (last?.finishedAt === undefined) {
    return Date.parse(status.startedAt as string) + durationMs(metric.initialDelay, 0);
  }
  const finishedAtMs = Date.parse(last.finishedAt);
  if (last.phase === "Error") return finishedAtMs + ERROR_RETRY_MS;
  const wanted = effectiveCount(metric);
  if (wanted !== undefined && (result.count ?? 0) >= wanted) return undefined;
  return finishedAtMs + durationMs(metric.interval, ERROR_RETRY_MS);
}

function durationMs(text: string | undefined, fallbackMs: number): number {
  if (text === undefined || text === "") return fallbackMs;
  return parseDurationOrSeconds(text) ?? fallbackMs;
}
