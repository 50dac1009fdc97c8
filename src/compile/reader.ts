/**
 * Resources as the splits pass reads them: looked up by index, and every look-up noted as a tag, so
 * that a later change of a resource leads straight to the splits that it can touch.
 */
import type { Resource } from "../resource/resource.ts";
import { keyText } from "../resource/resource.ts";
import { revisionsOf, rolloutOf, workloadKeyOf } from "../rollout/revision.ts";
import { fullName } from "./age.ts";
import type { Named } from "./age.ts";
import type { BackendTarget, CompileInput } from "./compiled.ts";

/** The label by which an EndpointSlice belongs to a Service (discovery.k8s.io/v1). */
const SERVICE_LABEL = "kubernetes.io/service-name";

/** The indexes of one compilation, made when first asked for. */
export class ResourceIndex {
  readonly input: CompileInput;
  #slices: ReadonlyMap<string, readonly Resource[]> | undefined;
  #rollouts: ReadonlyMap<string, readonly Resource[]> | undefined;
  #revisions: ReadonlyMap<string, readonly Resource[]> | undefined;

  constructor(input: CompileInput) {
    this.input = input;
  }

  slices(tag: string): readonly Resource[] {
    this.#slices ??= Map.groupBy(this.input.list("EndpointSlice"), sliceTag);
    return this.#slices.get(tag) ?? [];
  }

  rollouts(tag: string): readonly Resource[] {
    this.#rollouts ??= Map.groupBy(this.input.list("Rollout"), rolloutTag);
    return this.#rollouts.get(tag) ?? [];
  }

  revisions(tag: string): readonly Resource[] {
    this.#revisions ??= Map.groupBy(this.input.list("ControllerRevision"), revisionTag);
    return this.#revisions.get(tag) ?? [];
  }
}

/** Reads for one split and remembers what it read. */
export class TracingReader {
  readonly reads = new Set<string>();
  readonly #index: ResourceIndex;

  constructor(index: ResourceIndex) {
    this.#index = index;
  }

  get(kind: string, namespace: string, name: string): Resource | undefined {
    this.reads.add(keyText({ kind, namespace, name }));
    return this.#index.input.get(kind, namespace, name);
  }

  slicesOf(service: Named): readonly Resource[] {
    const tag = `EndpointSlice@${fullName(service)}`;
    this.reads.add(tag);
    return this.#index.slices(tag);
  }

  /** The Rollout that governs a workload, with the revisions that it owns. */
  rolloutOf(
    target: BackendTarget,
  ): { readonly rollout: Resource; readonly revisions: readonly Resource[] } | undefined {
    const key = { kind: target.kind, namespace: target.namespace, name: target.name };
    const tag = `Rollout@${keyText(key)}`;
    this.reads.add(tag);
    const rollout = rolloutOf(key, this.#index.rollouts(tag));
    if (rollout === undefined) return undefined;
    const owned = `ControllerRevision@${fullName(rollout)}`;
    this.reads.add(owned);
    return { rollout, revisions: revisionsOf(rollout, this.#index.revisions(owned)) };
  }
}

/** The tags under which a TracingReader may have seen `resource`. */
export function tagsOf(resource: Resource): readonly string[] {
  const own = keyText({
    kind: resource.kind,
    namespace: resource.metadata.namespace,
    name: resource.metadata.name,
  });
  if (resource.kind === "EndpointSlice") return [own, sliceTag(resource)];
  if (resource.kind === "Rollout") return [own, rolloutTag(resource)];
  if (resource.kind === "ControllerRevision") return [own, revisionTag(resource)];
  return [own];
}

function sliceTag(slice: Resource): string {
  const { namespace, labels } = slice.metadata;
  return `EndpointSlice@${namespace}/${labels?.[SERVICE_LABEL] ?? ""}`;
}

function rolloutTag(rollout: Resource): string {
  const key = workloadKeyOf(rollout);
  return key === undefined ? "Rollout@" : `Rollout@${keyText(key)}`;
}

function revisionTag(revision: Resource): string {
  const owner = revision.metadata.ownerReferences?.find((one) => one.kind === "Rollout");
  return `ControllerRevision@${revision.metadata.namespace}/${owner?.name ?? ""}`;
}
