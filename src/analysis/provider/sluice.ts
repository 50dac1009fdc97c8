/**
 * The `sluice` provider: a metric of what the gateway itself counted, for one arm or for both. Pure
 * over readings of the two arms. Too few samples are never taken for health: `noData` says what they
 * mean, and unless it says otherwise the metric waits.
 */
import { formatDuration, parseDurationOrSeconds } from "../../base/duration.ts";
import type { SluiceMetric } from "../../resource/analysis.ts";
import { floatText } from "../expr/value.ts";
import { intOf } from "../judge.ts";
import type { Outcome } from "../plan-run.ts";
import { waitingText } from "../run.ts";
import {
  type Range,
  rangeOfDifference,
  rangeOfQuantile,
  rangeOfRatio,
  rangeOfShare,
} from "./confidence.ts";

/** What one arm's attempts within a window came to. */
export interface ArmReading {
  /** Attempts, the samples of everything but time to first token. */
  readonly requests: number;
  /** Attempts that were no error of the arm. */
  readonly ok: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Streams that brought a first token. */
  readonly firstTokens: number;
  /** What the window really covers; less than was asked for while it is young. */
  readonly elapsedMs: number;
  /** Milliseconds; undefined without samples. */
  latencyMs(quantile: number): number | undefined;
  /** Milliseconds; undefined without samples. */
  firstTokenMs(quantile: number): number | undefined;
}

export interface ArmReadings {
  readonly canary: ArmReading;
  /** Undefined where the run knows no stable arm. */
  readonly stable: ArmReading | undefined;
}

const WINDOW_DEFAULT_MS = 60_000;
const QUANTILE_DEFAULT = 0.95;

/** Sums and rates mean nothing until their whole window has been watched. */
const OVER_TIME: ReadonlySet<SluiceMetric["metric"]> = new Set([
  "request-count",
  "request-rate",
  "input-tokens",
  "output-tokens",
  "tokens-per-second",
]);

/** How far back a metric looks, milliseconds. */
export function windowOf(spec: SluiceMetric): number {
  const windowMs = spec.window === undefined ? undefined : parseDurationOrSeconds(spec.window);
  return windowMs === undefined || windowMs <= 0 ? WINDOW_DEFAULT_MS : windowMs;
}

/** One measurement of `spec`. */
export function measureSluice(spec: SluiceMetric, arms: ArmReadings): Outcome {
  const arm = spec.arm ?? "canary";
  const needsStable = arm !== "canary";
  if (needsStable && arms.stable === undefined) {
    return { kind: "error", message: `there is no stable arm to take ${arm} of` };
  }
  const read: { name: string; reading: ArmReading }[] = [];
  if (arm !== "stable") read.push({ name: "canary", reading: arms.canary });
  if (arms.stable !== undefined && needsStable) read.push({ name: "stable", reading: arms.stable });
  const missing = missingData(spec, read);
  if (missing !== undefined) return noData(spec, missing);
  const values = read.map(({ reading }) => valueOf(spec, reading) as number);
  const value = combine(arm, values);
  const samples = read.map(({ reading }) => samplesOf(spec, reading)).join(" and ");
  const shown = floatText(Number(value.toPrecision(6)));
  const description = `${nameOf(spec)} ${arm} ${shown} over ${formatDuration(windowOf(spec))} (${samples} samples)`;
  const range = rangeOf(
    spec,
    read.map(({ reading }) => reading),
  );
  return {
    kind: "value",
    value,
    text: floatText(value),
    description,
    ...(range === undefined ? {} : { doubt: { ...range, forMs: windowOf(spec) } }),
  };
}

/** How far chance may have moved the value; undefined for what is counted and not sampled. */
function rangeOf(spec: SluiceMetric, read: readonly ArmReading[]): Range | undefined {
  const [first, second] = read.map((reading) => rangeOfArm(spec, reading));
  if (first === undefined || second === undefined) return first;
  return spec.arm === "ratio" ? rangeOfRatio(first, second) : rangeOfDifference(first, second);
}

