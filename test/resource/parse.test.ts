/** Texts → drafts and issues: YAML and JSON, places, limits, and what must never be thrown. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  array,
  assert as assertProperty,
  constantFrom,
  jsonValue,
  property,
  tuple,
} from "fast-check";
import { formatIssue } from "../../src/resource/issue.ts";
import type { Issue } from "../../src/resource/issue.ts";
import { KINDS } from "../../src/resource/kinds.ts";
import { parseDocuments, parseResource, TextParser } from "../../src/resource/parse.ts";

const BACKEND = "apiVersion: sluice.dev/v1alpha1\nkind: Backend\n";
const SPEC = "spec: {endpoints: [{ip: {address: 10.0.0.1, port: 80}}]}\n";

function issuesOf(text: string): string[] {
  return parseDocuments(text, "a.yaml").issues.map(formatIssue);
}

const WRONG: readonly [name: string, text: string, issues: readonly RegExp[]][] = [
  ["no YAML", "a: [1\nb: 2", [/^a\.yaml:2:\d+: /]],
  ["a tab", "a:\n\tb: 1", [/^a\.yaml:2:1: Tabs are not allowed/]],
  ["text", "hello", [/^a\.yaml:1:1: must be an object with apiVersion and kind$/]],
  ["a list", "- a\n- b", [/^a\.yaml:1:1: must be an object/]],
  ["no kind", "apiVersion: v1", [/^a\.yaml:1:1: kind: is required$/]],
  ["kind null", "apiVersion: v1\nkind:\n", [/^a\.yaml:2:1: kind: must be the name of a kind$/]],
  [
    "unknown kind",
    "apiVersion: sluice.dev/v1alpha1\nkind: Bakend",
    [
      /^a\.yaml:2:7: kind: "Bakend" is not a known kind; did you mean "Backend"\? supported kinds: /,
    ],
  ],
  [
    "kind to come",
    "apiVersion: argoproj.io/v1alpha1\nkind: Workflow",
    [
      /^a\.yaml:2:7: kind: Workflow is not supported by this version; supported kinds: GatewayClass, /,
    ],
  ],
  [
    "wrong apiVersion",
    "kind: HTTPRoute\napiVersion: v1",
    [
      /^a\.yaml:2:13: apiVersion: must be gateway\.networking\.k8s\.io\/v1 for kind HTTPRoute, is "v1"$/,
    ],
  ],
  ["no metadata", `${BACKEND}${SPEC}`, [/^a\.yaml:1:1: metadata: is required$/]],
  ["no name", `${BACKEND}metadata: {}\n${SPEC}`, [/^a\.yaml:3:1: metadata\.name: is required$/]],
  [
    "name not DNS",
    `${BACKEND}metadata: {name: A_b}\n${SPEC}`,
    [/^a\.yaml:3:18: metadata\.name: must be lower-case letters.*is "A_b"$/],
  ],
  [
    "labels",
    `${BACKEND}metadata: {name: a, labels: {"a b": c, d/e/f: g, h: "i j", k: 1}}\n${SPEC}`,
    [/labels\.k: must be text, is a number; write it in quotes$/],
  ],
  [
    "label keys",
    `${BACKEND}metadata: {name: a, labels: {"a b": c, d/e/f: g, h: "i j"}}\n${SPEC}`,
    [/labels\["a b"\]: a key is/, /labels\["d\/e\/f"\]: a key is/, /labels\.h: a label's value/],
  ],
  [
    "duplicate key",
    `${BACKEND}metadata: {name: a}\n${SPEC}kind: Backend\n`,
    [/^a\.yaml:5:1: Map keys must be unique/],
  ],
  [
    "unknown top field",
    `${BACKEND}metadata: {name: a}\nspecs: {}\n${SPEC}`,
    [/^a\.yaml:4:1: specs: is not a field; did you mean "spec"\?/],
  ],
  [
    "the same resource twice",
    `${BACKEND}metadata: {name: a}\n${SPEC}---\n${BACKEND}metadata: {name: a}\n${SPEC}`,
    [/^a\.yaml:6:1: metadata\.name: repeats Backend\/default\/a, which stands in line 1 already$/],
  ],
  [
    "all documents at once",
    `${BACKEND}metadata: {name: a}\nspec: {}\n---\n${BACKEND}metadata: {name: b}\nspec: {endpoints: []}\n`,
    [
      /^a\.yaml:4:1: spec\.endpoints: is required$/,
      /^a\.yaml:9:8: spec\.endpoints: must not be empty$/,
    ],
  ],
  [
    "not a number",
    `${BACKEND}metadata: {name: a}\nspec: {endpoints: [{ip: {address: 10.0.0.1, port: .nan}}]}\n`,
    [/^a\.yaml:4:51: spec\.endpoints\[0\]\.ip\.port: must be a finite number$/],
  ],
  ["unresolved alias", "a: *b", [/^a\.yaml:1:/]],
  [
    "item of a List",
    `apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a, extra: 1}\n`,
    [
      /^a\.yaml:4:3: items\[0\]\.spec: is required$/,
      /^a\.yaml:6:23: items\[0\]\.metadata\.extra: is not/,
    ],
  ],
];

for (const [name, text, wanted] of WRONG) {
  test(`refused with its place: ${name}`, () => {
    const issues = issuesOf(text);
    for (const [index, pattern] of wanted.entries()) assert.match(issues[index] ?? "", pattern);
    assert.equal(issues.length, wanted.length, issues.join("\n"));
    if (name !== "the same resource twice") {
      assert.equal(parseDocuments(text).documents.length, 0);
    }
  });
}

test("texts without documents have neither documents nor issues", () => {
  for (const text of ["", "\n", "# only a comment", "---\n---\n# a\n---\nnull\n", "\ufeff"]) {
    assert.deepEqual(parseDocuments(text), { documents: [], issues: [] }, JSON.stringify(text));
  }
});

test("JSON, anchors, merge keys, Lists and Windows line ends are read", () => {
  const json = JSON.stringify(
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" }, data: { b: "c" } },
    null,
    "\t",
  );
  const anchored =
    `${BACKEND}metadata: {name: a}\nspec:\n  endpoints:\n` +
    "  - ip: &ip {address: 10.0.0.1, port: 80}\n  - ip: {<<: *ip, port: 81}\n";
  const list = `apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ""}\nitems: [${JSON.stringify(JSON.parse(json))}]\n`;
  for (const text of [json, anchored, list, anchored.replaceAll("\n", "\r\n")]) {
    const { documents, issues } = parseDocuments(text);
    assert.deepEqual(issues.map(formatIssue), []);
    assert.equal(documents.length, 1);
  }
  const [document] = parseDocuments(anchored).documents;
  assert.deepEqual(document?.draft["spec"], {
    endpoints: [
      { ip: { address: "10.0.0.1", port: 80 } },
      { ip: { address: "10.0.0.1", port: 81 } },
    ],
  });
});

/** What kubectl 1.32 makes of plain scalars (`create --dry-run=client -o json`). */
const SCALARS: readonly [written: string, read: unknown][] = [
  ["y", true],
  ["No", false],
  ["on", true],
  ["OFF", false],
  ["true", true],
  ["0777", 511],
  ["0o17", 15],
  ["0b11", 3],
  ["0x1F", 31],
  ["1_000", 1000],
  ["+1", 1],
  ["1e3", 1000],
  ["12:30", "12:30"],
  ["2026-01-01", "2026-01-01"],
  ["=", "="],
  ["'y'", "y"],
  ['"0777"', "0777"],
  ["yess", "yess"],
];

