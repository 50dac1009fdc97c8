/**
 * One stretch of a text, from one "---" to the next → drafts and issues with lines and columns that
 * count from its own beginning. It knows no file and no other stretch, so that what was read of it
 * once holds wherever it stands.
 */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
} from "yaml";
import { contentHash } from "../base/hash.ts";
import { frozenCopy, isJsonObject } from "../base/json.ts";
import { checkDocument } from "./check.ts";
import { type Finding, toIssue } from "./message.ts";
import {
  type FieldPath,
  keyOf,
  keyText,
  type ResourceDraft,
  type ResourceKey,
} from "./resource.ts";
import { repeatedKeys, YAML_OPTIONS } from "./yaml-document.ts";
import { readPlainYaml } from "./yaml-plain.ts";

/** 1-based. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface Chunk {
  readonly documents: readonly {
    readonly draft: ResourceDraft;
    readonly place: Place;
    /** Names what is written, before defaults: comments and layout do not count. */
    readonly contentHash: string;
  }[];
  readonly issues: readonly {
    readonly place: Place;
    readonly path: string;
    readonly message: string;
  }[];
}

/** More expanded aliases than this are taken for an attack ("billion laughs"). */
const ALIASES_MAX = 1000;

/** One slip in a document's syntax draws others after it. */
const SYNTAX_ISSUES_MAX = 3;

/** Reads a stretch of text; of documents that are wrong there are issues alone. Never throws. */
export function readChunk(text: string): Chunk {
  return readPlainly(text) ?? readWithPlaces(text);
}

/** Nearly all that is right is read so; what is wrong is read again, for its place. */
function readPlainly(text: string): Chunk | undefined {
  const plain = readPlainYaml(text);
  if (plain === undefined || itemsOf(plain.value) !== undefined) return undefined;
  const checked = checkDocument(plain.value, { isPlain: true });
  if (!checked.ok) return undefined;
  const { offset, value } = plain;
  const lineStart = text.lastIndexOf("\n", offset - 1) + 1;
  const place = {
    line: offset === 0 ? 1 : text.slice(0, offset).split("\n").length,
    column: offset === 0 ? 1 : offset - lineStart + 1,
  };
  return {
    documents: [{ draft: frozenCopy(checked.draft), place, contentHash: contentHash(value) }],
    issues: [],
  };
}

/** Finds a field of a document of the stretch by its place. */
export type FindField = (key: ResourceKey, path: FieldPath) => Place | undefined;

/**
 * Reads a stretch that `readChunk` has taken once more, for the places of its fields: of what is not
 * written, that of the nearest thing around; undefined where no such document stands there.
 */
export function fieldFinder(text: string): FindField {
  const reader = new Reader(text);
  reader.read();
  return (key, path) => reader.find(key, path);
}

function readWithPlaces(text: string): Chunk {
  const reader = new Reader(text);
  try {
    reader.read();
  } catch (error) {
    // The YAML library recurses over nested collections.
    const reason = error instanceof Error ? error.message : String(error);
    const isDeep = error instanceof RangeError;
    const message = isDeep ? "is nested too deeply" : `cannot be read as YAML: ${reason}`;
    reader.issues.push({ place: { line: 1, column: 1 }, path: "", message });
  }
  return { documents: reader.documents, issues: reader.issues };
}

class Reader {
  readonly documents: Chunk["documents"][number][] = [];
  readonly issues: Chunk["issues"][number][] = [];
  /** Where documents that were taken stand, by `keyText`. */
  readonly #taken = new Map<string, { readonly root: Node; readonly base: FieldPath }>();
  readonly #text: string;
  readonly #lines = new LineCounter();

  constructor(text: string) {
    this.#text = text;
  }

