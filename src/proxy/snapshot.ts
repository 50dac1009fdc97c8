/**
 * What a worker serves: the Program, linked. A linked object is immutable; what can change on its own
 * (a rule, a split, a table) hangs in a Cell, and a new generation is put in place by assigning cells
 * in one synchronous pass, so that no request sees half of it. A request reads a cell once and keeps
 * what it found: one rule for its whole life.
 */
import type { RE2JS } from "re2js";
import type {
  Arm,
  Filters,
  MatchEntry,
  ModelRoutePart,
  PartKey,
  PoolPart,
  RateLimit,
  RulePart,
  SocketPart,
  SplitPart,
} from "../compile/program.ts";

export interface Cell<T> {
  /** Undefined while the part is not there: a reference that dangles is answered with 500. */
  value: T | undefined;
}

/** The root: sockets to listen on. Replaced as a whole when the set of sockets changes. */
export interface Snapshot {
  readonly generation: number;
  readonly sockets: ReadonlyMap<PartKey, Cell<LinkedSocket>>;
}

export interface LinkedSocket {
  readonly part: SocketPart;
  /** Exact listener hostnames, then wildcards with the longest suffix first, then "" . */
  readonly listeners: readonly { readonly hostname: string; readonly table: Cell<LinkedTable> }[];
}

export interface LinkedTable {
  readonly hosts: readonly { readonly hostname: string; readonly matcher: PathMatcher }[];
}

/** The matches of one host, keyed so that a lookup costs the depth of the path, not the number of routes. */
export interface PathMatcher {
  readonly exact: ReadonlyMap<string, readonly LinkedMatch[]>;
  /** Prefixes without their trailing slash; "" is "/". */
  readonly prefix: ReadonlyMap<string, readonly LinkedMatch[]>;
  readonly regex: readonly LinkedMatch[];
}

export interface LinkedMatch {
  readonly entry: MatchEntry;
  readonly pathRegex: RE2JS | null;
  readonly headers: readonly LinkedValueMatch[] | null;
  readonly queryParams: readonly LinkedValueMatch[] | null;
  readonly rule: Cell<LinkedRule>;
}

export interface LinkedValueMatch {
  readonly name: string;
  /** Compared for equality where `regex` is null. */
  readonly value: string;
  readonly regex: RE2JS | null;
}

export interface LinkedRule {
  /** "rule" for HTTP, "models" for an LLM route, which reads the body before it chooses. */
  readonly part: RulePart | ModelRoutePart;
  readonly route: string;
  /** The metrics row of the route as a whole. */
  readonly row: number;
  readonly auth: LinkedAuth | null;
  readonly limits: readonly LinkedLimit[] | null;
  /** Empty for LLM routes, whose choices stand per model in `models`. */
  readonly backends: readonly LinkedBackend[];
  readonly weightSum: number;
  readonly models: readonly LinkedModelRule[] | null;
}

export interface LinkedModelRule {
  readonly models: readonly LinkedValueMatch[];
  readonly backends: readonly LinkedBackend[];
  readonly weightSum: number;
  readonly requestTimeoutMs: number;
  readonly backendRequestTimeoutMs: number;
}

export interface LinkedBackend {
  readonly weight: number;
  /** Null where the reference is invalid. */
  readonly split: Cell<LinkedSplit> | null;
  readonly filters: Filters | null;
  readonly modelNameOverride: string | null;
}

export interface LinkedSplit {
  readonly part: SplitPart;
  readonly arms: readonly LinkedArm[];
}

export interface LinkedArm {
  readonly arm: Arm;
  readonly gate: number;
  readonly pool: Cell<LinkedPool>;
}

export interface LinkedPool {
  readonly part: PoolPart;
}

export interface LinkedAuth {
  /** Looks up the SHA-256 of a presented key; returns the client id. */
  readonly clientOf: (digest: string) => string | undefined;
  readonly auth: NonNullable<RulePart["auth"]>;
}

export interface LinkedLimit {
  readonly limit: RateLimit;
  readonly intervalNs: bigint;
}
