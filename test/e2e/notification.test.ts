/**
 * Argo's notification annotations on a real Sluice: what happens to a Rollout reaches a webhook.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { Resource } from "../../src/resource/resource.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { Sluice, eventually, freePort } from "../support/sluice.ts";

interface Told {
  readonly trigger: string;
  readonly key: string;
  readonly rollout: Resource;
}

test("a webhook hears of each transition once; an Event names a missing service", async (t) => {
  const told: Told[] = [];
  const receiver = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => (text += String(chunk)));
    request.on("end", () => {
      const body = JSON.parse(text) as Told;
      told.push({ ...body, key: String(request.headers["idempotency-key"]) });
      response.end();
    });
  });
  receiver.listen(0, "127.0.0.1");
  await once(receiver, "listening");
  t.after(() => receiver.closeAllConnections());
  t.after(() => receiver.close());
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  using one = await sampleApp("1");
  using two = await sampleApp("2");
  await using sluice = await Sluice.start({ workers: 1 });
  const metadata = { name: "argo-rollouts-notification-configmap", namespace: shop.NAMESPACE };
  const data = { "service.webhook.chat": `url: ${url}` };
  const subscribe = "notifications.argoproj.io/subscribe";
  const annotations = {
    [`${subscribe}.on-rollout-updated.chat`]: "",
    [`${subscribe}.on-rollout-paused.chat`]: "",
    [`${subscribe}.on-rollout-completed.chat`]: "",
    [`${subscribe}.on-rollout-completed.slack`]: "#team",
  };
  const plain = shop.rollout([{ setWeight: 20 }, { pause: {} }]);
  const rollout = { ...plain, metadata: { ...plain.metadata, annotations } };
  const config = { apiVersion: "v1", kind: "ConfigMap", metadata, data };
  await sluice.apply(config, shop.gateway(await freePort()), shop.healthy(), shop.route(), rollout);
  await sluice.apply(shop.backend("1", one.port));
  const triggers = (): readonly string[] => told.map(({ trigger }) => trigger);
  await eventually("the first version is told", () => triggers().includes("on-rollout-completed"));
  await sluice.apply(shop.backend("2", two.port));
  await eventually("the pause is told", () => triggers().includes("on-rollout-paused"));
  assert.deepEqual(triggers().toSorted(), [
    "on-rollout-completed",
    "on-rollout-paused",
    "on-rollout-updated",
    "on-rollout-updated",
  ]);
  assert.equal(new Set(told.map(({ key }) => key)).size, told.length);
  const paused = told.find(({ trigger }) => trigger === "on-rollout-paused");
  assert.equal(paused?.rollout.metadata.name, shop.NAME);
  assert.equal(paused.rollout.status?.["phase"], "Paused");
  await eventually("the missing service is told", async () => {
    const { body } = await sluice.api("GET", "/api/v1/namespaces/default/events");
    return body.items.some((event) => /service \\"slack\\" is not/.test(JSON.stringify(event)));
  });
});
