/**
 * Writes the status of an AnalysisRun. A run's word must be heard even while the disk refuses
 * writes, for a rollout aborts by it; and a run that merely waits must not write four times a second
 * that it waits.
 */
import { type AnalysisRunStatus, isWaiting, statusOf } from "../../analysis/run.ts";
import { type JsonObject, type JsonValue, jsonEqual } from "../../base/json.ts";
import type { Resource } from "../../resource/resource.ts";
import { type Store, StoreError } from "../../store/store.ts";

/** How often a status is written that says nothing but what is waited for. */
export const WAIT_WRITE_MS = 1000;

export type Applied =
  /** The store has it, or had it already. */
  | "written"
  | "unchanged"
  /** Only what is waited for has changed, and that was written a moment ago. */
  | "deferred"
  /** Somebody else wrote first: look again. */
  | "conflict";

/** Writes `status` unless it is there already. Throws StoreError for what is not a conflict. */
export async function applyStatus(
  run: Resource,
  status: AnalysisRunStatus,
  { store, mayDefer }: { readonly store: Store; readonly mayDefer: boolean },
): Promise<Applied> {
  const next = plain(status);
  if (jsonEqual(run.status ?? {}, next)) return "unchanged";
  if (mayDefer && jsonEqual(withoutWaiting(statusOf(run)), withoutWaiting(status))) {
    return "deferred";
  }
  try {
    await store.commit([{ op: "status", resource: { ...run, status: next }, evenUnsaved: true }]);
    return "written";
  } catch (error) {
    const isLate =
      error instanceof StoreError && (error.code === "Conflict" || error.code === "NotFound");
    if (isLate) return "conflict";
    throw error;
  }
}

/** A JSON copy: the store shares nothing with the plan. */
function plain(status: AnalysisRunStatus): JsonObject {
  return JSON.parse(JSON.stringify(status)) as JsonObject;
}

function withoutWaiting(status: AnalysisRunStatus): JsonValue {
  const metricResults = (status.metricResults ?? []).map((result) =>
    isWaiting(result.message) ? { ...result, message: "waiting" } : result,
  );
  return plain({ ...status, metricResults });
}
