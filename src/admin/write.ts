/**
 * Writing: create, update and patch, of resources and of their status. What a patch makes of a
 * resource passes the same door as a whole document. A patch says what to change and not what it
 * was made for, so where somebody else was faster it is applied again to what they wrote.
 */
import type { IncomingMessage } from "node:http";
import { applyMergePatch, isJsonObject } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import type { Resource, ResourceDraft } from "../resource/resource.ts";
import { StoreError } from "../store/store.ts";
import type { Change } from "../store/store.ts";
import { badRequest, conflict, unsupportedMediaType } from "./api-error.ts";
import * as document from "./document.ts";
import { applyJsonPatch } from "./patch.ts";
import { presentOne, toWire } from "./represent.ts";
import { patchTypeOf, readDocument, readPatch } from "./request-body.ts";
import type { PatchType } from "./request-body.ts";
import { applyStrategicMerge, takesStrategicMerge } from "./strategic-merge.ts";
import { getTarget, isConflictOn, subjectOf, toAnswerable } from "./target.ts";
import type { Answer, Api, Target } from "./target.ts";

/** As the Kubernetes API server: how often a patch is applied anew, a name generated anew. */
const ATTEMPTS_MAX = 5;

const UNSAVED = "the disk refuses writes: this status is in force, but not saved yet";

/** `POST …/PLURAL`. */
export async function createResource(
  api: Api,
  target: Target,
  request: IncomingMessage,
): Promise<Answer> {
  const dryRun = isDryRun(target.query);
  const given = document.addressed(await readDocument(request), target);
  const metadata = document.metadataOf(given);
  if ((metadata["resourceVersion"] ?? "") !== "") {
    throw badRequest("resourceVersion should not be set on objects to be created");
  }
  const attempts = document.isNameGenerated(given) ? ATTEMPTS_MAX : 1;
  for (let attempt = 1; ; attempt++) {
    const generateName = (prefix: string): string => document.makeName(prefix, api.random);
    const parsed = document.parseDraft(withoutStatus(given), target, { generateName });
    const draft = withoutServerFields(parsed);
    try {
      const { resource, warnings } = await write(api, { op: "create", resource: draft }, dryRun);
      return answer(target, { code: 201, resource }, [
        ...warnings,
        ...namespaceHint(api, resource),
      ]);
    } catch (error) {
      const isTaken = error instanceof StoreError && error.code === "AlreadyExists";
      if (!isTaken || attempt >= attempts) throw toAnswerable(error, target, draft.metadata.name);
    }
  }
}

/** `PUT …/NAME`; with a resourceVersion only if that is still the newest. */
export async function updateResource(
  api: Api,
  target: Target,
  request: IncomingMessage,
): Promise<Answer> {
  const dryRun = isDryRun(target.query);
  const given = document.named(document.addressed(await readDocument(request), target), target);
  const live = getTarget(api, target);
  document.checkUid(given, target, live.metadata.uid);
  const draft = draftOf(live, given, target);
  const pinned = draft.metadata.resourceVersion ?? "";
  const change = changeOf(target, draft, pinned === "" ? undefined : pinned);
  try {
    const { resource, warnings } = await write(api, change, dryRun);
    return answer(target, { code: 200, resource }, warnings);
  } catch (error) {
    throw toAnswerable(error, target);
  }
}

/** `PATCH …/NAME`: JSON Patch, merge patch, and strategic merge for Kubernetes' own kinds. */
export async function patchResource(
  api: Api,
  target: Target,
  request: IncomingMessage,
): Promise<Answer> {
  const dryRun = isDryRun(target.query);
  const type = patchTypeOf(request);
  if (type === "strategic" && !takesStrategicMerge(target.kind.kind)) {
    throw unsupportedMediaType(
      `strategic merge patch is not supported for ${target.kind.kind}; accepted media types ` +
        "include: application/json-patch+json, application/merge-patch+json",
    );
  }
  const patch = await readPatch(request);
  for (let attempt = 1; ; attempt++) {
    const live = getTarget(api, target);
    const change = patchedChange(target, live, { type, patch });
    try {
      const { resource, warnings } = await write(api, change, dryRun);
      return answer(target, { code: 200, resource }, warnings);
    } catch (error) {
      if (!isConflictOn(error, target) || attempt >= ATTEMPTS_MAX) {
        throw toAnswerable(error, target);
      }
    }
  }
}

interface Patch {
  readonly type: PatchType;
  readonly patch: JsonValue;
}

