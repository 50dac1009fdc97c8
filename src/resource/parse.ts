/**
 * What comes from outside → drafts and issues: the text of a file, YAML or JSON with many
 * documents, with lines and columns, or one JSON value of an API request. All that is wrong is said at once;
 * nothing is thrown, whatever comes.
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
import { isJsonObject } from "../base/json.ts";
import type { Issue } from "./issue.ts";
import { type Finding, toIssue } from "./message.ts";
import { checkDocument, type ParseOptions } from "./check.ts";
import { keyOf, keyText, type ResourceDraft } from "./resource.ts";

/** Where a document begins in its file; 1-based. */
export interface Position {
  readonly file?: string;
  readonly line: number;
  readonly column: number;
}

export interface ParsedDocument {
  readonly draft: ResourceDraft;
  readonly position: Position;
  /** Names what is written, before defaults: comments and layout do not count. */
  readonly contentHash: string;
}

export interface ParsedText {
  readonly documents: readonly ParsedDocument[];
  readonly issues: readonly Issue[];
}

export type ParsedResource =
  | { readonly ok: true; readonly draft: ResourceDraft }
  | { readonly ok: false; readonly issues: readonly Issue[] };

/** Larger texts are refused: 5,000 routes are about 2 MB. */
export const TEXT_LENGTH_MAX = 32 * 1024 * 1024;

/** More expanded aliases than this are taken for an attack ("billion laughs"). */
const ALIASES_MAX = 100;
const ISSUES_MAX = 200;

/** One slip in a document's syntax draws others after it. */
const SYNTAX_ISSUES_MAX = 3;

/** One document that is JSON already, such as the body of an API request. */
export function parseResource(value: unknown, options: ParseOptions = {}): ParsedResource {
  const checked = checkDocument(value, options);
  if (!checked.ok) return { ok: false, issues: checked.findings.map(toIssue) };
  return checked;
}

/** Reads a text; of documents that are wrong there are issues alone. */
export function parseDocuments(text: string, file?: string): ParsedText {
  const place = file === undefined ? {} : { file };
  if (text.length > TEXT_LENGTH_MAX) {
    const message = `is larger than ${TEXT_LENGTH_MAX / 1024 / 1024} MiB; split it into files`;
    return { documents: [], issues: [{ ...place, path: "", message }] };
  }
  const reader = new Reader(text, place);
  try {
    reader.read();
  } catch (error) {
    // The YAML library recurses over nested collections.
    const deep = error instanceof RangeError;
    const reason = error instanceof Error ? error.message : String(error);
    reader.issues.push({
      ...place,
      path: "",
      message: deep ? "is nested too deeply" : `cannot be read as YAML: ${reason}`,
    });
  }
  const issues = reader.issues.toSorted(
    (a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0),
  );
  return { documents: reader.documents, issues: issues.slice(0, ISSUES_MAX) };
}

class Reader {
  readonly documents: ParsedDocument[] = [];
  readonly issues: Issue[] = [];
  readonly #text: string;
  readonly #place: { readonly file?: string };
  readonly #lines = new LineCounter();
  readonly #lineOfKey = new Map<string, number>();

  constructor(text: string, place: { readonly file?: string }) {
    this.#text = text;
    this.#place = place;
  }

  read(): void {
    const parsed = parseAllDocuments(this.#text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      logLevel: "error",
      merge: true,
      stringKeys: true,
    });
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
  #check(value: unknown, root: Node, base: readonly (string | number)[]): void {
    const checked = checkDocument(value, {});
    const start = locate(root, base, "value");
    if (!checked.ok) {
      for (const finding of checked.findings) {
        const path = [...base, ...finding.path];
        const { path: text, message } = toIssue({ ...finding, path });
        this.#refuse(text, message, locate(root, path, finding.at));
      }
      return;
    }
    const key = keyText(keyOf(checked.draft));
    const position = this.#position(start);
    const earlier = this.#lineOfKey.get(key);
    if (earlier !== undefined) {
      const message = `repeats ${key}, which stands in line ${earlier} already`;
      this.issues.push({ ...position, path: "metadata.name", message });
      return;
    }
    this.#lineOfKey.set(key, position.line);
    this.documents.push({ draft: checked.draft, position, contentHash: contentHash(value) });
  }

  #refuse(path: string, message: string, offset: number): void {
    this.issues.push({ ...this.#position(offset), path, message });
  }

  #position(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { ...this.#place, line: Math.max(line, 1), column: Math.max(col, 1) };
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
function locate(root: Node, path: readonly (string | number)[], at: Finding["at"]): number {
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
