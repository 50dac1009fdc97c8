/**
 * One policy for the spellings of a path, so that none of them leads around the rule that is meant
 * for it. Escapes of unreserved characters are decoded and repeated slashes are one (RFC 3986 §6.2.2,
 * and what Gateway API's paths cannot contain): so the path is matched, logged and forwarded. For the
 * comparison with a rule alone, all other escapes that can stand for a path's own characters are
 * decoded as well. An escaped slash stays what it is; see `otherReading`. A policy may say otherwise.
 */

const SLASHES = /\/{2,}/g;
const ESCAPE = /%[0-9A-Fa-f]{2}/g;
const UNRESERVED = /[-A-Za-z0-9._~]/;
/** RFC 3986 `pchar`: what stands in a segment without an escape. */
const PATH_CHARACTER = /[-A-Za-z0-9._~!$&'()*+,;=:@]/;
const ESCAPED_SLASH = /%2F/gi;
/**
 * Encoded control characters, overlong UTF-8, and "\", which cannot be sent plain either: no resource
 * is named by them. And encoded digits of an escape, "%2%65": one that decodes them makes another escape.
 */
const FORBIDDEN_ESCAPE =
  /%(?:[01][0-9A-Fa-f]|5[cC]|7[fF]|[cC][01]|[0-9A-Fa-f]?%(?:3[0-9]|[46][1-6]))/;
/**
 * Dot segments, plain or encoded, also with parameters or between encoded slashes. Clients resolve
 * them (RFC 3986 §5.2.4); what is left is an attack.
 */
const DOT_SEGMENT = /(?:\/|%2f)(?:\.|%2e){1,2}(?:[/;]|%2f|%3b|$)/i;

/** How paths are read where a policy says so (Envoy Gateway `PathSettings`). */
export interface PathReading {
  /**
   * Of escaped slashes. KeepUnchanged: they are none, for rules and backends alike; RejectRequest: there
   * must be none; the others: they are slashes. Absent: as the top of this file says.
   */
  readonly escapedSlashes?:
    | "KeepUnchanged"
    | "RejectRequest"
    | "UnescapeAndForward"
    | "UnescapeAndRedirect";
  readonly keepsRepeatedSlashes?: true;
}

/** Whether no resource is named so, and only who leads around a rule asks for it. */
export function isForbiddenPath(path: string): boolean {
  const escaped = path.includes("%");
  if (escaped && FORBIDDEN_ESCAPE.test(path)) return true;
  return (escaped || path.includes("/.")) && DOT_SEGMENT.test(path);
}

export function hasEscapedSlash(path: string): boolean {
  return path.includes("%2F") || path.includes("%2f");
}

/** The path as it is forwarded; the same string where nothing has to change. */
export function normalPath(path: string, reading?: PathReading): string {
  const { escapedSlashes, keepsRepeatedSlashes } = reading ?? {};
  const unescapes =
    escapedSlashes === "UnescapeAndForward" || escapedSlashes === "UnescapeAndRedirect";
  const plain = unescapes ? path.replaceAll(ESCAPED_SLASH, "/") : path;
  const merged = keepsRepeatedSlashes === true ? plain : withoutRepeatedSlashes(plain);
  if (!merged.includes("%")) return merged;
  return merged.replaceAll(ESCAPE, (escape) => {
    const char = characterOf(escape);
    return UNRESERVED.test(char) ? char : escape;
  });
}

/** The path, of a rule or a normal one, as paths are compared. */
export function comparedPath(path: string): string {
  if (!path.includes("%")) return path;
  return path.replaceAll(ESCAPE, (escape) => {
    const char = characterOf(escape);
    return PATH_CHARACTER.test(char) ? char : escape.toUpperCase();
  });
}

/**
 * How else a backend might read the path: servers differ in whether they decode before they split, and
 * in whether an empty element counts. The same string where there is no other reading.
 */
export function otherReading(path: string, reading?: PathReading): string {
  const isPlain = reading?.escapedSlashes === "KeepUnchanged";
  return withoutRepeatedSlashes(isPlain ? path : path.replaceAll(ESCAPED_SLASH, "/"));
}

function withoutRepeatedSlashes(path: string): string {
  return path.includes("//") ? path.replaceAll(SLASHES, "/") : path;
}

function characterOf(escape: string): string {
  return String.fromCharCode(Number.parseInt(escape.slice(1), 16));
}
