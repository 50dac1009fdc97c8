/**
 * Whatever the set of documents is, compiling it neither throws nor depends on the order in which
 * the documents came: what is missing is said in a status.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { assert as check, property, shuffledSubarray } from "fast-check";
import { compile } from "../../src/compile/compile.ts";
import type { Compiled } from "../../src/compile/compiled.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { parseDrafts, ResourceSet } from "./resource-set.ts";

const FOLDER = new URL("../golden/compile/", import.meta.url);

/** The documents of all golden files; names that several use make for more conflicts. */
const DRAFTS = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".in.yaml"))
  .flatMap((name) => parseDrafts(readFileSync(new URL(name, FOLDER), "utf8")))
  .map((draft, index): ResourceDraft => {
    const created = new Date(Date.UTC(2026, 0, 1, 0, 0, index)).toISOString();
    return { ...draft, metadata: { ...draft.metadata, creationTimestamp: created } };
  });

/** One document for each name: of several the last, so that the order of the rest is free. */
const DISTINCT = [
  ...new Map(
    DRAFTS.map((draft) => {
      const { kind, metadata } = draft;
      return [`${kind}/${metadata.namespace}/${metadata.name}`, draft] as const;
    }),
  ).values(),
];

test("any documents in any order compile to the same, with every part that is named", () => {
  check(
    property(shuffledSubarray(DISTINCT), (drafts) => {
      const shuffled = compileDrafts(drafts);
      const sorted = compileDrafts(DISTINCT.filter((draft) => drafts.includes(draft)));
      assert.deepEqual(plain(shuffled), plain(sorted));
      checkReferences(shuffled);
    }),
    { numRuns: 200 },
  );
});

function compileDrafts(drafts: readonly ResourceDraft[]): Compiled {
  const set = new ResourceSet();
  for (const draft of drafts) set.apply(draft);
  return compile(set);
}

function plain({ parts, statuses, routesOf }: Compiled): unknown {
  return {
    parts: Object.fromEntries([...parts].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    statuses: statuses.toSorted((a, b) => (JSON.stringify(a.key) < JSON.stringify(b.key) ? -1 : 1)),
    routesOf: Object.fromEntries(routesOf),
  };
}

/** Every key that a part names is there: what cannot be resolved is left out, not left dangling. */
function checkReferences({ parts }: Compiled): void {
  for (const part of parts.values()) {
    for (const key of namedBy(JSON.stringify(part))) {
      assert.ok(key === part.key || parts.has(key), `${part.key} names ${key}`);
    }
  }
}

const KEY =
  /"(?:(?:table|page|rule|models|split|pool|keys|keyPage|certificate|authorities|client)\/[^"]*)"/g;

function namedBy(json: string): readonly string[] {
  return [...json.matchAll(KEY)].map(([quoted]) => JSON.parse(quoted) as string);
}
