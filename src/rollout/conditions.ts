/**
 * A Rollout's conditions, phase and message, drawn from a move: Argo's types and phases, so that its
 * tools and health checks read them. A condition's `lastUpdateTime` is when the rollout last got on,
 * and the progress deadline counts from it, but never from before this process was looking.
 */
import { toTimestamp } from "../base/clock.ts";
import { revisionText, type Context } from "./context.ts";
import { workloadKeyOf } from "./revision.ts";
import type { Effect, Move } from "./seen.ts";
import type { RolloutCondition, RolloutPhase, RolloutStatus } from "./status.ts";

export type Standing = "invalid" | "aborted" | "paused" | "stable" | "progressing";

export interface ConditionInput {
  readonly context: Context;
  readonly move: Move;
  readonly standing: Standing;
  /** Whether the data plane serves what the new status wants. */
  readonly verified: boolean;
}

export interface Conditioned {
  readonly status: RolloutStatus;
  readonly effects: readonly Effect[];
  readonly wakeAtMs: number | undefined;
  /** Whether `progressDeadlineSeconds` have passed without progress. */
  readonly late: boolean;
}

type Draft = Pick<RolloutCondition, "type" | "status" | "reason" | "message">;

/** `status` with conditions, phase and message; events where a pause began or ended. */
export function withConditions(status: RolloutStatus, input: ConditionInput): Conditioned {
  const { context, move, standing } = input;
  const deadlineMs = deadlineOf(status, input);
  const late = deadlineMs !== undefined && context.nowMs >= deadlineMs;
  const drafts = draftsOf(status, input, late);
  const conditions = drafts.map((draft) => renewed(draft, status.conditions ?? [], input));
  const [phase, message] = phaseOf(conditions, input, late);
  return {
    status: {
      ...status,
      observedGeneration: String(context.seen.rollout.metadata.generation),
      phase,
      message: message === "" ? undefined : message,
      conditions,
    },
    effects: standing === "invalid" ? invalidEvent(status, move) : pauseEvents(status, conditions),
    wakeAtMs: late ? undefined : deadlineMs,
    late,
  };
}

function deadlineOf(status: RolloutStatus, input: ConditionInput): number | undefined {
  const { context, move, standing } = input;
  if (standing !== "progressing") return undefined;
  const before = conditionOf(status, "Progressing");
  const counted = before?.reason === "RolloutProgressing" || isLate(before);
  const sinceMs =
    move.progressed === true || before === undefined || !counted
      ? context.nowMs
      : Date.parse(before.lastUpdateTime);
  if (isLate(before) && move.progressed !== true) return context.nowMs;
  return Math.max(sinceMs, context.seen.watchingSinceMs) + context.spec.progressDeadlineMs;
}

function draftsOf(status: RolloutStatus, input: ConditionInput, late: boolean): readonly Draft[] {
  const { context, move, standing } = input;
  const rolloutName = context.seen.rollout.metadata.name;
  const invalid: Draft[] =
    move.invalid === undefined
      ? []
      : [
          {
            type: "InvalidSpec",
            status: "True",
            reason: "InvalidSpec",
            message: `The Rollout "${rolloutName}" is invalid: ${move.invalid}`,
          },
        ];
  // Only an abort is served before it is on disk, so only then is there something to warn of.
  const unsaved: Draft[] = context.seen.unsaved && status.abort ? [STORE_UNAVAILABLE] : [];
  if (standing === "invalid") {
    const kept = (status.conditions ?? []).filter(
      ({ type }) => type !== "InvalidSpec" && type !== STORE_UNAVAILABLE.type,
    );
    return [...invalid, ...kept, ...unsaved];
  }
  const stable = standing === "stable";
  return [
    available(context),
    progressing(status, input, late),
    flag("Paused", standing === "paused", ["RolloutPaused", "Rollout is paused"]),
    flag("Completed", stable, ["RolloutCompleted", "All traffic goes to the newest revision"]),
    flag("Healthy", stable, ["RolloutHealthy", "Rollout is healthy"]),
    ...unsaved,
  ];
}

/** Says that what is served is not on disk yet. */
const STORE_UNAVAILABLE: Draft = {
  type: "StoreUnavailable",
  status: "True",
  reason: "WriteRefused",
  message: "The disk refuses writes: this status is in effect, but would not survive a restart",
};

function available(context: Context): Draft {
  const { seen } = context;
  const key = workloadKeyOf(seen.rollout);
  const name = `${key?.kind} "${key?.name}"`;
  const on = seen.acknowledged !== undefined;
  const [reason, message] = on
    ? ["AvailableReason", `All workers serve ${name}`]
    : seen.routed
      ? ["NotServedYet", `Not all workers serve ${name} yet`]
      : ["NoRoute", `No route sends requests to ${name}`];
  return { type: "Available", status: on ? "True" : "False", reason, message };
}

