/** Which parts a part names: what keeps the cell of a missing part alive until the part arrives. */
import type { Filters, Part, PartKey, WeightedBackend } from "../compile/program.ts";

/** The keys that `part` names, in no order and possibly more than once. */
export function referencesOf(part: Part): readonly PartKey[] {
  switch (part.type) {
    case "socket":
      return [
        ...named(part.client),
        ...part.listeners.flatMap(({ table, client, tls }) => [
          table,
          ...named(client),
          ...(tls?.certificates ?? []),
          ...named(tls?.clientValidation?.authorities),
        ]),
      ];
    case "table":
      return part.hosts.flatMap((host) => host.pages);
    case "page":
      return part.entries.map((entry) => entry.rule);
    case "rule":
      return [
        ...splitsOf(part.backends),
        ...mirrorsOf(part.filters),
        ...keysOf(part.auth),
        ...named(part.clientCertificate),
      ];
    case "models":
      return [
        ...part.rules.flatMap((rule) => splitsOf(rule.backends)),
        ...keysOf(part.auth),
        ...named(part.clientCertificate),
      ];
    case "split":
      return part.arms.map((arm) => arm.pool);
    case "keys":
      return part.pages;
    case "pool":
    case "keyPage":
    case "certificate":
    case "authorities":
    case "client":
      break;
  }
  return [];
}

function mirrorsOf(filters: Filters | undefined): readonly PartKey[] {
  return (filters?.mirrors ?? []).map((mirror) => mirror.split);
}

function splitsOf(backends: readonly WeightedBackend[]): readonly PartKey[] {
  return backends.flatMap(({ split, filters }) => [...named(split), ...mirrorsOf(filters)]);
}

function named(key: PartKey | undefined): readonly PartKey[] {
  return key === undefined ? [] : [key];
}

function keysOf(auth: { readonly keys: PartKey } | undefined): readonly PartKey[] {
  return auth === undefined ? [] : [auth.keys];
}
