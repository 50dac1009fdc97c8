/**
 * What files ask for, against what they asked for last: pure decisions. A file is taken whole or
 * not at all; a file that is not taken stands as its records say, for its last good version stays.
 */
import type { Issue } from "../resource/issue.ts";
import type { ParsedDocument } from "../resource/parse.ts";
import { keyOf, keyText, type Resource, type ResourceKey } from "../resource/resource.ts";
import type { Change } from "../store/store.ts";
import { type FileRecords, isOwned, recordChange } from "./ownership.ts";
import { displayPath } from "./scan.ts";

export interface FileState {
  /** Absolute path. */
  readonly file: string;
  /** Undefined: wrong or unreadable. Empty: nothing in it, or gone. */
  readonly documents: readonly ParsedDocument[] | undefined;
}

export interface Settled {
  readonly accepted: readonly (FileState & { readonly documents: readonly ParsedDocument[] })[];
  /** Key → absolute path of the one file that may speak of it. */
  readonly owners: ReadonlyMap<string, string>;
  readonly issues: readonly Issue[];
}

/**
 * Finds one owner for each resource: the file that applied it last, else the first by path. A file
 * that speaks of another's resource is refused whole.
 */
export function settleClaims(files: readonly FileState[], records: FileRecords): Settled {
  const refusedFiles = new Map<string, Issue[]>();
  for (;;) {
    const owners = findOwners(files, records, refusedFiles);
    let changed = false;
    for (const { file, documents } of files) {
      if (documents === undefined || refusedFiles.has(file)) continue;
      const issues = documents.flatMap((document) => {
        const owner = owners.get(textOf(document));
        return owner === undefined || owner === file ? [] : [rivalIssue(document, owner)];
      });
      if (issues.length === 0) continue;
      refusedFiles.set(file, issues);
      changed = true;
    }
    if (changed) continue;
    const accepted = files.flatMap(({ file, documents }) =>
      documents === undefined || refusedFiles.has(file) ? [] : [{ file, documents }],
    );
    return { accepted, owners, issues: [...refusedFiles.values()].flat() };
  }
}

function findOwners(
  files: readonly FileState[],
  records: FileRecords,
  refusedFiles: ReadonlyMap<string, unknown>,
): Map<string, string> {
  const owners = new Map<string, string>();
  const keysByFile = groupKeys(records);
  for (const { file, documents } of files) {
    const isStanding = documents === undefined || refusedFiles.has(file);
    const keys = isStanding ? (keysByFile.get(file) ?? []) : documents.map(textOf);
    for (const key of keys) {
      if (!owners.has(key) || records.get(key)?.file === file) owners.set(key, file);
    }
  }
  return owners;
}

/** The keys of all records, by the file that applied them. */
export function groupKeys(records: FileRecords): Map<string, string[]> {
  const groups = Map.groupBy(records, ([, record]) => record.file);
  return new Map([...groups].map(([file, entries]) => [file, entries.map(([key]) => key)]));
}

/** The resources of files that nobody names any more, which stay in force: their keys, by the file. */
export function leftResources(
  records: FileRecords,
  view: Pick<PlanView, "get"> & { isNamed(file: string): boolean },
): Map<string, readonly string[]> {
  const left = new Map<string, readonly string[]>();
  for (const [file, keys] of groupKeys(records)) {
    if (view.isNamed(file)) continue;
    const standing = keys.filter((key) => {
      const { kind, namespace, name } = parseKey(key);
      const record = records.get(key);
      return record !== undefined && isOwned(record, view.get(kind, namespace, name)?.metadata.uid);
    });
    if (standing.length > 0) left.set(file, standing);
  }
  return left;
}

/** What files that are named declare, and somebody has deleted: the records, by key. */
export function deletedResources(
  records: FileRecords,
  view: Pick<PlanView, "get"> & { isNamed(file: string): boolean },
): FileRecords {
  const isDeleted = (key: string): boolean => {
    const { kind, namespace, name } = parseKey(key);
    return view.get(kind, namespace, name) === undefined;
  };
  return new Map([...records].filter(([key, { file }]) => view.isNamed(file) && isDeleted(key)));
}

function textOf(document: ParsedDocument): string {
  return keyText(keyOf(document.draft));
}

function rivalIssue(document: ParsedDocument, owner: string): Issue {
  const message = `${textOf(document)} stands in ${displayPath(owner)} already`;
  return { ...document.position, path: "metadata.name", message };
}

export interface PlanView {
  readonly records: FileRecords;
  /** The keys of `records` by their file. */
  readonly keysByFile: ReadonlyMap<string, readonly string[]>;
  readonly owners: ReadonlyMap<string, string>;
  /** Makes up the uid of what is to be created, which its record names from the beginning. */
  newUid(): string;
  get(kind: string, namespace: string, name: string): Resource | undefined;
}

/** The changes that bring the store to what the file says, where the file has changed. */
export function planFile(
  { file, documents }: FileState & { readonly documents: readonly ParsedDocument[] },
  view: PlanView,
): readonly Change[] {
  const changes: Change[] = [];
  const kept = new Set<string>();
  for (const { draft, position, contentHash } of documents) {
    const key = keyText(keyOf(draft));
    kept.add(key);
    const before = view.records.get(key);
    const record = { file, line: position.line, hash: contentHash };
    if (before?.hash === contentHash) {
      const isMoved = before.file !== file || before.line !== position.line;
      if (isMoved) changes.push(recordChange(key, { ...before, ...record }));
      continue;
    }
    const { namespace, name } = draft.metadata;
    const stored = view.get(draft.kind, namespace, name);
    const uid = stored?.metadata.uid ?? view.newUid();
    const resource =
      stored === undefined ? { ...draft, metadata: { ...draft.metadata, uid } } : draft;
    changes.push({ op: stored === undefined ? "create" : "update", resource });
    changes.push(recordChange(key, { ...record, uid }));
  }
  for (const key of view.keysByFile.get(file) ?? []) {
    const record = view.records.get(key);
    if (record === undefined || kept.has(key)) continue;
    // A document that moved to another file is that file's to speak of.
    if ((view.owners.get(key) ?? file) !== file) continue;
    const target = parseKey(key);
    const stored = view.get(target.kind, target.namespace, target.name);
    if (stored !== undefined && isOwned(record, stored.metadata.uid)) {
      changes.push({ op: "delete", key: target, uid: stored.metadata.uid });
    }
    changes.push(recordChange(key, undefined));
  }
  return changes;
}

/** The key of "Rollout/shop/checkout". */
function parseKey(text: string): ResourceKey {
  const [kind = "", namespace = "", name = ""] = text.split("/");
  return { kind, namespace, name };
}
