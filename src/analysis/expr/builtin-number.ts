/** Functions of expr-lang on numbers, and the conversions between kinds. */
import type { Builtin, Builtins } from "./builtin.ts";
import { parseFloatAsGo, truncate } from "./convert.ts";
import { ExprError } from "./syntax.ts";
import { UNKNOWN, typeOfKind } from "./type.ts";
import { type Budget, type Value, compare, isNumeric, kindOf, textOf } from "./value.ts";

/** All numbers among the arguments and in arrays among them, at any depth. */
function numbersOf(name: string, args: readonly Value[], budget: Budget): (bigint | number)[] {
  const numbers: (bigint | number)[] = [];
  const stack = args.toReversed();
  while (stack.length > 0) {
    budget.spend(1);
    const value = stack.pop() as Value;
    if (isNumeric(value)) numbers.push(value);
    else if (Array.isArray(value)) stack.push(...(value as readonly Value[]).toReversed());
    else throw new ExprError(`invalid argument for ${name} (type ${kindOf(value)})`);
  }
  return numbers;
}

function extreme(name: "min" | "max"): Builtin {
  const sign = name === "max" ? 1 : -1;
  return {
    parameters: ["number|array"],
    variadic: true,
    returns: (args) => (args.every((type) => type.kind === "int") ? typeOfKind("int") : UNKNOWN),
    run(args, { budget }) {
      let best: Value = null;
      for (const value of numbersOf(name, args, budget)) {
        if (best === null || (compare(value, best) as number) * sign > 0) best = value;
      }
      return best;
    },
  };
}

function rounding(round: (value: number) => number): Builtin {
  return {
    parameters: ["number"],
    returns: typeOfKind("float"),
    run: ([value]) => round(Number(value)),
  };
}

function absolute(value: bigint | number): Value {
  if (typeof value === "number") return Math.abs(value);
  return value < 0n ? BigInt.asIntN(64, -value) : value;
}

function toInt(value: Value): Value {
  if (typeof value === "bigint") return value;
  if (typeof value === "number") return truncate(value);
  const text = value as string;
  if (!/^[+-]?\d{1,19}$/.test(text)) throw new ExprError(`invalid operation: int(${text})`);
  return BigInt.asIntN(64, BigInt(text.replace(/^\+/, "")));
}

function toFloat(value: Value): Value {
  return typeof value === "string" ? parseFloatAsGo(value) : Number(value);
}

/** Go rounds halves away from zero, JavaScript towards positive infinity. */
function roundAway(value: number): number {
  const rounded = Math.floor(Math.abs(value) + 0.5);
  // A large odd number plus a half may itself be rounded up.
  return Math.sign(value) * (Math.abs(value) >= 2 ** 52 ? Math.abs(value) : rounded);
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length === 0) return 0;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

export const NUMBER_FUNCTIONS: Builtins = {
  abs: {
    parameters: ["number"],
    returns: ([type]) => type ?? UNKNOWN,
    run: ([value]) => absolute(value as bigint | number),
  },
  ceil: rounding(Math.ceil),
  floor: rounding(Math.floor),
  round: rounding(roundAway),
  int: {
    parameters: ["number|string"],
    returns: typeOfKind("int"),
    run: ([value]) => toInt(value as Value),
  },
  float: {
    parameters: ["number|string"],
    returns: typeOfKind("float"),
    run: ([value]) => toFloat(value as Value),
  },
  string: {
    parameters: ["any"],
    returns: typeOfKind("string"),
    run: ([value]) => textOf(value as Value),
  },
  type: {
    parameters: ["any"],
    returns: typeOfKind("string"),
    run([value]) {
      const kind = kindOf(value as Value);
      if (kind === "time") return "time.Time";
      return kind === "duration" ? "time.Duration" : kind;
    },
  },
  max: extreme("max"),
  min: extreme("min"),
  mean: {
    parameters: ["number|array"],
    variadic: true,
    returns: typeOfKind("float"),
    run(args, { budget }) {
      const numbers = numbersOf("mean", args, budget);
      const total = numbers.reduce<number>((sum, value) => sum + Number(value), 0);
      return numbers.length === 0 ? 0 : total / numbers.length;
    },
  },
  median: {
    parameters: ["number|array"],
    variadic: true,
    returns: typeOfKind("float"),
    run: (args, { budget }) => median(numbersOf("median", args, budget).map(Number)),
  },
};
