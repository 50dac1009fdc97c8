/**
 * Properties of the expression engine over generated sources and results: it ends, it throws nothing
 * but ExprError, it leaves its inputs alone, and numbers obey arithmetic.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { JsonValue } from "../../src/base/json.ts";
import { CONDITION_ENVIRONMENT } from "../../src/analysis/expr/environment.ts";
import { evaluateExpression } from "../../src/analysis/expr/expression.ts";
import { ExprError } from "../../src/analysis/expr/syntax.ts";
import { type Value, toJson, valueOf } from "../../src/analysis/expr/value.ts";

function attempt(source: string, result: JsonValue): Value | ExprError {
  try {
    return evaluateExpression(source, {
      variables: { result: valueOf(result) },
      functions: CONDITION_ENVIRONMENT,
      nowMs: 0,
    });
  } catch (error) {
    if (error instanceof ExprError) return error;
    throw error;
  }
}

const WORDS = [
  ..."+-*/%^()[]{}.,:?#|!<>=".split(""),
  ..."&& || == != <= >= .. ** ?? ?. // /* */".split(" "),
  ..."and or not in matches contains startsWith endsWith let if else true false nil".split(" "),
  ...Object.keys(CONDITION_ENVIRONMENT),
  ..."all any filter map reduce count sum groupBy find result x #acc #index".split(" "),
  ..."0 1 2 -1 0.5 1e308 9223372036854775807 0x7f 'a' \"b\" `c` '('".split(" "),
];

const soup = fc.array(fc.constantFrom(...WORDS), { maxLength: 40 }).map((words) => words.join(" "));

/** Expressions that at least parse, so that what runs is more than the parser. */
const { expression } = fc.letrec<{ expression: string }>((tie) => {
  const inner = tie("expression");
  const binary = fc.constantFrom(..."+ - * / % ^ == < and or ?? .. in matches contains".split(" "));
  const call = fc.constantFrom(...Object.keys(CONDITION_ENVIRONMENT));
  const over = fc.constantFrom("all", "any", "filter", "map", "count", "sum", "groupBy", "reduce");
  return {
    expression: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      fc.constantFrom("result", "1", "0.5", "'a'", "nil", "true", "[]", "#", ".a", "1..9"),
      fc.tuple(inner, binary, inner).map(([a, op, b]) => `(${a}) ${op} (${b})`),
      fc
        .tuple(call, fc.array(inner, { maxLength: 3 }))
        .map(([f, args]) => `${f}(${args.join(",")})`),
      fc.tuple(over, inner, inner).map(([f, list, body]) => `${f}(${list}, {${body}})`),
      fc.tuple(inner, inner).map(([a, b]) => `(${a})[${b}]`),
      fc.tuple(inner, inner, inner).map(([a, b, c]) => `${a} ? ${b} : ${c}`),
      fc.tuple(inner, inner).map(([a, b]) => `let x = ${a}; [x, ${b}]`),
    ),
  };
});

const results = fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<JsonValue>;

test("any source ends in a value or an ExprError", () => {
  fc.assert(
    fc.property(fc.oneof(soup, fc.string(), expression), results, (source, result) => {
      const before = JSON.stringify(result);
      attempt(source, result);
      assert.equal(JSON.stringify(result), before);
    }),
    { numRuns: 3000, seed: 1 },
  );
});

test("expressions that parse end soon", () => {
  const start = performance.now();
  fc.assert(
    fc.property(expression, results, (source, result) => void attempt(source, result)),
    { numRuns: 1500, seed: 2 },
  );
  // A generous bound: what it finds is an evaluation that never ends.
  assert.ok(performance.now() - start < 60_000);
});

test("ints keep their 64 bits, floats are JavaScript's", () => {
  const int = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
  fc.assert(
    fc.property(int, int, (a, b) => {
      assert.equal(attempt(`(${a}) + (${b})`, null), BigInt.asIntN(64, a + b));
      assert.equal(attempt(`(${a}) * (${b})`, null), BigInt.asIntN(64, a * b));
      assert.equal(attempt(`(${a}) < (${b})`, null), a < b);
    }),
    { numRuns: 200, seed: 3 },
  );
  fc.assert(
    fc.property(fc.double({ noNaN: true }), fc.double({ noNaN: true }), (a, b) => {
      assert.deepEqual(attempt("result[0] / result[1]", [a, b]), a / b);
      assert.equal(attempt("result[0] >= result[1]", [a, b]), a >= b);
    }),
    { numRuns: 200, seed: 4 },
  );
});

test("strings survive a round through a literal", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      assert.equal(attempt("result", text), text);
      const literal = Array.from(text).map((point) => `\\u{${point.codePointAt(0)?.toString(16)}}`);
      assert.equal(attempt(`"${literal.join("")}"`, null), text);
    }),
    { numRuns: 200, seed: 5 },
  );
});

test("the plain form of a value is JSON", () => {
  fc.assert(
    fc.property(expression, results, (source, result) => {
      const value = attempt(source, result);
      if (!(value instanceof ExprError)) assert.doesNotThrow(() => JSON.stringify(toJson(value)));
    }),
    { numRuns: 500, seed: 6 },
  );
});
