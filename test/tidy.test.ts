/**
 * The rules of the house that no linter knows: the import table of src/README.md, where time and
 * chance may come from, headers, and what must never stand in the repository.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { KINDS } from "../src/resource/kinds.ts";

interface SourceFile {
  readonly file: string;
  readonly folder: string;
  readonly text: string;
}

function sourceFiles(pattern: string): SourceFile[] {
  return globSync(pattern)
    .toSorted()
    .map((file) => ({
      file,
      folder: file.split(path.sep)[1] as string,
      text: readFileSync(file, "utf8"),
    }));
}

const SOURCES = sourceFiles("src/**/*.ts");

/** Folder → folders it may import, from the table in src/README.md; "*" allows all. */
function importTable(): Map<string, readonly string[]> {
  const table = new Map<string, readonly string[]>();
  for (const line of readFileSync("src/README.md", "utf8").split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    if (cells.length !== 5 || cells[1] === "folder" || cells[1]?.startsWith("-")) continue;
    table.set(cells[1] as string, (cells[3] as string).split(", ").filter(Boolean));
  }
  return table;
}

function importsOf({ file, text }: SourceFile): string[] {
  const found = text.matchAll(/(?:from|import)\s+"(\.[^"]+)"|import\("(\.[^"]+)"\)/g);
  return [...found].map((match) => path.join(path.dirname(file), (match[1] ?? match[2]) as string));
}

test("folders import only what src/README.md allows", () => {
  const table = importTable();
  const broken: string[] = [];
  for (const source of SOURCES) {
    const allowed = table.get(source.folder);
    assert.ok(allowed, `src/README.md does not list the folder ${source.folder}`);
    for (const target of importsOf(source)) {
      const folder = target.split(path.sep)[1] as string;
      if (folder === source.folder || allowed.includes("*") || allowed.includes(folder)) continue;
      broken.push(`${source.file} imports ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("OpenTelemetry is loaded by the trace thread alone", () => {
  const loaders = SOURCES.filter(({ text }) => text.includes('from "@opentelemetry/'));
  assert.deepEqual(
    loaders.map(({ file }) => file),
    ["src/trace/exporter.ts"],
  );
  const importers = SOURCES.filter((source) =>
    importsOf(source).includes(path.normalize("src/trace/exporter.ts")),
  );
  assert.deepEqual(
    importers.map(({ file }) => file),
    ["src/process/trace-thread.ts"],
  );
});

/** What is banned, where it is allowed all the same, and what to use instead. */
const BANS: readonly { pattern: RegExp; allowed: RegExp; instead: string }[] = [
  {
    pattern: /\bDate\.now\(|\bnew Date\(\)/,
    allowed: /^src\/(base\/clock|proxy|cli)/,
    instead: "Clock.now (base/clock.ts)",
  },
  {
    pattern: /\bperformance\.now\(/,
    allowed: /^src\/(base\/clock|proxy|llm|cli)/,
    instead: "Clock.monotonic (base/clock.ts)",
  },
  {
    pattern: /\b(setTimeout|setInterval)\(/,
    allowed: /^src\/(base\/clock|proxy|cli|process)/,
    instead: "Clock.after (base/clock.ts)",
  },
  {
    pattern: /\bMath\.random\b/,
    allowed: /^src\/base\/random/,
    instead: "Random (base/random.ts)",
  },
  { pattern: /\bconsole\./, allowed: /^$/, instead: "the logger, or the CLI's output" },
  { pattern: /\bprocess\.env\b/, allowed: /^src\/(cli|process)\//, instead: "an option" },
  { pattern: /\b(TODO|FIXME|XXX)\b/, allowed: /^$/, instead: "a sentence, or an issue" },
  { pattern: /^export (default|\*)/m, allowed: /^$/, instead: "a named export of the file meant" },
  { pattern: /\bas unknown as\b/, allowed: /^$/, instead: "a parser or a type guard" },
];

test("time, chance, output and shortcuts come only from where they may", () => {
  const broken: string[] = [];
  for (const { file, text } of SOURCES) {
    const code = text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
    for (const { pattern, allowed, instead } of BANS) {
      const found = pattern.exec(code);
      if (found && !allowed.test(file)) broken.push(`${file}: ${found[0]} → use ${instead}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("every source file begins with a comment that says what it is", () => {
  const missing = SOURCES.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text));
  assert.deepEqual(
    missing.map(({ file }) => file),
    [],
  );
});

test("no folder holds a drawer", () => {
  const drawers = /\/(index|utils?|helpers?|common|misc|types|manager)\.ts$/;
  assert.deepEqual(
    SOURCES.map(({ file }) => file).filter((file) => drawers.test(file)),
    [],
  );
});

test("the README names every kind, and the files that the map names are there", () => {
  const readme = readFileSync("README.md", "utf8");
  const kinds = KINDS.map(({ kind }) => kind);
  const missing = kinds.filter((kind) => !new RegExp(`\\b${kind}\\b`).test(readme));
  assert.deepEqual(missing, []);
  const files = [...SOURCES, ...sourceFiles("test/*.ts")].map(({ file }) => `/${file}`);
  const named = readFileSync("src/README.md", "utf8").match(/[-\w./]*\w\.ts\b/g) ?? [];
  const lost = named.filter((name) => !files.some((file) => file.endsWith(`/${name}`)));
  // That one stands for a file that is still to be written.
  assert.deepEqual(lost, ["resource/NAME.ts"]);
});

test("tests never sleep", () => {
  const sleepers = sourceFiles("test/**/*.test.ts").filter(
    ({ file, text }) => file !== "test/tidy.test.ts" && /\bsetTimeout\(|\bsleep\(/.test(text),
  );
  assert.deepEqual(
    sleepers.map(({ file }) => file),
    [],
  );
});
