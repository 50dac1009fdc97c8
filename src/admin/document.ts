/**
 * From what a client sent to a draft: the document must be what its URL names, and its kind must
 * accept it. Kind and apiVersion may be absent, for the URL tells them; nothing else is assumed.
 */
import { isJsonObject } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import type { Random } from "../base/random.ts";
import { apiVersionOf } from "../resource/kind.ts";
import { parseResource } from "../resource/parse.ts";
import type { ParseOptions } from "../resource/check.ts";
import type { ResourceDraft } from "../resource/resource.ts";
import { badRequest, conflict, invalidIssues } from "./api-error.ts";
import { namespaceOf, subjectOf } from "./target.ts";
import type { Target } from "./target.ts";

/** As Kubernetes' generated names: letters and digits that spell no words. */
const SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH = 5;
/** So that prefix and suffix fit a name of 63 characters. */
const PREFIX_LENGTH_MAX = 58;

/** Makes `document` say where it belongs. Throws ApiError 400 where it says something else. */
export function addressed(document: JsonValue | undefined, target: Target): JsonObject {
  if (document === undefined) throw badRequest("the request has no body");
  if (!isJsonObject(document)) throw badRequest("the body of the request must be an object");
  const { kind, path } = target;
  const expected = { apiVersion: apiVersionOf(kind.group, path.version), kind: kind.kind };
  const { apiVersion = expected.apiVersion, kind: kindName = expected.kind } = document;
  if (apiVersion !== expected.apiVersion) {
    throw badRequest(
      `the API version in the data (${shown(apiVersion)}) does not match the expected API ` +
        `version (${expected.apiVersion})`,
    );
  }
  if (kindName !== expected.kind) {
    throw badRequest(
      `the kind in the data (${shown(kindName)}) does not match the expected kind ` +
        `(${expected.kind})`,
    );
  }
  const metadata = document["metadata"] ?? {};
  if (!isJsonObject(metadata)) throw badRequest("metadata must be an object");
  const namespace = metadata["namespace"] ?? "";
  if (namespace !== "" && namespace !== namespaceOf(target)) {
    throw badRequest(
      `the namespace of the provided object (${shown(namespace)}) does not match the namespace ` +
        `sent on the request (${namespaceOf(target)})`,
    );
  }
  const { namespace: _namespace, ...bare } = metadata;
  return {
    ...document,
    ...expected,
    metadata: kind.namespaced ? { ...metadata, namespace: namespaceOf(target) } : bare,
  };
}

/** The document's name must be the one in the URL; absent, it is. Throws ApiError 400. */
export function named(document: JsonObject, target: Target): JsonObject {
  const metadata = metadataOf(document);
  const { name } = target.path;
  const own = metadata["name"] ?? name;
  if (own !== name) {
    throw badRequest(
      `the name of the object (${shown(own)}) does not match the name on the URL (${name ?? ""})`,
    );
  }
  return { ...document, metadata: { ...metadata, name: own } };
}

/** A name that begins with `prefix`, as `metadata.generateName` asks for. */
export function makeName(prefix: string, random: Random): string {
  let name = prefix.slice(0, PREFIX_LENGTH_MAX);
  for (let count = 0; count < SUFFIX_LENGTH; count++) {
    name += SUFFIX_ALPHABET[Math.floor(random() * SUFFIX_ALPHABET.length)];
  }
  return name;
}

/** Whether a name for this document is to be made, so that another may be tried. */
export function isNameGenerated(document: JsonObject): boolean {
  const { name, generateName } = metadataOf(document);
  return (name === undefined || name === "") && typeof generateName === "string";
}

/** What the kind makes of the document. Throws ApiError 422 with every issue. */
export function parseDraft(
  document: JsonObject,
  target: Target,
  options: ParseOptions = {},
): ResourceDraft {
  const namespace = namespaceOf(target);
  const parsed = parseResource(document, { namespace, keepVersion: true, ...options });
  if (parsed.ok) return parsed.draft;
  const { name } = metadataOf(document);
  throw invalidIssues(subjectOf(target, typeof name === "string" ? name : ""), parsed.issues);
}

/** A document that names a uid means that very resource, not its namesake. Throws ApiError 409. */
export function checkUid(document: JsonObject, target: Target, liveUid: string): void {
  const uid = metadataOf(document)["uid"] ?? "";
  if (uid === "" || uid === liveUid) return;
  throw conflict(
    subjectOf(target),
    `Precondition failed: UID in precondition: ${shown(uid)}, UID in object meta: ${liveUid}`,
  );
}

export function metadataOf(document: JsonObject): JsonObject {
  const { metadata } = document;
  return isJsonObject(metadata) ? metadata : {};
}

/** Names are short; what is not a name is not repeated. */
function shown(value: JsonValue | undefined): string {
  return typeof value === "string" ? value.slice(0, 253) : "not a string";
}
