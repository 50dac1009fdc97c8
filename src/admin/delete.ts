/**
 * Deleting: one resource, all that a selector selects, or a Namespace with all that is in it. Each
 * is one transaction. What a resource owns goes with it, in the background or the foreground alike;
 * leaving it behind (Orphan) is refused, and so is the deletion of the namespace "default".
 */
import type { IncomingMessage } from "node:http";
import { isJsonObject } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import { KINDS } from "../resource/kinds.ts";
import { keyOf } from "../resource/resource.ts";
import type { Resource } from "../resource/resource.ts";
import type { Change } from "../store/store.ts";
import { StoreError } from "../store/store.ts";
import { badRequest, conflict, invalid, refused } from "./api-error.ts";
import { presentList } from "./represent.ts";
import { readDocument } from "./request-body.ts";
import { parseSelectors } from "./selector.ts";
import { getTarget, subjectOf, toAnswerable } from "./target.ts";
import type { Answer, Api, Target } from "./target.ts";
import { isDryRun } from "./write.ts";

const ATTEMPTS_MAX = 5;

/** `DELETE …/NAME`; answers a Status, as Kubernetes does for what is gone at once. */
export async function deleteResource(
  api: Api,
  target: Target,
  request: IncomingMessage,
): Promise<Answer> {
  const options = await readOptions(request, target);
  const live = getTarget(api, target);
  checkPreconditions(options, live, target);
  const changes = [...contentChanges(api, live, target), deletionOf(live, options)];
  try {
    const { warnings } = await api.writer.write(changes, { dryRun: options.dryRun });
    return { code: 200, body: deletedStatus(target, live), warnings };
  } catch (error) {
    throw toAnswerable(error, target);
  }
}

/** `DELETE …/PLURAL` with selectors; answers the list of what is gone. */
export async function deleteCollection(
  api: Api,
  target: Target,
  request: IncomingMessage,
): Promise<Answer> {
  const options = await readOptions(request, target);
  const selector = parseSelectors(target.query, target.kind.kind);
  for (let attempt = 1; ; attempt++) {
    const live = api.store.list(target.kind.kind, target.path.namespace).filter(selector);
    const resourceVersion = String(api.store.resourceVersion);
    const changes = live.flatMap((resource) => [
      ...contentChanges(api, resource, target),
      deletionOf(resource, options),
    ]);
    try {
      const written =
        changes.length === 0
          ? { warnings: [] }
          : await api.writer.write(changes, { dryRun: options.dryRun });
      const body = presentList(live, target.presentation, { resourceVersion });
      return { code: 200, body, warnings: written.warnings };
    } catch (error) {
      // One of them went meanwhile: what is left is looked at anew.
      const isGone = error instanceof StoreError && error.code === "NotFound";
      if (!isGone || attempt >= ATTEMPTS_MAX) throw toAnswerable(error, target);
    }
  }
}

interface DeleteOptions {
  readonly dryRun: boolean;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

const OPTION_FIELDS = [
  "apiVersion",
  "kind",
  "dryRun",
  "gracePeriodSeconds",
  "orphanDependents",
  "preconditions",
  "propagationPolicy",
];

/** `metav1.DeleteOptions` of the body, and of the query where the body has none. */
async function readOptions(request: IncomingMessage, target: Target): Promise<DeleteOptions> {
  const body = (await readDocument(request)) ?? {};
  if (!isJsonObject(body)) throw badRequest("the body of a deletion must be DeleteOptions");
  const unknown = Object.keys(body).find((field) => !OPTION_FIELDS.includes(field));
  if (unknown !== undefined) {
    throw badRequest(`DeleteOptions: unknown field "${unknown.slice(0, 100)}"`);
  }
  checkPropagation(body, target);
  const preconditions = body["preconditions"] ?? {};
  if (!isJsonObject(preconditions)) throw badRequest("preconditions must be an object");
  const dryRun = body["dryRun"] ?? [];
  if (!Array.isArray(dryRun)) throw badRequest("dryRun must be a list");
  return {
    dryRun: isDryRun(target.query, dryRun as readonly JsonValue[]),
    uid: textOf(preconditions, "uid"),
    resourceVersion: textOf(preconditions, "resourceVersion"),
  };
}

function checkPropagation(body: JsonObject, target: Target): void {
  const policy = body["propagationPolicy"] ?? target.query.get("propagationPolicy") ?? "";
  const orphans = body["orphanDependents"] ?? target.query.get("orphanDependents") === "true";
  const isKnown = ["", "Background", "Foreground"].some((known) => known === policy);
  if (isKnown && orphans !== true) return;
  const message =
    "Unsupported value: what a resource owns is deleted with it; supported values: " +
    '"Background", "Foreground"';
  const cause = { reason: "FieldValueNotSupported", message, field: "propagationPolicy" };
  throw invalid(subjectOf(target), [cause]);
}

function textOf(preconditions: JsonObject, field: string): string | undefined {
  const value = preconditions[field] ?? undefined;
  if (value === undefined || typeof value === "string") return value;
  throw badRequest(`preconditions.${field} must be a string`);
}

function checkPreconditions(options: DeleteOptions, live: Resource, target: Target): void {
  const { uid, resourceVersion } = live.metadata;
  if (options.uid !== undefined && options.uid !== uid) {
    throw failedPrecondition(target, "UID", { asked: options.uid, is: uid });
  }
  if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion) {
    const versions = { asked: options.resourceVersion, is: resourceVersion };
    throw failedPrecondition(target, "ResourceVersion", versions);
  }
}

function failedPrecondition(
  target: Target,
  field: string,
  { asked, is }: { readonly asked: string; readonly is: string },
): Error {
  const given = asked.slice(0, 100);
  const why = `${field} in precondition: ${given}, ${field} in object meta: ${is}`;
  return conflict(subjectOf(target), `Precondition failed: ${why}`);
}

function deletionOf(resource: Resource, options: Partial<DeleteOptions>): Change {
  return {
    op: "delete",
    key: keyOf(resource),
    ...(options.uid !== undefined && { uid: options.uid }),
    ...(options.resourceVersion !== undefined && { resourceVersion: options.resourceVersion }),
  };
}

/** For a Namespace: the deletion of all in it that is not deleted with its owner anyway. */
function contentChanges(api: Api, resource: Resource, target: Target): Change[] {
  if (resource.kind !== "Namespace") return [];
  const { name } = resource.metadata;
  if (name === "default") {
    throw refused(subjectOf(target, name), "this namespace may not be deleted");
  }
  const contents = KINDS.filter((kind) => kind.namespaced).flatMap((kind) =>
    api.store.list(kind.kind, name),
  );
  const uids = new Set(contents.map((content) => content.metadata.uid));
  return contents
    .filter((content) => !content.metadata.ownerReferences?.some((owner) => uids.has(owner.uid)))
    .map((content) => deletionOf(content, {}));
}

function deletedStatus(target: Target, live: Resource): JsonObject {
  const { group, plural } = target.kind;
  const { name, uid } = live.metadata;
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: { name, ...(group !== "" && { group }), kind: plural, uid },
  };
}
