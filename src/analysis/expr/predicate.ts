/**
 * The functions that apply a predicate to each element of an array: `all`, `filter`, `map`, `reduce`
 * and their like.
 */
import type { Frame, Run } from "./evaluate.ts";
import { applyBinary } from "./operator.ts";
import { ExprError, assertFieldAllowed } from "./syntax.ts";
import { type Value, goName, isNumeric, kindOf, textOf } from "./value.ts";

interface Call {
  readonly list: Value;
  readonly predicate: Run | undefined;
  /** The first accumulator of `reduce`. */
  readonly initial: Run | undefined;
}

/** Calls the predicate function `name`. Throws ExprError. */
export function applyPredicate(name: string, frame: Frame, call: Call): Value {
  const { list, predicate } = call;
  if (!Array.isArray(list)) {
    throw new ExprError(`builtin ${name} takes only array (got ${goName(kindOf(list))})`);
  }
  const saved = { item: frame.item, index: frame.index, acc: frame.acc };
  const at = (index: number): Value => {
    frame.budget.spend(1);
    frame.item = list[index] as Value;
    frame.index = BigInt(index);
    return predicate === undefined ? frame.item : predicate(frame);
  };
  const result =
    name === "reduce"
      ? reduce(list as readonly Value[], { frame, at, initial: call.initial?.(frame) })
      : iterate(name, list as readonly Value[], { frame, at });
  Object.assign(frame, saved);
  return result;
}

type At = (index: number) => Value;

function iterate(
  name: string,
  list: readonly Value[],
  { frame, at }: { frame: Frame; at: At },
): Value {
  const test = (_: Value, index: number): boolean => toTruth(at(index));
  switch (name) {
    case "all":
      return list.every(test);
    case "any":
      return list.some(test);
    case "none":
      return !list.some(test);
    case "one":
      return list.filter(test).length === 1;
    case "count":
      return BigInt(list.filter(test).length);
    case "filter":
      return list.filter(test);
    case "find":
      return list.find(test) ?? null;
    case "findLast":
      return list.findLast(test) ?? null;
    case "findIndex":
    case "findLastIndex": {
      const index = name === "findIndex" ? list.findIndex(test) : list.findLastIndex(test);
      return index === -1 ? null : BigInt(index);
    }
    case "map":
      return list.map((_, index) => at(index));
    case "groupBy":
      return groupBy(list, at);
    default:
      return sum(list, { frame, at });
  }
}

function toTruth(value: Value): boolean {
  if (typeof value === "boolean") return value;
  throw new ExprError(`predicate should return boolean (got ${goName(kindOf(value))})`);
}

function groupBy(list: readonly Value[], at: At): Value {
  const groups: Record<string, Value[]> = {};
  for (const index of list.keys()) {
    const key = textOf(at(index));
    assertFieldAllowed(key, undefined);
    if (!Object.hasOwn(groups, key)) groups[key] = [];
    groups[key]?.push(list[index] as Value);
  }
  return groups;
}

function sum(list: readonly Value[], { frame, at }: { frame: Frame; at: At }): Value {
  let total: Value = 0n;
  for (const index of list.keys()) {
    const value = at(index);
    if (!isNumeric(value)) {
      throw new ExprError(`cannot sum ${goName(kindOf(value))}`);
    }
    total = applyBinary("+", total, value, frame.budget);
  }
  return total;
}

function reduce(
  list: readonly Value[],
  { frame, at, initial }: { frame: Frame; at: At; initial: Value | undefined },
): Value {
  if (initial === undefined && list.length === 0) {
    throw new ExprError("reduce of empty array with no initial value");
  }
  let acc: Value = initial ?? list[0] ?? null;
  for (let index = initial === undefined ? 1 : 0; index < list.length; index++) {
    frame.acc = acc;
    acc = at(index);
  }
  return acc;
}
