/**
 * Label and field selectors, as `labelSelector` and `fieldSelector` of a request spell them
 * (apimachinery's labels.Parse and fields.ParseSelector). Parsing refuses what it does not know by
 * name: a selector that silently matched everything would delete everything.
 */
import { isJsonObject } from "../base/json.ts";
import type { Resource } from "../resource/resource.ts";
import { badRequest } from "./api-error.ts";

export type Selector = (resource: Resource) => boolean;

const SELECTOR_CHARS_MAX = 16_384;

const LABEL_KEY =
  /^([a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?\/)?[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?$/;
const LABEL_VALUE = /^([a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?)?$/;

/** Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`; throws ApiError 400 where it is none. */
export function parseLabelSelector(text: string): Selector {
  if (text.length > SELECTOR_CHARS_MAX) throw unparsable(text, "it is too long");
  const requirements = splitOutsideParentheses(text)
    .map((term) => term.trim())
    .filter((term) => term !== "")
    .map((term) => parseRequirement(term, text));
  return (resource) => {
    const labels = resource.metadata.labels ?? {};
    return requirements.every((fits) => fits(labels));
  };
}

type Labels = Readonly<Record<string, string>>;
type Requirement = (labels: Labels) => boolean;

function parseRequirement(term: string, whole: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(term);
  if (set !== null) {
    const [, key = "", operator, list = ""] = set;
    checkKey(key, whole);
    const values = new Set(list.split(",").map((value) => checkValue(value.trim(), whole)));
    return operator === "in"
      ? (labels) => hasLabel(labels, key) && values.has(labels[key] ?? "")
      : (labels) => !hasLabel(labels, key) || !values.has(labels[key] ?? "");
  }
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$/.exec(term);
  if (equality !== null) {
    const [, key = "", operator, value = ""] = equality;
    checkKey(key, whole);
    checkValue(value, whole);
    return operator === "!="
      ? (labels) => !hasLabel(labels, key) || labels[key] !== value
      : (labels) => hasLabel(labels, key) && labels[key] === value;
  }
  const absent = term.startsWith("!");
  const key = absent ? term.slice(1).trim() : term;
  checkKey(key, whole);
  return (labels) => hasLabel(labels, key) !== absent;
}

function hasLabel(labels: Labels, key: string): boolean {
  return Object.hasOwn(labels, key);
}

function checkKey(key: string, whole: string): void {
  if (!LABEL_KEY.test(key)) throw unparsable(whole, `"${key}" is not a label key`);
}

function checkValue(value: string, whole: string): string {
  if (!LABEL_VALUE.test(value)) throw unparsable(whole, `"${value}" is not a label value`);
  return value;
}

function unparsable(text: string, why: string): Error {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  return badRequest(`unable to parse requirement "${shown}": ${why}`);
}

/** Splits at commas, except those of a value list in parentheses. */
function splitOutsideParentheses(text: string): string[] {
  const terms: string[] = [];
  let depth = 0;
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    const char = text[index];
    if (char === "(") depth++;
    else if (char === ")") depth--;
    else if (char === "," && depth === 0) {
      terms.push(text.slice(start, index));
      start = index + 1;
    }
  }
  terms.push(text.slice(start));
  return terms;
}

/** Fields that every kind can be selected by, and those of single kinds. */
const FIELDS_OF_ALL = ["metadata.name", "metadata.namespace"];
const FIELDS_OF_KIND: Readonly<Record<string, readonly string[]>> = {
  Event: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  Secret: ["type"],
  Namespace: ["status.phase"],
  Rollout: ["status.phase"],
  AnalysisRun: ["status.phase"],
};

/**
 * Parses `metadata.name=a,status.phase!=b` for resources of `kind`; throws ApiError 400 for a field
 * that the kind cannot be selected by. `\,`, `\=` and `\\` stand for the characters themselves.
 */
export function parseFieldSelector(text: string, kind: string): Selector {
  if (text.length > SELECTOR_CHARS_MAX) throw badRequest("the field selector is too long");
  const known = [...FIELDS_OF_ALL, ...(FIELDS_OF_KIND[kind] ?? [])];
  const terms = splitUnescaped(text).filter((term) => term !== "");
  const requirements = terms.map((term) => {
    const match = /^([^=!\\]+)(==|=|!=)((?:[^=\\]|\\.)*)$/.exec(term);
    if (match === null) {
      throw badRequest(`invalid selector: "${term}"; can't understand "${term}"`);
    }
    const [, field = "", operator, escaped = ""] = match;
    if (!known.includes(field)) {
      throw badRequest(
        `field label not supported: "${field}"; ${kind} can be selected by ${known.join(", ")}`,
      );
    }
    const value = escaped.replaceAll(/\\(.)/g, "$1");
    const path = field === "source" ? "source.component" : field;
    return (resource: Resource) => (fieldText(resource, path) === value) === (operator !== "!=");
  });
  return (resource) => requirements.every((fits) => fits(resource));
}

function splitUnescaped(text: string): string[] {
  return (text.match(/(?:\\.|[^,\\])+/g) ?? []).map((term) => term.trim());
}

function fieldText(resource: Resource, path: string): string {
  let value: unknown = resource;
  for (const name of path.split(".")) {
    value = isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
  }
  return typeof value === "string" ? value : "";
}

/** Both selectors of a request as one. */
export function parseSelectors(query: URLSearchParams, kind: string): Selector {
  const labels = query.get("labelSelector") ?? "";
  const fields = query.get("fieldSelector") ?? "";
  const byLabel = labels === "" ? undefined : parseLabelSelector(labels);
  const byField = fields === "" ? undefined : parseFieldSelector(fields, kind);
  return (resource) => (byLabel?.(resource) ?? true) && (byField?.(resource) ?? true);
}
