/** What a step of a Rollout's status is worth telling, and to whom: tables of cases. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { announcements, readAnnouncement } from "../../src/control/notification/announcement.ts";
import {
  SUBSCRIPTIONS_MAX,
  TRIGGERS,
  subscriptionsOf,
} from "../../src/control/notification/subscription.ts";
import { renderTemplate, templateProblem } from "../../src/control/notification/template.ts";
import type { Resource } from "../../src/resource/resource.ts";
import type { RolloutStatus } from "../../src/rollout/status.ts";

const PREFIX = "notifications.argoproj.io/subscribe";

function rollout(annotations: Readonly<Record<string, string>>, version = "7"): Resource {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: {
      name: "checkout",
      namespace: "shop",
      uid: "uid-1",
      resourceVersion: version,
      generation: 1,
      creationTimestamp: "2026-01-01T00:00:00Z",
      annotations: { ...annotations, private: "not for receivers" },
    },
    spec: { workloadRef: { kind: "Backend", name: "checkout" } },
  };
}

const EVERYTHING = Object.fromEntries(TRIGGERS.map((trigger) => [`${PREFIX}.${trigger}.chat`, ""]));

/** The triggers that fire between two statuses. */
function fired(before: RolloutStatus | undefined, after: RolloutStatus): readonly string[] {
  return announcements(rollout(EVERYTHING), before, after).map((change) => {
    assert.ok(change.op === "record" && change.value !== undefined);
    return readAnnouncement(change.value)?.subscription.trigger ?? "unreadable";
  });
}

const PAUSE = { reason: "CanaryPauseStep", startTime: "2026-01-01T00:00:00Z" } as const;
const LATER = { ...PAUSE, startTime: "2026-01-01T00:01:00Z" };
const MOVING: RolloutStatus = { currentPodHash: "b", stableRS: "a", currentStepIndex: 1 };
const RUN = { name: "run-1", status: "Running" };

const CASES: readonly (readonly [string, RolloutStatus | undefined, RolloutStatus, string[]])[] = [
  ["nothing changed", MOVING, MOVING, []],
  [
    "the first revision",
    undefined,
    { currentPodHash: "a", stableRS: "a" },
    ["on-rollout-updated", "on-rollout-completed"],
  ],
  [
    "a new revision",
    { currentPodHash: "a", stableRS: "a", currentStepIndex: 4 },
    { currentPodHash: "b", stableRS: "a", currentStepIndex: 0 },
    ["on-rollout-updated"],
  ],
  ["a step", MOVING, { ...MOVING, currentStepIndex: 2 }, ["on-rollout-step-completed"]],
  ["edited steps", MOVING, { ...MOVING, currentStepIndex: 2, currentStepHash: "x" }, []],
  ["a pause", MOVING, { ...MOVING, pauseConditions: [PAUSE] }, ["on-rollout-paused"]],
  [
    "a pause goes on",
    { ...MOVING, pauseConditions: [PAUSE] },
    { ...MOVING, pauseConditions: [PAUSE], phase: "Paused" },
    [],
  ],
  [
    "a pause after a pause",
    { ...MOVING, pauseConditions: [PAUSE] },
    { ...MOVING, pauseConditions: [LATER] },
    ["on-rollout-paused"],
  ],
  ["paused by a person", MOVING, { ...MOVING, phase: "Paused" }, ["on-rollout-paused"]],
  [
    "an abort",
    MOVING,
    { ...MOVING, abort: true, abortedAt: "2026-01-01T00:00:00Z" },
    ["on-rollout-aborted"],
  ],
  [
    "an abort asked for by a patch of the status, and then carried out",
    { ...MOVING, abort: true },
    { ...MOVING, abort: true, abortedAt: "2026-01-01T00:00:00Z", currentStepIndex: 2 },
    ["on-rollout-aborted"],
  ],
  ["still aborted", { ...MOVING, abort: true }, { ...MOVING, abort: true, message: "x" }, []],
  ["completed", MOVING, { ...MOVING, stableRS: "b" }, ["on-rollout-completed"]],
  ["completed before", { ...MOVING, stableRS: "b" }, { ...MOVING, stableRS: "b" }, []],
  [
    "back to stable",
    MOVING,
    { ...MOVING, currentPodHash: "a" },
    ["on-rollout-updated", "on-rollout-completed"],
  ],
  [
    "a run begins",
    MOVING,
    { ...MOVING, canary: { currentBackgroundAnalysisRunStatus: RUN } },
    ["on-analysis-run-running"],
  ],
  [
    "a run fails and ends the rollout",
    { ...MOVING, canary: { currentBackgroundAnalysisRunStatus: RUN } },
    {
      ...MOVING,
      abort: true,
      canary: { currentBackgroundAnalysisRunStatus: { ...RUN, status: "Failed" } },
    },
    ["on-rollout-aborted", "on-analysis-run-failed"],
  ],
  [
    "a step's run has an error",
    MOVING,
    { ...MOVING, canary: { currentStepAnalysisRunStatus: { ...RUN, status: "Error" } } },
    ["on-analysis-run-error"],
  ],
  [
    "another run of the same phase",
    { ...MOVING, canary: { currentStepAnalysisRunStatus: RUN } },
    { ...MOVING, canary: { currentStepAnalysisRunStatus: { ...RUN, name: "run-2" } } },
    ["on-analysis-run-running"],
  ],
];

