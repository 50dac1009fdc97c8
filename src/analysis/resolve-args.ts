/**
 * Puts the values of arguments where a metric says `{{args.name}}`. Replaced are the strings of the
 * parsed document, never its text, so that no value can add a field. What stays unresolved is an
 * error (Argo: ResolveQuotedArgs), never an empty string.
 */
import { type JsonValue, isJsonObject } from "../base/json.ts";

export type Resolved<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly message: string };

const TAG = /\{\{([^{}]*)\}\}/g;
const ARG = /^args\.(.+)$/;

/** `value` with every `{{args.name}}` in its strings replaced. */
export function resolveArgs<T>(value: T, args: ReadonlyMap<string, string>): Resolved<T> {
  const unresolved: string[] = [];
  const replace = (text: string): string =>
    text.replaceAll(TAG, (tag, inner: string) => {
      const name = ARG.exec(inner.trim())?.[1];
      const found = name === undefined ? undefined : args.get(name);
      if (found === undefined) unresolved.push(tag);
      return found ?? tag;
    });
  const resolved = mapStrings(value as JsonValue, replace) as T;
  if (unresolved.length === 0) return { ok: true, value: resolved };
  return { ok: false, message: `failed to resolve ${[...new Set(unresolved)].join(", ")}` };
}

function mapStrings(value: JsonValue | undefined, map: (text: string) => string): unknown {
  if (typeof value === "string") return map(value);
  if (Array.isArray(value)) return value.map((item: JsonValue) => mapStrings(item, map));
  if (!isJsonObject(value)) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, mapStrings(inner, map)]);
  return Object.fromEntries(entries) as unknown;
}

/** `text` without the values in `secrets`. */
export function redact(text: string, secrets: readonly string[]): string {
  let redacted = text;
  for (const secret of secrets) {
    if (secret !== "") redacted = redacted.replaceAll(secret, "*****");
  }
  return redacted;
}
