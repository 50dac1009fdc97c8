/** The trace thread under the supervisor: when it or a worker dies, spans flow again by themselves. */
import assert from "node:assert/strict";
import { mkdtempDisposableSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { createLogger } from "../../src/base/log.ts";
import { Supervisor } from "../../src/process/supervisor.ts";
import { collector } from "../support/otlp.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { Api, eventually, freePort } from "../support/sluice.ts";

test("a trace thread that dies comes back, and so does a worker's way to it", async () => {
  using directory = mkdtempDisposableSync(path.join(tmpdir(), "sluice-traces-"));
  await using otlp = await collector();
  using app = await sampleApp("1");
  const supervisor = new Supervisor({
    control: {
      files: [],
      dataDirectory: directory.path,
      adminAddress: "127.0.0.1:0",
      logLevel: "silent",
    },
    worker: { accessLog: { destination: "" } },
    workers: 1,
    traces: {
      url: `${otlp.url}/v1/traces`,
      protocol: "http/json",
      sampler: { parentBased: true, ratio: 1 },
      delayMs: 10,
    },
    drainTimeoutMs: 1000,
    drainDelayMs: 0,
    log: createLogger("main", "silent"),
  });
  const client = new Api(`http://127.0.0.1:${await supervisor.ready}`);
  const port = await freePort();
  await client.apply(shop.gateway(port), shop.route(), shop.backend("1", app.port));
  const exported = async (target: string): Promise<void> => {
    await eventually(`${target} is exported`, async () => {
      await (await fetch(`http://127.0.0.1:${port}${target}`)).arrayBuffer();
      return otlp.spans.some(({ attributes }) => attributes["url.path"] === target);
    });
  };
  await exported("/first");
  await supervisor.killTraces();
  await exported("/after-the-thread");
  await supervisor.killWorker(0);
  await exported("/after-the-worker");
  await client.agent.destroy();
  await supervisor.stop();
  assert.ok(otlp.spans.every(({ resource }) => resource["service.name"] === "sluice"));
});