for (const [written, read] of SCALARS) {
  test(`the scalar ${written} is read as kubectl reads it`, () => {
    const { documents } = parseDocuments(
      `apiVersion: apps/v1\nkind: ControllerRevision\nmetadata: {name: a}\ndata: {v: ${written}}\n` +
        "revision: 1\n",
    );
    assert.deepEqual(documents[0]?.draft["data"], { v: read });
  });
}

test("a text is read alike whole, in stretches and after an edit", () => {
  const document = (name: string, note: string): string =>
    `${BACKEND}metadata: {name: ${name}, annotations: {note: ${JSON.stringify(note)}}}\n${SPEC}`;
  const first =
    document("a", "-") + "---\n" + document("b", "-") + "--- # c\n" + document("c", "x");
  const edited = first.replace("name: a", "name: d").replace("{endpoints", "{wrong: 1, endpoints");
  const parser = new TextParser();
  for (const text of [first, edited, `# moved\n\n${first}`, first.replaceAll("\n", "\r\n")]) {
    const whole = parseDocuments(`${text}\n...\n`, "a.yaml");
    assert.deepEqual(parser.parse(text, "a.yaml"), whole);
    assert.deepEqual(parseDocuments(text, "a.yaml"), whole);
  }
  assert.deepEqual(
    parser.parse(first).documents.map(({ position }) => position.line),
    [1, 6, 11],
  );
});

test("what a server writes is dropped, and what counts is hashed", () => {
  const text = (extra: string): string =>
    `${BACKEND}metadata: {name: a, uid: u, resourceVersion: "5", generation: 3, ` +
    `creationTimestamp: null, managedFields: [{a: b}], labels: {}}\n${extra}${SPEC}status: {a: b}\n`;
  const [document] = parseDocuments(text("")).documents;
  assert.deepEqual(document?.draft.metadata, { name: "a", namespace: "default" });
  assert.ok(!Object.hasOwn(document?.draft ?? {}, "status"));
  const [commented] = parseDocuments(text("# a comment\n\n")).documents;
  assert.equal(commented?.contentHash, document?.contentHash);
  assert.notEqual(commented?.position.line, undefined);
});