for (const [name, before, after, expected] of CASES) {
  test(`triggers: ${name}`, () => assert.deepEqual(fired(before, after), expected));
}

test("an announcement holds the new status, and nothing of annotations", () => {
  const [change] = announcements(rollout(EVERYTHING), MOVING, { ...MOVING, stableRS: "b" });
  assert.ok(change?.op === "record" && change.value !== undefined);
  const told = readAnnouncement(change.value)?.rollout;
  assert.deepEqual(told?.["status"], { ...MOVING, stableRS: "b" });
  assert.deepEqual(told?.["metadata"], {
    name: "checkout",
    namespace: "shop",
    uid: "uid-1",
    generation: 1,
  });
  assert.doesNotMatch(JSON.stringify(change), /not for receivers/);
});

test("keys are stable for one occurrence and differ for the next, and hold no recipient", () => {
  const annotations = { [`${PREFIX}.on-rollout-completed.chat`]: "secret-a;secret-b" };
  const keys = (version: string): readonly string[] =>
    announcements(rollout(annotations, version), MOVING, { ...MOVING, stableRS: "b" }).map(
      (change) => (change.op === "record" ? change.key : ""),
    );
  assert.equal(new Set(keys("7")).size, 2);
  assert.deepEqual(keys("7"), keys("7"));
  assert.ok((keys("7")[0] as string) < (keys("10")[0] as string), "keys order occurrences");
  assert.doesNotMatch(keys("7").join(), /secret/);
});

test("subscriptions: recipients, names with dots, and what cannot be honoured", () => {
  const { subscriptions, problems } = subscriptionsOf(
    rollout({
      [`${PREFIX}.on-rollout-aborted.my.hook`]: "a; b ;a",
      [`${PREFIX}.on-rollout-paused.chat`]: "",
      [`${PREFIX}.on-scaling-replica-set.chat`]: "",
      [`${PREFIX}.on-rollout-paused`]: "",
      "notifications.argoproj.io/subscriptions": "- trigger: []",
      "notified.notifications.argoproj.io": "{}",
    }),
  );
  assert.deepEqual(subscriptions, [
    { trigger: "on-rollout-aborted", service: "my.hook", recipient: "a" },
    { trigger: "on-rollout-aborted", service: "my.hook", recipient: "b" },
    { trigger: "on-rollout-paused", service: "chat", recipient: "" },
  ]);
  assert.equal(problems.length, 3);
  assert.match(problems[0] ?? "", /"on-scaling-replica-set" is not known; valid: on-rollout-up/);
  assert.match(problems[1] ?? "", /names no service/);
  assert.match(problems[2] ?? "", /subscriptions is not supported/);
});

test("subscriptions are limited, and the limit is told", () => {
  const many = Array.from({ length: 80 }, (_, index) => `r${index}`).join(";");
  const annotated = rollout({ [`${PREFIX}.on-rollout-paused.chat`]: many });
  const { subscriptions, problems } = subscriptionsOf(annotated);
  assert.equal(subscriptions.length, SUBSCRIPTIONS_MAX);
  assert.match(problems.join(), /80 subscriptions/);
});

test("records that are no announcements are told apart", () => {
  const good = { subscription: { trigger: TRIGGERS[0], service: "s", recipient: "" } };
  const rest = { rollout: {}, attempts: 0, notBeforeMs: 0 };
  assert.notEqual(readAnnouncement({ ...good, ...rest }), undefined);
  const bad = [null, "x", [], {}, good, { ...rest, subscription: { trigger: "other" } }];
  for (const value of bad) assert.equal(readAnnouncement(value), undefined);
});

test("templates fill in plain fields and refuse the rest by name", () => {
  const data = { rollout: { metadata: { name: "checkout" }, list: [1] }, recipient: "me" };
  const text = "{{.rollout.metadata.name}} {{ .recipient }} {{.rollout.list}}{{.rollout.no.x}}.";
  assert.equal(templateProblem(text), undefined);
  assert.equal(renderTemplate(text, data), "checkout me [1].");
  const refused = [
    "{{if .x}}",
    "{{.secrets.key}}",
    "{{.rollout | toJson}}",
    "{{range .rollout}}",
    "{{- .rollout}}",
    "{{.rollout",
  ];
  for (const each of refused) {
    assert.ok(templateProblem(each)?.startsWith(`${each} is not supported`), each);
  }
  assert.equal(renderTemplate("{{.rollout.constructor.name}}", data), "");
});
