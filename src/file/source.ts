/**
 * Files and folders as a source of resources. Every scan looks at all files, so that a change
 * missed and a change seen take the same path; a file whose documents have not changed writes nothing, and
 * a file that is wrong changes nothing.
 */
import { randomUUID } from "node:crypto";
import path from "node:path";
import type { Writer } from "../admission/writer.ts";
import type { Clock } from "../base/clock.ts";
import { jsonEqual } from "../base/json.ts";
import type { Issue } from "../resource/issue.ts";
import { type ParsedText, TextParser } from "../resource/parse.ts";
import { keyOf, keyText, type ResourceDraft } from "../resource/resource.ts";
import { type Change, type Store, StoreError } from "../store/store.ts";
import { deletedText, type FileRecords, readRecords } from "./ownership.ts";
import {
  deletedResources,
  type FileState,
  groupKeys,
  leftResources,
  planFile,
  settleClaims,
} from "./plan.ts";
import { displayPath, listFiles, type Listing, readText } from "./scan.ts";
import { watchFolders } from "./watch.ts";

export interface FileSourceOptions {
  /** Files and folders. */
  readonly paths: readonly string[];
  readonly store: Store;
  readonly writer: Writer;
  readonly clock: Clock;
  /** Called with all that is wrong, whenever that has changed. */
  readonly onIssues: (issues: readonly Issue[]) => void;
}

export interface LoadResult {
  readonly issues: readonly Issue[];
  /** Number of resources created, replaced or deleted. */
  readonly applied: number;
}

export interface FileSource {
  /** Reads all files once and applies what has changed in them. */
  load(): Promise<LoadResult>;
  /** Resources of files that are not among the paths: "shop.yaml is not named any more: …". */
  left(): readonly string[];
  /** After a load, what the files declare and the API has deleted: "shop.yaml:3: Backend/…". */
  deleted(): readonly string[];
  /** Whether a file says of this resource what it says itself, apart from its metadata. */
  declares(resource: ResourceDraft): boolean;
  /** Follows the files until the function returned is called. */
  watch(): () => void;
}

/** A file whose write was refused is tried again, for the reason may lie in another resource. */
const RETRY_MS = 5000;
/** So many resources of a file that was left are named. */
const LEFT_SHOWN_MAX = 5;
/** So many documents whose resources were deleted are named. */
const DELETED_SHOWN_MAX = 20;

export function createFileSource(options: FileSourceOptions): FileSource {
  return new Source(options);
}

