/**
 * An AnalysisRun as its controller and the rollout's see it: the fields of Argo's status, and the
 * questions that a rollout asks of a run. Nothing here decides; that is judge.ts and plan-run.ts.
 */
import type { JsonObject } from "../base/json.ts";
import type { Resource } from "../resource/resource.ts";

/** Argo's `AnalysisPhase`. The last four are final. */
export type AnalysisPhase =
  | "Pending"
  | "Running"
  | "Successful"
  | "Failed"
  | "Error"
  | "Inconclusive";

/** A number, or its digits, or "{{args.name}}" before arguments are resolved. */
export type IntOrString = number | string;

/** One entry of Argo's `metrics` list; `provider` is validated by its schema. */
export interface Metric {
  readonly name: string;
  readonly interval?: string;
  readonly initialDelay?: string;
  readonly count?: IntOrString;
  readonly successCondition?: string;
  readonly failureCondition?: string;
  readonly failureLimit?: IntOrString;
  readonly inconclusiveLimit?: IntOrString;
  readonly consecutiveErrorLimit?: IntOrString;
  readonly consecutiveSuccessLimit?: IntOrString;
  readonly provider?: JsonObject;
}

export interface SecretKeyRef {
  readonly name: string;
  readonly key: string;
}

/** An argument of a template or a run. A run's never has `fieldRef`: it was resolved before. */
export interface Argument {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly secretKeyRef?: SecretKeyRef;
    readonly fieldRef?: { readonly fieldPath: string };
    readonly podTemplateHashValue?: "Stable" | "Latest";
  };
}

/** Names metrics by a regular expression (RE2, unanchored). */
export interface DryRunRule {
  readonly metricName: string;
}

export interface RetentionRule {
  readonly metricName: string;
  readonly limit: IntOrString;
}

export interface TemplateRef {
  readonly templateName: string;
  readonly clusterScope?: boolean;
}

export interface AnalysisTemplateSpec {
  readonly metrics?: readonly Metric[];
  readonly args?: readonly Argument[];
  readonly templates?: readonly TemplateRef[];
  readonly dryRun?: readonly DryRunRule[];
  readonly measurementRetention?: readonly RetentionRule[];
}

export interface AnalysisRunSpec {
  readonly metrics: readonly Metric[];
  readonly args?: readonly Argument[];
  readonly dryRun?: readonly DryRunRule[];
  readonly measurementRetention?: readonly RetentionRule[];
  readonly terminate?: boolean;
}

/** Times are RFC 3339 with milliseconds. */
export interface Measurement {
  readonly phase: AnalysisPhase;
  /** As the provider gave it, as text: "0.81", "[0.2,0.3]". */
  readonly value?: string;
  readonly message?: string;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  readonly resumeAt?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface MetricResult {
  readonly name: string;
  readonly phase: AnalysisPhase;
  readonly message?: string;
  readonly count?: number;
  readonly successful?: number;
  readonly failed?: number;
  readonly inconclusive?: number;
  readonly error?: number;
  readonly consecutiveError?: number;
  readonly consecutiveSuccess?: number;
  readonly dryRun?: boolean;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly measurements?: readonly Measurement[];
}

export interface RunSummary {
  readonly count: number;
  readonly successful: number;
  readonly failed: number;
  readonly inconclusive: number;
  readonly error: number;
}

export interface AnalysisRunStatus {
  readonly phase: AnalysisPhase;
  readonly message?: string;
  readonly startedAt?: string;
  readonly completedAt?: string;
  readonly runSummary?: RunSummary;
  readonly dryRunSummary?: RunSummary;
  readonly metricResults?: readonly MetricResult[];
}

/** Annotations by which a run knows the arms that it compares. */
export const CANARY_ARM_ANNOTATION = "sluice.dev/canary-arm";
export const STABLE_ARM_ANNOTATION = "sluice.dev/stable-arm";
/** The key of the split whose routes are measured: "split/Backend/shop/checkout". */
export const SPLIT_ANNOTATION = "sluice.dev/split";

const FINAL: ReadonlySet<AnalysisPhase> = new Set([
  "Successful",
  "Failed",
  "Error",
  "Inconclusive",
]);

/** Whether nothing follows `phase` any more (Argo's `AnalysisPhase.Completed`). */
export function isFinal(phase: AnalysisPhase): boolean {
  return FINAL.has(phase);
}

/** The spec of an AnalysisRun resource; validated by its schema when it was admitted. */
export function specOf(run: Resource): AnalysisRunSpec {
  const spec: unknown = run.spec ?? { metrics: [] };
  return spec as AnalysisRunSpec;
}

/** The status of an AnalysisRun resource; a run that nobody looked at yet is Pending. */
export function statusOf(run: Resource): AnalysisRunStatus {
  const written: unknown = run.status ?? {};
  const status = written as Partial<AnalysisRunStatus>;
  // Argo writes "" for a run that its controller has not seen yet.
  return { ...status, phase: status.phase || "Pending" };
}

/** Where a run stands: what a rollout acts on. */
export function phaseOf(run: Resource): AnalysisPhase {
  return statusOf(run).phase;
}

/** Why a run stands there, for a person; empty if there is nothing to say. */
export function messageOf(run: Resource): string {
  return statusOf(run).message ?? "";
}

/**
 * What the run's metrics lack ("success-rate: waiting for 20 samples, has 3"), or undefined if none
 * is waiting for data.
 */
export function waitingMessage(run: Resource): string | undefined {
  const waiting = (statusOf(run).metricResults ?? [])
    .filter((result) => !isFinal(result.phase) && isWaiting(result.message))
    .map((result) => `${result.name}: ${result.message}`);
  return waiting.length === 0 ? undefined : waiting.join("; ");
}

/** When the newest completed measurement of each metric began, milliseconds since the epoch. */
export function lastMeasuredAtMs(run: Resource): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  for (const result of statusOf(run).metricResults ?? []) {
    const last = result.measurements?.findLast((one) => one.finishedAt !== undefined);
    if (last?.startedAt !== undefined) times.set(result.name, Date.parse(last.startedAt));
  }
  return times;
}

/**
 * The metrics that could still speak against the canary but have no verdict on what happened since
 * `sinceMs`: while there is one, a step must not end. A metric that has reached its count, and one
 * that runs dry, holds nothing. A measurement that could not be taken (Error) is no verdict; nor is
 * one that lies ahead of `nowMs`, for it was taken before the clock was set back.
 */
export function unmeasuredSince(run: Resource, sinceMs: number, nowMs: number): readonly string[] {
  const results = new Map(
    (statusOf(run).metricResults ?? []).map((result) => [result.name, result] as const),
  );
  return specOf(run)
    .metrics.filter(({ name }) => {
      const result = results.get(name);
      if (result === undefined) return true;
      if (isFinal(result.phase) || result.dryRun === true) return false;
      return !(result.measurements ?? []).some(({ phase, startedAt }) => {
        if (phase === "Error" || startedAt === undefined) return false;
        const startedAtMs = Date.parse(startedAt);
        return startedAtMs >= sinceMs && startedAtMs <= nowMs;
      });
    })
    .map(({ name }) => name);
}

/** How the message of a metric begins that has no verdict yet. */
export const WAITING = "waiting for ";

/** Says that a metric has no data yet: the message by which `waitingMessage` finds it. */
export function waitingText(needed: number, has: number, what = "samples"): string {
  return `${WAITING}${needed} ${what}, has ${has}`;
}

export function isWaiting(message: string | undefined): boolean {
  return message?.startsWith(WAITING) === true;
}
