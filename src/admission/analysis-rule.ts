/**
 * What analyses demand of a change: that their conditions are expressions. A template with a mistake
 * in one would be stored without a word, and end the first rollout that uses it.
 */
import { syntaxErrorOf } from "../analysis/expr/expression.ts";
import { isJsonObject, type JsonValue } from "../base/json.ts";
import { pathText } from "../resource/message.ts";
import type { Change } from "../store/store.ts";
import { AdmissionError, type Review } from "./writer.ts";

const KINDS: readonly string[] = ["AnalysisTemplate", "ClusterAnalysisTemplate", "AnalysisRun"];
const CONDITIONS = ["successCondition", "failureCondition"] as const;

const NOTHING: Review = { additions: [], warnings: [] };

/** The AdmissionRule of analyses. Throws AdmissionError with the path of the condition. */
export function analysisRule(change: Change): Review {
  if (change.op !== "create" && change.op !== "update") return NOTHING;
  const { kind, metadata, spec } = change.resource;
  if (!KINDS.includes(kind) || !isJsonObject(spec)) return NOTHING;
  const metrics = Array.isArray(spec["metrics"]) ? (spec["metrics"] as readonly JsonValue[]) : [];
  for (const [index, metric] of metrics.entries()) {
    for (const field of CONDITIONS) {
      const condition = isJsonObject(metric) ? metric[field] : undefined;
      // Arguments are put in when a run is made; until then the text is not an expression.
      if (typeof condition !== "string" || condition === "" || condition.includes("{{")) continue;
      const error = syntaxErrorOf(condition);
      if (error === undefined) continue;
      const path = ["spec", "metrics", index, field];
      const message = `${error.message}; valid is an expr-lang condition such as result < 0.95`;
      const what = `${kind} "${metadata.name}" is invalid: ${pathText(path)}`;
      throw new AdmissionError(`${what}: ${message}`, { path, message });
    }
  }
  return NOTHING;
}