test("an alias bomb, deep nesting and a huge text are refused, not suffered", () => {
  const bomb = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"];
  for (let level = 1; level < 12; level++) {
    const items = Array.from({ length: 10 }, () => `*a${level - 1}`).join(",");
    bomb.push(`a${level}: &a${level} [${items}]`);
  }
  assert.match(issuesOf(bomb.join("\n"))[0] ?? "", /[Aa]lias/);
  assert.match(issuesOf("[".repeat(100_000))[0] ?? "", /is nested too deeply/);
  const deep = `${BACKEND}metadata: {name: a}\nspec: ${"{a: ".repeat(80)}1${"}".repeat(80)}\n`;
  assert.match(issuesOf(deep)[0] ?? "", /is nested deeper than 64 levels/);
  assert.match(issuesOf(" ".repeat(33 * 1024 * 1024))[0] ?? "", /is larger than 32 MiB/);
});

/** Far more than it takes, far less than what grows with the square would take. */
const HANG_MS = 30_000;

test("a huge map is read, or refused, in time", { timeout: HANG_MS }, () => {
  const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
  const keys = Array.from({ length: 80_000 }, (_, index) => `k${index}: v`);
  const read = parseDocuments(`${head}data:\n  ${keys.join("\n  ")}\n`);
  assert.equal(Object.keys(read.documents[0]?.draft["data"] ?? {}).length, keys.length);
  const { issues } = parseDocuments(`${head}${keys.join("\n")}\n`);
  assert.equal(issues.length, 200);
  assert.match(formatIssue(issues[0] as Issue), /^4:1: k0: is not a field; valid: apiVersion,/);
});

/** Expressions for paths, and whether they are taken. */
const EXPRESSIONS: readonly [expression: string, isTaken: boolean][] = [
  ["/api/v[0-9]+/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", true],
  [`/${"a".repeat(1000)}`, true],
  ["/a{1000}", true],
  ["/(?:[a-z]{1,63}\\\\.){1,5}x", true],
  ["/[{900}][]{900}]\\\\{900\\\\}", true],
  ["/(?:a{1,30}){1,30}(?:b{1,30}){1,30}", false],
  ["/(?:[a-z]{600}){2}", false],
  ["/a{600}b{600}", false],
  ["/(?:a|b{10}|(?:c{5}){10}){20}", false],
  ["/a{1,99999999999999999999}", false],
  ["/(a", false],
];

for (const [expression, isTaken] of EXPRESSIONS) {
  test(`an expression that would cost too much is refused: ${expression.slice(0, 40)}`, () => {
    const text =
      "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n" +
      `  rules: [{matches: [{path: {type: RegularExpression, value: "${expression}"}}]}]\n`;
    const issues = issuesOf(text);
    if (isTaken) assert.deepEqual(issues, []);
    else assert.match(issues[0] ?? "", /path\.value: must be a (?:simpler|regular) expression/);
  });
}

test("documents of JSON may follow one another as they do for kubectl", () => {
  const one = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a" }, data: { b: '}{"' } };
  const two = { ...one, metadata: { name: "b", labels: { c: "D E" } } };
  const texts = [
    [JSON.stringify(one), JSON.stringify(one).replace('"a"', '"b"')],
    [JSON.stringify(one, null, 2), JSON.stringify(two, null, 2)],
  ];
  const read = parseDocuments((texts[0] ?? []).join("\n"));
  assert.deepEqual(read.issues, []);
  assert.deepEqual(
    read.documents.map(({ draft, position }) => [draft.metadata.name, position.line]),
    [
      ["a", 1],
      ["b", 2],
    ],
  );
  const wrong = parseDocuments(` \n${(texts[1] ?? []).join(" ")}\n`, "a.json");
  assert.equal(wrong.documents.length, 1);
  assert.match(
    formatIssue(wrong.issues[0] as Issue),
    /^a\.json:17:12: metadata\.labels\.c: a label/,
  );
  assert.match(issuesOf(`${JSON.stringify(one)} x`)[0] ?? "", /^a\.yaml:1:/);
  assert.match(issuesOf(`${JSON.stringify(one)}{`)[0] ?? "", /^a\.yaml:1:/);
});

