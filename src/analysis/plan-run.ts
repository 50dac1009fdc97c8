/**
 * What to do about an AnalysisRun now: a pure function of the run, of what has been observed since,
 * and of the time. It says the run's next status, which metrics to measure, and when to look again.
 * Measuring is left to the controller, so that this file can be tested with a clock moved by hand.
 */
import { parseDurationOrSeconds } from "../base/duration.ts";
import type { JsonValue } from "../base/json.ts";
import {
  type RunVerdict,
  type Verdict,
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
  WAITING,
  isFinal,
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
      /**
       * Between which values the true one lies. A bad verdict that would be a better one at either
       * end may be chance: it is not recorded before it has lasted for `forMs`.
       */
      readonly doubt?: { readonly low: number; readonly high: number; readonly forMs: number };
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
  /** The last plan's `waits`; empty for a run seen for the first time. */
  readonly waits: Waits;
}

/** Metrics that wait for data or for certainty: by name, when they were last looked at. */
export type Waits = ReadonlyMap<string, Wait>;

export interface Wait {
  readonly atMs: number;
  /** Since when the values speak against the canary, although it may be chance. */
  readonly doubtSinceMs?: number;
}

export interface RunPlan {
  readonly status: AnalysisRunStatus;
  /** Names of metrics to measure now. */
  readonly measure: readonly string[];
  readonly wakeAtMs: number | undefined;
  /** To be given to the next plan. */
  readonly waits: Waits;
}

const NO_WAITS: Waits = new Map();

/** The next status of a run, what to measure, and when to look again. */
export function planRun(seen: RunSeen, nowMs: number): RunPlan {
  const { status } = seen;
  if (isFinal(status.phase)) {
    return { status, measure: [], wakeAtMs: undefined, waits: NO_WAITS };
  }
  const startedAt = status.startedAt ?? timestamp(nowMs);
  const prepared = prepare(seen);
  if (!prepared.ok) {
    const message = redact(prepared.message, seen.secrets);
    return finished({ ...status, phase: "Error", message, startedAt }, nowMs);
  }
  const { metrics, rules } = prepared.value;
  const waits = new Map(seen.waits);
  const metricResults = fold(seen, { metrics, rules, waits, nowMs });
  const terminate = seen.spec.terminate === true;
  const input = { metrics, metricResults, dryRun: rules.dryRun, terminate };
  const verdict = assessRun(input);
  const next = nextStatus({ ...status, startedAt }, verdict, rules);
  if (isFinal(next.phase)) return finished(next, nowMs);
  if (isTerminating({ ...input, metricResults: verdict.metricResults })) {
    return planRun({ ...seen, status: next, observations: [] }, nowMs);
  }
  return schedule(next, { seen, metrics, waits, nowMs });
}

