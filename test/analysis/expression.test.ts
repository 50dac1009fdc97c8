/**
 * The expression engine against what expr-lang's language definition says, as tables of expression
 * and value, and against Go's typing, as tables of expression and error.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonValue } from "../../src/base/json.ts";
import { CONDITION_ENVIRONMENT } from "../../src/analysis/expr/environment.ts";
import { evaluateExpression, syntaxErrorOf } from "../../src/analysis/expr/expression.ts";
import { ExprError } from "../../src/analysis/expr/syntax.ts";
import { toJson, valueOf } from "../../src/analysis/expr/value.ts";

const NOW_MS = Date.UTC(2026, 0, 1);

const RESULT: JsonValue = {
  name: "John",
  empty: null,
  tags: ["a", "b", "c"],
  users: [
    { name: "Ann", age: 31 },
    { name: "Bob", age: 17 },
    { name: "Cid", age: 45 },
  ],
  nested: { deep: { value: 0.5 } },
};

function evaluate(source: string, result: JsonValue = RESULT): JsonValue {
  const variables = { result: valueOf(result) };
  return toJson(
    evaluateExpression(source, { variables, functions: CONDITION_ENVIRONMENT, nowMs: NOW_MS }),
  );
}

function errorOf(source: string, result: JsonValue = RESULT): ExprError {
  let value: JsonValue;
  try {
    value = evaluate(source, result);
  } catch (error) {
    assert.ok(error instanceof ExprError, String(error));
    return error;
  }
  return assert.fail(`${source} gave ${JSON.stringify(value)}`);
}

const VALUES: Readonly<Record<string, readonly (readonly [string, JsonValue])[]>> = {
  literals: [
    ["42", 42],
    ["0x2A", 42],
    ["0o52", 42],
    ["0b101010", 42],
    ["1_000", 1000],
    ["0.5", 0.5],
    [".5", 0.5],
    ["1e3", 1000],
    ['"a\\n\\u0041\\x42"', "a\nAB"],
    ["'it\\'s'", "it's"],
    ["`raw\\n`", "raw\\n"],
    ["[1, 2, 3]", [1, 2, 3]],
    ["[1, 2,]", [1, 2]],
    ["{a: 1, 'b': 2}", { a: 1, b: 2 }],
    ["nil", null],
    ["1 /* one */ + // two\n 2", 3],
  ],
  arithmetic: [
    ["1 + 2 * 3", 7],
    ["(1 + 2) * 3", 9],
    ["7 / 2", 3.5],
    ["6 / 2", 3],
    ["7 % 3", 1],
    ["-7 % 3", -1],
    ["2 ** 3 ** 2", 512],
    ["-2 ** 2", -4],
    ["2 ^ 10", 1024],
    ["1 + 0.5", 1.5],
    ['"a" + "b"', "ab"],
    ["9223372036854775807 + 1 == -9223372036854775807 - 1", true],
  ],
  comparison: [
    ["1 == 1.0", true],
    ["1 < 2 < 3", true],
    ["1 < 3 < 2", false],
    ["'a' < 'b'", true],
    ["[1, 2] == [1.0, 2]", true],
    ["{a: [1]} == {a: [1]}", true],
    ["nil == result.empty", true],
    ["result.name == 1", false],
    ["1 != 2", true],
  ],
  logic: [
    ["true and not false", true],
    ["!true || true && false", false],
    ["not true or true", true],
    ["false and result.missing.field", false],
    ["true or result.missing.field", true],
    ["true ? 1 : 2", 1],
    ["false ? 1 : true ? 2 : 3", 2],
    ["(1 > 2) ?: 'x'", "x"],
    ["if 1 > 2 { 'a' } else { 'b' }", "b"],
    ["nil ?? 1", 1],
    ["result.empty?.field ?? 'none'", "none"],
  ],
  members: [
    ["result.nested.deep.value", 0.5],
    ["result['nested']['deep'].value", 0.5],
    ["result.missing", null],
    ["result.empty?.a.b.c", null],
    ["result.tags[0]", "a"],
    ["result.tags[-1]", "c"],
    ["result.tags[1:]", ["b", "c"]],
    ["result.tags[:-1]", ["a", "b"]],
    ["result.tags[:]", ["a", "b", "c"]],
    ["result.name[1:3]", "oh"],
    ["'name' in result", true],
    ["'z' in result", false],
    ["'b' in result.tags", true],
    ["'b' not in result.tags", false],
    ["1..3", [1, 2, 3]],
    ["3..1", []],
  ],
  text: [
    ["'foobar' contains 'oba'", true],
    ["'foobar' startsWith 'foo' and 'foobar' endsWith 'bar'", true],
    ["'foobar' not contains 'x'", true],
    ["'banana' matches 'an{1}a'", true],
    ["'banana' matches '^an'", false],
    ["result.name | lower() | split('h')", ["jo", "n"]],
    ["trim('  x ') + trim('__x__', '_')", "xx"],
    ["upper('aé')", "AÉ"],
    ["split('a,b,c', ',', 2)", ["a", "b,c"]],
    ["join(['a', 'b'], '-')", "a-b"],
    ["replace('aXbX', 'X', '-')", "a-b-"],
    ["repeat('ab', 3)", "ababab"],
    ["indexOf('apple pie', 'pie')", 6],
    ["lastIndexOf('apple pie apple', 'apple')", 10],
    ["hasPrefix('ab', 'a') && hasSuffix('ab', 'b')", true],
    ["trimPrefix('ab', 'a') + trimSuffix('ab', 'b')", "ba"],
    ["len('héé')", 3],
    ["string(1.5) + string(2) + string([1, 'a'])", "1.52[1 a]"],
  ],
  predicates: [
    ["all(result.users, .age > 10)", true],
    ["all([], # > 1)", true],
    ["any(result.users, {.age > 40})", true],
    ["one(result.users, .age < 18)", true],
    ["none(result.users, .age < 0)", true],
    ["filter(1..5, # % 2 == 0)", [2, 4]],
    ["map(result.users, .name)", ["Ann", "Bob", "Cid"]],
    ["map(1..3, # * #index)", [0, 2, 6]],
    ["count(result.users, .age > 20)", 2],
    ["count([true, false, true])", 2],
    ["sum([1, 2, 3])", 6],
    ["sum(result.users, .age)", 93],
    ["find([1, 2, 3], # > 1)", 2],
    ["findIndex([1, 2, 3], # > 1)", 1],
    ["findLast([1, 2, 3], # < 3)", 2],
    ["findLastIndex([1, 2, 3], # < 3)", 1],
    ["reduce(1..4, #acc + #)", 10],
    ["reduce(1..4, #acc + #, 10)", 20],
    ["len(groupBy(result.users, .age > 18))", 2],
    ["all(map(result.users, {[.age]}), all(#, # > 10))", true],
    ["result.users | filter(.age > 18) | map(.name)", ["Ann", "Cid"]],
  ],
  functions: [
    ["max(5, 7) + min([3, 1.5])", 8.5],
    ["mean([1, 2, 3])", 2],
    ["median([4, 1, 3])", 3],
    ["median(1, 2, 3, 4)", 2.5],
    ["abs(-5) + abs(-0.5)", 5.5],
    ["ceil(1.2) + floor(1.8) + round(2.5) + round(-2.5)", 3],
    ["int('42') + int(1.9)", 43],
    ["float('0.5')", 0.5],
    ["first([]) ?? last([1, 2])", 2],
    ["take(1..5, 2)", [1, 2]],
    ["sort([3, 1, 2])", [1, 2, 3]],
    ["sort([3, 1, 2], 'desc')", [3, 2, 1]],
    ["map(sortBy(result.users, 'age'), .name)", ["Bob", "Ann", "Cid"]],
    ["keys({a: 1, b: 2})", ["a", "b"]],
    ["values({a: 1, b: 2})", [1, 2]],
    ["flatten([1, [2, [3]]])", [1, 2, 3]],
    ["concat([1], [2, 3])", [1, 2, 3]],
    ["reverse([1, 2])", [2, 1]],
    [
      "type(1) + type(1.0) + type('') + type(nil) + type([]) + type({})",
      "intfloatstringnilarraymap",
    ],
    ["asInt('12') + asInt(1.9)", 13],
    ["asFloat('1e-2')", 0.01],
    ["isNaN(asFloat('NaN')) and isInf(asFloat('-Inf'))", true],
    ["default(nil, 3)", 3],
    ["default(0, 3)", 0],
    ["isNil(result.missing)", true],
    ["let x = 2; let y = x * 3; x + y", 8],
  ],
  time: [
    ["now() - duration('1h') < now()", true],
    ["(now() - date('2025-12-31')).Hours()", 24],
    ["duration('1h30m').Minutes()", 90],
    ["date('2026-01-01T00:00:10Z').Unix() - now().Unix()", 10],
    ["now().Year()", 2026],
    ["date('2023-08-14 10:00:00') + duration('1m')", "2023-08-14T10:01:00.000Z"],
  ],
};

