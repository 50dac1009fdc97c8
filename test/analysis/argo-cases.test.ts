/**
 * Argo Rollouts' own tables (utils/evaluate, analysis) against our verdicts. Every row of the two
 * files is run; they are skipped by name where the cases are not at hand.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { JsonObject, JsonValue } from "../../src/base/json.ts";
import { CONDITION_ENVIRONMENT } from "../../src/analysis/expr/environment.ts";
import { evaluateExpression } from "../../src/analysis/expr/expression.ts";
import { ExprError } from "../../src/analysis/expr/syntax.ts";
import { toJson, valueOf } from "../../src/analysis/expr/value.ts";
import {
  assessMetric,
  assessRun,
  evaluateCondition,
  evaluateResult,
  evaluateTime,
} from "../../src/analysis/judge.ts";
import type { Metric, MetricResult } from "../../src/analysis/run.ts";

const CASES = new URL("../../../shared/cases/argo-rollouts/", import.meta.url);
const NOW_MS = Date.UTC(2026, 0, 1);

interface ConditionRow {
  readonly id: string;
  readonly kind: "metric" | "expression" | "function" | "time";
  readonly result?: JsonValue;
  readonly expression?: string;
  readonly successCondition?: string;
  readonly failureCondition?: string;
  readonly expected?: JsonValue;
  readonly error?: boolean;
  readonly errorPattern?: string;
  readonly errorContains?: readonly string[];
}

interface AnalysisRow {
  readonly id: string;
  readonly kind: "metric" | "run";
  readonly metric?: Metric;
  readonly result?: Partial<MetricResult>;
  readonly terminating?: boolean;
  readonly terminate?: boolean;
  readonly metrics?: readonly (Metric & { readonly dryRun?: boolean })[];
  readonly metricResults?: readonly MetricResult[];
  readonly expectedPhase: string;
  readonly expectedMessage?: string;
  readonly expectedRunSummary?: JsonObject;
  readonly expectedDryRunSummary?: JsonObject;
}

function rowsOf(file: string): readonly unknown[] {
  const url = new URL(file, CASES);
  return existsSync(url) ? (JSON.parse(readFileSync(url, "utf8")) as unknown[]) : [];
}

type Seen = { readonly value: JsonValue } | { readonly error: string };

function evaluateRow(row: ConditionRow): Seen {
  const { kind, expression = "", result = null } = row;
  if (kind === "time") {
    const outcome = evaluateTime(expression, NOW_MS);
    return outcome.ok ? { value: outcome.value } : { error: outcome.message };
  }
  if (kind === "expression") {
    const outcome = evaluateCondition(result, expression, NOW_MS);
    return outcome.ok ? { value: outcome.value } : { error: outcome.message };
  }
  try {
    const variables = { result: valueOf(result) };
    const environment = { variables, functions: CONDITION_ENVIRONMENT, nowMs: NOW_MS };
    return { value: toJson(evaluateExpression(expression, environment)) };
  } catch (error) {
    assert(error instanceof ExprError, String(error));
    return { error: error.message };
  }
}

function checkError(row: ConditionRow, message: string): void {
  if (row.errorPattern !== undefined) assert.match(message, new RegExp(row.errorPattern));
  for (const part of row.errorContains ?? []) assert.ok(message.includes(part), message);
}

function checkCondition(row: ConditionRow): void {
  if (row.kind === "metric") {
    const verdict = evaluateResult(row.result ?? null, row, NOW_MS);
    assert.equal(verdict.phase, row.expected, verdict.reason);
    if (row.error === true) assert.equal(verdict.phase, "Error");
    checkError(row, verdict.reason);
    return;
  }
  const seen = evaluateRow(row);
  if (row.error === true) {
    assert.ok("error" in seen, `${row.expression} gave ${JSON.stringify(seen)}`);
    checkError(row, seen.error);
    return;
  }
  assert.ok("value" in seen, JSON.stringify(seen));
  if (row.kind === "time" && row.expected === undefined) return;
  assert.deepEqual(seen.value, row.expected);
}

function checkAnalysis(row: AnalysisRow): void {
  if (row.kind === "metric") {
    const result = { name: "", phase: "Running", ...row.result } as MetricResult;
    const phase = assessMetric(row.metric as Metric, result, row.terminating === true);
    assert.equal(phase, row.expectedPhase);
    return;
  }
  const metrics = row.metrics ?? [];
  const verdict = assessRun({
    metrics,
    metricResults: row.metricResults ?? [],
    dryRun: new Set(metrics.filter(({ dryRun }) => dryRun === true).map(({ name }) => name)),
    terminate: row.terminate === true || row.terminating === true,
  });
  assert.equal(verdict.phase, row.expectedPhase);
  if (row.expectedMessage !== undefined) assert.equal(verdict.message, row.expectedMessage);
  if (row.expectedRunSummary !== undefined) {
    assert.deepEqual(verdict.runSummary, row.expectedRunSummary);
  }
  if (row.expectedDryRunSummary !== undefined) {
    assert.deepEqual(verdict.dryRunSummary, row.expectedDryRunSummary);
  }
}

const skip = existsSync(CASES) ? false : "shared cases are not at hand";

test("conditions.json", { skip }, async (context) => {
  const rows = rowsOf("conditions.json") as readonly ConditionRow[];
  assert.ok(rows.length > 0);
  for (const row of rows) await context.test(row.id, () => checkCondition(row));
});

test("analysis.json", { skip }, async (context) => {
  const rows = rowsOf("analysis.json") as readonly AnalysisRow[];
  assert.ok(rows.length > 0);
  for (const row of rows) await context.test(row.id, () => checkAnalysis(row));
});
