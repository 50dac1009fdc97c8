/**
 * What comes from outside → drafts and issues: the text of a file, YAML or JSON with many
 * documents, with lines and columns, or one JSON value of an API request. All that is wrong is said
 * at once; nothing is thrown, whatever comes.
 */
import { checkDocument, type ParseOptions } from "./check.ts";
import { type Chunk, fieldFinder, type FindField, type Place, readChunk } from "./chunk.ts";
import type { Issue } from "./issue.ts";
import { toIssue } from "./message.ts";
import { type FieldPath, keyOf, keyText, type ResourceDraft } from "./resource.ts";

/** Where a document begins in its file. */
export interface Position extends Place {
  readonly file?: string;
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

const ISSUES_MAX = 200;

/** One document that is JSON already, such as the body of an API request. */
export function parseResource(value: unknown, options: ParseOptions = {}): ParsedResource {
  const checked = checkDocument(value, options);
  if (!checked.ok) return { ok: false, issues: checked.findings.map(toIssue) };
  return checked;
}

/** Reads a text; of documents that are wrong there are issues alone. */
export function parseDocuments(text: string, file?: string): ParsedText {
  return new TextParser().parse(text, file);
}

/**
 * Reads the same text again and again as it is edited: documents that stood in it before are not
 * read anew.
 */
export class TextParser {
  #known: ReadonlyMap<string, Chunk> = new Map();

  /** As `parseDocuments`. */
  parse(text: string, file?: string): ParsedText {
    const place = file === undefined ? {} : { file };
    if (text.length > TEXT_LENGTH_MAX) {
      const message = `is larger than ${TEXT_LENGTH_MAX / 1024 / 1024} MiB; split it into files`;
      return { documents: [], issues: [{ ...place, path: "", message }] };
    }
    const known = new Map<string, Chunk>();
    const collector = new Collector(place);
    for (const { text: stretch, linesBefore } of splitText(text)) {
      const chunk = known.get(stretch) ?? this.#known.get(stretch) ?? readChunk(stretch);
      known.set(stretch, chunk);
      collector.add(chunk, linesBefore);
    }
    this.#known = known;
    return collector.finish();
  }
}

/** Finds fields of the documents that `parseDocuments` has taken from a text. */
export class FieldPlaces {
  readonly #stretches: readonly Stretch[];
  readonly #finders = new Map<Stretch, FindField>();

  constructor(text: string) {
    this.#stretches = splitText(text);
  }

  /** The place of a field, or of the nearest thing around it that is written. */
  positionOf({ draft, position }: ParsedDocument, path: FieldPath): Position {
    const key = keyOf(draft);
    const before = this.#stretches.filter(({ linesBefore }) => linesBefore < position.line);
    for (const stretch of before.toReversed()) {
      const place = this.#finderOf(stretch)(key, path);
      if (place === undefined) continue;
      return { ...position, line: place.line + stretch.linesBefore, column: place.column };
    }
    return position;
  }

  #finderOf(stretch: Stretch): FindField {
    const known = this.#finders.get(stretch);
    if (known !== undefined) return known;
    const finder = fieldFinder(stretch.text);
    this.#finders.set(stretch, finder);
    return finder;
  }
}

/** Puts the documents and issues of stretches in their places in the file. */
class Collector {
  readonly #file: { readonly file?: string };
  readonly #documents: ParsedDocument[] = [];
  readonly #issues: Issue[] = [];
  readonly #lineOfKey = new Map<string, number>();

  constructor(file: { readonly file?: string }) {
    this.#file = file;
  }

  add(chunk: Chunk, linesBefore: number): void {
    const positionOf = ({ line, column }: Place): Position => {
      return { ...this.#file, line: line + linesBefore, column };
    };
    for (const { place, path, message } of chunk.issues) {
      this.#issues.push({ ...positionOf(place), path, message });
    }
    for (const { draft, place, contentHash } of chunk.documents) {
      const position = positionOf(place);
      const key = keyText(keyOf(draft));
      const earlier = this.#lineOfKey.get(key);
      if (earlier === undefined) {
        this.#lineOfKey.set(key, position.line);
        this.#documents.push({ draft, position, contentHash });
      } else {
        const message = `repeats ${key}, which stands in line ${earlier} already`;
        this.#issues.push({ ...position, path: "metadata.name", message });
      }
    }
  }

  finish(): ParsedText {
    const issues = this.#issues.toSorted(
      (a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0),
    );
    return { documents: this.#documents, issues: issues.slice(0, ISSUES_MAX) };
  }
}

/** Directives, and ends of documents without a beginning, make stretches depend on one another. */
const UNSPLITTABLE = /^(?:%|\.\.\.(?:\s|$))/m;

/**
 * A line that begins with "---" begins a document wherever it stands: neither block scalars nor
 * quoted ones may hold it (YAML 1.2 §9.1.2, c-forbidden).
 */
const MARKER = /^---(?=\s|$)/gm;

interface Stretch {
  readonly text: string;
  readonly linesBefore: number;
}

function splitText(text: string): Stretch[] {
  if (UNSPLITTABLE.test(text)) return [{ text, linesBefore: 0 }];
  const starts = [...text.matchAll(MARKER)].map((match) => match.index);
  const edges = [0, ...starts, text.length];
  const stretches: Stretch[] = [];
  let linesBefore = 0;
  for (let index = 0; index + 1 < edges.length; index++) {
    let column = 0;
    for (const part of splitJson(text.slice(edges[index], edges[index + 1]))) {
      if (part !== "") stretches.push({ text: " ".repeat(column) + part, linesBefore });
      linesBefore += countLines(part);
      // What begins within a line keeps its column.
      const lastLine = part.slice(part.lastIndexOf("\n") + 1).length;
      column = part.includes("\n") ? lastLine : column + lastLine;
    }
  }
  return stretches;
}

const JSON_TOKEN = /"(?:[^"\\]|\\[^])*"|[{}]/g;

/** JSON objects that follow one another without a mark, which kubectl reads: YAML never could. */
function splitJson(text: string): readonly string[] {
  if (!/^\s*\{/.test(text)) return [text];
  const edges = [0];
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(JSON_TOKEN)) {
    if (token === "{") depth++;
    else if (token === "}" && --depth === 0) {
      edges.push(index + 1);
      if (edges.length === 2 && !isFollowedByObject(text, index + 1)) return [text];
    }
  }
  return edges.map((edge, index) => text.slice(edge, edges[index + 1]));
}

function isFollowedByObject(text: string, start: number): boolean {
  const next = /\S/g;
  next.lastIndex = start;
  return next.exec(text)?.[0] === "{" && isJson(text.slice(0, start));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
