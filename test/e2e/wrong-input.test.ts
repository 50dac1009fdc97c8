/** Wrong input gives a clear answer, and traffic goes on as before (DESIGN: errors are refused by name). */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const MAIN = path.resolve(import.meta.dirname, "../../src/cli/main.ts");

function sluice(...args: string[]) {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
}

async function folder() {
  const dir = mkdtempSync(path.join(tmpdir(), "sluice-wrong-"));
  return {
    dir,
    write: (name: string, text: string): string => {
      writeFileSync(path.join(dir, name), text);
      return path.join(dir, name);
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

function healthyMetric(): object {
  const { spec } = shop.healthy() as { spec?: { metrics: readonly object[] } };
  return spec?.metrics[0] as object;
}

/** A file, what is wrong with it, and what `sluice check` must say of it. */
const DOCUMENTS: readonly (readonly [string, string, RegExp])[] = [
  ["bad YAML", "kind: [Gateway\n", /bad\.yaml:\d+:\d+: /],
  [
    "an unknown field",
    stringify({ ...shop.gateway(8080), spec: { gatewayClassName: "sluice", listners: [] } }),
    /bad\.yaml:\d+:\d+: spec\.listners: .*listeners/,
  ],
  [
    "an unknown kind",
    "apiVersion: v1\nkind: Gatway\nmetadata: {name: x}\n",
    /bad\.yaml:2:\d+: .*Gatway.*Gateway/,
  ],
  [
    "a weight of -1",
    stringify(
      shop.route({
        backendRefs: [{ group: "sluice.dev", kind: "Backend", name: "x", weight: -1 }],
      }),
    ),
    /bad\.yaml:\d+:\d+: spec\.rules\[0\]\.backendRefs\[0\]\.weight: /,
  ],
  [
    "a condition that is no expression",
    stringify({
      ...shop.healthy(),
      spec: { metrics: [{ ...healthyMetric(), failureCondition: "result <" }] },
    }),
    /spec\.metrics\[0\]\.failureCondition: .*result < 0\.95/,
  ],
  [
    "a dangling reference",
    [shop.gateway(8080), shop.route()].map((each) => stringify(each)).join("---\n"),
    /bad\.yaml:\d+:\d+: spec\.rules\[0\]\.backendRefs\[0\]\.name: .* does not exist/,
  ],
  [
    "two listeners of equal port, protocol and hostname",
    stringify({
      ...shop.gateway(8080),
      spec: {
        gatewayClassName: "sluice",
        listeners: [
          { name: "a", port: 8080, protocol: "HTTP" },
          { name: "b", port: 8080, protocol: "HTTP" },
        ],
      },
    }),
    /listeners/,
  ],
];

for (const [name, text, says] of DOCUMENTS) {
  test(`sluice check names ${name} and exits with 1`, async () => {
    using files = await folder();
    const result = sluice("check", "-f", files.write("bad.yaml", text));
    assert.equal(result.status, 1, result.stdout + result.stderr);
    assert.match(result.stderr, says);
  });
}

test("a file that becomes wrong while it is served changes nothing", async () => {
  using files = await folder();
  using app = await sampleApp("1");
  const port = await freePort();
  const good = [shop.gateway(port), shop.route(), shop.backend("1", app.port)]
    .map((each) => stringify(each))
    .join("---\n");
  const file = files.write("app.yaml", good);
  await using running = await Sluice.start({ files: [files.dir] });
  const url = `http://127.0.0.1:${port}/`;
  await eventually("it serves", async () => (await fetch(url)).ok);
  files.write("app.yaml", good.replace("port: ", "prt: "));
  await eventually("the log names the field", () =>
    /app\.yaml:\d+:\d+: .*prt/.test(running.output),
  );
  assert.equal((await fetch(url)).status, 200);
  files.write("app.yaml", good.replace("gatewayClassName: sluice", "gatewayClassName: [sluice"));
  await eventually("the log names the syntax", () =>
    /app\.yaml:\d+:\d+: .*flow/i.test(running.output),
  );
  assert.equal((await fetch(url)).status, 200);
  chmodSync(file, 0o000);
  assert.equal((await fetch(url)).status, 200);
});

test("a second Sluice on the same ports fails by name, and the first serves on", async () => {
  using app = await sampleApp("1");
  using files = await folder();
  const port = await freePort();
  const resources = [shop.gateway(port), shop.route(), shop.backend("1", app.port)];
  const file = files.write("app.yaml", resources.map((each) => stringify(each)).join("---\n"));
  await using first = await Sluice.start({ files: [file] });
  const url = `http://127.0.0.1:${port}/`;
  await eventually("it serves", async () => (await fetch(url)).ok);

  const adminPort = Number(new URL(first.adminUrl).port);
  await using sameAdmin = await Sluice.spawn({ adminPort });
  const [adminCode] = await once(sameAdmin.child, "exit");
  assert.equal(adminCode, 3, sameAdmin.output);
  assert.match(sameAdmin.output, new RegExp(`127\\.0\\.0\\.1:${adminPort}.* in use`));

  await using sameData = await Sluice.spawn({ dataDirectory: first.dataDirectory });
  const [dataCode] = await once(sameData.child, "exit");
  assert.equal(dataCode, 3, sameData.output);

  await using sameGateway = await Sluice.spawn({ files: [file] });
  const [gatewayCode] = await once(sameGateway.child, "exit");
  assert.equal(gatewayCode, 3, sameGateway.output);
  assert.match(sameGateway.output, new RegExp(`${port}.* in use`));

  assert.equal((await fetch(url)).status, 200);
});

test("an access log that cannot be written stops nothing", async () => {
  using app = await sampleApp("1");
  const port = await freePort();
  await using running = await Sluice.start({ accessLog: "/dev/full" });
  await running.apply(shop.gateway(port), shop.route(), shop.backend("1", app.port));
  const url = `http://127.0.0.1:${port}/`;
  await eventually("it serves", async () => (await fetch(url)).ok);
  for (let count = 0; count < 50; count++) assert.equal((await fetch(url)).status, 200);
  await eventually("the drops are counted", async () => {
    const text = await (await fetch(`${running.adminUrl}/metrics`)).text();
    return /sluice_access_log_dropped_total(\{.*\})? [1-9]/.test(text);
  });
});
