/**
 * Verdicts, as Argo Rollouts gives them (analysis/analysis.go and utils/evaluate/evaluate.go): a
 * value and its conditions make the phase of a measurement, counters and limits that of a metric,
 * metrics that of a run. Pure; the only things read are the arguments.
 */
import type { JsonValue } from "../base/json.ts";
import { CONDITION_ENVIRONMENT, TIME_ENVIRONMENT } from "./expr/environment.ts";
import { evaluateExpression } from "./expr/expression.ts";
import { ExprError } from "./expr/syntax.ts";
import { Time, goName, kindOf, valueOf } from "./expr/value.ts";
import {
  type AnalysisPhase,
  type IntOrString,
  type Metric,
  type MetricResult,
  type RunSummary,
  isFinal,
} from "./run.ts";

/** Errors in a row that a metric bears where it says nothing (Argo: DefaultConsecutiveErrorLimit). */
const CONSECUTIVE_ERROR_LIMIT_DEFAULT = 4;

export interface Conditions {
  readonly successCondition?: string | undefined;
  readonly failureCondition?: string | undefined;
}

export interface Verdict {
  readonly phase: "Successful" | "Failed" | "Inconclusive" | "Error";
  /** Which condition decided: "result < 0.95 is true"; or why none could be evaluated. */
  readonly reason: string;
}

/**
 * The phase of one measurement (Argo: EvaluateResult). With one condition, its opposite is the
 * other; with both, failure is looked at first; where neither holds it is Inconclusive.
 */
export function evaluateResult(result: JsonValue, conditions: Conditions, nowMs: number): Verdict {
  const { successCondition = "", failureCondition = "" } = conditions;
  const holds = new Map<string, boolean>();
  for (const name of ["successCondition", "failureCondition"] as const) {
    const condition = conditions[name] ?? "";
    if (condition === "") continue;
    const outcome = evaluateCondition(result, condition, nowMs);
    if (!outcome.ok) {
      const why = `could not evaluate ${name} "${condition}": ${outcome.message}`;
      return { phase: "Error", reason: why };
    }
    holds.set(name, outcome.value);
  }
  const succeeds = holds.get("successCondition");
  const fails = holds.get("failureCondition");
  if (succeeds === undefined && fails === undefined) {
    return { phase: "Successful", reason: "no condition" };
  }
  const success = `${successCondition} is ${succeeds}`;
  const failure = `${failureCondition} is ${fails}`;
  if (fails === true) return { phase: "Failed", reason: failure };
  if (succeeds === undefined) return { phase: "Successful", reason: failure };
  if (succeeds) return { phase: "Successful", reason: success };
  if (fails === undefined) return { phase: "Failed", reason: success };
  return { phase: "Inconclusive", reason: `${success} and ${failure}` };
}

type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly message: string };

/** Whether `condition` holds of `result`; an expression that gives anything but a bool is an error. */
export function evaluateCondition(
  result: JsonValue,
  condition: string,
  nowMs: number,
): Outcome<boolean> {
  const isEmpty = result === null || (Array.isArray(result) && result.length === 0);
  try {
    const value = evaluateExpression(condition, {
      variables: { result: valueOf(result) },
      functions: CONDITION_ENVIRONMENT,
      nowMs,
    });
    if (typeof value === "boolean") return { ok: true, value };
    return { ok: false, message: `expected bool, but got ${goName(kindOf(value))}` };
  } catch (error) {
    if (!(error instanceof ExprError)) throw error;
    const nothing = "metric result is nil or empty: no data returned from the metric provider";
    return { ok: false, message: isEmpty ? nothing : positioned(error) };
  }
}

/** The point in time that `expression` gives, milliseconds since the epoch (Argo: EvalTime). */
export function evaluateTime(expression: string, nowMs: number): Outcome<number> {
  try {
    const value = evaluateExpression(expression, {
      variables: {},
      functions: TIME_ENVIRONMENT,
      nowMs,
    });
    if (value instanceof Time) return { ok: true, value: value.epochMs };
    return { ok: false, message: `expected time.Time, but got ${goName(kindOf(value))}` };
  } catch (error) {
    if (!(error instanceof ExprError)) throw error;
    return { ok: false, message: positioned(error) };
  }
}

