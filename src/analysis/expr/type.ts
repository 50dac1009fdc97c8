/**
 * What is known of a value before it is there. expr-lang checks an expression against the types of
 * its environment before it runs, so "1 == 'x'" is an error although "==" of any two values is not;
 * a value whose kind shows only at run time is `unknown` and passes.
 */
import { type Kind, type Value, goName, kindOf } from "./value.ts";

export interface Type {
  readonly kind: Kind | "unknown";
  /** The type's name in Go, for messages. */
  readonly go: string;
  /** What an array or a map holds. */
  readonly of?: Type;
}

export const UNKNOWN: Type = { kind: "unknown", go: "unknown" };

/** The type of `kind`, holding unknown things if it is one that holds any. */
export function typeOfKind(kind: Kind, of?: Type): Type {
  return of === undefined ? { kind, go: goName(kind) } : { kind, go: goName(kind), of };
}

export const INT64: Type = { kind: "int", go: "int64" };

/** The type of a variable's value; an array of numbers alone is what Go calls []float64. */
export function typeOf(value: Value): Type {
  const kind = kindOf(value);
  if (kind !== "array") return typeOfKind(kind);
  const items = value as readonly Value[];
  const isVector = items.length > 0 && items.every((item) => typeof item === "number");
  return isVector ? { kind, go: "[]float64", of: typeOfKind("float") } : typeOfKind(kind);
}

/** What a function takes: kinds joined by "|", "number" for int and float, or "any". */
export type Parameter = string;

export function accepts(parameter: Parameter, kind: Kind | "unknown"): boolean {
  if (parameter === "any" || kind === "unknown") return true;
  const kinds = parameter.split("|");
  return kinds.includes(kind) || (kinds.includes("number") && (kind === "int" || kind === "float"));
}

/** The one type of two branches, or unknown. */
export function commonType(a: Type, b: Type): Type {
  return a.kind === b.kind && a.go === b.go ? a : UNKNOWN;
}

const NUMERIC: ReadonlySet<Type["kind"]> = new Set(["int", "float"]);

/** The type that a binary operator yields, or undefined where it does not fit its operands. */
export function binaryType(op: string, left: Type, right: Type): Type | undefined {
  const [a, b] = [left.kind, right.kind];
  const has = (...kinds: Type["kind"][]): boolean =>
    [a, b].every((kind) => kind === "unknown" || kinds.includes(kind));
  switch (op) {
    case "==":
    case "!=":
      return isComparable(left, right) ? typeOfKind("bool") : undefined;
    case "<":
    case ">":
    case "<=":
    case ">=": {
      const fits = has("int", "float") || has("string") || has("time") || has("duration");
      return fits ? typeOfKind("bool") : undefined;
    }
    case "and":
    case "or":
      return has("bool") ? typeOfKind("bool") : undefined;
    case "matches":
    case "contains":
    case "startsWith":
    case "endsWith":
      return has("string") ? typeOfKind("bool") : undefined;
    case "in":
      return memberType(left, right);
    case "/":
    case "^":
      return has("int", "float") ? typeOfKind("float") : undefined;
    case "%":
      return has("int") ? typeOfKind("int") : undefined;
    case "..":
      return has("int") ? typeOfKind("array", typeOfKind("int")) : undefined;
    case "??":
      return a === "nil" ? right : commonType(left, right);
    default:
      return arithmeticType(op, a, b);
  }
}

function isComparable(left: Type, right: Type): boolean {
  const [a, b] = [left.kind, right.kind];
  if (a === b || a === "nil" || b === "nil" || a === "unknown" || b === "unknown") return true;
  return NUMERIC.has(a) && NUMERIC.has(b);
}

function memberType(left: Type, right: Type): Type | undefined {
  const bool = typeOfKind("bool");
  if (right.kind === "unknown" || right.kind === "nil") return bool;
  if (right.kind === "map") {
    return ["string", "unknown", "nil"].includes(left.kind) ? bool : undefined;
  }
  if (right.kind !== "array") return undefined;
  return isComparable(left, right.of ?? UNKNOWN) ? bool : undefined;
}

/** "+", "-" and "*" on numbers, strings, times and durations. */
function arithmeticType(op: string, a: Type["kind"], b: Type["kind"]): Type | undefined {
  if (NUMERIC.has(a) && NUMERIC.has(b)) {
    return typeOfKind(a === "int" && b === "int" ? "int" : "float");
  }
  const allowed: readonly (readonly [Type["kind"], Type["kind"], Kind])[] =
    op === "+"
      ? [
          ["string", "string", "string"],
          ["time", "duration", "time"],
          ["duration", "time", "time"],
          ["duration", "duration", "duration"],
        ]
      : op === "-"
        ? [
            ["time", "time", "duration"],
            ["time", "duration", "time"],
            ["duration", "duration", "duration"],
          ]
        : [
            ["int", "duration", "duration"],
            ["float", "duration", "duration"],
            ["duration", "int", "duration"],
            ["duration", "float", "duration"],
          ];
  const known = allowed.find(([left, right]) => left === a && right === b);
  if (known !== undefined) return typeOfKind(known[2]);
  const mayFit = (left: Type["kind"], right: Type["kind"]): boolean =>
    (a === "unknown" || a === left) && (b === "unknown" || b === right);
  const numbers = (a === "unknown" || NUMERIC.has(a)) && (b === "unknown" || NUMERIC.has(b));
  return numbers || allowed.some(([left, right]) => mayFit(left, right)) ? UNKNOWN : undefined;
}
