/**
 * Syntax tree → closure. Every step is paid for from the budget of one evaluation, so that an
 * expression ends, and every wrong value ends it with an ExprError that has a column.
 */
import type { Builtin, Builtins } from "./builtin.ts";
import { callMethod } from "./builtin-time.ts";
import { applyBinary, applyUnary } from "./operator.ts";
import { PREDICATE_FUNCTIONS } from "./parse.ts";
import { applyPredicate } from "./predicate.ts";
import { ExprError, type Node, assertFieldAllowed } from "./syntax.ts";
import { accepts } from "./type.ts";
import {
  type Budget,
  type Value,
  bytes,
  goName,
  isMap,
  isNumeric,
  kindOf,
  textOf,
} from "./value.ts";

/** What one evaluation works on. Predicates set and restore the element they are at. */
export interface Frame {
  readonly variables: Map<string, Value>;
  readonly budget: Budget;
  readonly nowMs: number;
  item: Value;
  index: bigint;
  acc: Value;
}

export type Run = (frame: Frame) => Value;

/** A nil at "?.": it ends the chain it stands in. */
const SKIP: Value = Object.freeze({});

type Of<Kind extends Node["kind"]> = Extract<Node, { kind: Kind }>;

/** The closure that evaluates `node`, which has passed `check` with the same functions. */
export function link(node: Node, functions: Builtins): Run {
  const run = linkNode(node, functions);
  if (node.kind === "literal" || node.kind === "pointer" || node.kind === "name") return run;
  return (frame) => {
    frame.budget.spend(1);
    try {
      return run(frame);
    } catch (error) {
      if (!(error instanceof ExprError) || error.column !== undefined) throw error;
      throw new ExprError(error.message, node.at);
    }
  };
}

function linkNode(node: Node, functions: Builtins): Run {
  switch (node.kind) {
    case "literal":
      return () => node.value;
    case "name":
      return ({ variables }) => variables.get(node.name) ?? null;
    case "pointer":
      return linkPointer(node.name);
    case "unary": {
      const operand = link(node.operand, functions);
      return (frame) => applyUnary(node.op, operand(frame));
    }
    case "binary":
      return linkBinary(node, functions);
    case "conditional":
      return linkConditional(node, functions);
    case "member":
      return linkMember(node, functions);
    case "slice":
      return linkSlice(node, functions);
    case "chain": {
      const operand = link(node.operand, functions);
      return (frame) => {
        const value = operand(frame);
        return value === SKIP ? null : value;
      };
    }
    case "call":
      return linkCall(node, functions);
    case "method":
      return linkMethod(node, functions);
    case "predicate":
      return link(node.body, functions);
    case "list": {
      const items = node.items.map((item) => link(item, functions));
      return (frame) => items.map((item) => item(frame));
    }
    case "map":
      return linkMap(node, functions);
    case "let":
      return linkLet(node, functions);
    default:
      return node satisfies never;
  }
}

function linkPointer(name: "" | "acc" | "index"): Run {
  if (name === "acc") return ({ acc }) => acc;
  return name === "index" ? ({ index }) => index : ({ item }) => item;
}

function linkBinary({ op, left, right }: Of<"binary">, functions: Builtins): Run {
  const [a, b] = [link(left, functions), link(right, functions)];
  switch (op) {
    case "and":
      return (frame) => toBool(a(frame)) && toBool(b(frame));
    case "or":
      return (frame) => toBool(a(frame)) || toBool(b(frame));
    case "??":
      return (frame) => a(frame) ?? b(frame);
    default:
      return (frame) => applyBinary(op, a(frame), b(frame), frame.budget);
  }
}

function toBool(value: Value): boolean {
  if (typeof value === "boolean") return value;
  throw new ExprError(`expected bool, but got ${goName(kindOf(value))}`);
}

function linkConditional(node: Of<"conditional">, functions: Builtins): Run {
  const condition = link(node.test, functions);
  const [yes, no] = [link(node.yes, functions), link(node.no, functions)];
  return (frame) => (toBool(condition(frame)) ? yes(frame) : no(frame));
}

function linkMember({ base, property, optional }: Of<"member">, functions: Builtins): Run {
  const [from, key] = [link(base, functions), link(property, functions)];
  return (frame) => {
    const value = from(frame);
    if (value === SKIP || (optional && value === null)) return SKIP;
    return fetch(value, key(frame));
  };
}

