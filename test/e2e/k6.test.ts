/** The load-test scripts that users are given, each run for a moment against a real Sluice. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { findGoTool, K6 } from "../support/go-tool.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const SCRIPTS = path.resolve(import.meta.dirname, "../../bench/k6");
/** k6's exit code for limits that were crossed. */
const LIMITS_CROSSED = 99;

const k6 = findGoTool(K6);
const skip = "skip" in k6 ? k6.skip : false;

interface Figures {
  readonly code: number;
  readonly output: string;
  /** By name: counters have a count, rates a value, trends their quantiles. */
  readonly metrics: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

async function run(script: string, settings: Readonly<Record<string, string>>): Promise<Figures> {
  assert.ok("path" in k6);
  const dir = mkdtempSync(path.join(tmpdir(), "sluice-k6-"));
  const summary = path.join(dir, "summary.json");
  try {
    const env = Object.entries(settings).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
    const args = ["run", "--quiet", "--no-usage-report", "--summary-export", summary, ...env];
    const child = spawn(k6.path, [...args, path.join(SCRIPTS, script)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    child.stdout.on("data", (text) => (output += String(text)));
    child.stderr.on("data", (text) => (output += String(text)));
    const [code] = (await once(child, "exit")) as [number];
    const { metrics } = JSON.parse(readFileSync(summary, "utf8")) as Figures;
    return { code, output, metrics };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** An origin that says its version in a header. */
async function versioned(version: string, status = 200) {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(status, { "x-app-version": version }).end(version);
  });
  server.keepAliveTimeout = 30_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

test("route.js and ramp.js: a route that holds, and one that does not", { skip }, async () => {
  using good = await versioned("1");
  using bad = await versioned("1", 500);
  const port = await freePort();
  await using sluice = await Sluice.start({ workers: 1 });
  await sluice.apply(shop.gateway(port), shop.route(), shop.backend("1", good.port));
  const TARGET = `http://127.0.0.1:${port}/`;
  await eventually("it serves", async () => (await fetch(TARGET)).ok);
  const settings = { TARGET, RATE: "50", DURATION: "2s", P95_MS_MAX: "2000" };

  const route = await run("route.js", settings);
  assert.equal(route.code, 0, route.output);
  assert.ok((route.metrics["http_reqs"]?.["count"] ?? 0) >= 90, route.output);
  assert.equal(route.metrics["http_req_failed"]?.["value"], 0);

  const ramp = await run("ramp.js", { ...settings, DURATION: "1s" });
  assert.equal(ramp.code, 0, ramp.output);
  // Half the rate on the way up, all of it at the top.
  assert.ok((ramp.metrics["http_reqs"]?.["count"] ?? 0) >= 60, ramp.output);

  await sluice.apply(shop.backend("1", bad.port));
  await eventually("the bad one serves", async () => (await fetch(TARGET)).status === 500);
  const refused = await run("route.js", { ...settings, DURATION: "1s" });
  assert.equal(refused.code, LIMITS_CROSSED, refused.output);
});

test("canary.js: figures by version while a rollout is promoted", { skip }, async () => {
  using one = await versioned("1");
  using two = await versioned("2");
  const port = await freePort();
  await using sluice = await Sluice.start({ workers: 1 });
  const steps = [{ setWeight: 30 }, { pause: { duration: "2s" } }];
  await sluice.apply(shop.gateway(port), shop.healthy(), shop.rollout(steps), shop.route());
  await sluice.apply(shop.backend("1", one.port));
  const TARGET = `http://127.0.0.1:${port}/`;
  await eventually("it serves", async () => (await fetch(TARGET)).ok);
  const settings = {
    TARGET,
    ADMIN: sluice.adminUrl,
    ROLLOUT: shop.NAME,
    VERSIONS: "1,2",
    RATE: "50",
    P95_MS_MAX: "2000",
  };

  const running = run("canary.js", { ...settings, DURATION: "6s" });
  await sluice.apply(shop.backend("2", two.port));
  const { code, output, metrics } = await running;
  assert.equal(code, 0, output);
  for (const version of ["1", "2"]) {
    const { count = 0 } = metrics[`version_requests{version:${version}}`] ?? {};
    assert.ok(count > 20, `version ${version}: ${count} requests\n${output}`);
  }
  assert.ok((metrics["rollout_canary_weight"]?.["max"] ?? 0) >= 30, output);

  const wrong = await run("canary.js", { ...settings, DURATION: "1s", EXPECT: "Degraded" });
  assert.equal(wrong.code, LIMITS_CROSSED, wrong.output);
});

test("stream.js: whole streams are told from broken ones", { skip }, async () => {
  let broken = false;
  const provider = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const content of ["one ", "two "]) {
      response.write(
        `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`,
      );
    }
    if (broken) {
      response.end();
      return;
    }
    const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
    response.end(`data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`);
  });
  provider.keepAliveTimeout = 30_000;
  provider.listen(0, "127.0.0.1");
  await once(provider, "listening");
  try {
    const port = await freePort();
    await using sluice = await Sluice.start({ workers: 1 });
    const metadata = { name: "chat", namespace: shop.NAMESPACE };
    const apiVersion = "sluice.dev/v1alpha1";
    const at = { address: "127.0.0.1", port: (provider.address() as AddressInfo).port };
    await sluice.apply(
      shop.gateway(port),
      { apiVersion, kind: "Backend", metadata, spec: { endpoints: [{ ip: at }] } },
      {
        apiVersion,
        kind: "AIServiceBackend",
        metadata,
        spec: {
          schema: { name: "OpenAI" },
          backendRef: { group: "sluice.dev", kind: "Backend", name: "chat" },
        },
      },
      {
        apiVersion,
        kind: "AIGatewayRoute",
        metadata,
        spec: { parentRefs: [{ name: "edge" }], rules: [{ backendRefs: [{ name: "chat" }] }] },
      },
    );
    const TARGET = `http://127.0.0.1:${port}/v1`;
    await eventually("the provider is reached", async () => {
      const body = JSON.stringify({ model: "gpt-4o-mini", messages: [] });
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${TARGET}/chat/completions`, { method: "POST", headers, body });
      await answer.arrayBuffer();
      return answer.ok;
    });
    const settings = { TARGET, RATE: "10", DURATION: "2s" };
    const whole = await run("stream.js", settings);
    assert.equal(whole.code, 0, whole.output);
    const { count: streams = 0 } = whole.metrics["iterations"] ?? {};
    assert.ok(streams >= 15, whole.output);
    assert.equal(whole.metrics["stream_tokens"]?.["count"], 2 * streams);
    assert.equal(whole.metrics["stream_events"]?.["count"], 3 * streams);

    broken = true;
    const cut = await run("stream.js", { ...settings, DURATION: "1s" });
    assert.equal(cut.code, LIMITS_CROSSED, cut.output);
  } finally {
    provider.close();
    provider.closeAllConnections();
  }
});
