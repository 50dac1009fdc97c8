/**
 * The main job on real sockets: a bad canary is rolled back in time and unseen by clients, a good one
 * is promoted, and without traffic nothing is.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../src/base/random.ts";
import type { Rollout } from "../../src/resource/rollout.ts";
import { Load } from "../support/load.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const LONG = process.env["SLUICE_LONG"] === "1";
const STEPS = [{ setWeight: 5 }, { pause: { duration: "3s" } }];

/** A Sluice that serves version 1 under a Rollout. */
async function startShop(stablePort: number, steps: readonly object[] = STEPS) {
  const port = await freePort();
  const sluice = await Sluice.start();
  await sluice.apply(shop.gateway(port), shop.healthy(), shop.rollout(steps), shop.route());
  await sluice.apply(shop.backend("1", stablePort));
  await eventually("version 1 serves", async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    return answer.status === 200 && (await answer.text()) === "1";
  });
  return { sluice, origin: `http://127.0.0.1:${port}` };
}

async function rolloutOf(sluice: Sluice): Promise<Rollout> {
  return (await sluice.get("rollout", shop.NAME)) as Rollout;
}

test("a canary that fails one request in five is rolled back, and nobody's GET fails", async () => {
  using one = await sampleApp("1", { errorRate: 0.01, random: seededRandom(1) });
  using two = await sampleApp("2", { errorRate: 0.2, random: seededRandom(2) });
  const { sluice, origin } = await startShop(one.port);
  await using _ = sluice;
  await using load = new Load(origin, { perSecond: 500 });
  await sluice.apply(shop.backend("2", two.port));
  const verifiedAtMs = await eventually("the rollout is aborted and verified", async () => {
    const { status } = await rolloutOf(sluice);
    const weights = status?.canary?.weights;
    const aborted = status?.abort === true && weights?.canary.weight === 0;
    return aborted && weights.verified === true ? performance.now() : undefined;
  });
  // More traffic than a late attempt would need to show itself.
  const seen = load.results.length;
  await eventually("300 more answers", () => load.results.length > seen + 300);
  await load.stop();
  const first = two.arrivalsMs[0] as number;
  const last = two.arrivalsMs.at(-1) as number;
  assert.ok(verifiedAtMs - first < 3000, `weight 0 after ${verifiedAtMs - first} ms`);
  assert.ok(
    last - verifiedAtMs < 50,
    `a request reached the canary ${last - verifiedAtMs} ms late`,
  );
  const { status } = await rolloutOf(sluice);
  assert.equal(status?.phase, "Degraded");
  // Version 1 fails one request in a hundred by itself; what version 2 failed, version 1 answered.
  const stableErrors = load.failed.length / load.results.length;
  assert.ok(stableErrors < 0.03, `${stableErrors} of all requests failed`);
});

test(`${LONG ? 20 : 1} of as many good canaries are promoted`, async () => {
  const runs = LONG ? 20 : 1;
  using one = await sampleApp("1", { errorRate: 0.01, random: seededRandom(3) });
  const { sluice, origin } = await startShop(one.port);
  await using _ = sluice;
  await using load = new Load(origin, { perSecond: 500 });
  for (let run = 0; run < runs; run++) {
    using next = await sampleApp(`${run + 2}`, { errorRate: 0.01, random: seededRandom(run + 4) });
    await sluice.apply(shop.backend(next.version, next.port));
    await eventually(
      `version ${next.version} is promoted`,
      async () => {
        const { status } = await rolloutOf(sluice);
        assert.notEqual(status?.phase, "Degraded", status?.message ?? "");
        const answer = await fetch(`${origin}/`);
        const { stableRS, currentPodHash, phase } = status ?? {};
        return (
          phase === "Healthy" &&
          stableRS === currentPodHash &&
          (await answer.text()) === next.version
        );
      },
      60_000,
    );
    // The next version replaces this one while it still serves.
    one.arrivalsMs.length = 0;
    await sluice.apply(shop.backend(`${next.version}-home`, one.port));
    await eventually(
      "back on the first application",
      async () => {
        const { status } = await rolloutOf(sluice);
        return status?.phase === "Healthy" && status.stableRS === status.currentPodHash;
      },
      60_000,
    );
  }
  await load.stop();
});

test("without traffic nothing is promoted", async () => {
  using one = await sampleApp("1");
  using two = await sampleApp("2");
  const { sluice } = await startShop(one.port, [{ setWeight: 50 }, { pause: { duration: "1s" } }]);
  await using _ = sluice;
  await sluice.apply(shop.backend("2", two.port));
  const waited = await eventually("the analysis says what it waits for", async () => {
    const { body } = await sluice.api(
      "GET",
      "/apis/argoproj.io/v1alpha1/namespaces/default/analysisruns",
    );
    const text = JSON.stringify(body.items.map((run) => run.status));
    return /waiting for 20 samples, has 0/.test(text) ? text : undefined;
  });
  assert.ok(waited);
  const startedMs = performance.now();
  await eventually("four seconds have passed", () => performance.now() - startedMs > 4000);
  const { status } = await rolloutOf(sluice);
  assert.notEqual(status?.stableRS, status?.currentPodHash);
  assert.equal(two.arrivalsMs.length, 0);
});
