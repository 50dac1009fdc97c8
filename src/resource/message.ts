/**
 * Zod's findings in the words of the house: what must be, and what is. The values of text are not
 * repeated here, for the text may be a Secret's.
 */
import type { z } from "zod";
import type { Issue } from "./issue.ts";
import { quoted } from "./schema.ts";

const NAMES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "an integer",
  boolean: "true or false",
  object: "an object",
  record: "an object",
  array: "a list",
  null: "null",
  undefined: "absent",
};

/** The error map for `safeParse`: a predicate for the field that the issue's path names. */
export function explain(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return explainType(issue.expected, issue.input);
    case "too_big":
      return explainSize(issue, issue.inclusive === false ? "less than" : "at most");
    case "too_small":
      return explainSize(issue, issue.inclusive === false ? "more than" : "at least");
    case "invalid_value":
      if (issue.input === undefined) return "is required";
      return `must be ${issue.values.map(literalText).join(" or ")}`;
    case "invalid_key":
      return issue.issues[0]?.message ?? "is not a valid key";
    case "invalid_union":
      return "has a form that is not valid here";
    case "invalid_format":
    case "not_multiple_of":
    case "invalid_element":
    case "unrecognized_keys":
    case "custom":
    default:
      // These come with messages of their own, from schema.ts.
      return undefined;
  }
}

function literalText(value: unknown): string {
  return typeof value === "string" ? quoted(value) : String(value);
}

function explainType(expected: string, input: unknown): string {
  if (input === undefined) return "is required";
  const wanted = NAMES[expected] ?? expected;
  if (typeof input === "number" && expected === "int") return `must be an integer, is ${input}`;
  const type = Array.isArray(input) ? "array" : input === null ? "null" : typeof input;
  const found = NAMES[type] ?? type;
  const scalar = typeof input === "number" || typeof input === "boolean";
  const hint = expected === "string" && scalar ? "; write it in quotes" : "";
  return `must be ${wanted}, is ${found}${hint}`;
}

interface SizeIssue {
  readonly origin: string;
  readonly maximum?: number | bigint;
  readonly minimum?: number | bigint;
  readonly input?: unknown;
}

function explainSize({ origin, maximum, minimum, input }: SizeIssue, relation: string): string {
  const bound = Number(maximum ?? minimum);
  if (typeof input === "number") return `must be ${relation} ${bound}, is ${input}`;
  const size = typeof input === "string" || Array.isArray(input) ? input.length : undefined;
  if (bound === 1 && relation === "at least") return "must not be empty";
  const unit = origin === "string" ? "characters" : "entries";
  const found = size === undefined ? "" : `, has ${size}`;
  if (bound === 0) return `must be empty${found}`;
  return `must have ${relation} ${bound} ${unit}${found}`;
}

/** One of an issue's places: where it is, and whether the key or the value there is meant. */
export interface Finding {
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly at: "key" | "value";
}

/**
 * Zod's issues as findings; one with several unknown fields becomes one for each. A rule about an
 * object as a whole says nothing more where a field of that object was refused by name.
 */
export function findingsOf(issues: readonly z.core.$ZodIssue[]): Finding[] {
  const refusedIn = new Set<string>();
  for (const issue of issues) {
    if (issue.code === "unrecognized_keys") refusedIn.add(JSON.stringify(issue.path));
  }
  return issues
    .filter((issue) => issue.code !== "custom" || !refusedIn.has(JSON.stringify(issue.path)))
    .flatMap(toFindings);
}

function toFindings(issue: z.core.$ZodIssue): Finding[] {
  const path = issue.path.map((part) => (typeof part === "symbol" ? String(part) : part));
  if (issue.code === "unrecognized_keys") {
    const messages = issue.message.split("\n");
    return issue.keys.map((key, index) => ({
      path: [...path, key],
      message: messages[index] ?? "is not a field",
      at: "key",
    }));
  }
  return [{ path, message: issue.message, at: issue.code === "invalid_key" ? "key" : "value" }];
}

/** "spec.rules[0].name"; a key that is no plain word stands in brackets: metadata.labels["a/b"]. */
export function pathText(path: readonly (string | number)[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${quoted(part)}]`;
  }
  return text;
}

export function toIssue(finding: Finding): Issue {
  return { path: pathText(finding.path), message: finding.message };
}
