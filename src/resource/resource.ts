/**
 * What every resource has in common: the object shape of the Kubernetes API. A kind's own fields
 * are described by its schema, in the file named after the kind.
 */
import type { JsonObject, JsonValue } from "../base/json.ts";

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** The part of `metav1.ObjectMeta` that Sluice keeps. */
export interface ObjectMeta {
  readonly name: string;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly uid: string;
  /** The store's revision at the last write, as a decimal string. */
  readonly resourceVersion: string;
  /** Counts changes of everything but metadata and status; starts at 1. */
  readonly generation: number;
  /** RFC 3339. */
  readonly creationTimestamp: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
}

/** A stored resource. Kinds without spec and status (Secret …) add fields of their own. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly spec?: JsonObject;
  readonly status?: JsonObject;
  readonly [field: string]: JsonValue | object | undefined;
}

/** A resource before the store has given it uid, version and times: what is sent. */
export interface ResourceDraft {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Partial<ObjectMeta> & Pick<ObjectMeta, "name" | "namespace">;
  readonly [field: string]: JsonValue | object | undefined;
}

/** Names one resource. Kind names are unique in Sluice, so the group is not part of the key. */
export interface ResourceKey {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** "Rollout/shop/checkout", or "Namespace//shop" for a cluster-scoped kind. */
export function keyText(key: ResourceKey): string {
  return `${key.kind}/${key.namespace}/${key.name}`;
}

export function keyOf(resource: Resource | ResourceDraft): ResourceKey {
  const { namespace, name } = resource.metadata;
  return { kind: resource.kind, namespace, name };
}

/** `metav1.Condition`. */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

/** A condition before it is known whether and when it changed. */
export interface ConditionDraft extends Omit<
  Condition,
  "lastTransitionTime" | "observedGeneration"
> {
  /** The fields that it speaks of, for lists that people read; they are not stored. */
  readonly causes?: readonly Cause[];
}

/** A field: ["spec", "rules", 0, "name"] is `spec.rules[0].name`. */
export type FieldPath = readonly (string | number)[];

/** One field that is wrong. */
export interface Cause {
  /** The resource whose field it is, where that is another one than the condition's. */
  readonly resource?: ResourceKey;
  readonly path: FieldPath;
  readonly message: string;
  /** What the field names, and is not there. */
  readonly missing?: ResourceKey;
}