class Source implements FileSource {
  readonly #options: FileSourceOptions;
  readonly #parsers = new Map<string, TextParser>();
  /** Scans run one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #issues: readonly Issue[] = [];
  #accepted: readonly FileState[] = [];
  #refusedWrites = 0;

  constructor(options: FileSourceOptions) {
    this.#options = options;
  }

  load(): Promise<LoadResult> {
    const scan = this.#last.then(() => this.#scan());
    this.#last = scan.catch(() => undefined);
    return scan;
  }

  left(): readonly string[] {
    return [...leftResources(readRecords(this.#options.store), this.#view())].map(
      ([file, keys]) =>
        `${displayPath(file)} is not named any more, and what it said stays until it is deleted: ` +
        keys.slice(0, LEFT_SHOWN_MAX).join(", ") +
        (keys.length > LEFT_SHOWN_MAX ? ` and ${keys.length - LEFT_SHOWN_MAX} more` : ""),
    );
  }

  deleted(): readonly string[] {
    const found = [...deletedResources(readRecords(this.#options.store), this.#view())];
    const shown = found
      .slice(0, DELETED_SHOWN_MAX)
      .map(([key, record]) => deletedText(key, record));
    const more = found.length - shown.length;
    return more === 0 ? shown : [...shown, `… and ${more} more that the API has deleted`];
  }

  declares(resource: ResourceDraft): boolean {
    const key = keyText(keyOf(resource));
    return this.#accepted.some(({ documents = [] }) =>
      documents.some(
        ({ draft }) =>
          keyText(keyOf(draft)) === key && jsonEqual(contentOf(draft), contentOf(resource)),
      ),
    );
  }

  #view() {
    const { store } = this.#options;
    return {
      get: store.get.bind(store),
      isNamed: (file: string) => this.#isWithinPaths(file),
    };
  }

  watch(): () => void {
    const { paths, clock } = this.#options;
    let stopped = false;
    let cancelRetry = (): void => undefined;
    const follow = async (): Promise<void> => {
      if (stopped) return;
      await this.load();
      cancelRetry();
      if (!stopped && this.#refusedWrites > 0) cancelRetry = clock.after(RETRY_MS, onChange);
    };
    const onChange = (): void => void follow();
    const stopWatching = watchFolders({ paths, clock, onChange });
    return () => {
      stopped = true;
      cancelRetry();
      stopWatching();
    };
  }

  async #scan(): Promise<LoadResult> {
    const listing = await listFiles(this.#options.paths);
    const issues: Issue[] = [...listing.issues];
    const states: FileState[] = [];
    const present = new Set(listing.files.map(({ file }) => file));
    for (const file of this.#parsers.keys()) if (!present.has(file)) this.#parsers.delete(file);
    const { store } = this.#options;
    // Read once: no file's plan touches the record of another file's resource.
    const records = readRecords(store);
    const keysByFile = groupKeys(records);
    for (const { file } of listing.files) {
      const parsed = await this.#parse(file);
      const emptied = emptiedIssue(file, parsed, keysByFile);
      const found = emptied === undefined ? parsed.issues : [...parsed.issues, emptied];
      issues.push(...found);
      states.push({ file, documents: found.length === 0 ? parsed.documents : undefined });
    }
    states.push(...this.#absentFiles(listing, records));
    const settled = settleClaims(states, records);
    issues.push(...settled.issues);
    this.#accepted = settled.accepted;
    let applied = 0;
    this.#refusedWrites = 0;
    const view = {
      records,
      keysByFile,
      owners: settled.owners,
      newUid: randomUUID,
      get: store.get.bind(store),
    };
    for (const state of settled.accepted) {
      const changes = planFile(state, view);
      if (changes.length === 0) continue;
      const refusal = await this.#write(changes, state);
      if (refusal === undefined) {
        applied += changes.filter((change) => change.op !== "record").length;
      } else {
        issues.push(refusal);
        this.#refusedWrites++;
      }
    }
    this.#tell(issues);
    return { issues, applied };
  }

  async #parse(file: string): Promise<ParsedText> {
    const read = await readText(file);
    if (!read.ok) return { documents: [], issues: [read.issue] };
    const parser = this.#parsers.get(file) ?? new TextParser();
    this.#parsers.set(file, parser);
    return parser.parse(read.text, displayPath(file));
  }

  /** Files with records that were not listed: gone, or out of sight. */
  #absentFiles(listing: Listing, records: FileRecords): FileState[] {
    const present = new Set(listing.files.map(({ file }) => file));
    return [...groupKeys(records).keys()]
      .toSorted()
      .filter((file) => !present.has(file) && this.#isWithinPaths(file))
      .map((file) => ({ file, documents: isGone(file, listing) ? [] : undefined }));
  }

  #isWithinPaths(file: string): boolean {
    return this.#options.paths.some((given) => {
      const place = path.resolve(given);
      return file === place || file.startsWith(place + path.sep);
    });
  }

  /** Writes a file's changes, all or none; says what stands against them. */
  async #write(
    changes: readonly Change[],
    { file, documents }: FileState,
  ): Promise<Issue | undefined> {
    try {
      await this.#options.writer.write(changes, { keepUid: true });
      return undefined;
    } catch (error) {
      const key = error instanceof StoreError && error.key ? keyText(error.key) : undefined;
      const reason = error instanceof Error ? error.message : String(error);
      const document = documents?.find(({ draft }) => keyText(keyOf(draft)) === key);
      const place = document?.position ?? { file: displayPath(file) };
      return { ...place, path: "", message: `is not applied: ${reason}` };
    }
  }

  #tell(issues: readonly Issue[]): void {
    if (jsonEqual(issues, this.#issues)) return;
    this.#issues = issues;
    this.#options.onIssues(issues);
  }
}

/**
 * A file that held resources and now holds none is taken for one that is being written, not for a wish
 * to delete them all: editors and redirections empty a file before they fill it.
 */
function emptiedIssue(
  file: string,
  { documents, issues }: ParsedText,
  keysByFile: ReadonlyMap<string, readonly string[]>,
): Issue | undefined {
  const held = keysByFile.get(file)?.length ?? 0;
  if (held === 0 || documents.length > 0 || issues.length > 0) return undefined;
  const message = `is empty; its ${held} resources stay. Remove the file to delete them`;
  return { file: displayPath(file), path: "", message };
}

function contentOf({ metadata: _metadata, ...content }: ResourceDraft): object {
  return content;
}

/**
 * Whether the file was deleted: a folder above it was read and no longer holds it. What cannot be
 * read may be an unmounted disk, so its resources stay.
 */
function isGone(file: string, { folders, unreadable }: Listing): boolean {
  for (let place = file; place !== path.dirname(place); place = path.dirname(place)) {
    if (unreadable.includes(place)) return false;
    if (folders.includes(path.dirname(place))) return true;
  }
  return false;
}
