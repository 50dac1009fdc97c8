/** What there is in place of what is named and is not there: the end of a sentence. */
import { kindOf } from "../resource/kinds.ts";
import type { ResourceKey } from "../resource/resource.ts";
import { nearest } from "../resource/schema.ts";
import type { Store } from "../store/store.ts";

const NAMES_MAX = 5;

/** Kinds that are taken for one another. */
const SIMILAR: readonly (readonly string[])[] = [
  ["Service", "Backend", "AIServiceBackend"],
  ["AnalysisTemplate", "ClusterAnalysisTemplate"],
  ["Issuer", "ClusterIssuer"],
  ["ConfigMap", "Secret"],
];

/** "; did you mean "checkout"?", "; valid: a, b", or where there is nothing to be named: "". */
export function whatThereIs(
  store: Pick<Store, "get" | "list">,
  { kind, namespace, name }: ResourceKey,
): string {
  const similar = SIMILAR.find((kinds) => kinds.includes(kind)) ?? [];
  const other = similar.find((one) => one !== kind && isThere(store, one, { namespace, name }));
  if (other !== undefined) {
    const group = kindOf(other)?.group ?? "";
    return `; there is a ${other} of this name (group: ${JSON.stringify(group)}, kind: ${other})`;
  }
  const all = store.list(kind);
  const elsewhere = all.find(({ metadata }) => metadata.name === name);
  if (elsewhere !== undefined) return `; there is one in namespace ${elsewhere.metadata.namespace}`;
  const names = all
    .filter(({ metadata }) => metadata.namespace === namespace)
    .map(({ metadata }) => metadata.name);
  if (names.length === 0) return "";
  const near = nearest(name, names);
  if (near !== undefined) return `; did you mean "${near}"?`;
  const more = names.length > NAMES_MAX ? ` and ${names.length - NAMES_MAX} more` : "";
  return `; valid: ${names.slice(0, NAMES_MAX).join(", ")}${more}`;
}

function isThere(
  store: Pick<Store, "get">,
  kind: string,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): boolean {
  const home = kindOf(kind)?.namespaced === false ? "" : namespace;
  return store.get(kind, home, name) !== undefined;
}
