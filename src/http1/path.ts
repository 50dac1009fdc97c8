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