for (const [name, rows] of Object.entries(VALUES)) {
  test(`values: ${name}`, () => {
    for (const [source, expected] of rows) assert.deepEqual(evaluate(source), expected, source);
  });
}

const ERRORS: readonly (readonly [source: string, message: RegExp, column?: number])[] = [
  ["unknown", /unknown name unknown/, 1],
  ["nosuch(1)", /unknown name nosuch/, 1],
  ["1 == 'a'", /invalid operation: == \(mismatched types int and string\)/, 3],
  ["asInt('1') == '1'", /mismatched types int64 and string/],
  ["asFloat('x') > 1", /strconv\.ParseFloat: parsing "x": invalid syntax/],
  ["asInt('1.1')", /strconv\.ParseInt: parsing "1\.1": invalid syntax/],
  ["asInt('9223372036854775808')", /value out of range/],
  ["asInt(true)", /asInt\(\) not supported on bool true/],
  ["not 1", /invalid operation: not/],
  ["1 and true", /mismatched types/],
  ["result.name > 1", /invalid operation: string > int/],
  ["result.name + 1", /invalid operation: string \+ int/],
  ["'a' - 'b'", /mismatched types string and string/],
  ["1.5 % 2", /mismatched types float64 and int/],
  ["1 % 0", /integer divide by zero/],
  ["result.tags[5]", /index out of range: 5 \(array length is 3\)/],
  ["result.missing.field", /cannot fetch field from <nil>/],
  ["result.name.field", /cannot use string as an index/],
  ["[1]['a']", /can only be selected using an integer/],
  ["true.field", /has no field field/],
  ["len(5)", /invalid argument for len \(type int\)/],
  ["len()", /not enough arguments/],
  ["len([], [])", /too many arguments/],
  ["all(5, true)", /takes only array/],
  ["filter([1], 1)", /predicate should return boolean/],
  ["map([1])", /not enough arguments/],
  ["'a' matches '('", /missing closing \)/],
  ["1 ? 2 : 3", /non-bool expression/],
  ["result.name ? 1 : 2", /expected bool, but got string/],
  ["a ?? b || c", /parentheses/],
  ["1 +", /unexpected end of expression/, 4],
  ["(1", /want "\)"/],
  ["1 2", /unexpected "2"/, 3],
  ["", /unexpected end/],
  ["'abc", /literal not terminated/, 1],
  ["12abc", /bad number syntax/],
  ["1 @ 2", /unrecognized character: @/, 3],
  ["99999999999999999999", /invalid integer literal/],
  ["#", /unexpected "#"/],
  ["let len = 1; len", /cannot redeclare builtin len/],
  ["len", /is a function/],
  ["result.__proto__", /must not be read/],
  ["result['constr' + 'uctor']", /must not be read/],
  ["{prototype: 1}", /must not be read/],
  ["result.toString()", /has no method toString/],
  ["duration('abc')", /invalid duration/],
  ["date('yesterday')", /invalid date/],
  ["reduce([], #acc)", /empty array/],
];

