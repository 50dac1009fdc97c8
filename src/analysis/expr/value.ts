/**
 * The values of an expression and what Go makes of them: an int is a bigint (64 bits, wrapping), a
 * float is a number, and the two compare and mix, while all other kinds keep to themselves. Numbers
 * that come from JSON are floats, as Go's decoder makes them.
 */
import type { JsonValue } from "../../base/json.ts";
import { ExprError } from "./syntax.ts";

/** Go's time.Time. */
export class Time {
  readonly epochMs: number;

  constructor(epochMs: number) {
    this.epochMs = epochMs;
  }
}

/** Go's time.Duration. */
export class Duration {
  readonly ms: number;

  constructor(ms: number) {
    this.ms = ms;
  }
}

export type ValueMap = { readonly [key: string]: Value };
export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Time
  | Duration
  | readonly Value[]
  | ValueMap;

export type Kind =
  | "nil"
  | "bool"
  | "int"
  | "float"
  | "string"
  | "array"
  | "map"
  | "time"
  | "duration";

/** A result of a metric as the engine sees it. */
export function valueOf(json: JsonValue | undefined): Value {
  return json === undefined ? null : (json as Value);
}

/** The plain form of a value: ints become numbers, times RFC 3339, durations Go's notation. */
export function toJson(value: Value): JsonValue {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map((item: Value) => toJson(item));
  if (value instanceof Time) return new Date(value.epochMs).toISOString();
  if (value instanceof Duration) return textOf(value);
  if (isMap(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]));
  }
  return value as JsonValue;
}

export function isMap(value: Value): value is ValueMap {
  return kindOf(value) === "map";
}

export function kindOf(value: Value): Kind {
  if (value === null) return "nil";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return "float";
  if (typeof value === "string") return "string";
  if (value instanceof Time) return "time";
  if (value instanceof Duration) return "duration";
  return Array.isArray(value) ? "array" : "map";
}

const GO_NAMES: Readonly<Record<Kind, string>> = {
  nil: "nil",
  bool: "bool",
  int: "int",
  float: "float64",
  string: "string",
  array: "[]interface {}",
  map: "map[string]interface {}",
  time: "time.Time",
  duration: "time.Duration",
};

/** The kind as Go's %T writes it: what messages of Argo Rollouts say. */
export function goName(kind: Kind): string {
  return GO_NAMES[kind];
}

export function isNumeric(value: Value): value is bigint | number {
  return typeof value === "bigint" || typeof value === "number";
}

/** Counts the work of one evaluation, so that no expression runs for longer than its limit. */
export class Budget {
  #left: number;

  constructor(steps: number) {
    this.#left = steps;
  }

  spend(steps: number): void {
    this.#left -= steps;
    if (!(this.#left >= 0)) throw new ExprError("the expression takes too many steps");
  }
}

/** Go's deep equality, with numbers compared by value. */
export function equal(a: Value, b: Value, budget: Budget): boolean {
  budget.spend(1);
  if (a === b) return true;
  // Loose equality compares an int with a float by value.
  if (isNumeric(a) && isNumeric(b)) return a == b;
  if (Array.isArray(a) && Array.isArray(b)) {
    const [left, right] = [a as readonly Value[], b as readonly Value[]];
    return (
      left.length === right.length &&
      left.every((item, index) => equal(item, right[index] as Value, budget))
    );
  }
  if (a instanceof Time && b instanceof Time) return a.epochMs === b.epochMs;
  if (a instanceof Duration && b instanceof Duration) return a.ms === b.ms;
  if (!isMap(a) || !isMap(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equal(a[key] as Value, b[key] as Value, budget))
  );
}

/** Negative, zero, positive, or NaN where a NaN is among them; undefined for kinds without order. */
export function compare(a: Value, b: Value): number | undefined {
  if (isNumeric(a) && isNumeric(b)) {
    if (a < b) return -1;
    if (a > b) return 1;
    return a == b ? 0 : NaN;
  }
  if (typeof a === "string" && typeof b === "string") return Buffer.compare(bytes(a), bytes(b));
  if (a instanceof Time && b instanceof Time) return a.epochMs - b.epochMs;
  if (a instanceof Duration && b instanceof Duration) return a.ms - b.ms;
  return undefined;
}

/** Go compares, indexes and slices strings by their UTF-8 bytes. */
export function bytes(text: string): Buffer {
  return Buffer.from(text, "utf8");
}

/** A float as Go's %v writes it: "0.81", "1e+21", "+Inf", "NaN". */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value).replace(/e([+-])(\d)$/, "e$10$2");
}

/** A value as Go's %v writes it. */
export function textOf(value: Value): string {
  if (value === null) return "<nil>";
  if (typeof value === "number") return floatText(value);
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Time) return new Date(value.epochMs).toISOString();
  if (value instanceof Duration) return `${floatText(value.ms / 1000)}s`;
  if (Array.isArray(value)) return `[${value.map((item: Value) => textOf(item)).join(" ")}]`;
  if (isMap(value)) {
    const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `map[${entries.map(([key, inner]) => `${key}:${textOf(inner)}`).join(" ")}]`;
  }
  return typeof value === "string" ? value : JSON.stringify(toJson(value));
}
