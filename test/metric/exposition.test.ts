/**
 * /metrics: what workers counted in shared memory comes out as Prometheus text, exactly, summed
 * over workers, named by revision and never by role.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Gauge, Registry } from "prom-client";
import type { Part, RulePart, SplitPart } from "../../src/compile/program.ts";
import { createExposition, type Exposition } from "../../src/metric/exposition.ts";
import { BOUNDS_MS } from "../../src/metric/reading.ts";
import { headText, labelText, sampleText } from "../../src/metric/text.ts";
import { BUCKETS, bucketBound } from "../../src/shared/histogram.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import {
  FIELD,
  MetricReader,
  MetricRecorder,
  OUTCOMES,
  REFUSALS,
  WORKER_FIELD,
  WORKER_KEY,
} from "../../src/shared/metrics.ts";

const STABLE = "Backend/default/checkout@aaa";
const CANARY = "Backend/default/checkout@bbb";

const split: SplitPart = {
  type: "split",
  key: "split/Backend/default/checkout",
  salt: "",
  arms: [
    { id: CANARY, version: "2", role: "canary", weightBp: 500, pool: `pool/${CANARY}` },
    { id: STABLE, version: "1", role: "stable", weightBp: 9500, pool: `pool/${STABLE}` },
  ],
};
const rule: RulePart = {
  type: "rule",
  key: "rule/HTTPRoute/default/checkout/0",
  route: "default/checkout",
  filters: {},
  backends: [{ weight: 1, split: split.key }],
};
const parts = new Map<string, Part>([split, rule].map((part) => [part.key, part]));

/** With `others`, as many further routes that lead to the same backend. */
function setUp(others = 0) {
  const routes = Array.from({ length: others }, (_each, index) => `shop/${index}`);
  const routesOf = new Map([[split.key, ["default/checkout", ...routes]]]);
  const memory = allocateSharedMemory(2).metrics;
  const workers = [new MetricRecorder(memory, 0), new MetricRecorder(memory, 1)] as const;
  const read = createExposition({
    reader: new MetricReader(memory),
    served: () => ({ parts, routesOf }),
    store: { unsavedCount: 3, resourceVersion: 42 },
    workers: () => ({ live: 1, wanted: 2 }),
    notifications: () => ({ pending: 4, dead: 5 }),
    spans: () => ({ exported: 11, failed: 0 }),
    problems: () => new Map([["HTTPRoute", 2]]),
  });
  return { workers, read };
}

/** The value of the series whose labels are exactly these, in any order. */
function valueOf(text: string, name: string, labels: Readonly<Record<string, string>>): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  for (const line of text.split("\n")) {
    const found = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (found?.[1] !== name) continue;
    const given = found[2] === undefined ? [] : found[2].split(",");
    if (given.toSorted().join() === wanted.toSorted().join()) return Number(found[3]);
  }
  return assert.fail(`no series ${name} with ${wanted.join()} in:\n${text}`);
}

async function textOf({ pieces }: Exposition): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += piece;
  return text;
}

const ROUTE = { route: "default/checkout" };
const ARM = { ...ROUTE, backend: "Backend/default/checkout" };
const ARM_1 = { ...ARM, version: "1", revision: "aaa" };
const ARM_2 = { ...ARM, version: "2", revision: "bbb" };

