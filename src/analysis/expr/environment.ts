/**
 * The functions that an expression may call: those of expr-lang, and the seven that Argo adds.
 * Functions with a predicate are part of the language, in predicate.ts.
 */
import { LIST_FUNCTIONS } from "./builtin-list.ts";
import { NUMBER_FUNCTIONS } from "./builtin-number.ts";
import { TEXT_FUNCTIONS } from "./builtin-text.ts";
import { TIME_FUNCTIONS } from "./builtin-time.ts";
import type { Builtins } from "./builtin.ts";
import { QUOTE_LENGTH_MAX, parseFloatAsGo, parseIntAsGo, truncate } from "./convert.ts";
import { ExprError } from "./syntax.ts";
import { INT64, UNKNOWN, typeOfKind } from "./type.ts";
import { type Value, goName, isNumeric, kindOf, textOf } from "./value.ts";

function unsupported(name: string, value: Value): ExprError {
  const shown = textOf(value).slice(0, QUOTE_LENGTH_MAX);
  return new ExprError(`${name}() not supported on ${goName(kindOf(value))} ${shown}`);
}

function asInt([value]: readonly Value[]): Value {
  if (typeof value === "bigint") return value;
  if (typeof value === "number") return truncate(value);
  if (typeof value === "string") return parseIntAsGo(value);
  throw unsupported("asInt", value as Value);
}

function asFloat([value]: readonly Value[]): Value {
  if (isNumeric(value as Value)) return Number(value);
  if (typeof value === "string") return parseFloatAsGo(value);
  throw unsupported("asFloat", value as Value);
}

/** Functions of points in time: what Argo's `rangeQuery.start` and `end` may use. */
export const TIME_ENVIRONMENT: Builtins = {
  ...LIST_FUNCTIONS,
  ...NUMBER_FUNCTIONS,
  ...TEXT_FUNCTIONS,
  ...TIME_FUNCTIONS,
  isNaN: {
    parameters: ["number"],
    returns: typeOfKind("bool"),
    run: ([value]) => Number.isNaN(Number(value)),
  },
  isInf: {
    parameters: ["number"],
    returns: typeOfKind("bool"),
    run: ([value]) => Math.abs(Number(value)) === Infinity,
  },
};

/** Functions of conditions: expr-lang's and Argo's (utils/evaluate/evaluate.go). */
export const CONDITION_ENVIRONMENT: Builtins = {
  ...TIME_ENVIRONMENT,
  asInt: { parameters: ["any"], returns: INT64, run: asInt },
  asFloat: { parameters: ["any"], returns: typeOfKind("float"), run: asFloat },
  isNil: {
    parameters: ["any"],
    returns: typeOfKind("bool"),
    run: ([value]) => value === null,
  },
  default: {
    parameters: ["any", "any"],
    returns: UNKNOWN,
    run: ([value, fallback]) => (value === null ? fallback : value) as Value,
  },
};
