/**
 * Pages of matches, linked, and the matcher of a host that is made of them. Both are built in
 * steps: a caller takes as many steps at a time as its event loop can bear.
 */
import { RE2JS } from "re2js";
import type { MatchEntry, PagePart, PartKey } from "../compile/program.ts";
import { comparedPath } from "../http1/path.ts";
import type { PartFailure } from "../process/messages.ts";
import { linkValueMatch } from "./link-rule.ts";
import type { Cell, LinkedMatch, LinkedPage, LinkedRule, PathMatcher } from "./snapshot.ts";

/** A generator that yields wherever it may be interrupted. */
export type Steps<T> = Generator<undefined, T>;

export function* linkPage(
  part: PagePart,
  rule: (key: PartKey) => Cell<LinkedRule>,
  failures: PartFailure[],
): Steps<LinkedPage> {
  const matches: LinkedMatch[] = [];
  for (const entry of part.entries) {
    matches.push(
      linkMatch(entry, rule(entry.rule), (message) => failures.push({ key: part.key, message })),
    );
    yield;
  }
  return { matches, tier: part.tier ?? 0 };
}

/** A match whose expression does not compile fits nothing, rather than more than it should. */
function linkMatch(
  entry: MatchEntry,
  rule: Cell<LinkedRule>,
  fail: (message: string) => void,
): LinkedMatch {
  try {
    return {
      entry,
      pathRegex: entry.path.type === "RegularExpression" ? RE2JS.compile(entry.path.value) : null,
      method: entry.method,
      headers: firstOfEachName(entry.headers)?.map(linkValueMatch) ?? null,
      queryParams: firstOfEachName(entry.queryParams)?.map(linkValueMatch) ?? null,
      grpc: entry.grpc === true,
      broken: false,
      rule,
    };
  } catch (error) {
    fail(`Cannot compile an expression: ${error instanceof Error ? error.message : "unknown"}`);
    const nothing = { pathRegex: null, method: undefined, headers: null, queryParams: null };
    return { entry, ...nothing, grpc: false, broken: true, rule };
  }
}

/** Of several matches with one name only the first counts (Gateway API `HTTPHeaderMatch.name`). */
function firstOfEachName<T extends { readonly name: string }>(
  matches: readonly T[] | undefined,
): readonly T[] | undefined {
  if (matches === undefined || matches.length === 0) return undefined;
  return matches.filter(
    (match, at) => matches.findIndex((other) => other.name === match.name) === at,
  );
}

/** One matcher out of the pages of a host, which come in order; a chain of them for several tiers. */
export function* linkMatcher(pages: readonly LinkedPage[]): Steps<PathMatcher> {
  const tiers = [...new Set(pages.map((page) => page.tier))].toSorted((a, b) => b - a);
  let next: PathMatcher | null = null;
  for (const tier of tiers) {
    const own: readonly LinkedPage[] = pages.filter((page) => page.tier === tier);
    next = yield* linkTier(own, next);
  }
  return next ?? (yield* linkTier([], null));
}

function* linkTier(pages: readonly LinkedPage[], next: PathMatcher | null): Steps<PathMatcher> {
  const exact = new Map<string, LinkedMatch[]>();
  const prefix = new Map<string, LinkedMatch[]>();
  const regex: LinkedMatch[] = [];
  let prefixDepthMax = 0;
  for (const page of pages) {
    for (const match of page.matches) {
      const { type, value } = match.entry.path;
      if (type === "RegularExpression") regex.push(match);
      else if (type === "Exact") append(exact, comparedPath(value), match);
      else {
        const plain = comparedPath(value.endsWith("/") ? value.slice(0, -1) : value);
        prefixDepthMax = Math.max(prefixDepthMax, plain.split("/").length - 1);
        append(prefix, plain, match);
      }
    }
    yield;
  }
  return { exact, regex, prefix, prefixDepthMax, next };
}

/**
 * "/a" and "/a/" are one prefix, yet may stand in different pages; Gateway API ranks the longer
 * value first. Matches of equal values come in order already.
 */
function append(paths: Map<string, LinkedMatch[]>, path: string, match: LinkedMatch): void {
  const there = paths.get(path);
  if (there === undefined) {
    paths.set(path, [match]);
    return;
  }
  const { length } = match.entry.path.value;
  const last = there.at(-1);
  if (last === undefined || last.entry.path.value.length >= length) there.push(match);
  else
    there.splice(
      there.findIndex((other) => other.entry.path.value.length < length),
      0,
      match,
    );
}
