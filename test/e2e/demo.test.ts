/** The first five minutes: the story of `npm start` from beginning to end, within its time. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { freePort } from "../support/sluice.ts";

const MAIN = path.resolve(import.meta.dirname, "../../src/cli/main.ts");
const STORY_MS_MAX = 90_000;

async function runDemo(args: readonly string[], signalAtFirstLine?: NodeJS.Signals) {
  const child = spawn(process.execPath, [MAIN, "demo", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (text) => (output += String(text)));
  if (signalAtFirstLine !== undefined) {
    child.stdout.once("data", () => child.kill(signalAtFirstLine));
  }
  child.stderr.on("data", (text) => (output += String(text)));
  const [code] = (await once(child, "exit")) as [number | null];
  return { code, output };
}

function leftovers(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith("sluice-demo-"));
}

test("version 2 is promoted, version 3 is rolled back, and nothing is left behind", async () => {
  const before = leftovers();
  const startedMs = performance.now();
  const [port, admin] = [await freePort(), `127.0.0.1:${await freePort()}`];
  const { code, output } = await runDemo(["--once", "--port", String(port), "--admin", admin]);
  assert.equal(code, 0, output);
  assert.ok(performance.now() - startedMs < STORY_MS_MAX);
  const acts = [
    "Version 2 is applied",
    "5%",
    "25%",
    "50%",
    "Promoted",
    "Version 3 is applied",
    "Rolled back",
  ];
  let at = 0;
  for (const act of acts) {
    const found = output.indexOf(act, at);
    assert.ok(found >= at, `"${act}" comes in its turn:\n${output}`);
    at = found;
  }
  assert.match(output, / 0 failed/);
  assert.deepEqual(leftovers(), before);
});

test("a terminal that is closed in mid-story leaves nothing behind", async () => {
  const before = leftovers();
  const [port, admin] = [await freePort(), `127.0.0.1:${await freePort()}`];
  const { code, output } = await runDemo(["--port", String(port), "--admin", admin], "SIGHUP");
  assert.equal(code, 0, output);
  assert.deepEqual(leftovers(), before);
});

test("a port in use is named, with how to change it", async () => {
  const taken = createServer();
  taken.listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const admin = `127.0.0.1:${await freePort()}`;
  const { code, output } = await runDemo(["--port", String(port), "--admin", admin]);
  taken.close();
  assert.equal(code, 3, output);
  assert.match(output, new RegExp(`${port}.* in use.*--port`));
});
