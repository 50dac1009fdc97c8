/**
 * Golden files, one for each kind: `KIND.in.yaml` holds documents that are right and wrong,
 * `KIND.out.yaml` the drafts with their defaults and every issue with its place. `UPDATE=1`
 * rewrites.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { stringify } from "yaml";
import { formatIssue } from "../../src/resource/issue.ts";
import { KINDS } from "../../src/resource/kinds.ts";
import { parseDocuments, parseResource } from "../../src/resource/parse.ts";

const FOLDER = new URL("../golden/resource/", import.meta.url);

for (const { kind } of KINDS) {
  test(`golden: ${kind}`, () => {
    const parsed = parseDocuments(readFileSync(new URL(`${kind}.in.yaml`, FOLDER), "utf8"));
    assert.notEqual(parsed.documents.length, 0, "a golden file holds a document that is right");
    assert.notEqual(parsed.issues.length, 0, "a golden file holds a document that is wrong");
    for (const { draft } of parsed.documents) {
      // Defaults are stored, so what was read once is read again as it is.
      assert.deepEqual(parseResource(draft), { ok: true, draft });
    }
    const output = stringify(
      {
        issues: parsed.issues.map(formatIssue),
        drafts: parsed.documents.map(({ draft }) => draft),
      },
      { lineWidth: 0, aliasDuplicateObjects: false },
    );
    const place = new URL(`${kind}.out.yaml`, FOLDER);
    if (process.env["UPDATE"] === "1") writeFileSync(place, output);
    assert.equal(output, readFileSync(place, "utf8"));
  });
}
