/**
 * Reads what an AnalysisRun needs to be planned: its metrics with their arguments in place, the
 * secrets among these, and the arms that it compares. What cannot be found is said in words, for the
 * run to end with.
 */
import { type Resolved, resolveArgs } from "../../analysis/resolve-args.ts";
import {
  type AnalysisRunSpec,
  type Argument,
  CANARY_ARM_ANNOTATION,
  type Metric,
  SPLIT_ANNOTATION,
  STABLE_ARM_ANNOTATION,
  specOf,
} from "../../analysis/run.ts";
import { isJsonObject } from "../../base/json.ts";
import type { Resource } from "../../resource/resource.ts";
import type { Store } from "../../store/store.ts";

export interface Arms {
  readonly canary: string;
  readonly stable: string | undefined;
  /** The split that sends requests to both: "split/Backend/shop/checkout". */
  readonly split: string;
}

export interface RunView {
  readonly run: Resource;
  readonly spec: AnalysisRunSpec;
  readonly metrics: Resolved<readonly Metric[]>;
  /** Values that no status and no log may show. */
  readonly secrets: readonly string[];
  /** Undefined for a run that no rollout made and nobody annotated. */
  readonly arms: Arms | undefined;
}

/** Everything that is known of `run`. */
export function observeRun(run: Resource, store: Pick<Store, "get">): RunView {
  const spec = specOf(run);
  const args = new Map<string, string>();
  const secrets: string[] = [];
  const faults: string[] = [];
  for (const arg of spec.args ?? []) {
    const value = valueOf(arg, { namespace: run.metadata.namespace, store });
    if (!value.ok) faults.push(value.message);
    else args.set(arg.name, value.value);
    if (value.ok && arg.valueFrom !== undefined) secrets.push(value.value);
  }
  const [fault] = faults;
  const metrics: Resolved<readonly Metric[]> =
    fault === undefined ? resolveArgs(spec.metrics, args) : { ok: false, message: fault };
  return { run, spec, metrics, secrets, arms: armsOf(run) };
}

function valueOf(
  arg: Argument,
  { namespace, store }: { namespace: string; store: Pick<Store, "get"> },
): Resolved<string> {
  const ref = arg.valueFrom?.secretKeyRef;
  if (arg.value !== undefined) {
    if (ref === undefined) return { ok: true, value: arg.value };
    return { ok: false, message: `arg ${arg.name} has both value and valueFrom` };
  }
  if (ref === undefined) return { ok: false, message: `args.${arg.name} was not resolved` };
  const secret = store.get("Secret", namespace, ref.name);
  if (secret === undefined) return { ok: false, message: `secret "${ref.name}" not found` };
  const { data } = secret;
  const encoded = isJsonObject(data) && Object.hasOwn(data, ref.key) ? data[ref.key] : undefined;
  if (typeof encoded !== "string") {
    return { ok: false, message: `key '${ref.key}' does not exist in secret '${ref.name}'` };
  }
  return { ok: true, value: Buffer.from(encoded, "base64").toString("utf8") };
}

function armsOf({ metadata: { annotations = {} } }: Resource): Arms | undefined {
  const canary = annotations[CANARY_ARM_ANNOTATION];
  const split = annotations[SPLIT_ANNOTATION];
  if (canary === undefined || split === undefined) return undefined;
  return { canary, stable: annotations[STABLE_ARM_ANNOTATION], split };
}
