/**
 * A disk without room while a rollout is under way: reads and traffic go on, changes are refused by
 * name, and the abort of a bad canary works all the same, is told as unsaved, and is on disk as
 * soon as there is room.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { seededRandom } from "../../src/base/random.ts";
import type { Rollout } from "../../src/resource/rollout.ts";
import { Load } from "../support/load.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { Sluice, eventually, freePort } from "../support/sluice.ts";

/** A file system of its own with little room, or undefined where the tests may not mount one. */
function smallDisk(t: TestContext): string | undefined {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-disk-"));
  t.after(() => {
    spawnSync("env", ["umount", "-l", directory]);
    rmdirSync(directory);
  });
  const mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", directory];
  return spawnSync("env", mount).status === 0 ? directory : undefined;
}

/** Takes all room that is left, and frees it when called. */
function fill(directory: string): () => void {
  const filler = path.join(directory, "filler");
  try {
    for (;;) appendFileSync(filler, Buffer.alloc(4096));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
  }
  return () => rmSync(filler);
}

async function rolloutOf(sluice: Sluice): Promise<Rollout> {
  return (await sluice.get("rollout", shop.NAME)) as Rollout;
}

/** Creates until the disk refuses, and returns the refusal. */
function refusal(sluice: Sluice): Promise<{ readonly status: number; readonly message: string }> {
  let created = 0;
  return eventually("a change is refused", async () => {
    const metadata = { name: `filler-${created++}`, namespace: "default" };
    const body = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata,
      data: { text: "x".repeat(9000) },
    };
    const answer = await sluice.api("POST", "/api/v1/namespaces/default/configmaps", body);
    if (answer.status < 300) return undefined;
    return { status: answer.status, message: answer.body.message };
  });
}

async function unsavedCount(sluice: Sluice): Promise<number> {
  const answer = await fetch(`${sluice.adminUrl}/metrics`);
  return Number(/^sluice_store_unsaved (\d+)$/m.exec(await answer.text())?.[1]);
}

test("a bad canary is aborted although the disk is full", async (t) => {
  const directory = smallDisk(t);
  if (directory === undefined) return t.skip("needs the right to mount a tmpfs");
  using one = await sampleApp("1", { random: seededRandom(1) });
  using two = await sampleApp("2", { random: seededRandom(2) });
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  await using first = await Sluice.start({ dataDirectory: directory });
  const steps = [{ setWeight: 5 }, { pause: {} }];
  await first.apply(shop.gateway(port), shop.healthy(), shop.rollout(steps), shop.route());
  await first.apply(shop.backend("1", one.port));
  await eventually("version 1 serves", async () => (await fetch(origin)).status === 200);
  await using load = new Load(origin, { perSecond: 300 });
  await first.apply(shop.backend("2", two.port));
  await eventually("the canary serves and is found good", async () => {
    const { status } = await rolloutOf(first);
    const served = status?.canary?.weights?.canary.weight === 5 && two.arrivalsMs.length > 30;
    return served && status?.phase === "Paused";
  });

  const free = fill(directory);
  const refused = await refusal(first);
  assert.ok(refused.status >= 500, `${refused.status}`);
  assert.match(refused.message, /full|disk I\/O/);
  assert.equal((await rolloutOf(first)).status?.phase, "Paused", "reads go on");

  const brokenAtMs = performance.now();
  two.errorRate = 0.5;
  const verifiedAtMs = await eventually("the rollout is aborted and verified", async () => {
    const { status } = await rolloutOf(first);
    const weights = status?.canary?.weights;
    const aborted = status?.abort === true && weights?.canary.weight === 0;
    return aborted && weights.verified === true ? performance.now() : undefined;
  });
  const seen = load.results.length;
  await eventually("300 more answers", () => load.results.length > seen + 300);
  await load.stop();
  assert.ok(verifiedAtMs - brokenAtMs < 5000, `weight 0 after ${verifiedAtMs - brokenAtMs} ms`);
  assert.ok((two.arrivalsMs.at(-1) as number) - verifiedAtMs < 50);
  assert.deepEqual(load.failed, []);
  assert.ok((await unsavedCount(first)) > 0);
  const conditions = (await rolloutOf(first)).status?.conditions;
  const refusing = conditions?.find(({ type }) => type === "StoreUnavailable");
  assert.equal(refusing?.status, "True", JSON.stringify(conditions));

  free();
  await eventually("everything is on disk", async () => (await unsavedCount(first)) === 0);
  await eventually("the condition goes", async () => {
    const { status } = await rolloutOf(first);
    return status?.conditions?.every(({ type }) => type !== "StoreUnavailable");
  });
  const version = (await rolloutOf(first)).metadata.resourceVersion;
  await first.kill();
  await using again = await Sluice.start({ dataDirectory: directory });
  const after = await rolloutOf(again);
  assert.ok(Number(after.metadata.resourceVersion) >= Number(version));
  assert.equal(after.status?.abort, true);
  assert.equal(after.status.phase, "Degraded");
  assert.equal(await (await fetch(origin)).text(), "1");
});
