/**
 * What a compilation remembers for the next one: what each route came to, and what each page was
 * laid out from. Keyed and checked by identity, so that looking costs next to nothing and a wrong
 * guess is impossible: what is not the same object is done anew.
 */
import type { BackendProblem, BackendTarget, StatusDraft } from "./compiled.ts";
import type { Frame } from "./frame.ts";
import type { ListenerNode } from "./listeners.ts";
import type { PlacedMatch } from "./pages.ts";
import type { Losses } from "./route-conflicts.ts";
import type { PagePart, PartKey, RulePart } from "./program.ts";

export interface CompileMemo {
  readonly frame: Frame;
  /** By `keyText` of the HTTPRoute or GRPCRoute. */
  readonly routes: ReadonlyMap<string, RouteTrace>;
  /** By the key of the first page. */
  readonly pages: ReadonlyMap<PartKey, PageTrace>;
}

/** What one HTTPRoute or GRPCRoute came to within one frame. */
export interface RouteTrace {
  readonly uid: string;
  readonly generation: number;
  readonly parts: readonly RulePart[];
  readonly matches: ReadonlyMap<ListenerNode, readonly PlacedMatch[]>;
  readonly references: readonly SplitReference[];
  /** Listeners where an older route of another kind has its hosts. */
  readonly losses: Losses | undefined;
  readonly status: StatusDraft;
}

/** A split as a route found it. */
export interface SplitReference {
  readonly key: PartKey;
  readonly target: BackendTarget;
  readonly served: boolean;
  readonly websocket: boolean;
  readonly problem: BackendProblem | undefined;
  /** Only copies of requests go there, whose answers count for nothing. */
  readonly mirror: boolean;
}

export interface PageTrace {
  /** In the order in which they were collected. */
  readonly matches: readonly PlacedMatch[];
  readonly parts: readonly PagePart[];
}
