/**
 * One policy for the spellings of a path, so that none of them leads around the rule that is meant
 * for it. Escapes of unreserved characters are decoded and repeated slashes are one (RFC 3986 §6.2.2,
 * and what Gateway API's paths cannot contain): so the path is matched, logged and forwarded. For the
 * comparison with a rule alone, all other escapes that can stand for a path's own characters are
 * decoded as well. An escaped slash stays what it is; see `withoutEscapedSlashes`.
 */

const SLASHES = /\/{2,}/g;
const ESCAPE = /%[0-9A-Fa-f]{2}/g;
const UNRESERVED = /[-A-Za-z0-9._~]/;
/** RFC 3986 `pchar`: what stands in a segment without an escape. */
const PATH_CHARACTER = /[-A-Za-z0-9._~!$&'()*+,;=:@]/;
const ESCAPED_SLASH = /%2F/gi;

/** The path as it is forwarded; the same string where nothing has to change. */
export function normalPath(path: string): string {
  const merged = path.includes("//") ? path.replaceAll(SLASHES, "/") : path;
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

/** How a server that decodes before it splits would read the path. */
export function withoutEscapedSlashes(path: string): string {
  return path.replaceAll(ESCAPED_SLASH, "/").replaceAll(SLASHES, "/");
}

function characterOf(escape: string): string {
  return String.fromCharCode(Number.parseInt(escape.slice(1), 16));
}