test("errors say what is wrong, and where", () => {
  for (const [source, message, column] of ERRORS) {
    const error = errorOf(source);
    assert.match(error.message, message, source);
    if (column !== undefined) assert.equal(error.column, column, source);
  }
});

test("what Object inherits is not there", () => {
  assert.equal(evaluate("result.toString"), null);
  assert.equal(evaluate("'hasOwnProperty' in result"), false);
});

const COSTLY: readonly string[] = [
  "all(1..1000, all(1..1000, # > 0))",
  "1..1000000000",
  "reduce(1..100, #acc + #acc, 'aaaaaaaaaaaaaaaa')",
  "repeat('a', 1000000000)",
  "reduce(1..60, concat(#acc, #acc), [1])",
  "len(string(reduce(1..9000, [#acc, #acc], 1)))",
  "reduce(1..60, [#acc, #acc], 1) == reduce(1..60, [#acc, #acc], 1)",
];

test("an expression that would cost too much ends with an error", () => {
  for (const source of COSTLY) assert.match(errorOf(source).message, /too (many|large)/, source);
});

test("sources are bounded in length, nodes and depth", () => {
  assert.match(errorOf(`1${" ".repeat(10_000)}`).message, /10000 characters/);
  assert.match(errorOf(Array(600).fill("1").join("+")).message, /1000 nodes/);
  assert.match(errorOf(`${"(".repeat(200)}1${")".repeat(200)}`).message, /64 deep/);
  assert.match(errorOf(`${"-".repeat(200)}1`).message, /64 deep/);
  assert.match(errorOf(`${"[".repeat(200)}1${"]".repeat(200)}`).message, /64 deep/);
});

test("syntax can be judged without values", () => {
  assert.equal(syntaxErrorOf("result.a[0] > 1"), undefined);
  assert.equal(syntaxErrorOf("result >")?.column, 9);
});
