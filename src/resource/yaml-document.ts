/**
 * How YAML is read, from files and from requests alike: as kubectl reads it, every key as text, and
 * no key twice. Keys are compared here because the library compares each with every other, which
 * takes minutes for a map of a megabyte.
 */
import {
  type Document,
  type DocumentOptions,
  isCollection,
  isMap,
  isPair,
  isScalar,
  type ParsedNode,
  type ParseOptions,
  type Scalar,
  type SchemaOptions,
} from "yaml";
import { quoted } from "./schema.ts";
import { KUBERNETES_SCALARS } from "./yaml-scalar.ts";

/** Options for the library; whoever uses them asks `repeatedKeys` as well. */
export const YAML_OPTIONS = {
  prettyErrors: false,
  logLevel: "error",
  merge: true,
  stringKeys: true,
  uniqueKeys: false,
  customTags: (tags) => [...KUBERNETES_SCALARS, ...tags],
} as const satisfies SchemaOptions & DocumentOptions & ParseOptions;

export interface RepeatedKey {
  readonly offset: number;
  /** "Map keys must be unique: …" */
  readonly message: string;
}

/** Keys that their map holds already, in the order of the text. Throws RangeError on deep nesting. */
export function repeatedKeys(document: Document.Parsed): readonly RepeatedKey[] {
  const found: RepeatedKey[] = [];
  visit(document.contents, found);
  return found;
}

function visit(node: unknown, found: RepeatedKey[]): void {
  if (!isCollection(node)) return;
  const keys = new Set<unknown>();
  for (const item of node.items) {
    if (!isPair(item)) {
      visit(item, found);
      continue;
    }
    const key = item.key as ParsedNode;
    if (isMap(node) && isScalar(key)) {
      if (keys.has(key.value)) found.push(repeated(key));
      keys.add(key.value);
    }
    visit(item.value, found);
  }
}

function repeated(key: Scalar): RepeatedKey {
  const message = `Map keys must be unique: ${quoted(key.value)} stands here a second time`;
  return { offset: key.range?.[0] ?? 0, message };
}
