/** Sessions through a rollout: none is moved by a weight, a restart or another worker; an abort moves all. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Pool } from "undici";
import { statusOf } from "../../src/rollout/status.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const CLIENTS = 60;
const CONNECTIONS = 16;

interface Client {
  cookie: string;
  version: string;
}

interface Asked {
  readonly before: Client;
  readonly version: string;
  readonly isTold: boolean;
}

/** Lets every client ask once, over connections that the kernel spreads over the workers. */
async function askAll(port: number, clients: readonly Client[]): Promise<readonly Asked[]> {
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS });
  const answers = await Promise.all(
    clients.map(async (client): Promise<Asked> => {
      const before = { ...client };
      const headers = client.cookie === "" ? {} : { cookie: client.cookie };
      const answer = await pool.request({ path: "/", method: "GET", headers });
      assert.equal(answer.statusCode, 200);
      client.version = await answer.body.text();
      const told = answer.headers["set-cookie"];
      if (told !== undefined) client.cookie = String(told).split(";")[0] as string;
      return { before, version: client.version, isTold: told !== undefined };
    }),
  );
  await pool.destroy();
  return answers;
}

async function untilWeight(sluice: Sluice, weight: number): Promise<void> {
  await eventually(`weight ${weight} is verified`, async () => {
    const weights = statusOf(await sluice.get("rollout", shop.NAME)).canary?.weights;
    return weights?.canary.weight === weight && weights.verified;
  });
}

test("sessions stay on their side of a rollout, over workers and a crash, until it is aborted", async () => {
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-session-"));
  using one = await sampleApp("1");
  using two = await sampleApp("2");
  const port = await freePort();
  const steps = [{ setWeight: 50 }, { pause: {} }, { setWeight: 90 }, { pause: {} }];
  const url = `/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/${shop.NAME}/status`;
  const rollout = {
    ...shop.rollout(steps),
    spec: {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: shop.NAME },
      strategy: { canary: { steps } },
    },
  };
  const route = shop.route({ sessionPersistence: { sessionName: "sid", absoluteTimeout: "1h" } });
  let sluice = await Sluice.start({ dataDirectory, workers: 2 });
  try {
    await sluice.apply(shop.gateway(port), rollout, route);
    await sluice.apply(shop.backend("1", one.port));
    await sluice.apply(shop.backend("2", two.port));
    await untilWeight(sluice, 50);
    const clients = Array.from({ length: CLIENTS }, () => ({ cookie: "", version: "" }));
    const first = await askAll(port, clients);
    assert.ok(first.every(({ isTold }) => isTold));
    assert.deepEqual([...new Set(first.map(({ version }) => version))].toSorted(), ["1", "2"]);

    const stay = async (): Promise<void> => {
      for (const { before, version, isTold } of await askAll(port, clients)) {
        assert.equal(version, before.version);
        assert.equal(isTold, false);
      }
    };
    await stay();
    await sluice.api("PATCH", url, { status: { pauseConditions: null } });
    await untilWeight(sluice, 90);
    await stay();
    await sluice.kill();
    sluice = await Sluice.start({ dataDirectory, workers: 2 });
    await stay();

    await sluice.api("PATCH", url, { status: { abort: true } });
    await eventually("the canary has no weight", async () => {
      const weights = statusOf(await sluice.get("rollout", shop.NAME)).canary?.weights;
      return weights?.canary.weight === 0 && weights.verified;
    });
    for (const { before, version, isTold } of await askAll(port, clients)) {
      assert.equal(version, "1");
      assert.equal(isTold, before.version === "2", "who was moved is told, and nobody else");
    }
    await stay();
  } finally {
    await sluice[Symbol.asyncDispose]();
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});
