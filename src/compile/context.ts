/** What the passes of one compilation share: what earlier passes found, and where to put the rest. */
import type { Attach } from "./attach.ts";
import type { CompileInput, StatusDraft } from "./compiled.ts";
import type { MayRefer } from "./grants.ts";
import type { GatewayNode, ListenerNode } from "./listeners.ts";
import type { PlacedMatch } from "./pages.ts";
import type { PartSet } from "./part-set.ts";
import type { Policies } from "./policies.ts";
import type { PartKey } from "./program.ts";
import type { SplitPass } from "./splits.ts";

export interface CompileContext {
  readonly input: CompileInput;
  readonly parts: PartSet;
  readonly gateways: readonly GatewayNode[];
  readonly attach: Attach;
  readonly mayRefer: MayRefer;
  readonly splits: SplitPass;
  readonly policies: Policies;
  readonly statuses: StatusDraft[];
  /** Filled by the passes over routes. */
  readonly matchesOf: Map<ListenerNode, PlacedMatch[]>;
  readonly attachedTo: Map<ListenerNode, Set<string>>;
  readonly routesOf: Map<PartKey, Set<string>>;
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
