/**
 * What the binary and unary operators do with values, as Go does it: ints stay ints and wrap, "/"
 * and "^" give floats, and an operator on kinds that do not fit is an error.
 */
import { RE2JS, RE2JSException } from "re2js";
import { ExprError } from "./syntax.ts";
import {
  type Budget,
  Duration,
  Time,
  type Value,
  compare,
  equal,
  goName,
  isMap,
  isNumeric,
  kindOf,
} from "./value.ts";

/** Characters of a regular expression; RE2 bounds the time of matching, this its program. */
const PATTERN_LENGTH_MAX = 1000;
const PATTERN_STEPS = 1000;
/** Characters that one step of the budget pays for. */
const TEXT_PER_STEP = 16;

/** Applies every operator but those that may leave their right side unread (and, or, ??). */
export function applyBinary(op: string, left: Value, right: Value, budget: Budget): Value {
  switch (op) {
    case "==":
      return equal(left, right, budget);
    case "!=":
      return !equal(left, right, budget);
    case "<":
    case ">":
    case "<=":
    case ">=":
      return order(op, left, right, budget);
    case "in":
      return isMember(left, right, budget);
    case "..":
      return range(left, right, budget);
    case "matches":
    case "contains":
    case "startsWith":
    case "endsWith":
      return testText(op, left, right, budget);
    default:
      return arithmetic(op, left, right, budget);
  }
}

function mismatch(op: string, left: Value, right: Value): ExprError {
  const [a, b] = [goName(kindOf(left)), goName(kindOf(right))];
  return new ExprError(`invalid operation: ${a} ${op} ${b}`);
}

function order(op: string, left: Value, right: Value, budget: Budget): boolean {
  if (typeof left === "string") budget.spend(left.length / TEXT_PER_STEP);
  const sign = compare(left, right);
  if (sign === undefined) throw mismatch(op, left, right);
  if (op === "<") return sign < 0;
  if (op === ">") return sign > 0;
  return op === "<=" ? sign <= 0 : sign >= 0;
}

function isMember(item: Value, group: Value, budget: Budget): boolean {
  if (group === null) return false;
  if (Array.isArray(group)) return group.some((one: Value) => equal(one, item, budget));
  if (!isMap(group)) throw mismatch("in", item, group);
  if (item === null) return false;
  if (typeof item !== "string") throw mismatch("in", item, group);
  return Object.hasOwn(group, item);
}

function range(from: Value, to: Value, budget: Budget): Value {
  if (typeof from !== "bigint" || typeof to !== "bigint") throw mismatch("..", from, to);
  const size = to < from ? 0 : Number(to - from) + 1;
  budget.spend(size);
  return Array.from({ length: size }, (_, index) => from + BigInt(index));
}

function testText(op: string, left: Value, right: Value, budget: Budget): boolean {
  if (typeof left !== "string" || typeof right !== "string") throw mismatch(op, left, right);
  budget.spend(left.length / TEXT_PER_STEP);
  if (op === "contains") return left.includes(right);
  if (op === "startsWith") return left.startsWith(right);
  if (op === "endsWith") return left.endsWith(right);
  budget.spend(left.length + PATTERN_STEPS);
  return compilePattern(right).matcher(left).find();
}

/** Compiles an RE2 pattern, as Go's regexp does. Throws ExprError. */
export function compilePattern(pattern: string, at?: number): RE2JS {
  if (pattern.length > PATTERN_LENGTH_MAX) {
    throw new ExprError(`a pattern must be at most ${PATTERN_LENGTH_MAX} characters long`, at);
  }
  try {
    return RE2JS.compile(pattern);
  } catch (error) {
    if (error instanceof RE2JSException) throw new ExprError(error.message, at);
    throw error;
  }
}

function arithmetic(op: string, left: Value, right: Value, budget: Budget): Value {
  if (typeof left === "bigint" && typeof right === "bigint") return integers(op, left, right);
  if (isNumeric(left) && isNumeric(right)) {
    if (op !== "%") return floats(op, Number(left), Number(right));
  } else if (op === "+" && typeof left === "string" && typeof right === "string") {
    budget.spend((left.length + right.length) / TEXT_PER_STEP);
    return left + right;
  } else {
    const result = times(op, left, right);
    if (result !== undefined) return result;
  }
  throw mismatch(op, left, right);
}

function integers(op: string, left: bigint, right: bigint): Value {
  switch (op) {
    case "+":
      return BigInt.asIntN(64, left + right);
    case "-":
      return BigInt.asIntN(64, left - right);
    case "*":
      return BigInt.asIntN(64, left * right);
    case "%":
      if (right === 0n) throw new ExprError("integer divide by zero");
      return left % right;
    default:
      return floats(op, Number(left), Number(right));
  }
}

function floats(op: string, left: number, right: number): number {
  switch (op) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      return left / right;
    default:
      return left ** right;
  }
}

function times(op: string, left: Value, right: Value): Value | undefined {
  if (op === "+" && left instanceof Duration && right instanceof Time) {
    return new Time(right.epochMs + left.ms);
  }
  if (left instanceof Time && right instanceof Duration) {
    if (op === "+") return new Time(left.epochMs + right.ms);
    if (op === "-") return new Time(left.epochMs - right.ms);
  }
  if (op === "-" && left instanceof Time && right instanceof Time) {
    return new Duration(left.epochMs - right.epochMs);
  }
  if (left instanceof Duration && right instanceof Duration) {
    if (op === "+") return new Duration(left.ms + right.ms);
    if (op === "-") return new Duration(left.ms - right.ms);
  }
  if (op === "*" && left instanceof Duration && isNumeric(right)) {
    return new Duration(left.ms * Number(right));
  }
  if (op === "*" && isNumeric(left) && right instanceof Duration) {
    return new Duration(Number(left) * right.ms);
  }
  return undefined;
}

/** "not", "-" and "+" before a value. */
export function applyUnary(op: string, operand: Value): Value {
  if (op === "not" && typeof operand === "boolean") return !operand;
  if (op === "+" && isNumeric(operand)) return operand;
  if (op === "-") {
    if (typeof operand === "bigint") return BigInt.asIntN(64, -operand);
    if (typeof operand === "number") return -operand;
    if (operand instanceof Duration) return new Duration(-operand.ms);
  }
  throw new ExprError(`invalid operation: ${op} ${goName(kindOf(operand))}`);
}
