/**
 * Checks a tree against what is known of its variables, before it runs: unknown names, functions
 * with wrong arguments, operators on kinds that never fit. expr-lang refuses such an expression
 * whether or not the wrong part would be reached, so a condition is right or wrong as a whole.
 */
import type { Builtin, Builtins } from "./builtin.ts";
import { PREDICATE_FUNCTIONS } from "./parse.ts";
import { compilePattern } from "./operator.ts";
import { ExprError, type Node } from "./syntax.ts";
import { type Type, UNKNOWN, accepts, binaryType, commonType, typeOfKind } from "./type.ts";

export interface Scope {
  readonly variables: ReadonlyMap<string, Type>;
  readonly functions: Builtins;
  /** What "#" stands for inside a predicate. */
  readonly item?: Type;
}

type Of<Kind extends Node["kind"]> = Extract<Node, { kind: Kind }>;

/** The type of `node`. Throws ExprError with the column of what does not fit. */
export function check(node: Node, scope: Scope): Type {
  switch (node.kind) {
    case "literal":
      return literalType(node);
    case "name":
      return variableType(node, scope);
    case "pointer":
      if (node.name === "index") return typeOfKind("int");
      return node.name === "acc" ? UNKNOWN : (scope.item ?? UNKNOWN);
    case "unary":
      return unaryType(node, check(node.operand, scope));
    case "binary":
      return checkBinary(node, scope);
    case "conditional":
      expectBool(node.test, scope);
      return commonType(check(node.yes, scope), check(node.no, scope));
    case "member":
      return memberType(node, scope);
    case "slice":
      return sliceType(node, scope);
    case "chain":
      check(node.operand, scope);
      return UNKNOWN;
    case "call":
      return callType(node, scope);
    case "method":
      return methodType(node, scope);
    case "predicate":
      throw new ExprError("a predicate stands only in a function that takes one", node.at);
    case "list":
      return typeOfKind("array", listType(node, scope));
    case "map":
      for (const { key, value } of node.entries) {
        expectKind(key, scope, "string");
        check(value, scope);
      }
      return typeOfKind("map");
    case "let":
      return letType(node, scope);
    default:
      return node satisfies never;
  }
}

function literalType({ value }: Of<"literal">): Type {
  if (value === null) return typeOfKind("nil");
  const kinds = { boolean: "bool", bigint: "int", number: "float", string: "string" } as const;
  return typeOfKind(kinds[typeof value as keyof typeof kinds]);
}

function variableType({ name, at }: Of<"name">, { variables, functions }: Scope): Type {
  const type = variables.get(name);
  if (type !== undefined) return type;
  if (Object.hasOwn(functions, name) || Object.hasOwn(PREDICATE_FUNCTIONS, name)) {
    throw new ExprError(`${name} is a function: call it as ${name}(…)`, at);
  }
  throw new ExprError(`unknown name ${name}`, at);
}

function letType(node: Of<"let">, scope: Scope): Type {
  const { name, at } = node;
  if (scope.variables.has(name)) throw new ExprError(`cannot redeclare variable ${name}`, at);
  if (Object.hasOwn(scope.functions, name) || Object.hasOwn(PREDICATE_FUNCTIONS, name)) {
    throw new ExprError(`cannot redeclare builtin ${name}`, at);
  }
  const variables = new Map(scope.variables).set(name, check(node.value, scope));
  return check(node.body, { ...scope, variables });
}

function unaryType({ op, at }: Of<"unary">, operand: Type): Type {
  const allowed = op === "not" ? "bool" : "number|duration";
  if (accepts(allowed, operand.kind)) return operand;
  throw new ExprError(`invalid operation: ${op} (mismatched type ${operand.go})`, at);
}

function checkBinary(node: Of<"binary">, scope: Scope): Type {
  const [left, right] = [check(node.left, scope), check(node.right, scope)];
  const { op, at } = node;
  const type = binaryType(op, left, right);
  if (type === undefined) {
    throw new ExprError(
      `invalid operation: ${op} (mismatched types ${left.go} and ${right.go})`,
      at,
    );
  }
  const pattern = node.right;
  if (op === "matches" && pattern.kind === "literal" && typeof pattern.value === "string") {
    compilePattern(pattern.value, pattern.at);
  }
  return type;
}

function expectKind(node: Node, scope: Scope, ...kinds: Type["kind"][]): Type {
  const type = check(node, scope);
  if (type.kind === "unknown" || kinds.includes(type.kind)) return type;
  throw new ExprError(`expected ${kinds.join(" or ")}, but got ${type.go}`, node.at);
}

function expectBool(node: Node, scope: Scope): void {
  const type = check(node, scope);
  if (type.kind !== "unknown" && type.kind !== "bool") {
    throw new ExprError(`non-bool expression (type ${type.go}) used as condition`, node.at);
  }
}

