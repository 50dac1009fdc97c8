/**
 * Paths of session cookies (GEP-1619): a session belongs to the path by which its first request was
 * matched, so that two rules with sessions of one name do not take them from one another.
 */
import type { MatchEntry } from "./program.ts";

/**
 * What `Path` of a cookie can be for requests of these matches, the longest first. Where a request lies
 * under none, as under those that cannot stand in a cookie, it is "/".
 */
export function cookiePaths(matches: readonly Pick<MatchEntry, "path">[]): readonly string[] {
  const paths = new Set(matches.map(({ path }) => cookiePath(path)));
  // A semicolon would end the attribute.
  const said = [...paths].filter((path) => path !== "/" && !path.includes(";"));
  return said.toSorted((a, b) => b.length - a.length || (a < b ? -1 : 1));
}

function cookiePath({ type, value }: MatchEntry["path"]): string {
  if (type === "RegularExpression") return literalPath(value);
  // As a prefix "/a/" is "/a", which a cookie of "/a/" would not be sent to.
  return type === "PathPrefix" && value.endsWith("/") ? value.slice(0, -1) || "/" : value;
}

/** An escape, a class, or a letter. */
const TOKEN = /\\[^]|\[\^?\]?(?:\\[^]|[^\]\\])*\]?|[^]/gu;
const ESCAPED_LETTER = /^\\[^A-Za-z0-9]$/;
const LETTER = /^[^\\[\](){}.*+?|^$]$/;

/** The whole segments with which every path begins that the RE2 expression fits; "/" for none. */
function literalPath(source: string): string {
  const tokens = source.match(TOKEN) ?? [];
  if (hasAlternatives(tokens)) return "/";
  const letters: string[] = [];
  for (const [at, token] of tokens.entries()) {
    if (LETTER.test(token)) letters.push(token);
    else if (ESCAPED_LETTER.test(token)) letters.push(token.slice(1));
    else if ((token === "^" && at === 0) || (token === "$" && at === tokens.length - 1)) continue;
    else {
      // What is repeated may be absent. Slashes that are leave the segment before them whole where
      // another one follows.
      const repeated = "*?+{".includes(token) ? letters.pop() : undefined;
      if (repeated !== "/" || tokens[at + 1] !== "/") {
        letters.length = Math.max(letters.lastIndexOf("/"), 0);
      }
      break;
    }
  }
  return letters[0] === "/" ? letters.join("") : "/";
}

/** Whether the expression as a whole is one of several. */
function hasAlternatives(tokens: readonly string[]): boolean {
  let depth = 0;
  for (const token of tokens) {
    if (token === "(") depth++;
    else if (token === ")") depth--;
    else if (token === "|" && depth === 0) return true;
  }
  return false;
}
