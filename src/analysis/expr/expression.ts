/**
 * The expression engine's front: compile once against the kinds of its variables, evaluate. It is
 * the language of expr-lang v1.17 as far as conditions use it. It never hangs and never throws
 * anything but ExprError; there is no way from an expression to anything but its variables.
 */
import type { Builtins } from "./builtin.ts";
import { check } from "./check.ts";
import { link } from "./evaluate.ts";
import { parseExpression } from "./parse.ts";
import { ExprError } from "./syntax.ts";
import { typeOf } from "./type.ts";
import { Budget, type Value } from "./value.ts";

/** Steps of one evaluation: a few milliseconds at the worst. */
const EVALUATION_STEPS_MAX = 200_000;

export interface Environment {
  readonly variables: Readonly<Record<string, Value>>;
  readonly functions: Builtins;
  readonly nowMs: number;
}

/** The value of `source` in an environment. Throws ExprError with the column of what is wrong. */
export function evaluateExpression(source: string, environment: Environment): Value {
  return bounded(() => {
    const { functions, nowMs } = environment;
    const entries = Object.entries(environment.variables);
    const node = parseExpression(source);
    check(node, {
      variables: new Map(entries.map(([name, value]) => [name, typeOf(value)])),
      functions,
    });
    return link(
      node,
      functions,
    )({
      variables: new Map(entries),
      budget: new Budget(EVALUATION_STEPS_MAX),
      nowMs,
      item: null,
      index: 0n,
      acc: null,
    });
  });
}

/**
 * Whether `source` is an expression at all, before there are values: what admission can say of a
 * condition. Undefined if it is.
 */
export function syntaxErrorOf(source: string): ExprError | undefined {
  try {
    bounded(() => parseExpression(source));
    return undefined;
  } catch (error) {
    if (error instanceof ExprError) return error;
    throw error;
  }
}

/** Values may be nested deeper than the stack is; that too is the expression's error. */
function bounded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError) throw new ExprError("the expression's values are too large");
    throw error;
  }
}