test("no message holds a Secret's value", () => {
  const text =
    "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n" +
    "data: {a: hunter2hunter2!, 'hunter2 key': aGk=, n: 4711}\nstringData: {b: [hunter2], c: 4711}\n";
  const issues = issuesOf(text);
  assert.ok(issues.length >= 4, issues.join("\n"));
  for (const issue of issues) assert.doesNotMatch(issue, /hunter2hunter2|\[hunter2|4711/);
});

test("a Secret's stringData is folded into data", () => {
  const parsed = parseResource({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "a" },
    data: { a: "eA==", b: "eA==" },
    stringData: { b: "ü", c: "" },
  });
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.draft["data"], { a: "eA==", b: "w7w=", c: "" });
  assert.ok(!Object.hasOwn(parsed.draft, "stringData"));
  assert.equal(parsed.draft["type"], "Opaque");
});

test("options of the API: namespace, version, status, generated names", () => {
  const value = {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: { generateName: "a-", uid: "u", resourceVersion: "7" },
    spec: {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: "a" },
      strategy: { canary: {} },
    },
    status: { abort: true, custom: 1 },
  };
  const parsed = parseResource(value, {
    namespace: "shop",
    status: "keep",
    keepVersion: true,
    generateName: (prefix) => `${prefix}x`,
  });
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.draft.metadata, {
    name: "a-x",
    namespace: "shop",
    uid: "u",
    resourceVersion: "7",
  });
  assert.deepEqual(parsed.draft["status"], { abort: true, custom: 1 });
  const plain = parseResource(value);
  assert.ok(!plain.ok);
  assert.match(plain.issues[0]?.message ?? "", /names are generated/);
});

test("a key that would reach a prototype is refused", () => {
  const value: unknown = JSON.parse(
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"__proto__":"x"}}',
  );
  const parsed = parseResource(value);
  assert.ok(!parsed.ok);
  assert.equal(parsed.issues[0]?.path, "data.__proto__");
});

test("property: no text and no JSON value makes the parser throw", () => {
  const tokens = constantFrom(
    ...Array.from("{}[],:-&*!|>#%@`\"'?\n\t ab1"),
    "---\n",
    "kind: ",
    "<<: ",
    "metadata:",
    "  ",
    "!!binary ",
    "&a ",
    "*a ",
    "apiVersion: v1\n",
  );
  assertProperty(
    property(array(tokens, { maxLength: 60 }), (parts) => {
      const { issues } = parseDocuments(parts.join(""));
      for (const issue of issues) assert.ok(issue.message !== "");
    }),
    { numRuns: 1500 },
  );
  const kinds = KINDS.map(({ group, version, kind }) => ({
    apiVersion: group === "" ? version : `${group}/${version}`,
    kind,
  }));
  assertProperty(
    property(
      constantFrom(...kinds),
      jsonValue({ maxDepth: 5 }),
      jsonValue({ maxDepth: 5 }),
      (head, spec, other) => {
        const parsed = parseResource({ ...head, metadata: { name: "a" }, spec, data: other });
        if (!parsed.ok) assert.notEqual(parsed.issues.length, 0);
      },
    ),
    { numRuns: 1500 },
  );
});

/** All places of a JSON value, as paths. */
function placesOf(value: unknown, place: readonly string[] = []): (readonly string[])[] {
  const inner = typeof value === "object" && value !== null ? Object.entries(value) : [];
  return [place, ...inner.flatMap(([key, item]) => placesOf(item, [...place, key]))];
}

/** The value with what stands at `place` replaced. */
function replaceAt(value: unknown, place: readonly string[], by: unknown): unknown {
  const [key, ...rest] = place;
  if (key === undefined) return by;
  if (Array.isArray(value)) {
    return value.map((item: unknown, index) =>
      String(index) === key ? replaceAt(item, rest, by) : item,
    );
  }
  const object = value as Readonly<Record<string, unknown>>;
  return { ...object, [key]: replaceAt(object[key], rest, by) };
}

test("property: a right document with any part replaced is read or refused, and read alike", () => {
  const folder = new URL("../golden/resource/", import.meta.url);
  const drafts = KINDS.flatMap(({ kind }) =>
    parseDocuments(readFileSync(new URL(`${kind}.in.yaml`, folder), "utf8")).documents.map(
      ({ draft }) => draft,
    ),
  );
  const replaced = constantFrom(...drafts).chain((draft) =>
    tuple(constantFrom(...placesOf(draft)), jsonValue({ maxDepth: 2 })).map(([place, by]) =>
      replaceAt(draft, place, by),
    ),
  );
  assertProperty(
    property(replaced, (value) => {
      const parsed = parseResource(value);
      if (parsed.ok) assert.deepEqual(parseResource(parsed.draft), parsed);
      else assert.notEqual(parsed.issues.length, 0);
    }),
    { numRuns: 3000 },
  );
});
