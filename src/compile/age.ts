/**
 * The order in which resources win over one another where documents conflict (Gateway API:
 * "oldest by creation timestamp, then alphabetically by {namespace}/{name}").
 */
import type { ObjectMeta } from "../resource/resource.ts";

/** Anything that has metadata: a resource, whatever its type says of its other fields. */
export interface Named {
  readonly metadata: ObjectMeta;
}

/** The older first. */
export function compareAge(a: Named, b: Named): number {
  return (
    compareText(a.metadata.creationTimestamp, b.metadata.creationTimestamp) ||
    compareText(fullName(a), fullName(b))
  );
}

/** "NAMESPACE/NAME". */
export function fullName(resource: Named): string {
  return `${resource.metadata.namespace}/${resource.metadata.name}`;
}

/** By code units, so that the order does not depend on the machine's language. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
