/**
 * One reading of all the counters in shared memory, with the names under which they are told. Rows
 * are keyed by route and revision; a revision's role of the moment is no part of it, for a counter
 * must not change its name when a canary is promoted. Rows that never counted anything are left
 * out: thousands of idle routes cost nothing.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { BUCKETS, bucketBound } from "../shared/histogram.ts";
import { FIELD, METRIC_FIELDS, UNMATCHED_ROUTE } from "../shared/metrics.ts";
import type { PartKey, Program, SplitPart } from "../compile/program.ts";
import { labelText } from "./text.ts";

/** What is needed of shared/metrics' MetricReader. */
export interface RowReader {
  read(route: string, armId: string): Float64Array | undefined;
}

/** What is being served: the newest compilation. */
export interface Served {
  readonly parts: Program;
  readonly routesOf: ReadonlyMap<PartKey, readonly string[]>;
}

export interface RouteRow {
  /** The route, as `labelText`. */
  readonly labels: string;
  /** The fields before the histograms. */
  readonly sums: Float64Array;
}

export interface ArmRow {
  /** Route, backend ("KIND/NAMESPACE/NAME"), version and revision, as `labelText`. */
  readonly labels: string;
  /** The fields before the histograms. */
  readonly sums: Float64Array;
  readonly latency: Cumulated;
  readonly firstToken: Cumulated;
}

export interface Reading {
  readonly routes: readonly RouteRow[];
  readonly arms: readonly ArmRow[];
}

/** A histogram's counts below each of BOUNDS_MS, and in all; without any count no bounds. */
export interface Cumulated {
  readonly below: readonly number[];
  readonly count: number;
}

/** So many rows are summed before others have their turn; it takes a fraction of a millisecond. */
const ROWS_AT_A_STRETCH = 128;

/** Sums every row of what is served. Others have their turn meanwhile: each row is read at once. */
export async function readAll(reader: RowReader, served: Served): Promise<Reading> {
  const routes: RouteRow[] = [];
  const arms: ArmRow[] = [];
  let rows = 0;
  for (const { route, split } of placesOf(served)) {
    if (++rows % ROWS_AT_A_STRETCH === 0) await nextTurn();
    if (split === undefined) routes.push(...routeRows(reader, route));
    else for (const row of armRows(reader, split, route)) arms.push(row);
  }
  return { routes, arms };
}

/** Where rows may be: each route by itself, and each with each split that it sends requests to. */
function* placesOf({
  parts,
  routesOf,
}: Served): Generator<{ readonly route: string; readonly split?: SplitPart }> {
  for (const route of routeNames(parts)) yield { route };
  yield { route: UNMATCHED_ROUTE };
  for (const split of splitsOf(parts)) {
    for (const route of routesOf.get(split.key) ?? []) yield { route, split };
  }
}

export function splitsOf(parts: Program): readonly SplitPart[] {
  return [...parts.values()].filter((part) => part.type === "split");
}

/** Splits an arm's id, "KIND/NAMESPACE/NAME@REVISION". */
export function nameArm(armId: string): { readonly backend: string; readonly revision: string } {
  const at = armId.lastIndexOf("@");
  if (at === -1) return { backend: armId, revision: "" };
  return { backend: armId.slice(0, at), revision: armId.slice(at + 1) };
}

/** 1 ms to 65.5 s in octaves, each of them a bound of shared/histogram.ts: the sums are exact. */
export const BOUNDS_MS: readonly number[] = Array.from({ length: 17 }, (_, octave) => 2 ** octave);

/** The last bucket below each bound. */
const LAST_BELOW: readonly number[] = BOUNDS_MS.map((boundMs) => {
  const buckets = Array.from({ length: BUCKETS }, (_, index) => bucketBound(index));
  return buckets.indexOf(boundMs);
});

const NONE: Cumulated = { below: [], count: 0 };

/** The sum of the counts in buckets below each bound. */
function cumulate(sums: Float64Array, firstField: number): Cumulated {
  const below: number[] = [];
  let count = 0;
  for (let index = 0; index < BUCKETS; index++) {
    count += sums[firstField + index] as number;
    if (index === LAST_BELOW[below.length]) below.push(count);
  }
  return count === 0 ? NONE : { below, count };
}

function routeNames(parts: Program): ReadonlySet<string> {
  const routes = new Set<string>();
  for (const part of parts.values()) {
    if (part.type === "rule" || part.type === "models") routes.add(part.route);
  }
  return routes;
}

function routeRows(reader: RowReader, route: string): readonly RouteRow[] {
  const sums = reader.read(route, "");
  if (sums === undefined || isIdle(sums)) return [];
  return [{ labels: labelText({ route }), sums: scalarsOf(sums) }];
}

function armRows(reader: RowReader, split: SplitPart, route: string): readonly ArmRow[] {
  return split.arms.flatMap(({ id, version }) => {
    const sums = reader.read(route, id);
    if (sums === undefined || isIdle(sums)) return [];
    const { backend, revision } = nameArm(id);
    return [
      {
        labels: labelText({ route, backend, version, revision }),
        sums: scalarsOf(sums),
        latency: cumulate(sums, FIELD.latencyBuckets),
        firstToken: cumulate(sums, FIELD.firstTokenBuckets),
      },
    ];
  });
}

/** A copy, so that what is kept of a row while it is written is little. */
function scalarsOf(sums: Float64Array): Float64Array {
  return sums.slice(0, FIELD.latencyBuckets);
}

function isIdle(sums: Float64Array): boolean {
  for (let field = 0; field < METRIC_FIELDS; field++) if (sums[field] !== 0) return false;
  return true;
}

/** The attempts of a row with an outcome, given by its position in OUTCOMES. */
export function outcomeCount(sums: Float64Array, outcome: number): number {
  return sums[FIELD.ok + outcome] as number;
}
