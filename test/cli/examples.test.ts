/**
 * The shipped examples say what they should: what their comments tell to run first is run, and then
 * `sluice check` finds nothing wrong with any of them.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

const ROOT = path.resolve(import.meta.dirname, "../..");
const MAIN = path.join(ROOT, "src/cli/main.ts");

function sluice(...args: string[]) {
  return sluiceIn(ROOT, ...args);
}

function sluiceIn(cwd: string, ...args: string[]) {
  return spawnSync(process.execPath, [MAIN, ...args], { cwd, encoding: "utf8" });
}

for (const file of readdirSync(path.join(ROOT, "config"))) {
  test(`config/${file}`, (context) => {
    // Certificates and the like are made in a folder that is gone afterwards.
    const folder = mkdtempSync(path.join(tmpdir(), "sluice-example-"));
    context.after(() => rmSync(folder, { recursive: true }));
    for (const name of ["config", "policies"]) {
      symlinkSync(path.join(ROOT, name), path.join(folder, name));
    }
    const text = readFileSync(path.join(ROOT, "config", file), "utf8");
    for (const [, command = ""] of text.matchAll(/^# {3}\$ (.+)$/gm)) {
      execFileSync("sh", ["-c", command], { cwd: folder, stdio: "ignore" });
    }
    const told = /^# {3}sluice up ((?:-f \S+ ?)+)/m.exec(text)?.[1]?.trim();
    const files = (told ?? `-f config/${file}`).split(/ +/);
    assert.ok(files.includes(`config/${file}`), "the example tells to serve itself");
    const result = sluiceIn(folder, "check", ...files, "-f", "policies");
    assert.equal(result.status, 0, result.stderr);
    assert.match(result.stdout, /no problems/);
  });
}

test("the files that README.md names are there", () => {
  const readme = readFileSync(path.join(ROOT, "README.md"), "utf8");
  for (const [name] of readme.matchAll(/\b(?:config|policies|bench|src)\/[\w./-]+\.\w+/g)) {
    assert.doesNotThrow(() => readFileSync(path.join(ROOT, name)), `README.md names ${name}`);
  }
});

test("every command has help with a summary", () => {
  const help = sluice("--help");
  assert.equal(help.status, 0);
  for (const command of ["up", "proxy", "demo", "check", "apply", "get", "delete", "rollout"]) {
    assert.match(help.stdout, new RegExp(`^  ${command} .*\\S`, "m"));
    assert.equal(sluice(command, "--help").status, 0);
  }
});

/** What is wrong on the command line, what is said of it, and the exit code. */
const MISTAKES: readonly (readonly [string[], RegExp, number])[] = [
  [["upp"], /unknown command 'upp'/, 2],
  [["up", "--workers", "0"], /whole number from 1 to 256/, 2],
  [["get", "gatway"], /Unknown kind "gatway".*gateway/, 2],
  [["check", "-f", "no-such-file.yaml"], /no-such-file\.yaml: cannot be read: no such file/, 1],
  [["check"], /required option/, 2],
  [["up", "--admin", "nonsense"], /must be HOST:PORT/, 2],
  [["up", "--admin", "0.0.0.0:9900"], /only loopback addresses[^]*see "sluice up --help"/, 2],
  [["demo", "--admin", "nonsense"], /must be HOST:PORT/, 2],
  [["proxy", "--to", "localhost"], /--to localhost: must be the URL of a plain HTTP server/, 2],
  [["proxy", "--to", "http://h:1/v1"], /without a path/, 2],
  [["proxy", "--to", "http://ops:hunter2@h:1"], /--to: must hold no user and password/, 2],
  [["proxy", "--to", "http://h:1?a=b"], /without a path/, 2],
  [["proxy", "--to", "http://h:1", "--canary", "http://h:2", "--steps", "50,5"], /--steps 50,5/, 2],
  [["get", "rollouts", "--server", "127.0.0.1:9900"], /must be a URL/, 2],
  [["get", "rollouts", "--server", "http://127.0.0.1:9"], /Cannot reach Sluice/, 3],
];

for (const [args, says, code] of MISTAKES) {
  test(`sluice ${args.join(" ")} exits with ${code}`, () => {
    const result = sluice(...args);
    assert.match(result.stderr, says);
    assert.equal(result.status, code);
  });
}

test("a file with mistakes ends the start, and each is said once", (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-mistake-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, "a.yaml");
  writeFileSync(file, "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndta: {}\n");
  const data = path.join(folder, "data");
  const result = sluice("up", "-f", file, "--data", data, "--admin", "127.0.0.1:0");
  assert.equal(result.status, 3, result.stderr);
  assert.equal(result.stderr.match(/dta: is not a field/g)?.length, 1, result.stderr);
});

test("a folder without a resource is no folder in which all is well", (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-empty-"));
  context.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, "later.yaml"), "# nothing yet\n");
  for (const command of ["check", "apply"]) {
    const result = sluice(command, "-f", folder);
    assert.equal(result.status, 1, command);
    assert.equal(result.stderr, `There is no resource in ${folder}\n`);
  }
});