function memberType({ base, property, optional, at }: Of<"member">, scope: Scope): Type {
  const type = check(base, scope);
  const key = check(property, scope);
  const isNil = type.kind === "nil" && optional;
  if (type.kind === "unknown" || isNil) return UNKNOWN;
  if (type.kind === "map") {
    if (accepts("string", key.kind)) return type.of ?? UNKNOWN;
    throw new ExprError(`cannot use ${key.go} to get an element from ${type.go}`, at);
  }
  if (type.kind === "array" || type.kind === "string") {
    if (accepts("int", key.kind)) return type.of ?? UNKNOWN;
    const message = `${type.kind} elements can only be selected using an integer`;
    throw new ExprError(`${message} (got ${key.go})`, at);
  }
  const name = property.kind === "literal" ? String(property.value) : key.go;
  throw new ExprError(`type ${type.go} has no field ${name}`, at);
}

function sliceType({ base, from, to, at }: Of<"slice">, scope: Scope): Type {
  const type = check(base, scope);
  if (!accepts("array|string", type.kind)) throw new ExprError(`cannot slice ${type.go}`, at);
  for (const bound of [from, to]) if (bound !== undefined) expectKind(bound, scope, "int");
  return type;
}

function methodType({ base, args, name, at }: Of<"method">, scope: Scope): Type {
  const type = check(base, scope);
  for (const arg of args) check(arg, scope);
  if (accepts("time|duration", type.kind)) return UNKNOWN;
  throw new ExprError(`type ${type.go} has no method ${name}`, at);
}

function listType({ items }: Of<"list">, scope: Scope): Type {
  const types = items.map((item) => check(item, scope));
  return types.length === 0 ? UNKNOWN : types.reduce(commonType);
}

function callType(node: Of<"call">, scope: Scope): Type {
  const { name, at } = node;
  const isPredicate = Object.hasOwn(PREDICATE_FUNCTIONS, name);
  if (isPredicate) return predicateCallType(node, scope);
  if (!Object.hasOwn(scope.functions, name)) throw new ExprError(`unknown name ${name}`, at);
  const builtin = scope.functions[name] as Builtin;
  const types = node.args.map((arg) => check(arg, scope));
  assertArguments(node, builtin, types);
  return typeof builtin.returns === "function" ? builtin.returns(types) : builtin.returns;
}

function assertArguments({ name, args, at }: Of<"call">, builtin: Builtin, types: Type[]): void {
  const { parameters, optional = 0, variadic } = builtin;
  if (types.length < parameters.length - optional) {
    throw new ExprError(`not enough arguments to call ${name}`, at);
  }
  if (types.length > parameters.length && variadic === undefined) {
    throw new ExprError(`too many arguments to call ${name}`, at);
  }
  for (const [index, type] of types.entries()) {
    const parameter = parameters[Math.min(index, parameters.length - 1)] as string;
    if (!accepts(parameter, type.kind)) {
      throw new ExprError(`invalid argument for ${name} (type ${type.go})`, args[index]?.at ?? at);
    }
  }
}

const BOOL_PREDICATES: ReadonlySet<string> = new Set([
  "all",
  "any",
  "none",
  "one",
  "filter",
  "find",
  "findIndex",
  "findLast",
  "findLastIndex",
  "count",
]);

function predicateCallType({ name, args, at }: Of<"call">, scope: Scope): Type {
  const [list, predicate, initial, extra] = args;
  if (list === undefined) throw new ExprError(`not enough arguments to call ${name}`, at);
  if (extra !== undefined || (initial !== undefined && name !== "reduce")) {
    throw new ExprError(`too many arguments to call ${name}`, at);
  }
  const type = check(list, scope);
  if (!accepts("array", type.kind)) {
    throw new ExprError(`builtin ${name} takes only array (got ${type.go})`, list.at);
  }
  if (initial !== undefined) check(initial, scope);
  if (predicate === undefined) {
    if (PREDICATE_FUNCTIONS[name] === "required") {
      throw new ExprError(`not enough arguments to call ${name}`, at);
    }
    return name === "count" ? typeOfKind("int") : (type.of ?? UNKNOWN);
  }
  const body = predicate.kind === "predicate" ? predicate.body : predicate;
  const item = type.of ?? UNKNOWN;
  const yields = check(body, { ...scope, item });
  if (BOOL_PREDICATES.has(name) && !accepts("bool", yields.kind)) {
    throw new ExprError(`predicate should return boolean (got ${yields.go})`, body.at);
  }
  return predicateResult(name, { list: type, item, yields });
}

function predicateResult(
  name: string,
  { list, item, yields }: { list: Type; item: Type; yields: Type },
): Type {
  switch (name) {
    case "all":
    case "any":
    case "none":
    case "one":
      return typeOfKind("bool");
    case "filter":
      return list.kind === "array" ? list : typeOfKind("array");
    case "map":
      return typeOfKind("array", yields);
    case "count":
    case "findIndex":
    case "findLastIndex":
      return name === "count" ? typeOfKind("int") : UNKNOWN;
    case "groupBy":
      return typeOfKind("map", typeOfKind("array", item));
    case "sum":
      return yields;
    default:
      // An element that may be missing, or whatever a reduction makes.
      return UNKNOWN;
  }
}
