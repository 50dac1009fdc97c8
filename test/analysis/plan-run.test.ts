/** The life of a run, step by step: when it measures, what it counts, how it ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Outcome, type RunPlan, type Waits, planRun } from "../../src/analysis/plan-run.ts";
import type { AnalysisRunSpec, AnalysisRunStatus, Metric } from "../../src/analysis/run.ts";

const START_MS = Date.UTC(2026, 0, 1);

/** Plays a run against a script of outcomes, each measurement taking no time. */
class Play {
  nowMs = START_MS;
  plan: RunPlan;
  readonly #spec: AnalysisRunSpec;
  readonly #secrets: readonly string[];
  #waits: Waits = new Map();

  constructor(spec: AnalysisRunSpec, secrets: readonly string[] = []) {
    this.#spec = spec;
    this.#secrets = secrets;
    this.plan = this.#planned({ phase: "Pending" }, []);
  }

  get status(): AnalysisRunStatus {
    return this.plan.status;
  }

  result(name = "m"): NonNullable<AnalysisRunStatus["metricResults"]>[number] {
    const found = this.status.metricResults?.find((one) => one.name === name);
    assert.ok(found, `no result of ${name}`);
    return found;
  }

  /** What is due now is measured, with this outcome. */
  measure(outcome: Outcome, name = "m"): void {
    assert.ok(this.plan.measure.includes(name), `${name} is not due`);
    const observation = {
      metric: name,
      startedAtMs: this.nowMs,
      finishedAtMs: this.nowMs,
      outcome,
    };
    this.plan = this.#planned(this.status, [observation]);
  }

  /** Goes to the time that the plan asked for; returns how far that was. */
  wake(): number {
    const { wakeAtMs } = this.plan;
    assert.ok(wakeAtMs !== undefined, "nothing is due any more");
    const waited = wakeAtMs - this.nowMs;
    this.nowMs = wakeAtMs;
    this.plan = this.#planned(this.status, []);
    return waited;
  }

  /** Looks again without anything new. */
  replan(): void {
    this.plan = this.#planned(this.status, []);
  }

  /** Somebody has written to the status. */
  patch(status: Partial<AnalysisRunStatus>): void {
    this.plan = this.#planned({ ...this.status, ...status }, []);
  }

  terminate(): void {
    this.plan = this.#planned(this.status, [], { ...this.#spec, terminate: true });
  }

  #planned(
    status: AnalysisRunStatus,
    observations: Parameters<typeof planRun>[0]["observations"],
    spec = this.#spec,
  ): RunPlan {
    const seen = {
      spec,
      status,
      metrics: { ok: true, value: spec.metrics } as const,
      secrets: this.#secrets,
      observations,
      inFlight: new Set<string>(),
      waits: this.#waits,
    };
    const plan = planRun(seen, this.nowMs);
    assert.deepEqual(planRun(seen, this.nowMs), plan, "the plan is not a function of its input");
    this.#waits = plan.waits;
    return plan;
  }
}

function value(result: number): Outcome {
  return { kind: "value", value: result, text: String(result), description: `rate ${result}` };
}

const ERROR: Outcome = { kind: "error", message: "no route to host" };

function play(metric: Partial<Metric>, more: Partial<AnalysisRunSpec> = {}): Play {
  return new Play({
    metrics: [{ name: "m", failureCondition: "result < 0.95", ...metric }],
    ...more,
  });
}

test("one measurement, without interval and count", () => {
  const run = play({});
  assert.deepEqual(run.plan.measure, ["m"]);
  assert.equal(run.status.phase, "Running");
  run.measure(value(1));
  assert.equal(run.status.phase, "Successful");
  assert.equal(run.plan.wakeAtMs, undefined);
  assert.deepEqual(run.result(), {
    name: "m",
    phase: "Successful",
    message: "rate 1: result < 0.95 is false",
    count: 1,
    successful: 1,
    consecutiveError: 0,
    consecutiveSuccess: 1,
    measurements: [
      {
        phase: "Successful",
        value: "1",
        message: "rate 1: result < 0.95 is false",
        startedAt: "2026-01-01T00:00:00.000Z",
        finishedAt: "2026-01-01T00:00:00.000Z",
      },
    ],
  });
  assert.deepEqual(run.status.runSummary, {
    count: 1,
    successful: 1,
    failed: 0,
    inconclusive: 0,
    error: 0,
  });
  assert.equal(run.status.completedAt, "2026-01-01T00:00:00.000Z");
});

