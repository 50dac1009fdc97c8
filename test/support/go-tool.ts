/**
 * Programs written in Go that tests drive: taken from the PATH, or built once from their module, at a
 * pinned version, into the user's cache folder. Where neither a program nor Go is at hand the tests
 * that need it are skipped by name.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

export interface GoTool {
  /** The name of the program. */
  readonly name: string;
  /** What `go install` is given, without the version. */
  readonly package: string;
  readonly version: string;
}

/** Built in 75 s on two cores with an empty cache. */
export const K6: GoTool = { name: "k6", package: "go.k6.io/k6", version: "v1.8.1" };

/** An ACME server for tests, by Let's Encrypt; built in 20 s. */
export const PEBBLE: GoTool = {
  name: "pebble",
  package: "github.com/letsencrypt/pebble/v2/cmd/pebble",
  version: "v2.10.1",
};

/** What RFC 9113's forerunner asks of a server, case by case; built in 10 s. */
export const H2SPEC: GoTool = {
  name: "h2spec",
  package: "github.com/summerwind/h2spec/cmd/h2spec",
  version: "v2.2.1+incompatible",
};

export const GO_TOOLS: readonly GoTool[] = [K6, PEBBLE, H2SPEC];

export type Found =
  | { readonly path: string }
  /** Why a test that needs it is skipped. */
  | { readonly skip: string };

function isPresent(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
}

function cachedPath(tool: GoTool): string {
  const cache = process.env["XDG_CACHE_HOME"] ?? path.join(homedir(), ".cache");
  return path.join(cache, "sluice-test-tools", `${tool.name}-${tool.version}`);
}

/** Whether `findGoTool` would have to build it. */
export function mustBuild(tool: GoTool): boolean {
  return !isPresent(tool.name) && !existsSync(cachedPath(tool)) && isPresent("go");
}

/** The program's path; builds it where it has to. */
export function findGoTool(tool: GoTool): Found {
  if (isPresent(tool.name)) return { path: tool.name };
  const cached = cachedPath(tool);
  if (existsSync(cached)) return { path: cached };
  if (!isPresent("go")) return { skip: `neither ${tool.name} nor go is on the PATH` };
  mkdirSync(path.dirname(cached), { recursive: true });
  // Built aside and moved into place, so that two who build at once do not disturb one another.
  const aside = mkdtempSync(`${cached}-`);
  try {
    const built = spawnSync("go", ["install", `${tool.package}@${tool.version}`], {
      encoding: "utf8",
      env: { ...process.env, GOBIN: aside },
    });
    if (built.status !== 0) {
      const why = built.stderr.trim().split("\n").at(-1) ?? "";
      return { skip: `${tool.name} ${tool.version} could not be built: ${why}` };
    }
    renameSync(path.join(aside, tool.name), cached);
    return { path: cached };
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}
