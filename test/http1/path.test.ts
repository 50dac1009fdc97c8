/** One spelling of each path: what is let through stays what it was taken for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isForbiddenPath, normalPath, type PathReading } from "../../src/http1/path.ts";

const READINGS: readonly PathReading[] = [
  {},
  { escapedSlashes: "KeepUnchanged", keepsRepeatedSlashes: true },
  { escapedSlashes: "RejectRequest" },
  { escapedSlashes: "UnescapeAndForward" },
  { escapedSlashes: "UnescapeAndRedirect", keepsRepeatedSlashes: true },
];

function escapes(path: string): number {
  return path.match(/%[0-9A-Fa-f]{2}/g)?.length ?? 0;
}

test("no path becomes one that would not have been let through, or gains an escape", () => {
  const letters = "% 2 e E 6 5 3 4 0 F f / . a c x ;".split(" ");
  const piece = fc.constantFrom(...letters, "%2e", "%2F", "%65", "%46", "%25", "%%");
  const path = fc.array(piece, { maxLength: 10 }).map((pieces) => `/${pieces.join("")}`);
  fc.assert(
    fc.property(path, fc.constantFrom(...READINGS), (text, reading) => {
      if (isForbiddenPath(text)) return;
      const normal = normalPath(text, reading);
      assert.equal(isForbiddenPath(normal), false, `${text} is ${normal}`);
      assert.ok(escapes(normal) <= escapes(text), `${text} is ${normal}`);
      assert.equal(normalPath(normal, reading), normal);
    }),
    { numRuns: 20_000 },
  );
});