/** The change that a patch means for the resource as it is now. Throws ApiError. */
function patchedChange(target: Target, live: Resource, patch: Patch): Change {
  const before = toWire(live, target.presentation);
  const after = document.named(
    document.addressed(applyPatch(before, patch, target), target),
    target,
  );
  document.checkUid(after, target, live.metadata.uid);
  const { resourceVersion } = live.metadata;
  const pinned = document.metadataOf(after)["resourceVersion"] ?? resourceVersion;
  if (pinned !== resourceVersion) throw conflict(subjectOf(target));
  return changeOf(target, draftOf(live, after, target), resourceVersion);
}

function applyPatch(before: JsonObject, { type, patch }: Patch, target: Target): JsonValue {
  if (type === "json") return applyJsonPatch(before, patch);
  if (!isJsonObject(patch)) throw badRequest("the patch must be an object");
  if (type === "merge") return applyMergePatch(before, patch);
  return applyStrategicMerge(target.kind.kind, before, patch);
}

/** What is to be stored of `given`: its status alone on the status' path, else all but that. */
function draftOf(live: Resource, given: JsonObject, target: Target): ResourceDraft {
  if (!isStatus(target)) return document.parseDraft(withoutStatus(given), target);
  return document.parseDraft(withStatus(live, given, target), target, { status: "keep" });
}

/** The live resource with nothing but the status of `given`: all that a status write may change. */
function withStatus(live: Resource, given: JsonObject, target: Target): JsonObject {
  const { status: _status, ...rest } = toWire(live, target.presentation);
  const { resourceVersion } = document.metadataOf(given);
  const { resourceVersion: _live, ...metadata } = document.metadataOf(rest);
  const pinned = resourceVersion === undefined ? metadata : { ...metadata, resourceVersion };
  const next = given["status"] ?? undefined;
  return { ...rest, metadata: pinned, ...(next !== undefined && { status: next }) };
}

/** Status is written through its own path alone; elsewhere it is what the client once read. */
function withoutStatus(given: JsonObject): JsonObject {
  const { status: _status, ...rest } = given;
  return rest;
}

function changeOf(target: Target, draft: ResourceDraft, version: string | undefined): Change {
  const { resourceVersion: _given, ...metadata } = withoutServerFields(draft).metadata;
  const pin = version === undefined ? {} : { resourceVersion: version };
  const resource = { ...draft, metadata: { ...metadata, ...pin } };
  if (!isStatus(target)) return { op: "update", resource };
  return { op: "status", resource, ...(isAbort(draft) && { evenUnsaved: true }) };
}

/** An abort must work even on a full disk: it is in force at once and saved when there is room. */
function isAbort({ kind, status }: ResourceDraft): boolean {
  return kind === "Rollout" && isJsonObject(status) && status["abort"] === true;
}

/** What only the store may write is not taken from a client, who sends back what it once read. */
function withoutServerFields(draft: ResourceDraft): ResourceDraft {
  const { uid: _u, generation: _g, creationTimestamp: _c, ...metadata } = draft.metadata;
  return { ...draft, metadata };
}

interface Written {
  readonly resource: Resource;
  readonly warnings: readonly string[];
}

async function write(api: Api, change: Change, dryRun: boolean): Promise<Written> {
  const { resources, warnings } = await api.writer.write([change], { dryRun });
  const resource = resources[0];
  if (resource === undefined) throw new Error("a written resource is missing from the result");
  const unsaved = change.op === "status" && api.store.unsavedCount > 0 ? [UNSAVED] : [];
  // A status says nothing of others, and what was not written is not compiled.
  const problems = dryRun || change.op === "status" ? [] : await api.warnings(resource);
  return { resource, warnings: [...warnings, ...problems, ...unsaved] };
}

function answer(
  target: Target,
  result: { readonly code: number; readonly resource: Resource },
  warnings: readonly string[],
): Answer {
  const body = presentOne(result.resource, target.presentation);
  return { code: result.code, body, warnings };
}

/** Namespaces need not exist, so that files can come in any order; a slip of the pen is told. */
function namespaceHint(api: Api, resource: Resource): string[] {
  const { namespace } = resource.metadata;
  if (namespace === "" || api.store.get("Namespace", "", namespace) !== undefined) return [];
  return [`there is no Namespace "${namespace}"; the ${resource.kind} is served all the same`];
}

function isStatus(target: Target): boolean {
  return target.path.subresource === "status";
}

/** Whether the request is `dryRun=All`; throws ApiError 400 for another value. */
export function isDryRun(query: URLSearchParams, ofBody: readonly JsonValue[] = []): boolean {
  const values = [...query.getAll("dryRun").filter((value) => value !== ""), ...ofBody];
  if (values.some((value) => value !== "All")) {
    throw badRequest('dryRun: Unsupported value: supported values: "All"');
  }
  return values.length > 0;
}