  read(): void {
    const parsed = parseAllDocuments(this.#text, { ...YAML_OPTIONS, lineCounter: this.#lines });
    for (const document of Array.isArray(parsed) ? parsed : []) this.#readDocument(document);
  }

  #readDocument(document: Document.Parsed): void {
    if (document.errors.length > 0) {
      for (const error of document.errors.slice(0, SYNTAX_ISSUES_MAX)) {
        this.#refuse("", syntaxMessage(error.message), error.pos[0]);
      }
      return;
    }
    if (document.contents === null) return;
    if (isScalar(document.contents) && document.contents.value === null) return;
    const repeated = repeatedKeys(document);
    if (repeated.length > 0) {
      for (const { message, offset } of repeated.slice(0, SYNTAX_ISSUES_MAX)) {
        this.#refuse("", message, offset);
      }
      return;
    }
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: ALIASES_MAX });
    } catch (error) {
      // Excessive or unresolved aliases.
      const reason = error instanceof Error ? error.message : String(error);
      this.#refuse("", reason, document.contents.range[0]);
      return;
    }
    const items = itemsOf(value);
    if (items === undefined) {
      this.#check(value, document.contents, []);
      return;
    }
    for (const [index, item] of items.entries()) {
      this.#check(item, document.contents, ["items", index]);
    }
  }

  /** Takes one document, which stands at `base` below `root`. */
  #check(value: unknown, root: Node, base: FieldPath): void {
    const checked = checkDocument(value, {});
    if (!checked.ok) {
      for (const finding of checked.findings) {
        const path = [...base, ...finding.path];
        const { path: text, message } = toIssue({ ...finding, path });
        this.#refuse(text, message, locate(root, path, finding.at));
      }
      return;
    }
    const place = this.#place(locate(root, base, "value"));
    // Frozen, the store keeps what it is given, and every copy of it shares its parts.
    const draft = frozenCopy(checked.draft);
    this.#taken.set(keyText(keyOf(draft)), { root, base });
    this.documents.push({ draft, place, contentHash: contentHash(value) });
  }

  find(key: ResourceKey, path: FieldPath): Place | undefined {
    const found = this.#taken.get(keyText(key));
    if (found === undefined) return undefined;
    return this.#place(locate(found.root, [...found.base, ...path], "value"));
  }

  #refuse(path: string, message: string, offset: number): void {
    this.issues.push({ place: this.#place(offset), path, message });
  }

  #place(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }
}

/** The YAML library's words without the text it met, which may be a Secret's. */
function syntaxMessage(message: string): string {
  if (message.includes("call stack")) return "is nested too deeply";
  return message.replace(/ in YAML stream: [\s\S]*$/, "").trim();
}

/** The items of a v1 List, the form in which kubectl prints several resources. */
function itemsOf(value: unknown): readonly unknown[] | undefined {
  if (!isJsonObject(value) || value["kind"] !== "List" || value["apiVersion"] !== "v1") {
    return undefined;
  }
  return Array.isArray(value["items"]) ? value["items"] : undefined;
}

/**
 * The offset of the key or value at `path`; of what is missing, that of the nearest thing around.
 * A collection is shown by its key, where it has one, for its first entry would mislead.
 */
function locate(root: Node, path: FieldPath, at: Finding["at"]): number {
  let node: Node | undefined = root;
  let offset = root.range?.[0] ?? 0;
  for (const [depth, part] of path.entries()) {
    const resolved: unknown = isAlias(node) ? undefined : node;
    if (!isCollection(resolved)) break;
    const last = depth === path.length - 1;
    if (isMap(resolved)) {
      const pair = resolved.items.find((item) => isScalar(item.key) && item.key.value === part);
      if (pair === undefined) break;
      const key = pair.key as Node;
      const value = pair.value as Node | null;
      const scalar = value !== null && isScalar(value) && value.range !== null;
      const valueMeant = last && at === "value" && scalar && value.range?.[0] !== value.range?.[1];
      offset = (valueMeant ? value.range?.[0] : key.range?.[0]) ?? offset;
      node = value ?? undefined;
    } else if (isSeq(resolved) && typeof part === "number") {
      const item = resolved.items[part] as Node | undefined;
      if (item === undefined) break;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else break;
  }
  return offset;
}
