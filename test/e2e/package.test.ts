/** The packed tarball, installed into an empty directory, serves: what users get is what is tested. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort } from "../support/sluice.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");

test("npm pack, npm install, sluice up", async () => {
  using app = await sampleApp("1");
  const dir = mkdtempSync(path.join(tmpdir(), "sluice-package-"));
  try {
    const before = readFileSync(path.join(ROOT, "package.json"), "utf8");
    const packed = execFileSync("npm", ["pack", "--pack-destination", dir, "--silent"], {
      cwd: ROOT,
    });
    assert.equal(readFileSync(path.join(ROOT, "package.json"), "utf8"), before);
    const tarball = path.join(dir, String(packed).trim());
    writeFileSync(path.join(dir, "package.json"), "{}");
    execFileSync("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", tarball], {
      cwd: dir,
    });
    const installed = path.join(dir, "node_modules/sluice");
    const manifest = JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8"));
    assert.equal(manifest.optionalDependencies, undefined, "users bring their own Node");

    const [port, admin] = [await freePort(), `127.0.0.1:${await freePort()}`];
    const file = path.join(dir, "app.yaml");
    const resources = [shop.gateway(port), shop.route(), shop.backend("1", app.port)];
    writeFileSync(file, resources.map((each) => stringify(each)).join("---\n"));
    const child = spawn(
      process.execPath,
      [
        path.join(installed, "dist/cli/main.js"),
        "up",
        "-f",
        file,
        "--admin",
        admin,
        "--workers",
        "1",
        "--drain-delay",
        "0s",
      ],
      { cwd: dir, stdio: ["ignore", "ignore", "inherit"] },
    );
    const exit = once(child, "exit");
    await eventually("the installed package serves", async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/`);
      return (await answer.text()) === "1";
    });
    child.kill("SIGTERM");
    assert.deepEqual(await exit, [0, null]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
