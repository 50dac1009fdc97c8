/**
 * The rate limit on real traffic over two workers, offered at least twice what it admits: the count
 * is exact, and at no instant is there more than the bucket and its refill.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { Load } from "../support/load.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const LONG = process.env["SLUICE_LONG"] === "1";
const SECONDS = LONG ? 60 : 6;
const PER_SECOND = 100;

function limit(burst: number): ResourceDraft {
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "BackendTrafficPolicy",
    metadata: { name: "limit", namespace: "default" },
    spec: {
      targetRefs: [{ group: "gateway.networking.k8s.io", kind: "HTTPRoute", name: shop.NAME }],
      rateLimit: {
        type: "Local",
        local: { rules: [{ limit: { requests: PER_SECOND, unit: "Second", burst } }] },
      },
    },
  };
}

/** Arrival times at the origin of what was admitted, milliseconds from the first request sent. */
async function admitted(burst: number): Promise<{ arrivalsMs: number[]; sentMs: number[] }> {
  using app = await sampleApp("1");
  const port = await freePort();
  await using sluice = await Sluice.start({ workers: 2 });
  await sluice.apply(shop.gateway(port), shop.route(), shop.backend("1", app.port));
  await eventually("it serves", async () => (await fetch(`http://127.0.0.1:${port}/`)).ok);
  await sluice.apply(limit(burst));
  await eventually("it limits", async () => {
    const answers = await Promise.all(
      Array.from({ length: burst + 20 }, async () => fetch(`http://127.0.0.1:${port}/`)),
    );
    return answers.some(({ status }) => status === 429);
  });
  // The bucket is full again before the count begins.
  const fullMs = performance.now() + (burst / PER_SECOND) * 1000 + 200;
  await eventually("the bucket is full", () => performance.now() > fullMs);
  app.arrivalsMs.length = 0;
  const startMs = performance.now();
  await using load = new Load(`http://127.0.0.1:${port}`, { perSecond: 5 * PER_SECOND });
  await eventually("time is up", () => performance.now() - startMs > SECONDS * 1000, 70_000);
  await load.stop();
  const statuses = new Set(load.results.map(({ status }) => status));
  assert.deepEqual(
    [...statuses].toSorted((a, b) => a - b),
    [200, 429],
  );
  const sentMs = load.results.map(({ sentAtMs }) => sentAtMs - startMs);
  return {
    arrivalsMs: app.arrivalsMs.map((atMs) => atMs - startMs),
    sentMs: sentMs.toSorted((a, b) => a - b),
  };
}

test(`burst 1: ${PER_SECOND * SECONDS} are admitted in ${SECONDS} s, within half a percent`, async () => {
  const { arrivalsMs, sentMs } = await admitted(1);
  assert.ok(sentMs.length > 2 * PER_SECOND * SECONDS, `${sentMs.length} offered`);
  const wanted = PER_SECOND * SECONDS;
  const error = Math.abs(arrivalsMs.length - wanted) / wanted;
  assert.ok(error <= 0.005 + 1 / wanted, `${arrivalsMs.length} admitted`);
});

test("burst 100: never more than 100 + 100·t, and hardly less", async () => {
  const { arrivalsMs, sentMs } = await admitted(100);
  arrivalsMs.forEach((atMs, index) => {
    // The origin sees a request after it was admitted, so that the bound only gets easier to hold.
    assert.ok(index + 1 <= 100 + (atMs / 1000) * PER_SECOND + 1, `${index + 1} at ${atMs} ms`);
  });
  const exact = replay(sentMs, 100);
  assert.ok(arrivalsMs.length >= exact * 0.99, `${arrivalsMs.length} of ${exact}`);
});

/** How many of these requests a bucket that is refilled without steps would admit. */
function replay(sentMs: readonly number[], burst: number): number {
  let tokens = burst;
  let lastMs = 0;
  let count = 0;
  for (const atMs of sentMs) {
    tokens = Math.min(burst, tokens + ((atMs - lastMs) / 1000) * PER_SECOND);
    lastMs = atMs;
    if (tokens < 1) continue;
    tokens -= 1;
    count += 1;
  }
  return count;
}