test("the first failure ends it where no failure is borne", () => {
  const run = play({ interval: "1s" });
  run.measure(value(1));
  assert.equal(run.status.phase, "Running");
  assert.equal(run.wake(), 1000);
  run.measure(value(0.8));
  assert.equal(run.status.phase, "Failed");
  assert.match(
    run.status.message ?? "",
    /^Metric "m" assessed Failed due to failed \(1\) > failureLimit \(0\): .*result < 0\.95 is true/,
  );
});

test("failures within the limit are borne, and count ends it well", () => {
  const run = play({ interval: "2s", count: "4", failureLimit: 2 });
  for (const result of [0.1, 1, 0.1]) {
    run.measure(value(result));
    assert.equal(run.wake(), 2000);
  }
  run.measure(value(1));
  assert.equal(run.status.phase, "Successful");
  assert.equal(run.result().failed, 2);
});

test("errors are not counted, are tried again after ten seconds, and the fifth in a row ends it", () => {
  const run = play({ interval: "1h", count: 2 });
  for (let error = 1; error <= 4; error++) {
    run.measure(ERROR);
    assert.equal(run.status.phase, "Running");
    assert.equal(run.wake(), 10_000);
  }
  assert.equal(run.result().count, undefined);
  run.measure(ERROR);
  assert.equal(run.status.phase, "Error");
  assert.equal(
    run.status.message,
    'Metric "m" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): "Error Message: no route to host"',
  );
});

test("a value in between begins the row of errors anew", () => {
  const run = play({ interval: "1s", consecutiveErrorLimit: 1 });
  for (const outcome of [ERROR, value(1), ERROR, value(1)]) {
    run.measure(outcome);
    run.wake();
  }
  assert.equal(run.status.phase, "Running");
  assert.equal(run.result().error, 2);
});

test("a condition that cannot be evaluated is an error, not a failure", () => {
  const run = play({ failureCondition: "result[0] < 1" });
  run.measure({ kind: "value", value: [], text: "[]", description: "" });
  assert.equal(run.result().measurements?.[0]?.phase, "Error");
  assert.match(run.result().message ?? "", /metric result is nil or empty/);
});

test("initialDelay comes before the first measurement alone", () => {
  const run = play({ initialDelay: "30s", interval: "5s" });
  assert.deepEqual(run.plan.measure, []);
  assert.equal(run.wake(), 30_000);
  run.measure(value(1));
  assert.equal(run.wake(), 5000);
});

test("no data: nothing is recorded, the run says what it waits for and looks again soon", () => {
  const run = play({ interval: "60s" });
  run.measure({ kind: "waiting", message: "waiting for 20 samples, has 3" });
  assert.equal(run.status.phase, "Running");
  assert.deepEqual(run.result(), {
    name: "m",
    phase: "Pending",
    message: "waiting for 20 samples, has 3",
  });
  assert.ok(run.wake() <= 1000);
  run.measure(value(1));
  assert.equal(run.result().message, "rate 1: result < 0.95 is false");
  assert.equal(run.wake(), 60_000);
  run.measure({ kind: "waiting", message: "waiting for 20 samples, has 0" });
  assert.equal(run.result().measurements?.length, 1);
  assert.equal(run.result().message, "waiting for 20 samples, has 0");
});

test("a streak of successes ends it early; a count without one leaves it undecided", () => {
  const early = play({ interval: "1s", consecutiveSuccessLimit: 2, failureLimit: -1 });
  for (const result of [0.1, 1, 0.1, 1]) {
    early.measure(value(result));
    early.wake();
  }
  early.measure(value(1));
  assert.equal(early.status.phase, "Successful");

  const streak = { interval: "1s", consecutiveSuccessLimit: 2, count: 3 };
  for (const [failureLimit, phase] of [
    [1, "Inconclusive"],
    [-1, "Failed"],
  ] as const) {
    const run = play({ ...streak, failureLimit });
    for (const result of [1, 0.1]) {
      run.measure(value(result));
      run.wake();
    }
    run.measure(value(1));
    assert.equal(run.status.phase, phase);
    assert.match(
      run.status.message ?? "",
      /consecutiveSuccess \(1\) < consecutiveSuccessLimit \(2\)/,
    );
  }
});

