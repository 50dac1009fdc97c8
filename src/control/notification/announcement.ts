/**
 * What a change of a Rollout's status is worth telling: a pure function from two statuses to
 * records of the outbox, to be committed together with the new status. So an announcement exists if
 * and only if what it announces has happened, and its key is the same however often it is
 * delivered.
 */
import type { JsonObject, JsonValue } from "../../base/json.ts";
import { isJsonObject } from "../../base/json.ts";
import { sha256 } from "../../base/hash.ts";
import type { Resource } from "../../resource/resource.ts";
import type { RolloutStatus, RunReference } from "../../rollout/status.ts";
import type { Change } from "../../store/store.ts";
import { TRIGGERS, subscriptionsOf } from "./subscription.ts";
import type { Subscription, Trigger } from "./subscription.ts";

/** A record of the outbox. */
export interface Announcement {
  readonly subscription: Subscription;
  /** The Rollout as it was when this happened, with the status that is announced. */
  readonly rollout: JsonObject;
  /** What failed or began, for an announcement about an AnalysisRun. */
  readonly analysisRun?: JsonObject;
  /** Deliveries that have failed. */
  readonly attempts: number;
  /** Wall time, milliseconds since the epoch, before which it is not tried again. */
  readonly notBeforeMs: number;
}

/** Fields of metadata that a receiver may need; annotations may hold what is not for it. */
const METADATA_TOLD = ["name", "namespace", "uid", "generation", "labels"];

/**
 * The outbox records for the step from status `before` to `after`. `rollout` is the Rollout as it
 * is stored before that step: its resourceVersion names the occurrence, for the commit that takes
 * the step is a compare-and-set on it.
 */
export function announcements(
  rollout: Resource,
  before: RolloutStatus | undefined,
  after: RolloutStatus,
): readonly Change[] {
  const { subscriptions } = subscriptionsOf(rollout);
  if (subscriptions.length === 0) return [];
  const told = toldOf(rollout, after);
  const changes: Change[] = [];
  for (const { trigger, analysisRun } of occurrences(before ?? {}, after)) {
    for (const subscription of subscriptions) {
      if (subscription.trigger !== trigger) continue;
      const run = analysisRun === undefined ? {} : { analysisRun: { ...analysisRun } };
      const value = { subscription, rollout: told, ...run, attempts: 0, notBeforeMs: 0 };
      const key = outboxKey(rollout, subscription, analysisRun?.name ?? "");
      changes.push({ op: "record", table: "outbox", key, value: toJson(value) });
    }
  }
  return changes;
}

/** A record of the outbox, or undefined where it is none that this version knows. */
export function readAnnouncement(value: JsonValue): Announcement | undefined {
  if (!isJsonObject(value)) return undefined;
  const { subscription, rollout, analysisRun, attempts, notBeforeMs } = value;
  if (!isJsonObject(subscription) || !isJsonObject(rollout)) return undefined;
  if (typeof attempts !== "number" || typeof notBeforeMs !== "number") return undefined;
  const { service, recipient } = subscription;
  const trigger = TRIGGERS.find((known) => known === subscription["trigger"]);
  if (trigger === undefined) return undefined;
  if (typeof service !== "string" || typeof recipient !== "string") return undefined;
  const run = isJsonObject(analysisRun) ? { analysisRun } : {};
  return { subscription: { trigger, service, recipient }, rollout, ...run, attempts, notBeforeMs };
}

interface Occurrence {
  readonly trigger: Trigger;
  readonly analysisRun?: RunReference;
}

function occurrences(before: RolloutStatus, after: RolloutStatus): readonly Occurrence[] {
  const found: Occurrence[] = [];
  if (after.currentPodHash !== undefined && after.currentPodHash !== before.currentPodHash) {
    found.push({ trigger: "on-rollout-updated" });
  }
  if (hasCompletedStep(before, after)) found.push({ trigger: "on-rollout-step-completed" });
  if (hasPaused(before, after)) found.push({ trigger: "on-rollout-paused" });
  if (isAborted(after) && (!isAborted(before) || before.abortedAt !== after.abortedAt)) {
    found.push({ trigger: "on-rollout-aborted" });
  }
  found.push(...runOccurrences(before, after));
  if (hasCompleted(before, after)) found.push({ trigger: "on-rollout-completed" });
  return found;
}

function hasCompletedStep(before: RolloutStatus, after: RolloutStatus): boolean {
  const isSameRun =
    before.currentPodHash === after.currentPodHash &&
    before.currentStepHash === after.currentStepHash;
  return (
    isSameRun && !isAborted(after) && (after.currentStepIndex ?? 0) > (before.currentStepIndex ?? 0)
  );
}

/** A pause that follows another at once is a pause of its own. */
function hasPaused(before: RolloutStatus, after: RolloutStatus): boolean {
  const known = (before.pauseConditions ?? []).map((pause) => `${pause.reason} ${pause.startTime}`);
  const isNew = (after.pauseConditions ?? []).some(
    (pause) => !known.includes(`${pause.reason} ${pause.startTime}`),
  );
  const wasPaused = before.phase === "Paused" || known.length > 0;
  return isNew || (after.phase === "Paused" && !wasPaused);
}

function hasCompleted(before: RolloutStatus, after: RolloutStatus): boolean {
  const { stableRS, currentPodHash } = after;
  if (stableRS === undefined || stableRS === "" || stableRS !== currentPodHash) return false;
  return before.stableRS !== stableRS || before.currentPodHash !== stableRS;
}

function isAborted(status: RolloutStatus): boolean {
  return status.abort === true;
}

const RUN_TRIGGERS: Readonly<Record<string, Trigger>> = {
  Running: "on-analysis-run-running",
  Failed: "on-analysis-run-failed",
  Error: "on-analysis-run-error",
};

function runOccurrences(before: RolloutStatus, after: RolloutStatus): readonly Occurrence[] {
  const known = runsOf(before).map((run) => `${run.name} ${run.status}`);
  return runsOf(after).flatMap((analysisRun) => {
    const trigger = RUN_TRIGGERS[analysisRun.status];
    if (trigger === undefined || known.includes(`${analysisRun.name} ${analysisRun.status}`)) {
      return [];
    }
    return [{ trigger, analysisRun }];
  });
}

function runsOf(status: RolloutStatus): readonly RunReference[] {
  const { currentStepAnalysisRunStatus, currentBackgroundAnalysisRunStatus } = status.canary ?? {};
  return [currentStepAnalysisRunStatus, currentBackgroundAnalysisRunStatus].filter(
    (run) => run !== undefined,
  );
}

function toldOf(rollout: Resource, status: RolloutStatus): JsonObject {
  const { apiVersion, kind, metadata } = rollout;
  const told = Object.entries(metadata).filter(([name]) => METADATA_TOLD.includes(name));
  const workloadRef = rollout.spec?.["workloadRef"];
  const spec = workloadRef === undefined ? {} : { workloadRef };
  return toJson({ apiVersion, kind, metadata: Object.fromEntries(told), spec, status });
}

/** The fields that are defined, as the store will hold them. */
function toJson(value: object): JsonObject {
  return JSON.parse(JSON.stringify(value)) as JsonObject;
}

/** Orders a Rollout's announcements by occurrence; the recipient may be a secret of somebody's. */
function outboxKey(rollout: Resource, subscription: Subscription, run: string): string {
  const { uid, resourceVersion } = rollout.metadata;
  const { trigger, service, recipient } = subscription;
  const rest = [trigger, service, run, sha256(recipient).slice(0, 16)].join("/");
  return `${uid}/${resourceVersion.padStart(16, "0")}/${rest}`;
}
