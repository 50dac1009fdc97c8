/**
 * What is promised when something dies: acknowledged writes are on disk, a rollout goes on where it
 * stood, the control thread comes back under load, and the other workers lose nothing.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { createLogger } from "../../src/base/log.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Supervisor } from "../../src/process/supervisor.ts";
import type { Rollout } from "../../src/resource/rollout.ts";
import { statusOf } from "../../src/rollout/status.ts";
import { Load } from "../support/load.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { Api, eventually, freePort, Sluice } from "../support/sluice.ts";

const LONG = process.env["SLUICE_LONG"] === "1";
const KILLS = LONG ? 150 : 4;
const STEP_KILLS = LONG ? 50 : 3;

function configMap(name: string, value: string) {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, namespace: "default" },
    data: { value },
  };
}

test(`${KILLS} × kill -9 in a burst of writes: what was acknowledged reads back`, async () => {
  const random = seededRandom(7);
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-crash-"));
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const acknowledged = new Map<string, string>();
      await using sluice = await Sluice.start({ dataDirectory, workers: 1 });
      const writing = writeUntilDead(sluice, acknowledged);
      const enough = 5 + Math.floor(random() * 40);
      await eventually("a burst of writes", () => acknowledged.size >= enough);
      await sluice.kill();
      await writing;
      await using again = await Sluice.start({ dataDirectory, workers: 1 });
      for (const [name, version] of acknowledged) {
        const stored = await again.get("configmap", name);
        assert.equal(stored.metadata.resourceVersion, version, `${name} after kill ${kill}`);
      }
      await removeAll(again);
    }
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});

/** Four writers at once, well above fifty writes a second, until the process is gone. */
async function writeUntilDead(sluice: Sluice, acknowledged: Map<string, string>): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    for (;;) {
      const name = `burst-${next++}`;
      try {
        const [stored] = await sluice.apply(configMap(name, name));
        acknowledged.set(name, stored?.metadata.resourceVersion as string);
      } catch {
        return;
      }
    }
  };
  await Promise.all([writer(), writer(), writer(), writer()]);
}

async function removeAll(sluice: Sluice): Promise<void> {
  await sluice.api("DELETE", "/api/v1/namespaces/default/configmaps");
}

