/** How many threads compress, look up names and read files, counted as the kernel has them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);
const SOURCES = path.resolve(import.meta.dirname, "../../src");

/** Loads what serves, as the command line does, sizes the pool, has it work, and prints its threads. */
const PROGRAM = `
  import { readdirSync, readFileSync } from "node:fs";
  import { Worker } from "node:worker_threads";
  import "${SOURCES}/cli/serve.ts";
  import { sizeThreadPool } from "${SOURCES}/process/thread-pool.ts";
  sizeThreadPool(Number(process.argv[1]));
  const work = 'process.getBuiltinModule("node:zlib").gzip("x", () => {})';
  await new Promise((resolve) => new Worker(work, { eval: true }).once("exit", resolve));
  const names = readdirSync("/proc/self/task").map((id) =>
    readFileSync("/proc/self/task/" + id + "/comm", "utf8").trim());
  console.log(names.filter((name) => name === "libuv-worker").length);
`;

const CASES: readonly [processors: number, said: string | undefined, threads: number][] = [
  [2, undefined, 4],
  [9, undefined, 9],
  [9, "6", 6],
];

for (const [processors, said, threads] of CASES) {
  const skip = existsSync("/proc/self/task") ? false : "the kernel is not asked this way here";
  const asked = said === undefined ? "" : `, ${said} asked for`;
  test(`${processors} processors${asked}: ${threads} threads`, { skip }, async () => {
    const { UV_THREADPOOL_SIZE: _own, ...env } = process.env;
    const args = ["--input-type=module-typescript", "-e", PROGRAM, String(processors)];
    const { stdout } = await run(process.execPath, args, {
      env: { ...env, ...(said !== undefined && { UV_THREADPOOL_SIZE: said }) },
    });
    assert.equal(stdout.trim(), String(threads));
  });
}
