/**
 * What handlers of requests on resources share: what they work on, what they may use, what they
 * answer, and how the refusals of store and admission become answers.
 */
import type { Clock } from "../base/clock.ts";
import type { JsonObject } from "../base/json.ts";
import type { Random } from "../base/random.ts";
import { AdmissionError } from "../admission/writer.ts";
import type { Writer } from "../admission/writer.ts";
import type { KindDefinition } from "../resource/kind.ts";
import type { Resource } from "../resource/resource.ts";
import { StoreError } from "../store/store.ts";
import type { Store } from "../store/store.ts";
import * as refusal from "./api-error.ts";
import type { Subject } from "./api-error.ts";
import type { ResourcePath } from "./api-path.ts";
import type { ListSnapshots } from "./list-snapshot.ts";
import type { Presentation } from "./represent.ts";
import type { Watches } from "./watch.ts";

/** What the API works with; the same for every request. */
export interface Api {
  readonly store: Store;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly random: Random;
  readonly snapshots: ListSnapshots;
  readonly watches: Watches;
  /** What is wrong between a resource and others, to be said when it is written. */
  readonly warnings: (resource: Resource) => Promise<readonly string[]>;
}

/** What one request is about. */
export interface Target {
  readonly path: ResourcePath;
  readonly kind: KindDefinition;
  readonly query: URLSearchParams;
  readonly presentation: Presentation;
}

export interface Answer {
  readonly code: number;
  readonly body: JsonObject;
  readonly warnings: readonly string[];
}

/** The resource that a request names, or means to create under `name`. */
export function subjectOf(target: Target, name = target.path.name ?? ""): Subject {
  const { group, plural, kind } = target.kind;
  return { group, plural, kind, name };
}

/** The namespace of the resource in the store: empty for cluster-scoped kinds. */
export function namespaceOf(target: Target): string {
  return target.path.namespace ?? "";
}

/** The stored resource that the path names; throws ApiError 404. */
export function getTarget(api: Api, target: Target): Resource {
  const { name = "" } = target.path;
  const resource = api.store.get(target.kind.kind, namespaceOf(target), name);
  if (resource === undefined) throw refusal.notFound(subjectOf(target));
  return resource;
}

/** Whether `error` says that the resource `target` names was changed meanwhile. */
export function isConflictOn(error: unknown, target: Target): boolean {
  return error instanceof StoreError && error.code === "Conflict" && isAbout(error, target);
}

/** The answer for an error that a write ended with; other errors are returned as they are. */
export function toAnswerable(error: unknown, target: Target, name?: string): Error {
  const subject = subjectOf(target, name);
  if (error instanceof AdmissionError) return refusal.refused(subject, error.message);
  if (!(error instanceof StoreError)) {
    return error instanceof Error ? error : new Error("a write failed", { cause: error });
  }
  if (error.code === "Unavailable") return refusal.unavailable(error.message);
  // A change that a rule added met another writer: the request as a whole may be tried again.
  if (!isAbout(error, target, name)) return refusal.conflict(subject, error.message);
  if (error.code === "AlreadyExists") return refusal.alreadyExists(subject);
  if (error.code === "NotFound") return refusal.notFound(subject);
  return error.code === "Conflict" ? refusal.conflict(subject) : refusal.expired(error.message);
}

function isAbout(error: StoreError, target: Target, name = target.path.name): boolean {
  const { key } = error;
  if (key === undefined) return true;
  const isSameKind = key.kind === target.kind.kind && key.namespace === namespaceOf(target);
  return isSameKind && (name === undefined || key.name === name);
}
