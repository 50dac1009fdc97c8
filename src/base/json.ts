/**
 * JSON values and the operations that the control plane needs on them: canonical text,
 * equality, merge patches and a deep freeze. Nothing here knows what a resource is.
 */

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export type JsonObject = { readonly [key: string]: JsonValue | undefined };

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON text with the keys of every object sorted, so that equal values have equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (!isJsonObject(inner)) return inner;
    const sorted: Record<string, unknown> = {};
    for (const key of Object.keys(inner).toSorted()) sorted[key] = inner[key];
    return sorted;
  });
}

/** Whether two JSON values are equal; a key that is undefined counts as absent. */
export function jsonEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => jsonEqual(item, b[index]));
  }
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  for (const key in a) if (!jsonEqual(a[key], b[key])) return false;
  for (const key in b) if (b[key] !== undefined && !Object.hasOwn(a, key)) return false;
  return true;
}

/** Freezes a JSON value all the way down and returns it. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

/**
 * A deeply frozen copy of a JSON value without its undefined fields. What is frozen already is
 * shared: what two resources have in common is kept once.
 * Throws TypeError for what JSON cannot hold.
 */
export function frozenCopy<T>(value: T): T {
  if (typeof value !== "object") return scalar(value);
  if (value === null || Object.isFrozen(value)) return value;
  if (Array.isArray(value)) return Object.freeze(value.map((item) => frozenCopy(item))) as T;
  const copy: Record<string, unknown> = {};
  for (const key in value) {
    const inner: unknown = value[key];
    if (inner === undefined) continue;
    // An assignment to __proto__ would set the prototype instead of a field.
    if (key === "__proto__") Object.defineProperty(copy, key, field(frozenCopy(inner)));
    else copy[key] = frozenCopy<unknown>(inner);
  }
  return Object.freeze(copy) as T;
}

function scalar<T>(value: T): T {
  if (typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value !== "number") throw new TypeError(`A ${typeof value} is not a JSON value`);
  if (!Number.isFinite(value)) throw new TypeError(`${value} is not a JSON value`);
  return value;
}

function field(value: unknown): PropertyDescriptor {
  return { value, enumerable: true, configurable: true, writable: true };
}

/** The result of a JSON Merge Patch: null removes, objects merge, all else replaces (RFC 7386 §2). */
export function applyMergePatch(target: JsonValue | undefined, patch: JsonValue): JsonValue {
  if (!isJsonObject(patch)) return patch;
  const result: Record<string, JsonValue> = {};
  if (isJsonObject(target)) Object.assign(result, target);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null || value === undefined) delete result[key];
    else result[key] = applyMergePatch(Object.hasOwn(result, key) ? result[key] : undefined, value);
  }
  return result;
}
