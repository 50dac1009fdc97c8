/**
 * Matches of all routes, laid out for the workers: a table per listener, and pages of matches per
 * host. A path's matches stand in one page in order of precedence, and which page that is depends
 * on the path alone, so that a new route changes one page.
 *
 * Precedence is that of Gateway API's `HTTPRouteRule.matches`; regular expressions, which it leaves
 * open, rank by length like prefixes.
 */
import { hash64Into } from "../base/hash.ts";
import { compareAge } from "./age.ts";
import type { Named } from "./age.ts";
import { asExpression } from "./grpc-form.ts";
import { compareHostnames } from "./hostname.ts";
import type { PageTrace } from "./memo.ts";
import type { PartSet } from "./part-set.ts";
import type { GrpcRank } from "./route-form.ts";
import type { Hostname, MatchEntry, PagePart, PartKey, TablePart } from "./program.ts";

/** One match of one rule on one host of a listener, with what its rank depends on. */
export interface PlacedMatch {
  readonly hostname: Hostname;
  /** The route's own hostname, of which `hostname` is what the listener has too. */
  readonly asked: Hostname;
  readonly entry: MatchEntry;
  readonly route: Named;
  /** For gRPC: ranks before the path does. */
  readonly rank?: GrpcRank;
  /** Positions of the rule in the route and of the match in the rule. */
  readonly order: number;
  /** Decides on the page, see `hashPath`. */
  readonly pathHash: number;
}

/** On average; a page must stay below 64 KB even if some paths draw more. */
const ENTRIES_PER_PAGE = 32;
/** Characters of JSON beyond which a page is split although that parts the matches of a path. */
const PAGE_CHARACTERS_MAX = 48 * 1024;

export interface PageContext {
  readonly parts: PartSet;
  /** Pages as they are laid out now, and as they were. */
  readonly pages: Map<PartKey, PageTrace>;
  readonly before: { readonly pages: ReadonlyMap<PartKey, PageTrace> } | undefined;
}

/** Adds the pages of one table and returns the table. `place` is "ADDRESS:PORT/HOSTNAME". */
export function layOutTable(
  context: PageContext,
  place: string,
  matches: readonly PlacedMatch[],
): TablePart {
  const byHost = Map.groupBy(matches, (match) => match.hostname);
  const hostnames = [...byHost.keys()].toSorted(compareHostnames);
  const hosts = hostnames.map((hostname) => ({
    hostname,
    pages: layOutHost(context, `page/${place}/${hostname}`, byHost.get(hostname) ?? []),
  }));
  return { type: "table", key: `table/${place}`, hosts };
}

/**
 * Where routes ask for a host by names of their own that the listener narrows to one, the more
 * specific name is asked first, whatever the paths (Gateway API `HTTPRouteSpec.hostnames`).
 */
function layOutHost(
  context: PageContext,
  prefix: string,
  matches: readonly PlacedMatch[],
): readonly PartKey[] {
  const tiers = Map.groupBy(matches, (match) => match.asked);
  if (tiers.size === 1) return layOutTier(context, { prefix, tier: 0 }, matches);
  return [...tiers.keys()]
    .toSorted(compareHostnames)
    .flatMap((asked, tier) => layOutTier(context, { prefix, tier }, tiers.get(asked) ?? []));
}

interface TierPlace {
  readonly prefix: string;
  readonly tier: number;
}

function layOutTier(
  context: PageContext,
  { prefix: host, tier }: TierPlace,
  matches: readonly PlacedMatch[],
): readonly PartKey[] {
  const prefix = tier === 0 ? host : `${host}~${tier}`;
  const { regular, plain } = parted(matches);
  const count = pageCount(plain.length);
  const groups = Map.groupBy(plain, (match) => match.pathHash % count);
  const keys = [...groups.keys()].toSorted((a, b) => a - b);
  return [
    ...keys.flatMap((key) =>
      layOutPages(context, { key: `${prefix}/${key}of${count}`, tier }, groups.get(key)),
    ),
    ...layOutPages(context, { key: `${prefix}/regex`, tier }, regular),
  ];
}

