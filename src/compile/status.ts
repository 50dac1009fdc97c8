/**
 * Drafts of statuses, merged into the statuses that are stored: a condition keeps its time of
 * transition while its status stays, entries of other controllers stay as they are, and a status
 * that would not change is not written.
 */
import { isJsonObject, jsonEqual } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import type { Condition, ConditionDraft, Resource } from "../resource/resource.ts";
import { CONTROLLER_NAME } from "./compiled.ts";
import type { ParentReference, StatusDraft } from "./compiled.ts";

/**
 * The status that `resource` should have, or undefined where it already has it. `timestamp` is the
 * RFC 3339 time of a transition, if there is one.
 */
export function mergeStatus(
  resource: Resource,
  draft: StatusDraft,
  timestamp: string,
): JsonObject | undefined {
  const before = resource.status ?? NO_STATUS;
  if (settled.get(draft) === before) return undefined;
  const at = { timestamp, generation: draft.generation };
  const status: Record<string, unknown> = { ...before };
  if (draft.conditions !== undefined) {
    status["conditions"] = mergeConditions(before["conditions"], draft.conditions, at);
  }
  if (draft.supportedFeatures !== undefined) {
    status["supportedFeatures"] = draft.supportedFeatures;
  }
  if (draft.addresses !== undefined) status["addresses"] = draft.addresses;
  if (draft.listeners !== undefined) {
    const known = objects(before["listeners"]);
    status["listeners"] = draft.listeners.map((listener) => ({
      ...listener,
      conditions: mergeConditions(
        known.find((one) => one["name"] === listener.name)?.["conditions"],
        listener.conditions,
        at,
      ),
    }));
  }
  if (draft.parents !== undefined) {
    status["parents"] = mergeOwned(before["parents"], "parentRef", at, draft.parents);
  }
  if (draft.ancestors !== undefined) {
    status["ancestors"] = mergeOwned(before["ancestors"], "ancestorRef", at, draft.ancestors);
  }
  if (!jsonEqual(before, status)) return status as JsonObject;
  settled.set(draft, before);
  return undefined;
}

/**
 * The status of a resource that is no longer ours to speak of (a Gateway whose class is another's),
 * without what we said of it.
 */
export function releasedStatus({ status = NO_STATUS }: Resource): JsonObject {
  const { addresses: _addresses, listeners: _listeners, ...kept } = status;
  const ours = new Set(COMPILER_CONDITIONS);
  const conditions = objects(status["conditions"]).filter(
    (condition) => !ours.has(condition["type"] as string),
  );
  return { ...kept, conditions };
}

const NO_STATUS: JsonObject = {};

/**
 * Drafts that their resource's status already says. Draft and status are immutable, so that going
 * through thousands of them after each compilation costs a look-up each.
 */
const settled = new WeakMap<StatusDraft, JsonObject>();

interface Moment {
  readonly timestamp: string;
  readonly generation: number;
}

type Entry<Field extends string> = Readonly<Record<Field, ParentReference>> & {
  readonly conditions: readonly ConditionDraft[];
};

/** Replaces the entries that carry our controller's name and keeps the others'. */
function mergeOwned<Field extends "parentRef" | "ancestorRef">(
  stored: JsonValue | undefined,
  referenceField: Field,
  at: Moment,
  entries: readonly Entry<Field>[],
): unknown[] {
  const known = objects(stored);
  const others = known.filter((entry) => entry["controllerName"] !== CONTROLLER_NAME);
  const ours = known.filter((entry) => entry["controllerName"] === CONTROLLER_NAME);
  const merged = entries.map((entry) => ({
    [referenceField]: entry[referenceField],
    controllerName: CONTROLLER_NAME,
    conditions: mergeConditions(
      ours.find((one) => jsonEqual(one[referenceField], entry[referenceField]))?.["conditions"],
      entry.conditions,
      at,
    ),
  }));
  return [...others, ...merged];
}

/** Our conditions over the stored ones; types that the compiler does not speak of are kept. */
function mergeConditions(
  stored: JsonValue | undefined,
  drafts: readonly ConditionDraft[],
  at: Moment,
): Condition[] {
  const known = objects(stored).filter(isCondition);
  const merged = drafts.map(({ causes: _causes, ...draft }) => {
    const before = known.find((condition) => condition.type === draft.type);
    const same = before !== undefined && before.status === draft.status;
    return {
      ...draft,
      lastTransitionTime: same ? before.lastTransitionTime : at.timestamp,
      observedGeneration: at.generation,
    };
  });
  const ours = new Set([...COMPILER_CONDITIONS, ...drafts.map((draft) => draft.type)]);
  return [...merged, ...known.filter((condition) => !ours.has(condition.type))];
}

/** Condition types that are removed when the compiler no longer says them. */
const COMPILER_CONDITIONS: readonly string[] = [
  "Accepted",
  "Conflicted",
  "InsecureFrontendValidationMode",
  "OverlappingTLSConfig",
  "Overridden",
  "Programmed",
  "ResolvedRefs",
  "SupportedVersion",
];

function isCondition(value: JsonObject): value is JsonObject & Condition {
  return typeof value["type"] === "string" && typeof value["lastTransitionTime"] === "string";
}

function objects(value: JsonValue | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}
