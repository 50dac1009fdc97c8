/** A sticky split: nobody who is in the canary leaves it while its weight rises, across a restart. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Pool } from "undici";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { statusOf } from "../../src/rollout/status.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const LONG = process.env["SLUICE_LONG"] === "1";
const KEYS = LONG ? 10_000 : 1000;
const WEIGHTS = [1, 5, 20, 50, 100];
const IN_FLIGHT = 32;

const STICKY: ResourceDraft = {
  apiVersion: "sluice.dev/v1alpha1",
  kind: "BackendTrafficPolicy",
  metadata: { name: "sticky", namespace: "default" },
  spec: {
    targetRefs: [{ group: "gateway.networking.k8s.io", kind: "HTTPRoute", name: shop.NAME }],
    split: { hash: { header: "x-user-id" } },
  },
};

/** The keys whose requests version 2 answers. */
async function canaryKeys(port: number): Promise<Set<number>> {
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: IN_FLIGHT });
  const inCanary = new Set<number>();
  let next = 0;
  const ask = async (): Promise<void> => {
    for (let key = next++; key < KEYS; key = next++) {
      const answer = await pool.request({
        path: "/",
        method: "GET",
        headers: { "x-user-id": `user-${key}` },
      });
      if ((await answer.body.text()) === "2") inCanary.add(key);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, ask));
  await pool.destroy();
  return inCanary;
}

test(`of ${KEYS} keys none leaves the canary while its weight rises`, async () => {
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-sticky-"));
  using one = await sampleApp("1");
  using two = await sampleApp("2");
  const port = await freePort();
  const steps = WEIGHTS.flatMap((setWeight) => [{ setWeight }, { pause: {} }]);
  const rollout = {
    ...shop.rollout(steps),
    spec: {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: shop.NAME },
      strategy: { canary: { steps } },
    },
  };
  let sluice = await Sluice.start({ dataDirectory });
  try {
    await sluice.apply(shop.gateway(port), rollout, shop.route(), STICKY);
    await sluice.apply(shop.backend("1", one.port));
    await sluice.apply(shop.backend("2", two.port));
    let before = new Set<number>();
    for (const weight of WEIGHTS) {
      await eventually(`weight ${weight} is verified`, async () => {
        const weights = statusOf(await sluice.get("rollout", shop.NAME)).canary?.weights;
        return weights?.canary.weight === weight && weights.verified;
      });
      if (weight === 20) {
        await sluice.stop();
        sluice = await Sluice.start({ dataDirectory });
      }
      const now = await canaryKeys(port);
      const left = [...before].filter((key) => !now.has(key));
      assert.deepEqual(left, [], `left the canary at ${weight} %`);
      // Within four standard deviations of the share that the weight says.
      const share = weight / 100;
      const deviation = Math.sqrt(KEYS * share * (1 - share));
      assert.ok(Math.abs(now.size - KEYS * share) <= 4 * deviation, `${now.size} at ${weight} %`);
      before = now;
      const url = `/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/${shop.NAME}/status`;
      await sluice.api("PATCH", url, { status: { pauseConditions: null } });
    }
    assert.equal(before.size, KEYS);
  } finally {
    await sluice[Symbol.asyncDispose]();
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});