function rangeOfArm(spec: SluiceMetric, reading: ArmReading): Range | undefined {
  const { requests, ok, firstTokens } = reading;
  const quantile = spec.quantile ?? QUANTILE_DEFAULT;
  if (spec.metric === "success-rate") return rangeOfShare(ok, requests);
  if (spec.metric === "error-rate") return rangeOfShare(requests - ok, requests);
  if (spec.metric === "latency") {
    const { low, high } = rangeOfQuantile(quantile, requests);
    return { low: reading.latencyMs(low) ?? 0, high: reading.latencyMs(high) ?? Infinity };
  }
  if (spec.metric !== "time-to-first-token") return undefined;
  const { low, high } = rangeOfQuantile(quantile, firstTokens);
  return { low: reading.firstTokenMs(low) ?? 0, high: reading.firstTokenMs(high) ?? Infinity };
}

function nameOf({ metric, quantile }: SluiceMetric): string {
  if (metric !== "latency" && metric !== "time-to-first-token") return metric;
  return `${metric} p${floatText(Number(((quantile ?? QUANTILE_DEFAULT) * 100).toPrecision(6)))}`;
}

function combine(arm: NonNullable<SluiceMetric["arm"]>, values: readonly number[]): number {
  const [first = NaN, second = NaN] = values;
  if (arm === "difference") return first - second;
  if (arm !== "ratio") return first;
  // Two arms without a single error are alike, although 0/0 is no number.
  return first === second ? 1 : first / second;
}

function samplesOf(spec: SluiceMetric, reading: ArmReading): number {
  return spec.metric === "time-to-first-token" ? reading.firstTokens : reading.requests;
}

/** What is lacking for a measurement, for a person; undefined if nothing is. */
function missingData(
  spec: SluiceMetric,
  read: readonly { readonly name: string; readonly reading: ArmReading }[],
): string | undefined {
  const isOverTime = OVER_TIME.has(spec.metric);
  const needed = Math.max(isOverTime ? 0 : 1, intOf(spec.minSamples, 0));
  for (const { name, reading } of read) {
    const has = samplesOf(spec, reading);
    const what = read.length === 1 ? "samples" : `samples of ${name}`;
    if (has < needed) return waitingText(needed, has, what);
  }
  const windowMs = windowOf(spec);
  const coveredMs = Math.min(...read.map(({ reading }) => reading.elapsedMs));
  if (!isOverTime || coveredMs >= windowMs) return undefined;
  return `waiting for ${formatDuration(windowMs)} of traffic, has ${formatDuration(coveredMs)}`;
}

function noData(spec: SluiceMetric, missing: string): Outcome {
  const message = `${nameOf(spec)} ${spec.arm ?? "canary"} has no data (${missing.replace("waiting for", "needs")})`;
  const policy = spec.noData ?? "wait";
  switch (policy) {
    case "wait":
      return { kind: "waiting", message: missing };
    case "pause":
      return { kind: "verdict", phase: "Inconclusive", message };
    case "fail":
      return { kind: "verdict", phase: "Failed", message };
    case "pass":
      return { kind: "verdict", phase: "Successful", message };
    default:
      return policy satisfies never;
  }
}

function valueOf(spec: SluiceMetric, reading: ArmReading): number | undefined {
  const { requests, ok, elapsedMs, inputTokens, outputTokens } = reading;
  const seconds = Math.max(elapsedMs, 1) / 1000;
  const quantile = spec.quantile ?? QUANTILE_DEFAULT;
  switch (spec.metric) {
    case "request-count":
      return requests;
    case "request-rate":
      return requests / seconds;
    case "success-rate":
      return ok / requests;
    case "error-rate":
      return (requests - ok) / requests;
    case "latency":
      return reading.latencyMs(quantile);
    case "input-tokens":
      return inputTokens;
    case "output-tokens":
      return outputTokens;
    case "tokens-per-second":
      return outputTokens / seconds;
    case "time-to-first-token":
      return reading.firstTokenMs(quantile);
    default:
      return spec.metric satisfies never;
  }
}