function progressing(status: RolloutStatus, input: ConditionInput, late: boolean): Draft {
  const { context, move, standing } = input;
  const type = "Progressing";
  const { stable } = context.split;
  switch (standing) {
    case "aborted": {
      const before = conditionOf(status, type);
      const told = before?.reason === "RolloutAborted" ? before.message : (move.waiting ?? "");
      return { type, status: "False", reason: "RolloutAborted", message: told };
    }
    case "paused":
      return { type, status: "Unknown", reason: "RolloutPaused", message: "Rollout is paused" };
    case "progressing":
      return late
        ? lateDraft(input)
        : progress(move.waiting ?? "waiting for all steps to complete");
    case "stable": {
      const text = stable === undefined ? "No revision is recorded" : revisionText(stable);
      const message = stable === undefined ? text : `All traffic goes to ${text}`;
      return { type, status: "True", reason: "NewRevisionAvailable", message };
    }
    case "invalid":
      return progress(move.invalid ?? "");
    default:
      return standing satisfies never;
  }
}

function progress(message: string): Draft {
  return { type: "Progressing", status: "True", reason: "RolloutProgressing", message };
}

function lateDraft(input: ConditionInput): Draft {
  const { context, move } = input;
  const seconds = context.spec.progressDeadlineMs / 1000;
  const why = move.waiting === undefined ? "" : `: ${move.waiting}`;
  return {
    type: "Progressing",
    status: "False",
    reason: "ProgressDeadlineExceeded",
    message: `No progress for ${seconds}s${why}`,
  };
}

function flag(type: string, on: boolean, texts: readonly [reason: string, message: string]): Draft {
  const [reason, message] = texts;
  if (on) return { type, status: "True", reason, message };
  return { type, status: "False", reason: `Not${type}`, message: `Rollout is not ${lower(type)}` };
}

function lower(type: string): string {
  return type.toLowerCase();
}

function renewed(
  draft: Draft,
  before: readonly RolloutCondition[],
  input: ConditionInput,
): RolloutCondition {
  const now = toTimestamp(input.context.nowMs);
  const old = before.find(({ type }) => type === draft.type);
  const moved = draft.type === "Progressing" && input.move.progressed === true;
  const same = old?.status === draft.status && old.reason === draft.reason && !moved;
  return {
    type: draft.type,
    status: draft.status,
    reason: draft.reason,
    message: draft.message,
    lastUpdateTime: same ? old.lastUpdateTime : now,
    lastTransitionTime: old?.status === draft.status ? old.lastTransitionTime : now,
  };
}

/** Argo: `CalculateRolloutPhase`, in its order. */
function phaseOf(
  conditions: readonly RolloutCondition[],
  input: ConditionInput,
  late: boolean,
): readonly [RolloutPhase, string] {
  const { context, move, standing, verified } = input;
  const told = (type: string): string => {
    const condition = conditions.find((each) => each.type === type);
    return condition === undefined ? "" : `${condition.reason}: ${condition.message}`;
  };
  if (standing === "invalid") return ["Degraded", told("InvalidSpec")];
  if (standing === "aborted" || late) return ["Degraded", told("Progressing")];
  if (standing === "paused") {
    if (context.spec.paused) return ["Paused", "manually paused"];
    return ["Paused", move.status.pauseConditions?.at(-1)?.reason ?? "CanaryPauseStep"];
  }
  if (standing === "progressing") {
    return ["Progressing", move.waiting ?? "waiting for all steps to complete"];
  }
  const settled = verified || !context.seen.routed || context.status.phase === "Healthy";
  if (settled) return ["Healthy", ""];
  return ["Progressing", "waiting for all workers to serve the stable revision"];
}

function pauseEvents(
  status: RolloutStatus,
  conditions: readonly RolloutCondition[],
): readonly Effect[] {
  const before = conditionOf(status, "Paused")?.status === "True";
  const after = conditions.some(({ type, status: on }) => type === "Paused" && on === "True");
  // An abort ends a pause as well, but nobody has resumed anything.
  if (before === after || status.abort === true) return [];
  const reason = after ? "RolloutPaused" : "RolloutResumed";
  return [{ type: "event", reason, message: after ? "Rollout is paused" : "Rollout is resumed" }];
}

function invalidEvent(status: RolloutStatus, move: Move): readonly Effect[] {
  const before = conditionOf(status, "InvalidSpec");
  if (move.invalid === undefined || before?.message.endsWith(move.invalid) === true) return [];
  return [{ type: "event", reason: "InvalidSpec", message: move.invalid, warning: true }];
}

function conditionOf(status: RolloutStatus, type: string): RolloutCondition | undefined {
  return status.conditions?.find((condition) => condition.type === type);
}

function isLate(condition: RolloutCondition | undefined): boolean {
  return condition?.reason === "ProgressDeadlineExceeded";
}
