/**
 * `npm test`: installs what the tests need beside Node packages where it is missing, says so, and
 * runs every test. `--long` runs the long tests at full length; further arguments are files.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { findGoTool, GO_TOOLS, mustBuild } from "./support/go-tool.ts";

const { argv, env, execPath, stdout } = process;

/** Programs the tests drive, and the Debian package that brings each. */
const PROGRAMS = [
  { command: "kubectl", package: "kubernetes-client" },
  { command: "curl", package: "curl" },
  { command: "nghttp", package: "nghttp2-client" },
];

function isPresent(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
}

function installMissingPrograms(): void {
  const missing = PROGRAMS.filter((program) => !isPresent(program.command));
  if (missing.length === 0) return;
  const packages = missing.map((program) => program.package);
  stdout.write(`Installing what the tests need: apt-get install ${packages.join(" ")}\n`);
  spawnSync("apt-get", ["update", "-qq"], { stdio: "inherit" });
  const install = spawnSync("apt-get", ["install", "-y", "-qq", ...packages], { stdio: "inherit" });
  if (install.status !== 0) {
    stdout.write("Could not install them; the tests that need them are skipped by name.\n");
  }
}

/** Before the tests and not within them, so that none of them runs beside a compiler. */
function buildMissingTools(): void {
  for (const tool of GO_TOOLS.filter(mustBuild)) {
    stdout.write(
      `Building what the tests need, once: go install ${tool.package}@${tool.version}\n`,
    );
    const found = findGoTool(tool);
    if ("skip" in found)
      stdout.write(`${found.skip}; the tests that need it are skipped by name.\n`);
  }
}

const long = argv.includes("--long");
const files = argv.slice(2).filter((argument) => !argument.startsWith("--"));
installMissingPrograms();
if (files.length === 0) buildMissingTools();
const result = spawnSync(
  execPath,
  [
    "--test",
    "--test-concurrency=2",
    "--test-timeout=600000",
    ...(files.length > 0 ? files : globSync("test/**/*.test.ts").toSorted()),
  ],
  { stdio: "inherit", env: { ...env, ...(long ? { SLUICE_LONG: "1" } : {}) } },
);
process.exit(result.status ?? 1);