/** One element of an array, a map or a string; negative positions count from the end. */
function fetch(from: Value, key: Value): Value {
  if (isMap(from)) {
    if (typeof key !== "string") throw new ExprError(`cannot fetch ${textOf(key)} from map`);
    assertFieldAllowed(key, undefined);
    return Object.hasOwn(from, key) ? (from[key] ?? null) : null;
  }
  const isText = typeof from === "string";
  if (!isText && !Array.isArray(from)) {
    const what = from === null ? "<nil>" : goName(kindOf(from));
    throw new ExprError(`cannot fetch ${textOf(key).slice(0, 100)} from ${what}`);
  }
  if (!isNumeric(key)) throw new ExprError(`cannot use ${goName(kindOf(key))} as an index`);
  const list: readonly Value[] | Buffer = isText ? bytes(from) : (from as readonly Value[]);
  const position = Math.trunc(Number(key));
  const index = position < 0 ? list.length + position : position;
  if (!(index >= 0 && index < list.length)) {
    throw new ExprError(`index out of range: ${textOf(key)} (array length is ${list.length})`);
  }
  const element = list[index] ?? null;
  return isText ? BigInt(element as number) : element;
}

function linkSlice({ base, from, to }: Of<"slice">, functions: Builtins): Run {
  const whole = link(base, functions);
  const [start, end] = [from, to].map((bound) =>
    bound === undefined ? undefined : link(bound, functions),
  );
  return (frame) => {
    const value = whole(frame);
    if (value === SKIP) return SKIP;
    if (typeof value !== "string" && !Array.isArray(value)) {
      throw new ExprError(`cannot slice ${goName(kindOf(value))}`);
    }
    const list = typeof value === "string" ? bytes(value) : (value as readonly Value[]);
    frame.budget.spend(list.length);
    const bounds = [start?.(frame) ?? 0n, end?.(frame) ?? BigInt(list.length)].map((bound) => {
      if (!isNumeric(bound)) throw new ExprError(`cannot slice at ${textOf(bound)}`);
      return Math.trunc(Number(bound));
    });
    // Array's own slice counts negative bounds from the end and clamps the rest, as expr-lang does.
    const cut = list.slice(bounds[0], bounds[1]);
    return cut instanceof Buffer ? cut.toString("utf8") : (cut as Value);
  };
}

function linkCall({ name, args }: Of<"call">, functions: Builtins): Run {
  if (Object.hasOwn(PREDICATE_FUNCTIONS, name)) {
    const [list, predicate, initial] = args.map((arg) => link(arg, functions));
    return (frame) =>
      applyPredicate(name, frame, { list: (list as Run)(frame), predicate, initial });
  }
  const builtin = functions[name] as Builtin;
  const runs = args.map((arg) => link(arg, functions));
  return (frame) => {
    const values = runs.map((run) => run(frame));
    for (const [index, value] of values.entries()) {
      const parameter = builtin.parameters[Math.min(index, builtin.parameters.length - 1)];
      if (!accepts(parameter as string, kindOf(value))) {
        throw new ExprError(`invalid argument for ${name} (type ${goName(kindOf(value))})`);
      }
    }
    return builtin.run(values, frame);
  };
}

function linkMethod({ base, name, args, optional }: Of<"method">, functions: Builtins): Run {
  const receiver = link(base, functions);
  const runs = args.map((arg) => link(arg, functions));
  return (frame) => {
    const value = receiver(frame);
    if (value === SKIP || (optional && value === null)) return SKIP;
    return callMethod(
      value,
      name,
      runs.map((run) => run(frame)),
    );
  };
}

function linkMap({ entries }: Of<"map">, functions: Builtins): Run {
  const linked = entries.map(
    ({ key, value }) => [link(key, functions), link(value, functions)] as const,
  );
  return (frame) => {
    const map: Record<string, Value> = {};
    for (const [key, value] of linked) {
      const name = key(frame);
      if (typeof name !== "string") throw new ExprError(`a key must be a string`);
      assertFieldAllowed(name, undefined);
      map[name] = value(frame);
    }
    return map;
  };
}

function linkLet({ name, value, body }: Of<"let">, functions: Builtins): Run {
  const [initial, rest] = [link(value, functions), link(body, functions)];
  return (frame) => {
    frame.variables.set(name, initial(frame));
    const result = rest(frame);
    frame.variables.delete(name);
    return result;
  };
}
