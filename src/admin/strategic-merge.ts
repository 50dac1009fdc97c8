/**
 * Strategic merge patch, for the kinds of Kubernetes' own that kubectl patches with it (`kubectl
 * apply` on a Service or a Secret). It is a merge patch in which some lists are merged by a key and
 * `$patch`, `$retainKeys`, `$setElementOrder` and `$deleteFromPrimitiveList` direct the merge.
 * Lists that Kubernetes declares atomic, such as the endpoints of an EndpointSlice, are replaced.
 */
import { isJsonObject, jsonEqual } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import { badRequest, tooLarge } from "./api-error.ts";

/** The key of each list that is merged (`patchMergeKey` in Kubernetes' types); "": primitives. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  "metadata.ownerReferences": "uid",
  "metadata.finalizers": "",
  "status.conditions": "type",
};
const MERGE_KEYS_OF_KIND: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Service: { "spec.ports": "port" },
};

/** Kinds that Kubernetes builds in and its clients therefore patch this way. */
const KINDS: ReadonlySet<string> = new Set([
  "ConfigMap",
  "ControllerRevision",
  "EndpointSlice",
  "Event",
  "Namespace",
  "Secret",
  "Service",
]);

/** Merging compares each item with each, so merged lists are short; real ones hold a few. */
const MERGED_ITEMS_MAX = 1000;

/** Whether `kind` takes strategic merge patches; custom resources do not, in Kubernetes either. */
export function takesStrategicMerge(kind: string): boolean {
  return KINDS.has(kind);
}

/** The result of a strategic merge patch on a resource of `kind`. Throws ApiError 400. */
export function applyStrategicMerge(
  kind: string,
  target: JsonObject,
  patch: JsonObject,
): JsonObject {
  const keys = { ...MERGE_KEYS, ...MERGE_KEYS_OF_KIND[kind] };
  const result = mergeObject(target, patch, { keys, path: "" });
  return result ?? {};
}

interface Place {
  readonly keys: Readonly<Record<string, string>>;
  /** Dotted, without list indexes. */
  readonly path: string;
}

/** Undefined where the patch deletes the object. */
function mergeObject(
  target: JsonValue | undefined,
  patch: JsonObject,
  place: Place,
): JsonObject | undefined {
  const directive = patch["$patch"];
  if (directive === "delete") return undefined;
  if (directive !== undefined && directive !== "replace" && directive !== "merge") {
    throw badRequest(`${place.path}: $patch must be merge, replace or delete`);
  }
  const base = isJsonObject(target) && directive !== "replace" ? target : {};
  const retained = primitives(patch["$retainKeys"], "$retainKeys", place);
  const result: Record<string, JsonValue> = {};
  for (const [key, value] of Object.entries(base)) {
    if (value === undefined || (retained !== undefined && !retained.includes(key))) continue;
    result[key] = value;
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith("$") || value === undefined) continue;
    const merged = value === null ? undefined : mergeValue(result, key, { value, patch, place });
    if (merged === undefined) delete result[key];
    else result[key] = merged;
  }
  applyListDirectives(result, patch, place);
  return result;
}

interface FieldPatch {
  readonly value: JsonValue;
  readonly patch: JsonObject;
  readonly place: Place;
}

function mergeValue(
  base: Readonly<Record<string, JsonValue>>,
  key: string,
  { value, patch, place }: FieldPatch,
): JsonValue | undefined {
  const path = place.path === "" ? key : `${place.path}.${key}`;
  const old = Object.hasOwn(base, key) ? base[key] : undefined;
  if (isJsonObject(value)) return mergeObject(old, value, { keys: place.keys, path });
  const mergeKey = place.keys[path];
  if (!Array.isArray(value) || mergeKey === undefined) return value;
  const items = Array.isArray(old) ? (old as readonly JsonValue[]) : [];
  if (items.length + value.length > MERGED_ITEMS_MAX) {
    throw tooLarge(`${path}: a merged list holds at most ${MERGED_ITEMS_MAX} items`);
  }
  const merged =
    mergeKey === ""
      ? [...items, ...value.filter((item) => !items.some((known) => jsonEqual(known, item)))]
      : mergeList(items, value, { keys: place.keys, path, mergeKey });
  return inOrder(merged, patch[`$setElementOrder/${key}`], mergeKey);
}

interface ListPlace extends Place {
  readonly mergeKey: string;
}

function mergeList(
  items: readonly JsonValue[],
  patch: readonly JsonValue[],
  place: ListPlace,
): JsonValue[] {
  const replaces = patch.some((item) => isJsonObject(item) && isBareReplace(item));
  const result = replaces ? [] : [...items];
  for (const item of patch) {
    if (!isJsonObject(item)) throw badRequest(`${place.path}: must be a list of objects`);
    if (isBareReplace(item)) continue;
    const id = item[place.mergeKey];
    if (id === undefined) {
      throw badRequest(`${place.path}: each item of the patch needs "${place.mergeKey}"`);
    }
    const at = result.findIndex(
      (known) => isJsonObject(known) && jsonEqual(known[place.mergeKey], id),
    );
    const merged = mergeObject(at === -1 ? undefined : result[at], item, place);
    if (merged === undefined) {
      if (at !== -1) result.splice(at, 1);
    } else if (at === -1) result.push(merged);
    else result[at] = merged;
  }
  return result;
}

/** `{$patch: replace}` among the items replaces the whole list by the others. */
function isBareReplace(item: JsonObject): boolean {
  return item["$patch"] === "replace" && Object.keys(item).length === 1;
}

/** Directives about lists that the patch may hold without the list itself. */
function applyListDirectives(
  result: Record<string, JsonValue>,
  patch: JsonObject,
  place: Place,
): void {
  for (const [directive, value] of Object.entries(patch)) {
    const [name, key] = directive.split("/", 2);
    if (key === undefined || !directive.startsWith("$")) continue;
    const path = place.path === "" ? key : `${place.path}.${key}`;
    const list = Object.hasOwn(result, key) ? result[key] : undefined;
    if (name === "$deleteFromPrimitiveList") {
      const gone = primitives(value, directive, place) ?? [];
      if (Array.isArray(list)) result[key] = list.filter((item) => !gone.includes(item));
    } else if (name === "$setElementOrder") {
      const mergeKey = place.keys[path];
      if (Array.isArray(list) && mergeKey !== undefined) {
        result[key] = inOrder(list, value, mergeKey);
      }
    } else {
      throw badRequest(`${place.path}: unknown directive "${directive}"`);
    }
  }
}

/** Items named in `order` come in that order; others keep their place behind what precedes them. */
function inOrder(
  items: readonly JsonValue[],
  order: JsonValue | undefined,
  mergeKey: string,
): JsonValue[] {
  if (!Array.isArray(order)) return [...items];
  const idOf = (item: JsonValue): JsonValue | undefined =>
    mergeKey !== "" && isJsonObject(item) ? item[mergeKey] : item;
  const wanted = order.map(idOf);
  const rank = (item: JsonValue): number => wanted.findIndex((id) => jsonEqual(id, idOf(item)));
  const ordered = items.filter((item) => rank(item) !== -1).toSorted((a, b) => rank(a) - rank(b));
  let next = 0;
  return items.map((item) => (rank(item) === -1 ? item : (ordered[next++] as JsonValue)));
}

function primitives(
  value: JsonValue | undefined,
  name: string,
  place: Place,
): readonly JsonValue[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw badRequest(`${place.path}: ${name} must be a list`);
  return value;
}