test("sums what workers counted, by route and by revision", async () => {
  const { workers, read } = setUp();
  for (const recorder of workers) {
    const route = recorder.row("default/checkout", "");
    recorder.add(route, FIELD.response1xx + 1, 10);
    recorder.add(route, FIELD.response1xx + 4, 1);
    recorder.add(route, FIELD.limited, 2);
    recorder.add(route, FIELD.unauthenticated, 3);
    recorder.add(route, FIELD.clientGone, 4);
    recorder.add(route, FIELD.mirrorDelivered, 7);
    recorder.add(route, FIELD.mirrorFailed, 5);
    recorder.add(route, FIELD.mirrorDropped, 6);
    const stable = recorder.row("default/checkout", STABLE);
    recorder.attempt(stable, OUTCOMES.indexOf("ok"), 3);
    const canary = recorder.row("default/checkout", CANARY);
    recorder.attempt(canary, OUTCOMES.indexOf("status5xx"), 100);
    recorder.add(canary, FIELD.shielded, 1);
    recorder.add(canary, FIELD.inputTokens, 7);
    recorder.firstToken(canary, 40);
  }
  const exposition = read();
  const { contentType } = exposition;
  const text = await textOf(exposition);
  assert.match(contentType, /^text\/plain; version=0\.0\.4/);
  const requests = (status: string) =>
    valueOf(text, "sluice_requests_total", { ...ROUTE, status_class: status });
  assert.equal(requests("2xx"), 20);
  assert.equal(requests("5xx"), 2);
  const refused = (reason: string) =>
    valueOf(text, "sluice_requests_refused_total", { ...ROUTE, reason });
  assert.equal(refused("rate_limited"), 4);
  assert.equal(refused("unauthenticated"), 6);
  assert.equal(valueOf(text, "sluice_client_gone_total", ROUTE), 8);
  const copies = (outcome: string) =>
    valueOf(text, "sluice_mirror_requests_total", { ...ROUTE, outcome });
  assert.deepEqual(["delivered", "failed", "dropped"].map(copies), [14, 10, 12]);
  assert.equal(valueOf(text, "sluice_attempts_total", { ...ARM_1, outcome: "ok" }), 2);
  assert.equal(valueOf(text, "sluice_attempts_total", { ...ARM_2, outcome: "ok" }), 0);
  assert.equal(valueOf(text, "sluice_attempts_total", { ...ARM_2, outcome: "status5xx" }), 2);
  assert.equal(valueOf(text, "sluice_attempts_shielded_total", ARM_2), 2);
  assert.equal(valueOf(text, "sluice_llm_tokens_total", { ...ARM_2, direction: "input" }), 14);
  assert.equal(valueOf(text, "sluice_llm_first_token_seconds_count", ARM_2), 2);
  const counters = text.split("\n").filter((line) => /^sluice_\w+_total\{/.test(line));
  assert.deepEqual(
    counters.filter((line) => line.includes("canary")),
    [],
  );
});

test("a histogram's buckets are cumulative and its sum is in seconds", async () => {
  const { workers, read } = setUp();
  const row = workers[0].row("default/checkout", STABLE);
  for (const latencyMs of [0.5, 3, 3, 900, 100_000]) workers[0].attempt(row, 0, latencyMs);
  const text = await textOf(read());
  const below = (le: string) =>
    valueOf(text, "sluice_attempt_duration_seconds_bucket", { ...ARM_1, le });
  const counts = ["0.001", "0.002", "0.004", "0.512", "1.024", "65.536", "+Inf"].map(below);
  assert.deepEqual(counts, [1, 1, 3, 3, 4, 4, 5]);
  assert.equal(valueOf(text, "sluice_attempt_duration_seconds_count", ARM_1), 5);
  assert.equal(valueOf(text, "sluice_attempt_duration_seconds_sum", ARM_1), 100.9065);
});

test("every bound of the text is a bound of the buckets", () => {
  const bounds = Array.from({ length: BUCKETS }, (_, index) => bucketBound(index));
  assert.deepEqual(
    BOUNDS_MS.filter((bound) => !bounds.includes(bound)),
    [],
  );
});

test("an idle revision has no series, its weight and role are told as state", async () => {
  const { workers, read } = setUp();
  workers[0].row("default/checkout", STABLE);
  const text = await textOf(read());
  assert.doesNotMatch(text, /sluice_attempts_total\{/);
  const labels = { split: "Backend/default/checkout", backend: "Backend/default/checkout" };
  const canary = { ...labels, revision: "bbb", version: "2", role: "canary" };
  assert.equal(valueOf(text, "sluice_revision_weight_ratio", canary), 0.05);
});

test("tells the state of the process and what did not find a row", async () => {
  const { workers, read } = setUp();
  workers[1].attempt(workers[1].row("", "overflow"), 0, 1);
  for (const recorder of workers) {
    const row = recorder.row(WORKER_KEY.route, WORKER_KEY.armId);
    recorder.add(row, WORKER_FIELD.spansDropped, 3);
    recorder.add(row, WORKER_FIELD.refused + REFUSALS.indexOf("proxy_header"), 2);
  }
  const text = await textOf(read());
  assert.equal(valueOf(text, "sluice_store_unsaved", {}), 3);
  assert.equal(valueOf(text, "sluice_store_version", {}), 42);
  assert.equal(valueOf(text, "sluice_workers", {}), 1);
  assert.equal(valueOf(text, "sluice_workers_wanted", {}), 2);
  assert.equal(valueOf(text, "sluice_notifications_pending", {}), 4);
  assert.equal(valueOf(text, "sluice_notifications_dead_total", {}), 5);
  assert.equal(valueOf(text, "sluice_spans_total", { outcome: "exported" }), 11);
  assert.equal(valueOf(text, "sluice_spans_total", { outcome: "dropped" }), 6);
  assert.doesNotMatch(text, /^sluice_spans_total\{outcome="failed"/m);
  assert.equal(valueOf(text, "sluice_connections_refused_total", { reason: "proxy_header" }), 4);
  assert.equal(valueOf(text, "sluice_resource_problems", { kind: "HTTPRoute" }), 2);
  assert.equal(valueOf(text, "sluice_metric_overflow_total", {}), 1);
  assert.match(text, /^process_cpu_seconds_total /m);
});

test("thousands of rows are written in pieces, and others have their turn between", async () => {
  const { workers, read } = setUp(3000);
  for (let index = 0; index < 3000; index++) {
    const row = workers[0].row(`shop/${index}`, STABLE);
    for (const latencyMs of [1, 2, 3]) workers[0].attempt(row, 0, latencyMs);
  }
  let turns = 0;
  let asked = true;
  const turn = (): void => {
    turns++;
    if (asked) setImmediate(turn);
  };
  setImmediate(turn);
  const pieces: string[] = [];
  const { pieces: made } = read();
  for await (const piece of made) pieces.push(piece);
  asked = false;
  const text = pieces.join("");
  assert.equal(text.match(/^sluice_attempt_duration_seconds_count\{.* 3$/gm)?.length, 3000);
  assert.ok(text.length > 4_000_000, String(text.length));
  assert.ok(Math.max(...pieces.map(({ length }) => length)) < 70_000);
  // One for each piece, and one for each 128 rows that were read.
  assert.ok(turns > pieces.length, `${turns} turns, ${pieces.length} pieces`);
});

test("names and numbers are written as prom-client writes them", async () => {
  const labels = { route: 'a "quoted"\nname\\', plain: "default/shop" };
  for (const value of [0, 1, 0.05, 1e21, 123_456_789.125]) {
    const registry = new Registry();
    const help = "Line one,\nline \\ two.";
    const gauge = new Gauge({
      name: "x",
      help,
      labelNames: Object.keys(labels),
      registers: [registry],
    });
    gauge.set(labels, value);
    const head = headText({ name: "x", help, type: "gauge" });
    assert.equal(head + sampleText("x", labelText(labels), value), await registry.metrics());
  }
});

test("the README lists every metric, and no other", async () => {
  const text = await textOf(setUp().read());
  const told = [...text.matchAll(/^# HELP (sluice_\w+)/gm)].map(([, name = ""]) => name);
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const section = /^### Metrics$[^]*?^### /m.exec(readme)?.[0] ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| `"));
  const listed = rows.flatMap((row) => (row.split("|")[1] ?? "").match(/sluice_\w+/g) ?? []);
  assert.deepEqual(listed.toSorted(), told.toSorted());
});
