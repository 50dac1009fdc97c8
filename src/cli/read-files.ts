/** Resources from files, folders and standard input, read as `sluice up` reads them. */
import { text } from "node:stream/consumers";
import { type FileState, settleClaims } from "../file/plan.ts";
import { displayPath, listFiles, readText } from "../file/scan.ts";
import { formatIssue, type Issue } from "../resource/issue.ts";
import {
  FieldPlaces,
  parseDocuments,
  type ParsedDocument,
  type Position,
} from "../resource/parse.ts";
import {
  type FieldPath,
  keyOf,
  keyText,
  type ResourceDraft,
  type ResourceKey,
} from "../resource/resource.ts";
import { CommandError } from "./exit.ts";

export interface ReadFiles {
  readonly drafts: readonly ResourceDraft[];
  readonly issues: readonly Issue[];
  readonly fileCount: number;
  /** The place of a field of one of the drafts; undefined for what no file holds. */
  positionOf(key: ResourceKey, path: FieldPath): Position | undefined;
}

const STANDARD_INPUT = "-";

/**
 * All that the paths hold, and all that is wrong with it; "-" is standard input. Throws CommandError where
 * they hold nothing: who looks in the wrong folder must not be told that all is well.
 */
export async function readFiles(paths: readonly string[]): Promise<ReadFiles> {
  const listing = await listFiles(paths.filter((path) => path !== STANDARD_INPUT));
  const issues: Issue[] = [...listing.issues];
  const states: FileState[] = [];
  const texts = new Map<string, string>();
  const take = (file: string, content: string): void => {
    const parsed = parseDocuments(content, file);
    texts.set(file, content);
    issues.push(...parsed.issues);
    states.push({ file, documents: parsed.documents });
  };
  if (paths.includes(STANDARD_INPUT)) take("<stdin>", await text(process.stdin));
  for (const { file } of listing.files) {
    const read = await readText(file);
    if (read.ok) take(displayPath(file), read.text);
    else issues.push(read.issue);
  }
  const settled = settleClaims(states, new Map());
  issues.push(...settled.issues);
  const documents = settled.accepted.flatMap((one) => one.documents);
  const drafts = documents.map(({ draft }) => draft);
  if (drafts.length + issues.length === 0) {
    throw new CommandError(`There is no resource in ${paths.join(", ")}`);
  }
  const positionOf = fieldPositions(documents, texts);
  return { drafts, issues, fileCount: states.length, positionOf };
}

/** Texts are looked through when a place is first asked for. */
function fieldPositions(
  documents: readonly ParsedDocument[],
  texts: ReadonlyMap<string, string>,
): ReadFiles["positionOf"] {
  const byKey = new Map(documents.map((one) => [keyText(keyOf(one.draft)), one]));
  const places = new Map<string, FieldPlaces>();
  return (key, path) => {
    const document = byKey.get(keyText(key));
    if (document === undefined) return undefined;
    const { file = "" } = document.position;
    const known = places.get(file) ?? new FieldPlaces(texts.get(file) ?? "");
    places.set(file, known);
    return known.positionOf(document, path);
  };
}

/** As `readFiles`, for commands that act: with any issue nothing is returned and all are said. */
export async function readDrafts(paths: readonly string[]): Promise<readonly ResourceDraft[]> {
  const { drafts, issues } = await readFiles(paths);
  if (issues.length > 0) throw new CommandError(issues.map(formatIssue).join("\n"));
  return drafts;
}
