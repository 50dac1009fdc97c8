/**
 * What no compilation says of a resource, for others than the data plane would stumble over it: for
 * the warnings of the API and for `sluice check`.
 */
import { certificateProblems, issuerProblems } from "../compile/wanted-certificates.ts";
import type { Cause, Resource } from "../resource/resource.ts";
import { unmetReferences } from "../rollout/unmet.ts";
import type { Store } from "../store/store.ts";

/** The fields that name what is not there, or what cannot be had. */
export function unmetBeside(store: Pick<Store, "get">, resource: Resource): readonly Cause[] {
  switch (resource.kind) {
    case "Rollout":
      return unmetReferences(resource, store.get.bind(store));
    case "Certificate":
      return certificateProblems(store, resource);
    case "Gateway":
      return issuerProblems(store, resource);
    default:
      return [];
  }
}
