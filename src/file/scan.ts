/**
 * Files and folders as they are on disk now: which files there are, and their text. Nothing here is
 * parsed or decided; what cannot be read is an issue, never an exception.
 */
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import path from "node:path";
import type { Issue } from "../resource/issue.ts";
import { TEXT_LENGTH_MAX } from "../resource/parse.ts";

const FILES_MAX = 10_000;
const DEPTH_MAX = 8;
const EXTENSIONS = new Set([".yaml", ".yml", ".json"]);

export interface FoundFile {
  /** Absolute path: what a file is known by. */
  readonly file: string;
  /** Changes when the file was written: size, time and inode. */
  readonly stamp: string;
}

export interface Listing {
  readonly files: readonly FoundFile[];
  /** Absolute paths of the folders that were read; what is no longer in them is gone. */
  readonly folders: readonly string[];
  /** Absolute paths of what is there, or was named, and could not be read. */
  readonly unreadable: readonly string[];
  readonly issues: readonly Issue[];
}

/** Lists files by path and *.yaml, *.yml and *.json below folders; hidden entries are left out. */
export async function listFiles(paths: readonly string[]): Promise<Listing> {
  const walk = new Walk();
  for (const given of paths) await walk.visit(path.resolve(given), { depth: 0, isNamed: true });
  const files = walk.files.toSorted((a, b) => (a.file < b.file ? -1 : 1));
  const { folders, unreadable, issues } = walk;
  return { files, folders: [...folders], unreadable, issues };
}

class Walk {
  readonly files: FoundFile[] = [];
  readonly folders = new Set<string>();
  readonly unreadable: string[] = [];
  readonly issues: Issue[] = [];
  readonly #seen = new Set<string>();

  async visit(place: string, options: { depth: number; isNamed: boolean }): Promise<void> {
    try {
      const found = await stat(place);
      if (found.isDirectory()) {
        await this.#visitFolder(place, options.depth);
      } else if (options.isNamed || EXTENSIONS.has(path.extname(place))) {
        if (!found.isFile()) {
          // A pipe or device would keep the reader waiting.
          this.#refuse(place, "is not a regular file");
        } else if (!this.#seen.has(place)) {
          this.#seen.add(place);
          this.#add({ file: place, stamp: `${found.size}/${found.mtimeMs}/${found.ino}` });
        }
      }
    } catch (error) {
      this.#refuse(place, `cannot be read: ${reasonOf(error)}`);
    }
  }

  async #visitFolder(folder: string, depth: number): Promise<void> {
    const real = await realpath(folder);
    if (this.#seen.has(real)) return;
    this.#seen.add(real);
    const entries = await readdir(folder);
    this.folders.add(folder);
    for (const entry of entries.toSorted()) {
      if (entry.startsWith(".")) continue;
      if (depth >= DEPTH_MAX) {
        this.#refuse(folder, `is nested deeper than ${DEPTH_MAX} folders`);
        return;
      }
      await this.visit(path.join(folder, entry), { depth: depth + 1, isNamed: false });
    }
  }

  #add(found: FoundFile): void {
    if (this.files.length < FILES_MAX) this.files.push(found);
    else this.#refuse(found.file, `is left out: at most ${FILES_MAX} files are read`);
  }

  #refuse(place: string, message: string): void {
    this.unreadable.push(place);
    this.issues.push({ file: displayPath(place), path: "", message });
  }
}

export type ReadText =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly issue: Issue };

/** The text of a file; bytes that are no UTF-8 are an issue. */
export async function readText(file: string): Promise<ReadText> {
  try {
    const found = await stat(file);
    if (found.size > TEXT_LENGTH_MAX) {
      return refused(file, `is larger than ${TEXT_LENGTH_MAX / 1024 / 1024} MiB`);
    }
    const bytes = await readFile(file);
    return { ok: true, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    if (error instanceof TypeError) return refused(file, "is not UTF-8 text");
    return refused(file, `cannot be read: ${reasonOf(error)}`);
  }
}

function refused(file: string, message: string): ReadText {
  return { ok: false, issue: { file: displayPath(file), path: "", message } };
}

/** "no such file or directory" of Node's "ENOENT: no such file or directory, open '…'". */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return /^E[A-Z0-9]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message;
}

/** The path as a person in the working directory would write it. */
export function displayPath(file: string): string {
  const relative = path.relative(process.cwd(), file);
  return relative === "" || relative.startsWith("..") ? file : relative;
}
