/**
 * Templates of notifications: text with `{{.rollout.metadata.name}}` in it. Of Go's templates only
 * plain fields are supported; anything else is refused by name when the template is read, so that
 * nobody is sent a message with a hole in it.
 */
import { isJsonObject } from "../../base/json.ts";
import type { JsonObject, JsonValue } from "../../base/json.ts";

const FIELD = /^(?:\.[A-Za-z_][A-Za-z0-9_]*)+$/;
/** What a template may begin a field with. */
export const ROOTS: readonly string[] = ["rollout", "analysisRun", "recipient", "trigger"];

/** Why `text` is no template that can be filled in, or undefined. */
export function templateProblem(text: string): string | undefined {
  for (const { action, path } of piecesOf(text)) {
    if (action === undefined || (path !== undefined && ROOTS.includes(path[0] as string))) continue;
    const valid = ROOTS.map((name) => `{{.${name}}}`).join(", ");
    return `${action} is not supported; valid are fields of ${valid}`;
  }
  return undefined;
}

/** The text with every field filled in; one that is not there becomes empty. */
export function renderTemplate(text: string, data: JsonObject): string {
  const pieces = piecesOf(text).map(({ path = [], action, after }) => {
    const value = action === undefined ? undefined : fieldOf(data, path);
    if (value === undefined || value === null) return after;
    return (typeof value === "object" ? JSON.stringify(value) : String(value)) + after;
  });
  return pieces.join("");
}

interface Piece {
  /** "{{.rollout.spec}}"; absent from the piece before the first one. */
  readonly action?: string;
  /** The names of the field, where the action is one. */
  readonly path?: readonly string[];
  /** The text up to the next action. */
  readonly after: string;
}

/** By hand and not by a regular expression, so that no text takes longer than its length. */
function piecesOf(text: string): readonly Piece[] {
  const [before = "", ...rest] = text.split("{{");
  const pieces = rest.map((piece): Piece => {
    const end = piece.indexOf("}}");
    if (end === -1) return { action: `{{${piece.slice(0, 40)}`, after: "" };
    const expression = piece.slice(0, end).trim();
    const path = FIELD.test(expression) ? { path: expression.split(".").slice(1) } : {};
    return { action: `{{${piece.slice(0, end)}}}`, ...path, after: piece.slice(end + 2) };
  });
  return [{ after: before }, ...pieces];
}

function fieldOf(data: JsonObject, path: readonly string[]): JsonValue | undefined {
  let value: JsonValue | undefined = data;
  for (const name of path) {
    if (!isJsonObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}
