/** The plain reader against the library: where it reads a text, both must read the same. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import {
  array,
  assert as assertProperty,
  constantFrom,
  jsonValue,
  nat,
  property,
} from "fast-check";
import { parseAllDocuments } from "yaml";
import { repeatedKeys, YAML_OPTIONS } from "../../src/resource/yaml-document.ts";
import { readPlainYaml } from "../../src/resource/yaml-plain.ts";

/** What both must agree on; `undefined` where the text is left to the library. */
function readAlike(text: string): unknown {
  const plain = readPlainYaml(text);
  if (plain === undefined) return undefined;
  const [document, ...more] = parseAllDocuments(text, YAML_OPTIONS);
  assert.ok(document !== undefined && more.length === 0, JSON.stringify(text));
  assert.deepEqual(document.errors, [], JSON.stringify(text));
  assert.deepEqual(repeatedKeys(document), [], JSON.stringify(text));
  assert.deepEqual(plain.value, document.toJS(), JSON.stringify(text));
  assert.equal(plain.offset, document.contents?.range?.[0], JSON.stringify(text));
  return plain.value;
}

const READ: readonly [text: string, value: unknown][] = [
  ["a: b", { a: "b" }],
  ["---\n# first\n\na: b # why\n", { a: "b" }],
  ["a:\n  b:\n    c: d\n  e: f\n", { a: { b: { c: "d" }, e: "f" } }],
  ["a:\n- b\n- c\nd: e\n", { a: ["b", "c"], d: "e" }],
  [
    "a:\n  - b: 1\n    c:\n    - d\n  -   e: f\n      g: h\n",
    {
      a: [
        { b: 1, c: ["d"] },
        { e: "f", g: "h" },
      ],
    },
  ],
  ["a:\nb: # nothing\n", { a: null, b: null }],
  [
    "a: {b: 1, c: [x, 'it''s', \"q\\n\"], d: {}, e: []}",
    { a: { b: 1, c: ["x", "it's", "q\n"], d: {}, e: [] } },
  ],
  [
    "a: 10.0.0.1\nb: 5s\nc: 1.5\nd: -3\ne: 1.2.3\nf: 2026-01-31",
    { a: "10.0.0.1", b: "5s", c: 1.5, d: -3, e: "1.2.3", f: "2026-01-31" },
  ],
  [
    "a: yes\nb: off\nc: null\nd: True\ne: nope\nf: y",
    { a: true, b: false, c: null, d: true, e: "nope", f: true },
  ],
  ["yes: a\nnull: b\non: c", { yes: "a", null: "b", on: "c" }],
  ['"a b": c\nd: http://x/y?z#w', { "a b": "c", d: "http://x/y?z#w" }],
  ['{\n  "a": [1, {"b":"c"}],\n  "d": null\n}\n', { a: [1, { b: "c" }], d: null }],
];

for (const [text, value] of READ) {
  test(`read: ${JSON.stringify(text)}`, () => assert.deepEqual(readAlike(text), value));
}

/** Other YAML, and what is none. */
const LEFT: readonly string[] = [
  // Nothing, no map, another kind of node.
  "| # nothing| a| - a|  a: b| a: &x b| a: *x| a: !!str 1| <<: {a: b}| %YAML 1.2\n---\na: b".split(
    "| ",
  ),
  // More lines or more documents than one.
  [
    "a: |\n  b",
    "a: >\n  b",
    "a: b\n  c",
    'a: "b\n  c"',
    "a: {b: c,\n  d: e}",
    "a: b\n---\nc: d",
    "a: b\n...\n",
    "--- a: b",
  ],
  // Scalars that are not what they seem, characters and depths.
  "a: 0x1f|a: 017|a: 1_000|a: 1e3|a: 0b1|a: -0|a: .5|a: ~|a: é|a:\n\tb: c".split("|"),
  ["__proto__: a", "toString: a", 'a: "\\x41"', `a: ${"[".repeat(100)}${"]".repeat(100)}`],
  // Wrong, one way or another.
  "a: b: c|a: b:|a: b\na: c|a: {b: c, b: d}|a: [b, ]|? a\n: b|a: -|a: - b|a: 'b|a: [b: c]".split(
    "|",
  ),
  ["a:\n  - b\n c: d", "a:\n    b: c\n  d: e", "a: b\n- c", `a: "${"\\".repeat(100_000)}`],
].flat();

for (const text of LEFT) {
  test(`left to the library: ${JSON.stringify(text.slice(0, 40))}`, () => {
    assert.equal(readPlainYaml(text), undefined);
  });
}

const FILES = globSync("{config,policies,test}/**/*.yaml").flatMap((file) =>
  readFileSync(file, "utf8").split(/^(?=---)/m),
);

test("the repository's own documents read alike, most of them plainly", () => {
  const plain = FILES.filter((text) => readAlike(text) !== undefined);
  assert.ok(plain.length > FILES.length / 2, `${plain.length} of ${FILES.length}`);
});

const PIECES =
  "\n|  |    | |- |a: |key:\n|b|x: y|#| #|'|\"|{|}|[|]|, |: |&a |*a|!t |0|1|-1|1.5|null|yes|~|---\n|%|\\|{a: b}|[1, 2]|'q'|\"q\"|? |<<: |é".split(
    "|",
  );

test("texts of any pieces of YAML read alike", () => {
  assertProperty(
    property(array(constantFrom(...PIECES), { maxLength: 12 }), (pieces) => {
      readAlike(pieces.join(""));
    }),
    { numRuns: 4000 },
  );
});

test("documents with one piece changed read alike", () => {
  const short = FILES.filter((text) => text.length < 1500);
  assertProperty(
    property(
      constantFrom(...short),
      constantFrom(...PIECES),
      nat(),
      nat(3),
      (text, piece, at, cut) => {
        const place = at % (text.length + 1);
        readAlike(text.slice(0, place) + piece + text.slice(place + cut));
      },
    ),
    { numRuns: 600 },
  );
});

test("JSON of any shape reads alike", () => {
  assertProperty(
    property(jsonValue({ maxDepth: 4 }), nat(3), (value, indent) => {
      readAlike(JSON.stringify({ value }, null, indent));
    }),
    { numRuns: 500 },
  );
});