test("what neither succeeds nor fails is inconclusive", () => {
  const run = play({ successCondition: "result > 0.99", interval: "1s", inconclusiveLimit: 1 });
  run.measure(value(0.97));
  assert.equal(run.status.phase, "Running");
  run.wake();
  run.measure(value(0.97));
  assert.equal(run.status.phase, "Inconclusive");
});

test("one bad metric stops its siblings, which end well", () => {
  const run = new Play({
    metrics: [
      { name: "good", interval: "1s" },
      { name: "late", initialDelay: "1h" },
      { name: "bad", successCondition: "result > 1" },
    ],
  });
  run.measure(value(1), "good");
  run.measure(value(1), "bad");
  assert.equal(run.status.phase, "Failed");
  assert.deepEqual(
    run.status.metricResults?.map(({ phase }) => phase),
    ["Successful", "Successful", "Failed"],
  );
});

test("a dry run decides nothing and is told apart", () => {
  const run = new Play({
    metrics: [
      { name: "dry", interval: "1s", failureCondition: "true" },
      { name: "real", interval: "1s", count: 1 },
    ],
    dryRun: [{ metricName: "^dry$" }],
  });
  run.measure(value(1), "dry");
  assert.equal(run.status.phase, "Running");
  assert.equal(run.result("dry").phase, "Failed");
  assert.equal(run.result("dry").dryRun, true);
  run.measure(value(1), "real");
  assert.equal(run.status.phase, "Successful");
  assert.equal(run.status.dryRunSummary?.failed, 1);
  assert.equal(run.status.runSummary?.failed, 0);
});

test("terminated, a run is successful unless it has failed", () => {
  const run = play({ interval: "1s" });
  run.measure(value(1));
  run.terminate();
  assert.equal(run.status.phase, "Successful");
  assert.equal(run.status.message, "Run Terminated");
  const unmeasured = play({ interval: "1s" });
  unmeasured.terminate();
  assert.equal(unmeasured.status.phase, "Successful");
});

test("ten measurements are kept, or as many as a rule says", () => {
  const run = new Play({
    metrics: [
      { name: "ten", interval: "1s" },
      { name: "two", interval: "1s" },
    ],
    measurementRetention: [{ metricName: "tw", limit: 2 }],
  });
  for (let round = 0; round < 12; round++) {
    run.measure(value(round), "ten");
    run.measure(value(round), "two");
    run.wake();
  }
  assert.equal(run.result("ten").measurements?.length, 10);
  assert.deepEqual(
    run.result("two").measurements?.map((one) => one.value),
    ["10", "11"],
  );
  assert.equal(run.result("two").count, 12);
});

test("secrets show in no message and no value", () => {
  const run = new Play({ metrics: [{ name: "m" }] }, ["hunter2"]);
  run.measure({ kind: "error", message: "GET /?token=hunter2 failed" });
  assert.doesNotMatch(JSON.stringify(run.status), /hunter2/);
  assert.match(run.result().message ?? "", /token=\*\*\*\*\*/);
});

test("a spec that makes no sense is an error of the run", () => {
  for (const [spec, message] of [
    [{ metrics: [] }, /analysis spec invalid: no metrics specified/],
    [{ metrics: [{ name: "m", count: 3 }] }, /interval must be specified/],
    [{ metrics: [{ name: "m" }], dryRun: [{ metricName: "x" }] }, /dryRun\[0\]/],
  ] as const) {
    const run = new Play(spec);
    assert.equal(run.status.phase, "Error");
    assert.match(run.status.message ?? "", message);
    assert.deepEqual(run.plan.measure, []);
  }
});

test("a clock that was put back puts no measurement off", () => {
  const run = play({ interval: "1s" });
  run.measure(value(1));
  run.nowMs -= 3_600_000;
  run.replan();
  assert.deepEqual(run.plan.measure, ["m"]);
});

test("a time in the status that is none puts no measurement off", () => {
  const run = play({ interval: "1s", initialDelay: "1s" });
  run.patch({ startedAt: "soon" });
  assert.deepEqual(run.plan.measure, ["m"]);
});
