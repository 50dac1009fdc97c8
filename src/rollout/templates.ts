/**
 * The analysis templates that a Rollout names: pure look-ups, so that a name with a mistake in it is
 * said when it is written, and not found out in the middle of a rollout.
 */
import type { Resource } from "../resource/resource.ts";
import { type RolloutAnalysis, specOf } from "./spec.ts";

type Get = (kind: string, namespace: string, name: string) => Resource | undefined;

/** One sentence for each template that is named and not there; `get` reads the store. */
export function missingTemplates(rollout: Resource, get: Get): readonly string[] {
  const { canary } = specOf(rollout);
  const named: (readonly [path: string, analysis: RolloutAnalysis | undefined])[] = [
    ["spec.strategy.canary.analysis", canary.analysis],
    ...canary.steps.map(
      (step, index) => [`spec.strategy.canary.steps[${index}].analysis`, step.analysis] as const,
    ),
  ];
  return named.flatMap(([path, analysis]) =>
    (analysis?.templates ?? []).flatMap(({ templateName, clusterScope }, index) => {
      const kind = clusterScope === true ? "ClusterAnalysisTemplate" : "AnalysisTemplate";
      const namespace = clusterScope === true ? "" : rollout.metadata.namespace;
      if (get(kind, namespace, templateName) !== undefined) return [];
      return [`${path}.templates[${index}]: ${kind} "${templateName}" does not exist`];
    }),
  );
}