/** RFC 3339 with milliseconds: a verdict may come sooner than a second after its traffic. */
export function timestamp(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

function finished(status: AnalysisRunStatus, nowMs: number): RunPlan {
  const final = { ...status, completedAt: timestamp(nowMs) };
  return { status: final, measure: [], wakeAtMs: undefined, waits: NO_WAITS };
}

function prepare(
  seen: RunSeen,
): Resolved<{ readonly metrics: readonly Metric[]; readonly rules: MetricRules }> {
  if (!seen.metrics.ok) {
    return { ok: false, message: `unable to resolve metric arguments: ${seen.metrics.message}` };
  }
  const metrics = seen.metrics.value;
  // A spec does not change while its run goes on.
  const fault = seen.status.startedAt === undefined ? validateMetrics(metrics) : undefined;
  if (fault !== undefined) return { ok: false, message: `analysis spec invalid: ${fault}` };
  const rules = metricRules(seen.spec);
  if (!rules.ok) return { ok: false, message: `analysis spec invalid: ${rules.message}` };
  return { ok: true, value: { metrics, rules: rules.rules } };
}

interface Folding {
  readonly metrics: readonly Metric[];
  readonly rules: MetricRules;
  /** Brought up to date with what is observed. */
  readonly waits: Map<string, Wait>;
  readonly nowMs: number;
}

/** The results of all metrics, in the order of the spec, with what was observed added. */
function fold(seen: RunSeen, folding: Folding): readonly MetricResult[] {
  const { metrics, rules } = folding;
  const before = new Map((seen.status.metricResults ?? []).map((result) => [result.name, result]));
  return metrics.map((metric) => {
    const { name } = metric;
    let result: MetricResult = before.get(name) ?? { name, phase: "Pending" };
    if (rules.dryRun.has(name)) result = { ...result, dryRun: true };
    for (const observation of seen.observations) {
      if (observation.metric !== name || isFinal(result.phase)) continue;
      result = record(result, metric, { observation, secrets: seen.secrets, ...folding });
    }
    const measurements = result.measurements?.slice(-rules.retentionOf(name));
    return measurements === undefined ? result : { ...result, measurements };
  });
}

interface Recording {
  readonly observation: Observation;
  readonly secrets: readonly string[];
  readonly waits: Map<string, Wait>;
  readonly nowMs: number;
}

function record(result: MetricResult, metric: Metric, recording: Recording): MetricResult {
  const { secrets, waits, observation } = recording;
  const outcome = doubted(metric, recording);
  const atMs = observation.finishedAtMs;
  if (outcome.kind === "waiting") {
    const { doubtSinceMs } = outcome;
    waits.set(metric.name, doubtSinceMs === undefined ? { atMs } : { atMs, doubtSinceMs });
    return withMessage(result, redact(outcome.message, secrets));
  }
  waits.delete(metric.name);
  const measurement = measurementOf(outcome, metric, recording);
  const measured = {
    ...counted(result, measurement.phase),
    measurements: [...(result.measurements ?? []), measurement],
  };
  // The waiting is over: what was measured is said instead.
  return withMessage(measured, measurement.message);
}

type Doubted = Outcome & { readonly doubtSinceMs?: number };

/**
 * The outcome, or a waiting in its stead where it speaks against the canary and may yet be chance.
 * What would be better at either end of its range is in doubt until it has lasted for its window.
 */
function doubted(metric: Metric, { observation, waits, nowMs }: Recording): Doubted {
  const { outcome, finishedAtMs } = observation;
  if (outcome.kind !== "value" || outcome.doubt === undefined) return outcome;
  const { low, high, forMs } = outcome.doubt;
  const { phase, reason } = evaluateResult(outcome.value, metric, nowMs);
  const best = Math.min(
    ...[low, high].map((end) => SEVERITY[evaluateResult(end, metric, nowMs).phase]),
  );
  if (best >= SEVERITY[phase]) return outcome;
  const doubtSinceMs = waits.get(metric.name)?.doubtSinceMs ?? finishedAtMs;
  if (finishedAtMs - doubtSinceMs >= forMs) return outcome;
  const message = `${WAITING}certainty: ${outcome.description}: ${reason}, which may be chance`;
  return { kind: "waiting", message, doubtSinceMs };
}

const SEVERITY: Readonly<Record<Verdict["phase"], number>> = {
  Successful: 0,
  Inconclusive: 1,
  Failed: 2,
  Error: 0,
};

/** A copy that says `message`, or nothing. */
function withMessage<T extends { readonly message?: string }>(
  holder: T,
  message: string | undefined,
): T {
  const copy: T = { ...holder };
  delete (copy as { message?: string }).message;
  return message === undefined || message === "" ? copy : { ...copy, message };
}

function measurementOf(
  outcome: Exclude<Outcome, { kind: "waiting" }>,
  metric: Metric,
  { observation, secrets, nowMs }: Recording,
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
  {
    seen,
    metrics,
    waits,
    nowMs,
  }: { seen: RunSeen; metrics: readonly Metric[]; waits: Waits; nowMs: number },
): RunPlan {
  const measure: string[] = [];
  let wakeAtMs: number | undefined;
  const results = new Map((status.metricResults ?? []).map((result) => [result.name, result]));
  for (const metric of metrics) {
    if (seen.inFlight.has(metric.name)) continue;
    const result = results.get(metric.name) ?? { name: metric.name, phase: "Pending" as const };
    const due = dueAfter(metric, result, { status, wait: waits.get(metric.name) });
    if (due === undefined) continue;
    // Neither a clock that was put back nor a time that is none may put a measurement off.
    const dueAtMs = due.fromMs <= nowMs ? due.fromMs + due.delayMs : nowMs;
    if (dueAtMs <= nowMs) measure.push(metric.name);
    else wakeAtMs = Math.min(wakeAtMs ?? Infinity, dueAtMs);
  }
  return { status, measure, wakeAtMs, waits };
}

/** How long after which time a metric wants its next measurement; undefined if it wants none. */
function dueAfter(
  metric: Metric,
  result: MetricResult,
  { status, wait }: { status: AnalysisRunStatus; wait: Wait | undefined },
): { readonly fromMs: number; readonly delayMs: number } | undefined {
  if (isFinal(result.phase)) return undefined;
  if (wait !== undefined) return { fromMs: wait.atMs, delayMs: WAIT_RETRY_MS };
  const last = result.measurements?.at(-1);
  if (last?.finishedAt === undefined) {
    const delayMs = durationMs(metric.initialDelay, 0);
    return { fromMs: Date.parse(status.startedAt as string), delayMs };
  }
  const fromMs = Date.parse(last.finishedAt);
  if (last.phase === "Error") return { fromMs, delayMs: ERROR_RETRY_MS };
  const wanted = effectiveCount(metric);
  if (wanted !== undefined && (result.count ?? 0) >= wanted) return undefined;
  return { fromMs, delayMs: durationMs(metric.interval, ERROR_RETRY_MS) };
}

function durationMs(text: string | undefined, fallbackMs: number): number {
  if (text === undefined || text === "") return fallbackMs;
  return parseDurationOrSeconds(text) ?? fallbackMs;
}
