/** The command line against a real Sluice: what is wrong is said by name, and nothing hangs. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const MAIN = path.resolve(import.meta.dirname, "../../src/cli/main.ts");

let running: Sluice;
before(async () => {
  running = await Sluice.start({ workers: 1 });
});
after(async () => running[Symbol.asyncDispose]());

function sluice(...args: string[]) {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", timeout: 20_000 });
}

function configMap(name: string) {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default" } };
}

test("delete with an empty name deletes nothing", async () => {
  await running.apply(configMap("one"), configMap("two"));
  const result = sluice("delete", "configmap", "", "--server", running.adminUrl);
  assert.equal(result.status, 2, result.stdout);
  assert.match(result.stderr, /name of a configmap is empty/);
  assert.equal((await running.get("configmap", "one")).metadata.name, "one");
});

test("a name never reaches another path of the API", () => {
  const result = sluice("get", "configmap", "x/../..", "--server", running.adminUrl, "-o", "json");
  assert.equal(result.status, 1, result.stdout);
  assert.doesNotMatch(result.stderr, /^ +at /m);
});

test("get shows several kinds and names, as kubectl does", async () => {
  await running.apply(configMap("alpha"), configMap("beta"), shop.backend("1", 9));
  const backend = `backend/${shop.NAME}`;
  for (const [args, wanted] of [
    [["configmap", "alpha", "beta", "-o", "name"], /^configmap\/alpha\nconfigmap\/beta\n$/],
    [["configmap/beta", backend, "-o", "name"], new RegExp(`^configmap/beta\n${backend}\n$`)],
    [["cm,backends"], new RegExp(`^NAME .*\nconfigmap/.*(?:\n.+)+\n\nNAME .*\n${backend} `)],
    [["configmap", "alpha", "beta"], /^NAME .*\nalpha .*\nbeta .*\n$/],
    [["rollouts,gateways"], /^No rollouts, gateways found\n$/],
  ] as const) {
    const result = sluice("get", ...args, "--server", running.adminUrl);
    assert.match(result.stdout, wanted, result.stderr);
    assert.equal(result.status, 0);
  }
  const list = sluice("get", "cm/alpha", backend, "-o", "json", "--server", running.adminUrl);
  const { kind, items } = JSON.parse(list.stdout) as { kind: string; items: { kind: string }[] };
  assert.deepEqual([kind, ...items.map((item) => item.kind)], ["List", "ConfigMap", "Backend"]);
});

test("what get and delete are about must be clear", async () => {
  await running.apply(configMap("one"));
  for (const [args, says] of [
    [["get", "configmap,nothing"], /Unknown kind "nothing"/],
    [["get", "configmap/one", "two"], /"two": must be KIND\/NAME/],
    [["get", "configmap/"], /"configmap\/": must be KIND\/NAME/],
    [["get", "configmap", "one", "-A"], /-n instead of -A/],
    [["delete", "configmap"], /Say what to delete/],
  ] as const) {
    const result = sluice(...args, "--server", running.adminUrl);
    assert.match(result.stderr, says);
    assert.equal(result.status, 2);
  }
  const gone = sluice("delete", "configmap/one", "--server", running.adminUrl);
  assert.equal(gone.stdout, "configmap/one deleted\n", gone.stderr);
});

test("proxy prints its resources only where it serves them", async (context) => {
  const taken = createServer();
  context.after(() => taken.close());
  taken.listen(0);
  await once(taken, "listening");
  const listen = `:${(taken.address() as AddressInfo).port}`;
  const result = sluice(
    "proxy",
    "--to",
    "http://127.0.0.1:9",
    "--listen",
    listen,
    "--admin",
    "127.0.0.1:0",
  );
  assert.match(result.stderr, /Somewhere else: --listen :8081/);
  assert.equal(result.stdout, "");
});

test("rollout status refuses flags that it would pass over", () => {
  const status = ["rollout", "status", "x", "--server", running.adminUrl];
  for (const [flags, says] of [
    [["--watch", "-o", "json"], /"json" with --watch; valid: table/],
    [["-o", "wide"], /"wide"; valid: table, json, yaml/],
    [["--timeout", "1s"], /--timeout needs --watch/],
  ] as const) {
    const result = sluice(...status, ...flags);
    assert.equal(result.status, 2, result.stderr);
    assert.match(result.stderr, says);
  }
});

test("a server that is not Sluice is named", async () => {
  const server = createServer((_request, response) => response.end("<html>"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const child = spawn(process.execPath, [MAIN, "get", "rollouts", "--server", url]);
  let told = "";
  child.stderr.on("data", (text) => (told += String(text)));
  const [code] = (await once(child, "close")) as [number];
  server.close();
  server.closeAllConnections();
  assert.equal(code, 3);
  assert.match(told, new RegExp(`Cannot reach Sluice at ${url}: it answered 200, and not as`));
});

test("a reader that leaves ends a command quietly", async () => {
  const child = spawn(process.execPath, [MAIN, "schema"]);
  child.stdout.destroy();
  let told = "";
  child.stderr.on("data", (text) => (told += String(text)));
  const [code] = (await once(child, "close")) as [number];
  assert.deepEqual([code, told], [0, ""]);
});

test("rollout status --watch gives up in time, by name", async () => {
  using app = await sampleApp("1");
  const routes = [shop.gateway(await freePort()), shop.route(), shop.backend("1", app.port)];
  await running.apply(...routes, shop.healthy(), shop.rollout([{ setWeight: 5 }, { pause: {} }]));
  const status = ["rollout", "status", shop.NAME, "--server", running.adminUrl, "--watch"];
  assert.equal(sluice(...status, "--timeout", "10s").status, 0);
  await running.apply(shop.backend("2", app.port));
  const late = sluice(...status, "--timeout", "500ms");
  assert.equal(late.status, 1, late.stderr);
  assert.match(late.stderr, /not over within 500ms/);
});

test("rollout status --watch outlives a restart of Sluice", async (context) => {
  using app = await sampleApp("1");
  const dataDirectory = `${running.dataDirectory}-2`;
  context.after(() => rmSync(dataDirectory, { recursive: true, force: true }));
  const options = {
    workers: 1,
    adminPort: await freePort(),
    dataDirectory,
  };
  await using first = await Sluice.start(options);
  const routes = [shop.gateway(await freePort()), shop.route(), shop.backend("1", app.port)];
  await first.apply(...routes, shop.healthy(), shop.rollout([{ setWeight: 5 }, { pause: {} }]));
  await eventually("healthy", async () => {
    return (await first.get("rollout", shop.NAME)).status?.["phase"] === "Healthy";
  });
  await first.apply(shop.backend("2", app.port));
  const args = ["rollout", "status", shop.NAME, "--server", first.adminUrl, "--watch"];
  const watching = spawn(process.execPath, [MAIN, ...args]);
  let told = "";
  watching.stdout.on("data", (text) => (told += String(text)));
  const ended = once(watching, "exit");
  await eventually("it shows the rollout", () => told.includes("canary"));
  await first.kill();
  await eventually("it says that Sluice is gone", () => told.includes("Cannot reach Sluice"));
  await using second = await Sluice.start(options);
  await second.api(
    "PATCH",
    `/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/${shop.NAME}/status`,
    {
      status: { promoteFull: true },
    },
  );
  assert.deepEqual((await ended)[0], 0);
});

test("a signal during the start ends it in order", async (context) => {
  const dataDirectory = `${running.dataDirectory}-3`;
  context.after(() => rmSync(dataDirectory, { recursive: true, force: true }));
  await using starting = await Sluice.spawn({ workers: 1, dataDirectory });
  await eventually("it holds its directory", () =>
    existsSync(path.join(dataDirectory, "lock.pid")),
  );
  assert.equal(await starting.stop(), 3, starting.output);
  assert.match(starting.output, /Stopped before it served/);
});

test("Sluice serves on when nobody reads what it says", async () => {
  await using deaf = await Sluice.spawn({ workers: 1, accessLog: "-" });
  deaf.child.stdout?.destroy();
  deaf.child.stderr?.destroy();
  await deaf.untilReady();
  await deaf.apply(configMap("one"));
  assert.equal(await deaf.stop(), 0);
});
