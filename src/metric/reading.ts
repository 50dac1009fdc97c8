/**
 * One reading of all the counters in shared memory, with the names under which they are told. Rows
 * are keyed by route and revision; a revision's role of the moment is no part of it, for a counter
 * must not change its name when a canary is promoted. Rows that never counted anything are left
 * out: thousands of idle routes cost nothing.
 */
import { BUCKETS, bucketBound } from "../shared/histogram.ts";
import { FIELD, METRIC_FIELDS, UNMATCHED_ROUTE } from "../shared/metrics.ts";
import type { PartKey, Program, SplitPart } from "../compile/program.ts";

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
  readonly labels: { readonly route: string };
  readonly sums: Float64Array;
}

export interface ArmRow {
  readonly labels: {
    readonly route: string;
    /** "KIND/NAMESPACE/NAME". */
    readonly backend: string;
    readonly version: string;
    readonly revision: string;
  };
  readonly sums: Float64Array;
}

export interface Reading {
  readonly routes: readonly RouteRow[];
  readonly arms: readonly ArmRow[];
}

/** Sums every row of what is served. */
export function readAll(reader: RowReader, served: Served): Reading {
  const routes = [...routesOf(served.parts), UNMATCHED_ROUTE].flatMap((route) => {
    const sums = reader.read(route, "");
    return sums === undefined || isIdle(sums) ? [] : [{ labels: { route }, sums }];
  });
  const arms = splitsOf(served.parts).flatMap((split) =>
    (served.routesOf.get(split.key) ?? []).flatMap((route) => armRows(reader, split, route)),
  );
  return { routes, arms };
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

/** The sum of the counts in buckets below each bound; the bounds are octaves of milliseconds. */
export function cumulate(
  sums: Float64Array,
  firstField: number,
): { readonly below: readonly number[]; readonly count: number } {
  const below: number[] = [];
  let count = 0;
  let next = 0;
  for (let index = 0; index < BUCKETS; index++) {
    count += sums[firstField + index] as number;
    if (bucketBound(index) === BOUNDS_MS[next]) {
      below.push(count);
      next++;
    }
  }
  return { below, count };
}

/** 1 ms to 65.5 s in octaves, each of them a bound of shared/histogram.ts: the sums are exact. */
export const BOUNDS_MS: readonly number[] = Array.from({ length: 17 }, (_, octave) => 2 ** octave);

function routesOf(parts: Program): readonly string[] {
  const routes = new Set<string>();
  for (const part of parts.values()) {
    if (part.type === "rule" || part.type === "models") routes.add(part.route);
  }
  return [...routes];
}

function armRows(reader: RowReader, split: SplitPart, route: string): readonly ArmRow[] {
  return split.arms.flatMap(({ id, version }) => {
    const sums = reader.read(route, id);
    if (sums === undefined || isIdle(sums)) return [];
    const { backend, revision } = nameArm(id);
    return [{ labels: { route, backend, version, revision }, sums }];
  });
}

function isIdle(sums: Float64Array): boolean {
  for (let field = 0; field < METRIC_FIELDS; field++) if (sums[field] !== 0) return false;
  return true;
}

/** The attempts of a row with an outcome, given by its position in OUTCOMES. */
export function outcomeCount(sums: Float64Array, outcome: number): number {
  return sums[FIELD.ok + outcome] as number;
}
