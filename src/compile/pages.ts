/**
 * Matches of all routes, laid out for the workers: a table per listener, and pages of matches per
 * host. A path's matches stand in one page in order of precedence, and which page that is depends on
 * the path alone, so that a new route changes one page.
 *
 * Precedence is that of Gateway API's `HTTPRouteRule.matches`; regular expressions, which it leaves
 * open, rank by length like prefixes.
 */
import { hash64 } from "../base/hash.ts";
import { compareAge } from "./age.ts";
import type { Named } from "./age.ts";
import { compareHostnames } from "./hostname.ts";
import type { PartSet } from "./part-set.ts";
import type { Hostname, MatchEntry, PartKey, TablePart } from "./program.ts";

/** One match of one rule on one host of a listener, with what its rank depends on. */
export interface PlacedMatch {
  readonly hostname: Hostname;
  readonly entry: MatchEntry;
  readonly route: Named;
  /** Positions of the rule in the route and of the match in the rule. */
  readonly order: number;
}

/** On average; a page must stay below 64 KB even if some paths draw more. */
const ENTRIES_PER_PAGE = 32;
/** Characters of JSON beyond which a page is split although that parts the matches of a path. */
const PAGE_CHARACTERS_MAX = 48 * 1024;

/** Adds the pages of one table and returns the table. `place` is "ADDRESS:PORT/HOSTNAME". */
export function layOutTable(
  parts: PartSet,
  place: string,
  matches: readonly PlacedMatch[],
): TablePart {
  const byHost = Map.groupBy(matches, (match) => match.hostname);
  const hostnames = [...byHost.keys()].toSorted(compareHostnames);
  const hosts = hostnames.map((hostname) => ({
    hostname,
    pages: layOutHost(parts, `page/${place}/${hostname}`, byHost.get(hostname) ?? []),
  }));
  return { type: "table", key: `table/${place}`, hosts };
}

function layOutHost(
  parts: PartSet,
  prefix: string,
  matches: readonly PlacedMatch[],
): readonly PartKey[] {
  const sorted = matches.toSorted(comparePrecedence).map((match) => match.entry);
  const regular = sorted.filter((entry) => entry.path.type === "RegularExpression");
  const plain = sorted.filter((entry) => entry.path.type !== "RegularExpression");
  const count = pageCount(plain.length);
  const groups = Map.groupBy(plain, (entry) => pageOf(entry, count));
  const keys = [...groups.keys()].toSorted((a, b) => a - b);
  return [
    ...keys.flatMap((key) => addPages(parts, `${prefix}/${key}of${count}`, groups.get(key) ?? [])),
    ...addPages(parts, `${prefix}/regex`, regular),
  ];
}

/** A power of two, so that it seldom changes while routes come and go. */
function pageCount(entries: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(entries / ENTRIES_PER_PAGE)));
}

function pageOf(entry: MatchEntry, count: number): number {
  if (count === 1) return 0;
  return Number(BigInt.asUintN(32, hash64(entry.path.value))) % count;
}

function addPages(
  parts: PartSet,
  key: PartKey,
  entries: readonly MatchEntry[],
): readonly PartKey[] {
  const chunks: MatchEntry[][] = [];
  let characters = PAGE_CHARACTERS_MAX;
  for (const entry of entries) {
    const size = JSON.stringify(entry).length;
    if (characters + size > PAGE_CHARACTERS_MAX) {
      chunks.push([]);
      characters = 0;
    }
    chunks.at(-1)?.push(entry);
    characters += size;
  }
  return chunks.map((chunk, index) => {
    const pageKey = index === 0 ? key : `${key}+${index}`;
    parts.add({ type: "page", key: pageKey, entries: chunk });
    return pageKey;
  });
}

/** Gateway API `HTTPRouteRule.matches`: which of two matches of one host is asked first. */
export function comparePrecedence(a: PlacedMatch, b: PlacedMatch): number {
  return (
    pathRank(a.entry) - pathRank(b.entry) ||
    b.entry.path.value.length - a.entry.path.value.length ||
    Number(b.entry.method !== undefined) - Number(a.entry.method !== undefined) ||
    (b.entry.headers?.length ?? 0) - (a.entry.headers?.length ?? 0) ||
    (b.entry.queryParams?.length ?? 0) - (a.entry.queryParams?.length ?? 0) ||
    compareAge(a.route, b.route) ||
    a.order - b.order
  );
}

function pathRank(entry: MatchEntry): number {
  if (entry.path.type === "Exact") return 0;
  return entry.path.type === "PathPrefix" ? 1 : 2;
}
