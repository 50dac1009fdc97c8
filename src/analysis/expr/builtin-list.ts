/** Functions of expr-lang on arrays and maps that take no predicate. */
import type { Builtin, Builtins } from "./builtin.ts";
import { ExprError } from "./syntax.ts";
import { UNKNOWN, typeOfKind } from "./type.ts";
import { type Budget, type Value, type ValueMap, compare, isMap, textOf } from "./value.ts";

function elements(value: Value | undefined, budget: Budget): readonly Value[] {
  const list = value as readonly Value[];
  budget.spend(list.length);
  return list;
}

function lengthOf(value: Value, budget: Budget): number {
  if (typeof value === "string") {
    budget.spend(value.length / 16);
    let points = 0;
    for (const _ of value) points++;
    return points;
  }
  return Array.isArray(value) ? value.length : Object.keys(value as ValueMap).length;
}

function edge(position: 0 | -1): Builtin {
  return {
    parameters: ["array"],
    returns: ([type]) => type?.of ?? UNKNOWN,
    run: ([list]) => (list as readonly Value[]).at(position) ?? null,
  };
}

function direction(order: Value | undefined): 1 | -1 {
  if (order === undefined || order === "asc") return 1;
  if (order === "desc") return -1;
  throw new ExprError(`invalid order ${textOf(order)}, expected asc or desc`);
}

function sorted(
  list: readonly Value[],
  key: (item: Value) => Value,
  order: Value | undefined,
  budget: Budget,
): Value {
  const sign = direction(order);
  budget.spend(list.length * Math.ceil(Math.log2(list.length + 1)));
  return list.toSorted((a, b) => {
    const result = compare(key(a), key(b));
    if (result === undefined) {
      throw new ExprError(`cannot compare ${textOf(key(a))} and ${textOf(key(b))}`);
    }
    return result * sign;
  });
}

function fieldOf(item: Value, name: string): Value {
  if (!isMap(item)) throw new ExprError(`cannot fetch ${name} from ${textOf(item)}`);
  return Object.hasOwn(item, name) ? (item[name] as Value) : null;
}

/** Arrays in arrays, at any depth, become one. */
function flatten(list: readonly Value[], budget: Budget): Value[] {
  const flat: Value[] = [];
  const stack = list.toReversed();
  while (stack.length > 0) {
    budget.spend(1);
    const item = stack.pop() as Value;
    if (Array.isArray(item)) stack.push(...(item as readonly Value[]).toReversed());
    else flat.push(item);
  }
  return flat;
}

export const LIST_FUNCTIONS: Builtins = {
  len: {
    parameters: ["string|array|map"],
    returns: typeOfKind("int"),
    run: ([value], { budget }) => BigInt(lengthOf(value as Value, budget)),
  },
  first: edge(0),
  last: edge(-1),
  take: {
    parameters: ["array", "int"],
    returns: ([type]) => type ?? UNKNOWN,
    run: ([list, count], { budget }) => elements(list, budget).slice(0, Math.max(0, Number(count))),
  },
  reverse: {
    parameters: ["array"],
    returns: ([type]) => type ?? UNKNOWN,
    run: ([list], { budget }) => elements(list, budget).toReversed(),
  },
  concat: {
    parameters: ["array"],
    variadic: true,
    returns: typeOfKind("array"),
    run: (lists, { budget }) => lists.flatMap((list) => [...elements(list, budget)]),
  },
  flatten: {
    parameters: ["array"],
    returns: typeOfKind("array"),
    run: ([list], { budget }) => flatten(list as readonly Value[], budget),
  },
  sort: {
    parameters: ["array", "string"],
    optional: 1,
    returns: ([type]) => type ?? UNKNOWN,
    run: ([list, order], { budget }) =>
      sorted(elements(list, budget), (item) => item, order, budget),
  },
  sortBy: {
    parameters: ["array", "string", "string"],
    optional: 1,
    returns: ([type]) => type ?? UNKNOWN,
    run: ([list, key, order], { budget }) =>
      sorted(elements(list, budget), (item) => fieldOf(item, key as string), order, budget),
  },
  keys: {
    parameters: ["map"],
    returns: typeOfKind("array", typeOfKind("string")),
    run: ([map], { budget }) => elements(Object.keys(map as ValueMap), budget),
  },
  values: {
    parameters: ["map"],
    returns: typeOfKind("array"),
    run: ([map], { budget }) => elements(Object.values(map as ValueMap), budget),
  },
  get: {
    parameters: ["array|map|nil", "any"],
    returns: UNKNOWN,
    run([group, key]) {
      if (Array.isArray(group)) {
        const list = group as readonly Value[];
        return (typeof key === "bigint" ? list.at(Number(key)) : undefined) ?? null;
      }
      return isMap(group as Value) && typeof key === "string" ? fieldOf(group as Value, key) : null;
    },
  },
};
