/**
 * One JSON document → a draft with defaults, or all that is wrong with it. Nothing that a user
 * wrote is thrown, and nothing is dropped but what a server writes and `status`.
 */
import { isJsonObject, type JsonObject, jsonEqual } from "../base/json.ts";
import { foldStringData } from "./core.ts";
import { apiVersionOf, type KindDefinition } from "./kind.ts";
import { kindOf, KINDS, KINDS_TO_COME } from "./kinds.ts";
import { explain, type Finding, findingsOf } from "./message.ts";
import type { ResourceDraft } from "./resource.ts";
import { nearest, quoted } from "./schema.ts";

export interface ParseOptions {
  /** For namespaced kinds: the namespace of documents that name none. Default "default". */
  readonly namespace?: string;
  /** "drop" (default) leaves status out: it never comes from people. "keep" is for its writers. */
  readonly status?: "drop" | "keep";
  /** Makes a name of `metadata.generateName`; absent: a name is required. */
  readonly generateName?: (prefix: string) => string;
  /** Who read the document lets nothing through that JSON cannot carry, nor any great depth. */
  readonly isPlain?: boolean;
  /** Keeps uid and resourceVersion, as the API does for compare-and-set. Default false. */
  readonly keepVersion?: boolean;
}

/** Nobody reads more of one document, and finding the place of each takes its time. */
const FINDINGS_MAX = 200;

/** A document nested deeper is refused, so that what walks it may recurse. */
const DEPTH_MAX = 64;

export type Checked =
  | { readonly ok: true; readonly draft: ResourceDraft }
  | { readonly ok: false; readonly findings: readonly Finding[] };

/** Checks one document; findings carry their places as data, to be looked up in a text. */
export function checkDocument(value: unknown, options: ParseOptions): Checked {
  if (!isJsonObject(value)) return refused([], "must be an object with apiVersion and kind");
  const odd = options.isPlain === true ? undefined : findOdd(value);
  if (odd !== undefined) return { ok: false, findings: [odd] };
  const found = findKind(value);
  if ("path" in found) return { ok: false, findings: [found] };
  const { status: _status, ...rest } = value;
  const drop = found.statusSubresource && options.status !== "keep";
  const parsed = found.schema.safeParse(drop ? rest : value, { error: explain });
  const findings = parsed.success ? [] : findingsOf(parsed.error.issues);
  const naming = checkName(value, options);
  if (naming !== undefined) findings.push(naming);
  if (!parsed.success || findings.length > 0) {
    return { ok: false, findings: findings.slice(0, FINDINGS_MAX) };
  }
  return { ok: true, draft: toDraft(parsed.data, found, options) };
}

function refused(path: readonly string[], message: string): Checked {
  return { ok: false, findings: [{ path, message, at: "value" }] };
}

/** The kind of a document, by its kind and apiVersion, or what is wrong with these. */
function findKind(document: JsonObject): KindDefinition | Finding {
  const { kind, apiVersion } = document;
  const at = "value";
  if (typeof kind !== "string" || kind === "") {
    const message = kind === undefined ? "is required" : "must be the name of a kind";
    return { path: ["kind"], message, at };
  }
  const definition = kindOf(kind);
  if (definition === undefined) {
    const known = KINDS.map((item) => item.kind);
    const listed = `supported kinds: ${known.join(", ")}`;
    if (KINDS_TO_COME.includes(kind)) {
      return { path: ["kind"], message: `${kind} is not supported by this version; ${listed}`, at };
    }
    const near = nearest(kind, known);
    const hint = near === undefined ? "" : ` did you mean "${near}"?`;
    return { path: ["kind"], message: `${quoted(kind)} is not a known kind;${hint} ${listed}`, at };
  }
  const right = apiVersionOf(definition.group, definition.version);
  const isOlder = (version: string): boolean => {
    return apiVersion === apiVersionOf(definition.group, version);
  };
  if (apiVersion === right || definition.olderVersions.some(isOlder)) return definition;
  const is = apiVersion === undefined ? "" : `, is ${quoted(apiVersion)}`;
  return { path: ["apiVersion"], message: `must be ${right} for kind ${kind}${is}`, at };
}

function checkName(document: JsonObject, options: ParseOptions): Finding | undefined {
  const { metadata } = document;
  if (!isJsonObject(metadata) || metadata["name"] !== undefined) return undefined;
  if (metadata["generateName"] === undefined) {
    return { path: ["metadata", "name"], message: "is required", at: "value" };
  }
  if (options.generateName !== undefined) return undefined;
  const message = "is required: names are generated for requests to the API alone";
  return { path: ["metadata", "name"], message, at: "value" };
}

/** Anything that JSON cannot carry or that is nested too deep, looked for without recursion. */
function findOdd(document: JsonObject): Finding | undefined {
  const open: { value: unknown; path: readonly (string | number)[] }[] = [
    { value: document, path: [] },
  ];
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    const { value, path } = item;
    if (path.length > DEPTH_MAX) {
      const message = `is nested deeper than ${DEPTH_MAX} levels`;
      return { path: path.slice(0, 8), message, at: "key" };
    }
    if (Array.isArray(value)) {
      for (const [index, inner] of value.entries())
        open.push({ value: inner, path: [...path, index] });
    } else if (isJsonObject(value)) {
      for (const [key, inner] of Object.entries(value)) {
        if (key === "__proto__")
          return { path: [...path, key], message: "is not a field", at: "key" };
        if (inner !== null && typeof inner === "object")
          open.push({ value: inner, path: [...path, key] });
        else if (typeof inner === "number" && !Number.isFinite(inner)) {
          return { path: [...path, key], message: "must be a finite number", at: "value" };
        }
      }
    }
  }
  return undefined;
}

function toDraft(
  document: Readonly<Record<string, unknown>>,
  definition: KindDefinition,
  options: ParseOptions,
): ResourceDraft {
  const { metadata, ...body } = document as { metadata: Readonly<Record<string, unknown>> };
  const fields = definition.kind === "Secret" ? foldStringData(body) : body;
  return {
    ...fields,
    apiVersion: apiVersionOf(definition.group, definition.version),
    kind: definition.kind,
    metadata: draftMetadata(metadata, definition, options),
  } as ResourceDraft;
}

/** Metadata without what the store writes; empty maps and lists count as absent. */
function draftMetadata(
  metadata: Readonly<Record<string, unknown>>,
  definition: KindDefinition,
  options: ParseOptions,
): Record<string, unknown> {
  const kept = ["labels", "annotations", "ownerReferences"];
  if (options.keepVersion === true) kept.push("uid", "resourceVersion");
  const prefix = String(metadata["generateName"]);
  const namespace = metadata["namespace"] ?? options.namespace ?? "default";
  const result: Record<string, unknown> = {
    name: metadata["name"] ?? options.generateName?.(prefix),
    namespace: definition.namespaced ? namespace : "",
  };
  for (const field of kept) {
    const value = metadata[field];
    const empty = value === undefined || value === null || value === "";
    if (!empty && !jsonEqual(value, {}) && !jsonEqual(value, [])) result[field] = value;
  }
  return result;
}
