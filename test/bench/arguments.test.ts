/** Benchmarks refuse arguments that are none, before they install or measure anything. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";

const RUN = path.resolve(import.meta.dirname, "../../bench/run.ts");

const REFUSED: readonly (readonly [args: string, says: RegExp])[] = [
  ["", /^Usage: npm run bench -- bodies\|/],
  ["proxies", /^Usage: npm run bench -- bodies\|/],
  ["proxy many", /^proxy: rounds: must be a whole number of at least 1, is "many"$/m],
  ["proxy 1 0.5", /^proxy: seconds per run: must be a whole number of at least 1, is "0.5"$/m],
  ["proxy 1 1 cpus", /^proxy: there is no part "cpus"; valid: cpu, varied, latency, workers$/m],
  ["connections 0", /^connections: connections: must be a whole number/],
];

for (const [args, says] of REFUSED) {
  test(`npm run bench -- ${args}`, () => {
    const words = args.split(" ").filter((word) => word !== "");
    const { status, stdout, stderr } = spawnSync(process.execPath, [RUN, ...words], {
      encoding: "utf8",
    });
    assert.equal(status, 2, stderr);
    assert.match(stderr, says);
    assert.equal(stdout, "");
  });
}
