/**
 * Makes an AnalysisRun of templates: pure, so that a rollout can plan the run it is about to start.
 * Templates may name further templates; their metrics and arguments are laid together, and what
 * does not fit is said in words (Argo: NewAnalysisRunFromTemplates).
 */
import { isJsonObject } from "../base/json.ts";
import type { Resource, ResourceDraft } from "../resource/resource.ts";
import { type Resolved, resolveArgs } from "./resolve-args.ts";
import {
  type AnalysisRunSpec,
  type AnalysisTemplateSpec,
  type Argument,
  CANARY_ARM_ANNOTATION,
  type DryRunRule,
  type Metric,
  type RetentionRule,
  SPLIT_ANNOTATION,
  STABLE_ARM_ANNOTATION,
  type TemplateRef,
} from "./run.ts";
import { metricRules, validateMetrics } from "./validate-run.ts";

/** Templates that one run may be made of, those named by templates included. */
const TEMPLATES_MAX = 64;

export interface NewAnalysisRunOptions {
  readonly templates: readonly TemplateRef[];
  readonly args?: readonly Argument[];
  readonly dryRun?: readonly DryRunRule[];
  readonly measurementRetention?: readonly RetentionRule[];
  /** Where templates are looked up: the store, or a view of it. */
  readonly view: { get(kind: string, namespace: string, name: string): Resource | undefined };
  /** The Rollout; `fieldRef` arguments read it, and the run is deleted with it. */
  readonly owner: Resource;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** The arms that the `sluice` provider compares. */
  readonly arms?: { readonly canary: string; readonly stable?: string; readonly split: string };
  /** What `podTemplateHashValue: Stable | Latest` stands for. */
  readonly hashes?: { readonly stable?: string; readonly latest?: string };
}

export type NewAnalysisRun =
  | { readonly ok: true; readonly draft: ResourceDraft & { readonly spec: AnalysisRunSpec } }
  | { readonly ok: false; readonly message: string };

/** The run that these templates describe, or why there is none. */
export function newAnalysisRun(options: NewAnalysisRunOptions): NewAnalysisRun {
  const spec = specOfTemplates(options);
  if (!spec.ok) return spec;
  const { owner, arms } = options;
  const annotations = {
    ...options.annotations,
    ...(arms === undefined
      ? {}
      : { [CANARY_ARM_ANNOTATION]: arms.canary, [SPLIT_ANNOTATION]: arms.split }),
    ...(arms?.stable === undefined ? {} : { [STABLE_ARM_ANNOTATION]: arms.stable }),
  };
  const { apiVersion, kind } = owner;
  const { name, uid, namespace } = owner.metadata;
  return {
    ok: true,
    draft: {
      apiVersion: "argoproj.io/v1alpha1",
      kind: "AnalysisRun",
      metadata: {
        name: options.name,
        namespace,
        ...(options.labels === undefined ? {} : { labels: options.labels }),
        ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
        ownerReferences: [
          { apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true },
        ],
      },
      spec: spec.value,
    },
  };
}

function fail(message: string): { readonly ok: false; readonly message: string } {
  return { ok: false, message };
}

function specOfTemplates(options: NewAnalysisRunOptions): Resolved<AnalysisRunSpec> {
  const found = collectTemplates(options);
  if (!found.ok) return found;
  const templates = found.value;
  const metrics = templates.flatMap((template) => template.metrics ?? []);
  const declared = flattenArgs(templates);
  if (!declared.ok) return declared;
  const args = mergeArgs(declared.value, options);
  if (!args.ok) return args;
  const dryRun = [...(options.dryRun ?? []), ...templates.flatMap((one) => one.dryRun ?? [])];
  const measurementRetention = [
    ...(options.measurementRetention ?? []),
    ...templates.flatMap((one) => one.measurementRetention ?? []),
  ];
  const spec: AnalysisRunSpec = {
    metrics,
    ...(args.value.length === 0 ? {} : { args: args.value }),
    ...(dryRun.length === 0 ? {} : { dryRun }),
    ...(measurementRetention.length === 0 ? {} : { measurementRetention }),
  };
  const fault = specFault(spec);
  return fault === undefined ? { ok: true, value: spec } : fail(fault);
}

