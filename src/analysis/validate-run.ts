/**
 * Whether the metrics of a run make sense together (Argo: ValidateMetrics), and which of them the
 * rules on dry runs and retention name. What a schema can see of one field is checked there; here
 * is what shows only once arguments are resolved.
 */
import { parseDurationOrSeconds } from "../base/duration.ts";
import { syntaxErrorOf } from "./expr/expression.ts";
import { compilePattern } from "./expr/operator.ts";
import { ExprError } from "./expr/syntax.ts";
import { intOf } from "./judge.ts";
import type { AnalysisRunSpec, Metric } from "./run.ts";

/** Measurements kept of each metric (Argo: DefaultMeasurementHistoryLimit). */
const RETENTION_DEFAULT = 10;

/** What is wrong with `metrics`, or undefined. */
export function validateMetrics(metrics: readonly Metric[]): string | undefined {
  if (metrics.length === 0) return "no metrics specified";
  const names = new Set<string>();
  for (const [index, metric] of metrics.entries()) {
    if (names.has(metric.name)) return `metrics[${index}]: duplicate name '${metric.name}'`;
    names.add(metric.name);
    const fault = validateMetric(metric);
    if (fault !== undefined) return `metrics[${index}]: ${fault}`;
  }
  return undefined;
}

function validateMetric(metric: Metric): string | undefined {
  return integerFault(metric) ?? limitFault(metric) ?? timeFault(metric) ?? conditionFault(metric);
}

function integerFault(metric: Metric): string | undefined {
  const fields = [
    "count",
    "failureLimit",
    "inconclusiveLimit",
    "consecutiveErrorLimit",
    "consecutiveSuccessLimit",
  ] as const;
  const wrong = fields.find((field) => !Number.isInteger(Number(metric[field] ?? 0)));
  return wrong === undefined ? undefined : `${wrong} must be an integer, is "${metric[wrong]}"`;
}

function limitFault(metric: Metric): string | undefined {
  const count = intOf(metric.count, 0);
  const failures = intOf(metric.failureLimit, 0);
  const streak = intOf(metric.consecutiveSuccessLimit, 0);
  const inconclusive = intOf(metric.inconclusiveLimit, 0);
  if (count < 0) return "count must be >= 0";
  if (failures < -1) return "failureLimit must be >= -1";
  if (streak < 0) return "consecutiveSuccessLimit must be >= 0";
  if (inconclusive < 0) return "inconclusiveLimit must be >= 0";
  if (intOf(metric.consecutiveErrorLimit, 0) < 0) return "consecutiveErrorLimit must be >= 0";
  if (failures === -1 && streak === 0) {
    return "failureLimit and consecutiveSuccessLimit must not both be disabled";
  }
  if (count === 0) return undefined;
  if (failures >= 0 && count < failures + streak) {
    return `count must be >= failureLimit${streak > 0 ? " + consecutiveSuccessLimit" : ""}`;
  }
  return count < inconclusive ? "count must be >= inconclusiveLimit" : undefined;
}

function timeFault({ count, interval, initialDelay }: Metric): string | undefined {
  if (intOf(count, 0) > 1 && (interval ?? "") === "") {
    return "interval must be specified when count > 1";
  }
  for (const [field, text] of Object.entries({ interval, initialDelay })) {
    if (text !== undefined && text !== "" && parseDurationOrSeconds(text) === undefined) {
      return `invalid ${field} "${text}": must be a duration such as 30s`;
    }
  }
  return undefined;
}

function conditionFault(metric: Metric): string | undefined {
  for (const field of ["successCondition", "failureCondition"] as const) {
    const condition = metric[field] ?? "";
    const error = condition === "" ? undefined : syntaxErrorOf(condition);
    if (error !== undefined)
      return `${field} "${condition}": ${error.message} (column ${error.column})`;
  }
  return undefined;
}

export interface MetricRules {
  /** Names of metrics that are measured but decide nothing. */
  readonly dryRun: ReadonlySet<string>;
  /** How many measurements of a metric are kept. */
  readonly retentionOf: (name: string) => number;
}

/** The metrics that rules name. A rule that names none is an error, as in Argo. */
export function metricRules(
  spec: AnalysisRunSpec,
):
  | { readonly ok: true; readonly rules: MetricRules }
  | { readonly ok: false; readonly message: string } {
  const names = spec.metrics.map(({ name }) => name);
  const dryRun = new Set<string>();
  for (const [index, { metricName }] of (spec.dryRun ?? []).entries()) {
    const matched = matching(metricName, names);
    if (matched.length === 0) return { ok: false, message: unmatched("dryRun", index) };
    for (const name of matched) dryRun.add(name);
  }
  const limits = new Map<string, number>();
  for (const [index, rule] of (spec.measurementRetention ?? []).entries()) {
    const matched = matching(rule.metricName, names);
    if (matched.length === 0)
      return { ok: false, message: unmatched("measurementRetention", index) };
    for (const name of matched) limits.set(name, intOf(rule.limit, RETENTION_DEFAULT));
  }
  const retentionOf = (name: string): number => Math.max(1, limits.get(name) ?? RETENTION_DEFAULT);
  return { ok: true, rules: { dryRun, retentionOf } };
}

function unmatched(field: string, index: number): string {
  return `${field}[${index}]: Rule didn't match any metric name(s)`;
}

/** A pattern that is no expression matches nothing, which is then said of its rule. */
function matching(pattern: string, names: readonly string[]): readonly string[] {
  try {
    const compiled = compilePattern(pattern);
    return names.filter((name) => compiled.matcher(name).find());
  } catch (error) {
    if (error instanceof ExprError) return [];
    throw error;
  }
}