function positioned(error: ExprError): string {
  return error.column === undefined ? error.message : `${error.message} (column ${error.column})`;
}

/** An IntOrString as a number; `fallback` where it is absent or (before validation) no number. */
export function intOf(value: IntOrString | undefined, fallback: number): number {
  if (value === undefined || value === "") return fallback;
  const number = Number(value);
  return Number.isInteger(number) ? number : fallback;
}

/** How many measurements a metric wants; undefined: endlessly many (Argo: EffectiveCount). */
export function effectiveCount(metric: Metric): number | undefined {
  const count = intOf(metric.count, 0);
  if (count > 0) return count;
  return metric.interval === undefined || metric.interval === "" ? 1 : undefined;
}

/** The limit that a metric has broken, in the words of Argo; the last of several wins. */
export function brokenLimit(
  metric: Metric,
  result: MetricResult,
): { readonly phase: "Failed" | "Inconclusive" | "Error"; readonly reason: string } | undefined {
  const { failed = 0, inconclusive = 0, consecutiveError = 0 } = result;
  const failureLimit = intOf(metric.failureLimit, 0);
  const inconclusiveLimit = intOf(metric.inconclusiveLimit, 0);
  const errorLimit = intOf(metric.consecutiveErrorLimit, CONSECUTIVE_ERROR_LIMIT_DEFAULT);
  if (consecutiveError > errorLimit) {
    const reason = `consecutiveErrors (${consecutiveError}) > consecutiveErrorLimit (${errorLimit})`;
    return { phase: "Error", reason };
  }
  if (inconclusive > inconclusiveLimit) {
    const reason = `inconclusive (${inconclusive}) > inconclusiveLimit (${inconclusiveLimit})`;
    return { phase: "Inconclusive", reason };
  }
  if (failureLimit >= 0 && failed > failureLimit) {
    return { phase: "Failed", reason: `failed (${failed}) > failureLimit (${failureLimit})` };
  }
  return undefined;
}

/**
 * The phase of one metric by its counters and its last measurement (Argo: assessMetricStatus).
 * `terminating`: the run is being stopped, so what has not failed is Successful.
 */
export function assessMetric(
  metric: Metric,
  result: MetricResult,
  terminating: boolean,
): AnalysisPhase {
  if (isFinal(result.phase)) return result.phase;
  const last = result.measurements?.at(-1);
  if (last === undefined) return terminating ? "Successful" : "Pending";
  if (!isFinal(last.phase)) return "Running";
  const broken = brokenLimit(metric, result);
  if (broken !== undefined) return broken.phase;
  const streakWanted = intOf(metric.consecutiveSuccessLimit, 0);
  if (streakWanted > 0 && (result.consecutiveSuccess ?? 0) >= streakWanted) return "Successful";
  const countWanted = effectiveCount(metric);
  if (countWanted !== undefined && (result.count ?? 0) >= countWanted) {
    if (streakWanted <= 0) return "Successful";
    return intOf(metric.failureLimit, 0) >= 0 ? "Inconclusive" : "Failed";
  }
  return terminating ? "Successful" : "Running";
}

/** From best to worst (Argo: analysisStatusOrder). */
const WORSE: readonly AnalysisPhase[] = [
  "Successful",
  "Running",
  "Pending",
  "Inconclusive",
  "Error",
  "Failed",
];

export interface RunInput {
  readonly metrics: readonly Metric[];
  readonly metricResults: readonly MetricResult[];
  /** Names of metrics that are measured but decide nothing. */
  readonly dryRun: ReadonlySet<string>;
  /** The run's `spec.terminate`. */
  readonly terminate: boolean;
}

export interface RunVerdict {
  readonly phase: AnalysisPhase;
  readonly message: string;
  readonly metricResults: readonly MetricResult[];
  readonly runSummary: RunSummary;
  readonly dryRunSummary: RunSummary;
}

