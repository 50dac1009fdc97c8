/**
 * What a Rollout names: its workload, and analysis templates. Pure look-ups, so that a name with a
 * mistake in it is said when it is written, and not found out in the middle of a rollout.
 */
import type { Cause, FieldPath, Resource } from "../resource/resource.ts";
import { rolloutOf, workloadKeyOf } from "./revision.ts";
import { type RolloutAnalysis, specOf } from "./spec.ts";

type Get = (kind: string, namespace: string, name: string) => Resource | undefined;

/** What is named and not there; `get` reads the store. */
export function unmetReferences(rollout: Resource, get: Get): readonly Cause[] {
  const { canary } = specOf(rollout);
  const base = ["spec", "strategy", "canary"];
  const named: (readonly [path: FieldPath, analysis: RolloutAnalysis | undefined])[] = [
    [[...base, "analysis"], canary.analysis],
    ...canary.steps.map(
      (step, index) => [[...base, "steps", index, "analysis"], step.analysis] as const,
    ),
  ];
  const templates = named.flatMap(([path, analysis]) =>
    (analysis?.templates ?? []).flatMap(({ templateName, clusterScope }, index) => {
      const kind = clusterScope === true ? "ClusterAnalysisTemplate" : "AnalysisTemplate";
      const namespace = clusterScope === true ? "" : rollout.metadata.namespace;
      if (get(kind, namespace, templateName) !== undefined) return [];
      const message = `${kind} "${templateName}" does not exist`;
      const missing = { kind, namespace, name: templateName };
      return [{ path: [...path, "templates", index, "templateName"], message, missing }];
    }),
  );
  return [...missingWorkload(rollout, get), ...templates];
}

function missingWorkload(rollout: Resource, get: Get): readonly Cause[] {
  const key = workloadKeyOf(rollout);
  if (key === undefined || get(key.kind, key.namespace, key.name) !== undefined) return [];
  const message = `${key.kind} "${key.name}" does not exist`;
  return [{ path: ["spec", "workloadRef", "name"], message, missing: key }];
}

/** That another Rollout has the workload already; `rollouts` may hold those of other workloads. */
export function rivalry(rollout: Resource, rollouts: readonly Resource[]): readonly Cause[] {
  const key = workloadKeyOf(rollout);
  const owner = key === undefined ? undefined : rolloutOf(key, rollouts)?.metadata.name;
  if (key === undefined || owner === undefined || owner === rollout.metadata.name) return [];
  const what = `${key.kind} "${key.name}" already belongs to Rollout "${owner}"`;
  const message = `${what}, which is older or first by name: this Rollout does nothing`;
  return [{ path: ["spec", "workloadRef", "name"], message }];
}
