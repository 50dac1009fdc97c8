/** What `sluice rollout status` says of the steps of a rollout. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stepText } from "../../src/cli/rollout-view.ts";
import type { CanaryStep } from "../../src/resource/rollout.ts";

test("steps in words, with their units", () => {
  const cases: readonly (readonly [CanaryStep, string])[] = [
    [{ setWeight: 5 }, "setWeight 5"],
    [{ pause: {} }, "pause until promoted"],
    [{ pause: { duration: "2m" } }, "pause 2m"],
    [{ pause: { duration: 30 } }, "pause 30s"],
    [{ analysis: { templates: [{ templateName: "latency" }] } }, "analysis latency"],
  ];
  for (const [step, text] of cases) assert.equal(stepText(step), text);
});