interface Parted {
  readonly regular: readonly PlacedMatch[];
  readonly plain: readonly PlacedMatch[];
}

/** Expressions, and matches of paths that are looked up. */
function parted(matches: readonly PlacedMatch[]): Parted {
  const regular = matches.filter(isRegular);
  if (regular.length === 0 || !matches.some(isService)) {
    return { regular, plain: matches.filter((match) => !isRegular(match)) };
  }
  return {
    regular: matches
      .filter((match) => isRegular(match) || isService(match))
      .map((match) => ({ ...match, entry: asExpression(match.entry, match.rank) })),
    plain: matches.filter((match) => !isRegular(match) && !isService(match)),
  };
}

function isRegular({ entry }: PlacedMatch): boolean {
  return entry.path.type === "RegularExpression";
}

/** A match of a gRPC service with all its methods. */
function isService({ entry, rank }: PlacedMatch): boolean {
  return entry.path.type === "PathPrefix" && rank !== undefined && rank.service > 0;
}

/** A power of two, so that it seldom changes while routes come and go. */
function pageCount(entries: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(entries / ENTRIES_PER_PAGE)));
}

const scratch = new Int32Array(2);

/** The `pathHash` of a match. */
export function hashPath(path: string): number {
  hash64Into(scratch, path, 0);
  return (scratch[0] as number) >>> 0;
}

interface PagePlace {
  readonly key: PartKey;
  readonly tier: number;
}

function layOutPages(
  context: PageContext,
  place: PagePlace,
  matches: readonly PlacedMatch[] = [],
): readonly PartKey[] {
  const { key } = place;
  const before = context.before?.pages.get(key);
  const same =
    before?.matches.length === matches.length &&
    before.matches.every((match, index) => match === matches[index]);
  const parts = same
    ? before.parts
    : cutPages(place, matches).map((part) => context.parts.add(part));
  if (same) for (const part of parts) context.parts.keep(part);
  context.pages.set(key, { matches, parts });
  return parts.map((part) => part.key);
}

function cutPages({ key, tier }: PagePlace, matches: readonly PlacedMatch[]): readonly PagePart[] {
  const chunks: MatchEntry[][] = [];
  let characters = PAGE_CHARACTERS_MAX;
  for (const { entry } of matches.toSorted(comparePrecedence)) {
    const size = JSON.stringify(entry).length;
    if (characters + size > PAGE_CHARACTERS_MAX) {
      chunks.push([]);
      characters = 0;
    }
    chunks.at(-1)?.push(entry);
    characters += size;
  }
  return chunks.map((entries, index) => {
    const pageKey = index === 0 ? key : `${key}+${index}`;
    return { type: "page", key: pageKey, ...(tier > 0 && { tier }), entries };
  });
}

/**
 * Gateway API `HTTPRouteRule.matches` and `GRPCRouteRule.matches`: which of two matches of one host
 * is asked first.
 */
export function comparePrecedence(a: PlacedMatch, b: PlacedMatch): number {
  return (
    compareCalls(a.rank, b.rank) ||
    pathRank(a.entry) - pathRank(b.entry) ||
    b.entry.path.value.length - a.entry.path.value.length ||
    Number(b.entry.method !== undefined) - Number(a.entry.method !== undefined) ||
    (b.entry.headers?.length ?? 0) - (a.entry.headers?.length ?? 0) ||
    (b.entry.queryParams?.length ?? 0) - (a.entry.queryParams?.length ?? 0) ||
    compareAge(a.route, b.route) ||
    a.order - b.order
  );
}

function compareCalls(a: GrpcRank | undefined, b: GrpcRank | undefined): number {
  if (a === undefined || b === undefined) return 0;
  return b.service - a.service || b.method - a.method;
}

function pathRank(entry: MatchEntry): number {
  if (entry.path.type === "Exact") return 0;
  return entry.path.type === "PathPrefix" ? 1 : 2;
}
