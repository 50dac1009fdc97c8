/**
 * References across namespaces (Gateway API `ReferenceGrant`): allowed only where the namespace
 * that is referred to says so.
 */
import type { CompileInput } from "./compiled.ts";
import { listOf } from "./stored.ts";

export interface CrossReference {
  readonly from: { readonly group: string; readonly kind: string; readonly namespace: string };
  readonly to: {
    readonly group: string;
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
  };
}

/** Whether a reference may be followed. Within one namespace it always may. */
export type MayRefer = (reference: CrossReference) => boolean;

/** Reads all ReferenceGrants and returns the question that they answer. */
export function readGrants(input: CompileInput): MayRefer {
  const grants = listOf(input, "ReferenceGrant");
  const byNamespace = Map.groupBy(grants, (grant) => grant.metadata.namespace);
  return ({ from, to }) => {
    if (from.namespace === to.namespace) return true;
    return (byNamespace.get(to.namespace) ?? []).some(
      ({ spec }) =>
        spec.from.some(
          (one) =>
            one.group === from.group && one.kind === from.kind && one.namespace === from.namespace,
        ) &&
        spec.to.some(
          (one) =>
            one.group === to.group &&
            one.kind === to.kind &&
            (one.name === undefined || one.name === to.name),
        ),
    );
  };
}
