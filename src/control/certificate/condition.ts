/** Conditions of one resource, merged: a time of transition stays while the status does. */
import { toTimestamp } from "../../base/clock.ts";
import type { Condition, ConditionDraft } from "../../resource/resource.ts";

interface Conditioned {
  readonly metadata: { readonly generation: number };
  readonly status?: { readonly conditions?: readonly Partial<Condition>[] | undefined };
}

export function conditionOf(resource: Conditioned, type: string): Partial<Condition> | undefined {
  return resource.status?.conditions?.find((one) => one.type === type);
}

/** The conditions of `resource` with these in place of those of their types, and `without` one. */
export function mergeConditions(
  resource: Conditioned,
  drafts: readonly ConditionDraft[],
  options: { readonly nowMs: number; readonly without?: string },
): readonly Partial<Condition>[] {
  const merged = drafts.map((draft) => {
    const before = conditionOf(resource, draft.type);
    const same = before !== undefined && before.status === draft.status;
    const now = toTimestamp(options.nowMs);
    return {
      ...draft,
      lastTransitionTime: same ? (before.lastTransitionTime ?? now) : now,
      observedGeneration: resource.metadata.generation,
    };
  });
  const ours = new Set([options.without, ...drafts.map((draft) => draft.type)]);
  const others = (resource.status?.conditions ?? []).filter((one) => !ours.has(one.type));
  return [...merged, ...others];
}
