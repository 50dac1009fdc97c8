/**
 * Golden files: what a set of documents becomes. `NAME.in.yaml` holds the documents,
 * `NAME.out.yaml` parts, statuses and problems. `UPDATE=1` rewrites; the diff is the review.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { stringify } from "yaml";
import { canonicalJson } from "../../src/base/json.ts";
import { compile } from "../../src/compile/compile.ts";
import type { Compiled } from "../../src/compile/compiled.ts";
import { formatProblem, problemsOf } from "../../src/compile/problems.ts";
import { keyText } from "../../src/resource/resource.ts";
import { ResourceSet } from "./resource-set.ts";

const FOLDER = new URL("../golden/compile/", import.meta.url);
const names = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".in.yaml"))
  .map((name) => name.slice(0, -".in.yaml".length));

assert.ok(names.length > 0, "there are no golden files");

for (const name of names) {
  test(`golden: ${name}`, () => {
    const text = readFileSync(new URL(`${name}.in.yaml`, FOLDER), "utf8");
    const output = render(compile(ResourceSet.parse(text)));
    const place = new URL(`${name}.out.yaml`, FOLDER);
    if (process.env["UPDATE"] === "1") writeFileSync(place, output);
    assert.equal(output, readFileSync(place, "utf8"));
  });
}

/** What is compared: everything but the values of credentials and how splits were read. */
function render(compiled: Compiled): string {
  const shown = {
    problems: problemsOf(compiled).map(formatProblem),
    parts: Object.fromEntries(
      [...compiled.parts]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, part]) => {
          const { key: own, ...rest } = part;
          assert.equal(own, key);
          return [key, rest];
        }),
    ),
    statuses: Object.fromEntries(
      // Features are a list of their own, which grows (src/compile/features.ts).
      compiled.statuses.map(({ key, supportedFeatures: _features, ...draft }) => [
        keyText(key),
        draft,
      ]),
    ),
    credentials: [...compiled.credentials.keys()],
    routesOf: Object.fromEntries(compiled.routesOf),
  };
  // Shared objects would be written as anchors, which say nothing about the Program.
  const plain: unknown = JSON.parse(canonicalJson(shown), (key, value: unknown) =>
    // Fields that conditions speak of are for lists; see test/cli/check.test.ts.
    key === "causes" ? undefined : value,
  );
  return stringify(plain, { lineWidth: 100 });
}