/** Whether the run must end: it was told to, or a metric that counts has reached a bad end. */
export function isTerminating({
  metricResults,
  dryRun,
  terminate,
}: Omit<RunInput, "metrics">): boolean {
  return (
    terminate ||
    metricResults.some(
      ({ name, phase }) =>
        !dryRun.has(name) && (phase === "Failed" || phase === "Error" || phase === "Inconclusive"),
    )
  );
}

/** The phase of a run, and of each of its metrics (Argo: assessRunStatus). */
export function assessRun(input: RunInput): RunVerdict {
  const terminating = isTerminating(input);
  const results = new Map(input.metricResults.map((result) => [result.name, result]));
  const summaries = { run: newSummary(), dryRun: newSummary() };
  let worst: AnalysisPhase | undefined;
  let message = input.terminate ? "Run Terminated" : "";
  let allFinal = true;
  for (const metric of input.metrics) {
    const isDry = input.dryRun.has(metric.name);
    const summary = isDry ? summaries.dryRun : summaries.run;
    summary.count++;
    const before = results.get(metric.name);
    if (before === undefined) {
      allFinal &&= terminating;
      continue;
    }
    const phase = assessMetric(metric, before, terminating);
    const result = phase === before.phase ? before : transitioned(before, phase);
    results.set(metric.name, result);
    if (!isFinal(phase)) {
      allFinal = false;
      continue;
    }
    countPhase(summary, phase);
    // What runs dry decides nothing: to the run it is as good as successful.
    const counted = isDry ? "Successful" : phase;
    if (worst !== undefined && WORSE.indexOf(counted) <= WORSE.indexOf(worst)) continue;
    worst = counted;
    if (!isDry) message = explain(metric, result) || message;
  }
  const isOver = terminating || (allFinal && worst !== undefined);
  return {
    phase: isOver ? (worst ?? "Successful") : "Running",
    message: isOver ? message : "",
    metricResults: input.metricResults.map(({ name }) => results.get(name) as MetricResult),
    runSummary: summaries.run,
    dryRunSummary: summaries.dryRun,
  };
}

/** A metric's message follows its last measurement's when its phase changes. */
function transitioned(result: MetricResult, phase: AnalysisPhase): MetricResult {
  const message = result.measurements?.at(-1)?.message;
  return { ...result, phase, ...(message === undefined ? {} : { message }) };
}

/** Why a metric ended badly, in Argo's words; empty where it did not. */
function explain(metric: Metric, result: MetricResult): string {
  const reason = brokenLimit(metric, result)?.reason ?? missedStreak(metric, result);
  if (reason === undefined) return "";
  const detail = result.message === undefined || result.message === "" ? "" : result.message;
  const quoted = detail === "" ? "" : `: "Error Message: ${detail}"`;
  return `Metric "${metric.name}" assessed ${result.phase} due to ${reason}${quoted}`;
}

function missedStreak(metric: Metric, result: MetricResult): string | undefined {
  if (result.phase !== "Inconclusive" && result.phase !== "Failed") return undefined;
  const wanted = intOf(metric.consecutiveSuccessLimit, 0);
  const { count = 0, consecutiveSuccess = 0 } = result;
  if (wanted <= 0 || count < (effectiveCount(metric) ?? Infinity)) return undefined;
  return `consecutiveSuccess (${consecutiveSuccess}) < consecutiveSuccessLimit (${wanted}) at count (${count})`;
}

type Counters = { -readonly [Key in keyof RunSummary]: number };

function newSummary(): Counters {
  return { count: 0, successful: 0, failed: 0, inconclusive: 0, error: 0 };
}

function countPhase(summary: Counters, phase: AnalysisPhase): void {
  if (phase === "Successful") summary.successful++;
  else if (phase === "Failed") summary.failed++;
  else if (phase === "Inconclusive") summary.inconclusive++;
  else if (phase === "Error") summary.error++;
}