test(`${STEP_KILLS} × kill -9 within 50 ms of a step change: the rollout goes on`, async () => {
  const random = seededRandom(11);
  const port = await freePort();
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-crash-"));
  using one = await sampleApp("1");
  using two = await sampleApp("2");
  const weights = Array.from({ length: STEP_KILLS }, (_, index) => 1 + (index % 99));
  const steps = weights.flatMap((setWeight) => [{ setWeight }, { pause: {} }]);
  const promoted = { status: { pauseConditions: null } };
  const statusPath = `/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/${shop.NAME}/status`;
  try {
    let running = await Sluice.start({ dataDirectory, workers: 1 });
    await running.apply(shop.gateway(port), plainRollout(steps), shop.route());
    await running.apply(shop.backend("1", one.port));
    await running.apply(shop.backend("2", two.port));
    for (let kill = 0; kill < STEP_KILLS; kill++) {
      const pauseAt = 2 * kill + 1;
      await untilStep(running, pauseAt);
      // The change of step is asked for, and the process dies somewhere on the way.
      const asked = running.api("PATCH", statusPath, promoted).catch(() => undefined);
      const dueMs = performance.now() + random() * 50;
      await eventually("a moment later", () => performance.now() >= dueMs);
      await running.kill();
      const acknowledged = (await asked)?.body.metadata?.resourceVersion;
      running = await Sluice.start({ dataDirectory, workers: 1 });
      const { metadata } = await running.get("rollout", shop.NAME);
      if (acknowledged !== undefined) {
        assert.ok(Number(metadata.resourceVersion) >= Number(acknowledged), `kill ${kill}`);
      }
      const index = statusOf(await running.get("rollout", shop.NAME)).currentStepIndex ?? 0;
      assert.ok(index >= pauseAt && index <= pauseAt + 2, `step ${index} after ${pauseAt}`);
      if (index === pauseAt) await running.api("PATCH", statusPath, promoted);
    }
    await eventually("it is promoted in the end", async () => {
      const status = statusOf(await running.get("rollout", shop.NAME));
      return status.phase === "Healthy" && status.stableRS === status.currentPodHash;
    });
    await running[Symbol.asyncDispose]();
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});

/** A Rollout without analysis: only people, and here kills, decide how it goes on. */
function plainRollout(steps: readonly object[]) {
  const workloadRef = { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: shop.NAME };
  return { ...shop.rollout(steps), spec: { workloadRef, strategy: { canary: { steps } } } };
}

async function untilStep(sluice: Sluice, index: number): Promise<void> {
  await eventually(`step ${index}`, async () => {
    const status = statusOf(await sluice.get("rollout", shop.NAME));
    return status.currentStepIndex === index && (status.pauseConditions ?? []).length > 0;
  });
}

test("killed within a step, a rollout goes on from that step", async () => {
  const port = await freePort();
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-crash-"));
  using one = await sampleApp("1");
  using two = await sampleApp("2");
  const steps = [{ setWeight: 20 }, { pause: {} }, { setWeight: 60 }, { pause: {} }];
  try {
    {
      await using sluice = await Sluice.start({ dataDirectory });
      await sluice.apply(shop.gateway(port), shop.healthy(), shop.rollout(steps), shop.route());
      await sluice.apply(shop.backend("1", one.port));
      await sluice.apply(shop.backend("2", two.port));
      await eventually("the first pause", async () => {
        const { status } = (await sluice.get("rollout", shop.NAME)) as Rollout;
        return status?.currentStepIndex === 1 && status.canary?.weights?.verified === true;
      });
      await sluice.kill();
    }
    await using again = await Sluice.start({ dataDirectory });
    const { status } = (await again.get("rollout", shop.NAME)) as Rollout;
    assert.equal(status?.currentStepIndex, 1);
    assert.equal(status.canary?.weights?.canary.weight, 20);
    await using load = new Load(`http://127.0.0.1:${port}`, { perSecond: 200 });
    await eventually("a thousand answers", () => load.results.length >= 1000);
    await load.stop();
    const share = load.results.filter(({ body }) => body === "2").length / load.results.length;
    assert.ok(share > 0.14 && share < 0.26, `canary share ${share}`);
    assert.deepEqual(load.failed, []);
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});

/** A supervisor in this process, whose threads the test can kill. */
async function supervised(workers: number) {
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-crash-"));
  const adminPort = await freePort();
  const supervisor = new Supervisor({
    control: {
      files: [],
      dataDirectory,
      adminAddress: `127.0.0.1:${adminPort}`,
      logLevel: "silent",
    },
    worker: { accessLog: { destination: "" } },
    workers,
    drainTimeoutMs: 1000,
    drainDelayMs: 0,
    log: createLogger("main", "silent"),
  });
  await supervisor.ready;
  return {
    supervisor,
    client: new Api(`http://127.0.0.1:${adminPort}`),
    [Symbol.asyncDispose]: async () => {
      await supervisor.stop();
      rmSync(dataDirectory, { recursive: true, force: true });
    },
  };
}

test("the control thread is killed under load: no request fails, it is back in 2 s", async () => {
  await using running = await supervised(2);
  const { client, supervisor } = running;
  using one = await sampleApp("1");
  const port = await freePort();
  await client.apply(shop.gateway(port), shop.route(), shop.backend("1", one.port));
  await eventually("it serves", async () => (await fetch(`http://127.0.0.1:${port}/`)).ok);
  await using load = new Load(`http://127.0.0.1:${port}`, { perSecond: 300 });
  await eventually("load", () => load.results.length > 100);
  const killedMs = performance.now();
  await supervisor.killControl();
  await eventually("the API answers with its state", async () => {
    return (await client.get("backend", shop.NAME)).metadata.name === shop.NAME;
  });
  assert.ok(performance.now() - killedMs < 2000, `back after ${performance.now() - killedMs} ms`);
  const [changed] = await client.apply(shop.route({ filters: [setHeader("x-after", "yes")] }));
  assert.equal(changed?.metadata.generation, 2);
  await eventually("a change after the crash is served", async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    return answer.headers.get("x-after") === "yes";
  });
  await load.stop();
  assert.deepEqual(load.failed, []);
});

function setHeader(name: string, value: string) {
  return { type: "ResponseHeaderModifier", responseHeaderModifier: { set: [{ name, value }] } };
}

test("a worker is killed: the others lose nothing, and it comes back", async () => {
  await using running = await supervised(2);
  const { client, supervisor } = running;
  using one = await sampleApp("1");
  const port = await freePort();
  await client.apply(shop.gateway(port), shop.route(), shop.backend("1", one.port));
  await eventually("it serves", async () => (await fetch(`http://127.0.0.1:${port}/`)).ok);
  await using load = new Load(`http://127.0.0.1:${port}`, { perSecond: 300, connections: 16 });
  await eventually("load", () => load.results.length > 100);
  const before = load.results.length;
  await supervisor.killWorker(0);
  await eventually("load goes on", () => load.results.length > before + 600);
  await load.stop();
  // What was under way on the dead worker's connections is lost: at most one request on each.
  assert.ok(load.failed.length <= 16, `${load.failed.length} failed`);
  const late = load.failed.filter(
    ({ sentAtMs }) => sentAtMs > (load.failed[0]?.sentAtMs ?? 0) + 1000,
  );
  assert.deepEqual(late, []);
});
