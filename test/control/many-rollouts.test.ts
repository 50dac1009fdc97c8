/** Many Rollouts: one event costs what it touches, not a plan of everything there is. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { rolloutRule } from "../../src/admission/rollout-rule.ts";
import { createWriter } from "../../src/admission/writer.ts";
import { createRolloutController } from "../../src/control/rollout/reconcile.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { Change } from "../../src/store/store.ts";
import { VirtualClock } from "../support/clock.ts";
import { backendDraft, NAMESPACE, rolloutDraft } from "../support/rollout-world.ts";

const COUNT = 300;

it("plans again only what has changed", async () => {
  const clock = new VirtualClock();
  const store = openSqliteStore({ path: ":memory:", clock });
  const writer = createWriter({ store, clock, rules: [rolloutRule] });
  const changes = Array.from({ length: COUNT }, (_, index): Change[] => {
    const name = `app-${index}`;
    const workloadRef = { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name };
    const workload = backendDraft({ version: "1" });
    const metadata = { ...workload.metadata, name };
    const strategy = { canary: { steps: [{ setWeight: 5 }] } };
    return [
      { op: "create", resource: { ...workload, metadata } },
      { op: "create", resource: rolloutDraft({ workloadRef, strategy }, name) },
    ];
  });
  await writer.write(changes.flat());
  let gatesSet = 0;
  const controller = createRolloutController({
    store,
    clock,
    dataPlane: {
      acknowledgedSplit: () => undefined,
      serves: () => false,
      routesOf: () => [],
      setGate: () => void gatesSet++,
      onAcknowledged: () => () => undefined,
    },
  });
  const signal = new AbortController().signal;
  await controller.reconcile(signal);
  assert.ok(gatesSet >= COUNT);
  gatesSet = 0;
  await controller.reconcile(signal);
  assert.equal(gatesSet, 0);
  const edited = backendDraft({ version: "2" });
  const metadata = { ...edited.metadata, name: "app-7" };
  await writer.write([{ op: "update", resource: { ...edited, metadata } }]);
  await controller.reconcile(signal);
  assert.ok(gatesSet > 0 && gatesSet < 20, `${gatesSet} gates were set`);
  assert.equal(store.get("Rollout", NAMESPACE, "app-7")?.status?.["phase"], "Progressing");
});