/** The templates named, each followed by those that it names itself; each once. */
function collectTemplates({
  templates,
  view,
  owner,
}: NewAnalysisRunOptions): Resolved<readonly AnalysisTemplateSpec[]> {
  const found = new Map<string, AnalysisTemplateSpec>();
  const queue = [...templates];
  for (let ref = queue.shift(); ref !== undefined; ref = queue.shift()) {
    const kind = ref.clusterScope === true ? "ClusterAnalysisTemplate" : "AnalysisTemplate";
    const key = `${kind} '${ref.templateName}'`;
    if (found.has(key)) continue;
    if (found.size >= TEMPLATES_MAX) return fail(`more than ${TEMPLATES_MAX} templates are named`);
    const namespace = kind === "AnalysisTemplate" ? owner.metadata.namespace : "";
    const template = view.get(kind, namespace, ref.templateName);
    if (template === undefined) return fail(`${key} not found`);
    // Its schema validated it when it was admitted.
    const admitted: unknown = template.spec ?? {};
    const spec = admitted as AnalysisTemplateSpec;
    found.set(key, spec);
    queue.unshift(...(spec.templates ?? []));
  }
  return { ok: true, value: [...found.values()] };
}

/** Arguments of the same name are one; two values for one name are an error. */
function flattenArgs(templates: readonly AnalysisTemplateSpec[]): Resolved<readonly Argument[]> {
  const args = new Map<string, Argument>();
  for (const arg of templates.flatMap((template) => template.args ?? [])) {
    const before = args.get(arg.name);
    if (before?.value !== undefined && arg.value !== undefined && before.value !== arg.value) {
      const values = `'${before.value}', '${arg.value}'`;
      return fail(
        `Argument \`${arg.name}\` specified multiple times with different values: ${values}`,
      );
    }
    if (before?.value === undefined) args.set(arg.name, arg);
  }
  return { ok: true, value: [...args.values()] };
}

/** Declared arguments with the caller's values; what the caller gives beyond them is dropped. */
function mergeArgs(
  declared: readonly Argument[],
  options: NewAnalysisRunOptions,
): Resolved<readonly Argument[]> {
  const given = new Map((options.args ?? []).map((arg) => [arg.name, arg]));
  const merged: Argument[] = [];
  for (const { name, ...own } of declared) {
    const caller = given.get(name);
    const source = caller?.value !== undefined || caller?.valueFrom !== undefined ? caller : own;
    const value = source.value ?? (source.valueFrom && valueFrom(source.valueFrom, options));
    const secretKeyRef = source.valueFrom?.secretKeyRef;
    if (value !== undefined) merged.push({ name, value });
    else if (secretKeyRef !== undefined) merged.push({ name, valueFrom: { secretKeyRef } });
    else return fail(`args.${name} was not resolved`);
  }
  return { ok: true, value: merged };
}

function valueFrom(
  from: NonNullable<Argument["valueFrom"]>,
  { owner, hashes }: NewAnalysisRunOptions,
): string | undefined {
  if (from.podTemplateHashValue === "Stable") return hashes?.stable;
  if (from.podTemplateHashValue === "Latest") return hashes?.latest;
  if (from.fieldRef === undefined) return undefined;
  return fieldOf(owner, from.fieldRef.fieldPath);
}

const PATH_STEP = /\.?([^.[\]]+)|\['([^']*)'\]|\["([^"]*)"\]/y;

/** A field such as "metadata.labels['region']" as text; undefined where there is none. */
function fieldOf(resource: Resource, path: string): string | undefined {
  let value: unknown = resource;
  let at = 0;
  while (at < path.length) {
    PATH_STEP.lastIndex = at;
    const step = PATH_STEP.exec(path);
    if (step === null) return undefined;
    at = PATH_STEP.lastIndex;
    const key = step[1] ?? step[2] ?? step[3] ?? "";
    if (Array.isArray(value)) value = (value as readonly unknown[])[Number(key)];
    else if (isJsonObject(value) && Object.hasOwn(value, key)) value = value[key];
    else return undefined;
  }
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What is wrong with a run before it starts, as far as it shows without its secrets. */
function specFault(spec: AnalysisRunSpec): string | undefined {
  const names = new Set<string>();
  for (const { name } of spec.metrics) {
    if (names.has(name)) return `two metrics have the same name '${name}'`;
    names.add(name);
  }
  for (const [what, rules] of [
    ["dryRun", spec.dryRun ?? []],
    ["measurementRetention", spec.measurementRetention ?? []],
  ] as const) {
    const patterns = rules.map(({ metricName }) => metricName);
    const twice = patterns.find((pattern, index) => patterns.indexOf(pattern) !== index);
    if (twice !== undefined) return `two ${what} rules have the same metricName '${twice}'`;
  }
  const rules = metricRules(spec);
  if (!rules.ok) return rules.message;
  // A secret is not read before it is used; any text stands in for it here.
  const known = new Map((spec.args ?? []).map(({ name, value }) => [name, value ?? "0"]));
  const metrics = resolveArgs<readonly Metric[]>(spec.metrics, known);
  return metrics.ok ? validateMetrics(metrics.value) : metrics.message;
}
