/**
 * What the passes of one compilation share: what earlier passes found, and where to put the rest.
 */
import type { CompileInput, StatusDraft } from "./compiled.ts";
import type { Frame } from "./frame.ts";
import type { ListenerNode } from "./listeners.ts";
import type { CompileMemo, PageTrace, RouteTrace, SplitReference } from "./memo.ts";
import type { PlacedMatch } from "./pages.ts";
import type { PartSet } from "./part-set.ts";
import type { PartKey } from "./program.ts";
import type { SplitPass } from "./splits.ts";

export interface CompileContext extends Frame {
  readonly input: CompileInput;
  readonly parts: PartSet;
  readonly splits: SplitPass;
  readonly statuses: StatusDraft[];
  /** Filled by the passes over routes. */
  readonly matchesOf: Map<ListenerNode, PlacedMatch[]>;
  readonly attachedTo: Map<ListenerNode, Set<string>>;
  readonly routesOf: Map<PartKey, Set<string>>;
  readonly routes: Map<string, RouteTrace>;
  /** What AIGatewayRoutes lead to, and from where. */
  readonly modelRoutes: {
    readonly references: readonly SplitReference[];
    readonly listeners: readonly ListenerNode[];
  }[];
  readonly pages: Map<PartKey, PageTrace>;
  /** What the compilation before remembers, in whatever frame. */
  readonly before: CompileMemo | undefined;
}

/** The set or list at `key` of a map of them, made where it is missing. */
export function entryAt<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
