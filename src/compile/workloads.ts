/**
 * Workloads of Rollouts that no route names: they are compiled as well, so that a Rollout's weight
 * is acknowledged by the data plane whether or not traffic has found it yet.
 */
import { WORKLOAD_KINDS, workloadKeyOf } from "../rollout/revision.ts";
import type { BackendTarget } from "./compiled.ts";
import type { CompileContext } from "./context.ts";

/** Compiles the split of every workload that a Rollout names. */
export function compileWorkloads(context: CompileContext): void {
  for (const rollout of context.input.list("Rollout")) {
    const key = workloadKeyOf(rollout);
    if (key === undefined || !WORKLOAD_KINDS.includes(key.kind)) continue;
    context.splits.resolve({ ...key, kind: key.kind as BackendTarget["kind"] });
  }
}
