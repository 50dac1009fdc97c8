/** Which parts a part names: what keeps the cell of a missing part alive until the part arrives. */
import type { Part, PartKey, WeightedBackend } from "../compile/program.ts";

/** The keys that `part` names, in no order and possibly more than once. */
export function referencesOf(part: Part): readonly PartKey[] {
  switch (part.type) {
    case "socket":
      return part.listeners.map((listener) => listener.table);
    case "table":
      return part.hosts.flatMap((host) => host.pages);
    case "page":
      return part.entries.map((entry) => entry.rule);
    case "rule":
      return [...splitsOf(part.backends), ...keysOf(part.auth)];
    case "models":
      return [...part.rules.flatMap((rule) => splitsOf(rule.backends)), ...keysOf(part.auth)];
    case "split":
      return part.arms.map((arm) => arm.pool);
    case "keys":
      return part.pages;
    case "pool":
    case "keyPage":
      break;
  }
  return [];
}

function splitsOf(backends: readonly WeightedBackend[]): readonly PartKey[] {
  return backends.flatMap((backend) => (backend.split === undefined ? [] : [backend.split]));
}

function keysOf(auth: { readonly keys: PartKey } | undefined): readonly PartKey[] {
  return auth === undefined ? [] : [auth.keys];
}
