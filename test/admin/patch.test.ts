/** Patches: the examples of RFC 6902 (appendix A) and RFC 7386 (appendix A), limits and hazards. */
import assert from "node:assert/strict";
import test from "node:test";
import { ApiError } from "../../src/admin/api-error.ts";
import { applyJsonPatch } from "../../src/admin/patch.ts";
import { applyMergePatch } from "../../src/base/json.ts";
import type { JsonValue } from "../../src/base/json.ts";

/** RFC 7386 appendix A: original, patch, result. */
const MERGES: readonly (readonly [JsonValue, JsonValue, JsonValue])[] = [
  [{ a: "b" }, { a: "c" }, { a: "c" }],
  [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
  [{ a: "b" }, { a: null }, {}],
  [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
  [{ a: ["b"] }, { a: "c" }, { a: "c" }],
  [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
  [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
  [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
  [
    ["a", "b"],
    ["c", "d"],
    ["c", "d"],
  ],
  [{ a: "b" }, ["c"], ["c"]],
  [{ a: "foo" }, null, null],
  [{ a: "foo" }, "bar", "bar"],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: "b", c: null }, { a: "b" }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];

test("merge patch: RFC 7386 appendix A", () => {
  for (const [original, patch, result] of MERGES) {
    const before = structuredClone(original);
    assert.deepEqual(applyMergePatch(original, patch), result, JSON.stringify(patch));
    assert.deepEqual(original, before, "the input is unchanged");
  }
});

/** RFC 6902 appendix A, and what it implies: document, patch, result or the code of the refusal. */
const PATCHES: readonly (readonly [
  string,
  JsonValue,
  JsonValue,
  JsonValue | { refused: number },
])[] = [
  [
    "A.1 add a member",
    { foo: "bar" },
    [{ op: "add", path: "/baz", value: "qux" }],
    { baz: "qux", foo: "bar" },
  ],
  [
    "A.2 add an element",
    { foo: ["bar", "baz"] },
    [{ op: "add", path: "/foo/1", value: "qux" }],
    { foo: ["bar", "qux", "baz"] },
  ],
  [
    "A.3 remove a member",
    { baz: "qux", foo: "bar" },
    [{ op: "remove", path: "/baz" }],
    { foo: "bar" },
  ],
  [
    "A.4 remove an element",
    { foo: ["bar", "qux", "baz"] },
    [{ op: "remove", path: "/foo/1" }],
    { foo: ["bar", "baz"] },
  ],
  ["A.5 replace", { baz: "qux" }, [{ op: "replace", path: "/baz", value: "boo" }], { baz: "boo" }],
  [
    "A.6 move",
    { foo: { bar: "baz", waldo: "fred" }, qux: { corge: "grault" } },
    [{ op: "move", from: "/foo/waldo", path: "/qux/thud" }],
    { foo: { bar: "baz" }, qux: { corge: "grault", thud: "fred" } },
  ],
  [
    "A.7 move an element",
    { foo: ["all", "grass", "cows", "eat"] },
    [{ op: "move", from: "/foo/1", path: "/foo/3" }],
    { foo: ["all", "cows", "eat", "grass"] },
  ],
  [
    "A.8 test",
    { baz: "qux", foo: ["a", 2, "c"] },
    [
      { op: "test", path: "/baz", value: "qux" },
      { op: "test", path: "/foo/1", value: 2 },
    ],
    { baz: "qux", foo: ["a", 2, "c"] },
  ],
  [
    "A.9 failing test",
    { baz: "qux" },
    [{ op: "test", path: "/baz", value: "bar" }],
    { refused: 422 },
  ],
  [
    "A.10 nested member",
    { foo: "bar" },
    [{ op: "add", path: "/child", value: { grandchild: {} } }],
    { foo: "bar", child: { grandchild: {} } },
  ],
  [
    "A.11 unknown members of an operation",
    { foo: "bar" },
    [{ op: "add", path: "/baz", value: "qux", xyz: 123 }],
    { foo: "bar", baz: "qux" },
  ],
  [
    "A.12 no parent",
    { foo: "bar" },
    [{ op: "add", path: "/baz/bat", value: "qux" }],
    { refused: 422 },
  ],
  [
    "A.14 escapes",
    { "/": 9, "~1": 10 },
    [{ op: "test", path: "/~01", value: 10 }],
    { "/": 9, "~1": 10 },
  ],
  [
    "A.15 string and number differ",
    { "/": 9, "~1": 10 },
    [{ op: "test", path: "/~01", value: "10" }],
    { refused: 422 },
  ],
  [
    "A.16 add to the end",
    { foo: ["bar"] },
    [{ op: "add", path: "/foo/-", value: ["abc"] }],
    { foo: ["bar", ["abc"]] },
  ],
  ["the whole document", { foo: 1 }, [{ op: "replace", path: "", value: { bar: 2 } }], { bar: 2 }],
  [
    "copy",
    { a: { b: 1 } },
    [
      { op: "copy", from: "/a", path: "/c" },
      { op: "replace", path: "/c/b", value: 2 },
    ],
    { a: { b: 1 }, c: { b: 2 } },
  ],
  ["a null value", { a: 1 }, [{ op: "add", path: "/a", value: null }], { a: null }],
  ["replace what is not there", {}, [{ op: "replace", path: "/a", value: 1 }], { refused: 422 }],
  ["remove what is not there", {}, [{ op: "remove", path: "/a" }], { refused: 422 }],
  ["an index past the end", { a: [] }, [{ op: "add", path: "/a/1", value: 1 }], { refused: 422 }],
  [
    "an index with a leading zero",
    { a: [1, 2] },
    [{ op: "remove", path: "/a/01" }],
    { refused: 422 },
  ],
  ["into itself", { a: { b: {} } }, [{ op: "move", from: "/a", path: "/a/b/c" }], { refused: 422 }],
  [
    "inherited names are not members",
    {},
    [{ op: "test", path: "/constructor", value: 1 }],
    { refused: 422 },
  ],
  ["__proto__", {}, [{ op: "add", path: "/__proto__/x", value: 1 }], { refused: 400 }],
  ["no value", {}, [{ op: "add", path: "/a" }], { refused: 400 }],
  ["no such operation", {}, [{ op: "spam", path: "/a" }], { refused: 400 }],
  ["a path without slash", {}, [{ op: "add", path: "a", value: 1 }], { refused: 400 }],
  ["a bad escape", {}, [{ op: "add", path: "/a~2", value: 1 }], { refused: 400 }],
  ["not an array", {}, { op: "add" }, { refused: 400 }],
  ["not an operation", {}, ["add"], { refused: 400 }],
];

test("JSON Patch: RFC 6902 appendix A and its edges", async (t) => {
  for (const [name, document, patch, expected] of PATCHES) {
    await t.test(name, () => {
      const before = structuredClone(document);
      const refused = (expected as { refused?: number } | null)?.refused;
      if (refused === undefined) assert.deepEqual(applyJsonPatch(document, patch), expected);
      else
        assert.throws(
          () => applyJsonPatch(document, patch),
          (error) => error instanceof ApiError && error.code === refused,
        );
      assert.deepEqual(document, before, "the input is unchanged");
    });
  }
});

function isTooLarge(error: unknown): boolean {
  return error instanceof ApiError && error.code === 413;
}

test("a patch of doubling copies and one of too many operations are refused", () => {
  const document = { text: "x".repeat(1000) };
  assert.throws(
    () =>
      applyJsonPatch(
        document,
        Array.from({ length: 40 }, (_, index) => ({ op: "copy", from: "", path: `/${index}` })),
      ),
    isTooLarge,
  );
  const many = Array.from({ length: 10_001 }, () => ({ op: "test", path: "", value: 1 }));
  assert.throws(() => applyJsonPatch(document, many), isTooLarge);
});
