/**
 * Notices that files have changed: by the system's notifications at once, and by looking every two
 * seconds, for notifications are lost on network disks and where their number is limited.
 */
import { type FSWatcher, watch } from "node:fs";
import path from "node:path";
import type { Clock } from "../base/clock.ts";
import { listFiles, type Listing } from "./scan.ts";

/** A file that is still being written is read when it has been quiet for so long. */
const QUIET_MS = 100;
/** A file that has been put in the place of another is complete … */
const REPLACED_QUIET_MS = 20;
/** … and one that is written to without end is read after so long. */
const QUIET_MS_MAX = 1000;
const LOOK_MS = 2000;

export interface WatchOptions {
  readonly paths: readonly string[];
  readonly clock: Clock;
  readonly onChange: () => void;
}

/** Calls `onChange` after changes below `paths`, until the function returned is called. */
export function watchFolders(options: WatchOptions): () => void {
  const watcher = new FolderWatcher(options);
  void watcher.look();
  return () => watcher.stop();
}

class FolderWatcher {
  readonly #options: WatchOptions;
  readonly #watched = new Map<string, FSWatcher>();
  #stopped = false;
  #stamp: string | undefined;
  #firstChangeMs: number | undefined;
  #cancelQuiet = (): void => undefined;
  #cancelLook = (): void => undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelQuiet();
    this.#cancelLook();
    for (const watcher of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  /** Compares the files with how they were seen last, and looks again later. */
  async look(): Promise<void> {
    const listing = await listFiles(this.#options.paths);
    if (this.#stopped) return;
    this.#follow(listing);
    const stamp = JSON.stringify(listing);
    // The first look counts as a change: something may have happened since the files were read.
    if (this.#stamp !== stamp) this.#noteChange();
    this.#stamp = stamp;
    this.#cancelLook = this.#options.clock.after(LOOK_MS, () => void this.look());
  }

  /** Watches every folder that was read, and the folders of files that were named. */
  #follow({ files, folders }: Listing): void {
    const wanted = new Set([...folders, ...files.map(({ file }) => path.dirname(file))]);
    for (const given of this.#options.paths) wanted.add(path.dirname(path.resolve(given)));
    for (const [folder, watcher] of this.#watched) {
      if (!wanted.has(folder)) this.#unwatch(folder, watcher);
    }
    for (const folder of wanted) if (!this.#watched.has(folder)) this.#watch(folder);
  }

  #watch(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, (event, name) => {
        // The folder itself has gone: what comes in its place is watched anew at the next look.
        if (name === path.basename(folder)) this.#unwatch(folder, watcher);
        if (name !== null && !this.#concerns(path.join(folder, name))) return;
        // So it is told also of a file that is made; what is then written to it is told after that.
        this.#noteChange(event === "rename" ? REPLACED_QUIET_MS : QUIET_MS);
      });
      // Looking every two seconds goes on without the notifications.
      watcher.on("error", () => this.#unwatch(folder, watcher));
      this.#watched.set(folder, watcher);
    } catch {
      // As above: too many watches, or a folder that has just gone.
    }
  }

  #unwatch(folder: string, watcher: FSWatcher): void {
    watcher.close();
    if (this.#watched.get(folder) === watcher) this.#watched.delete(folder);
  }

  #concerns(place: string): boolean {
    return this.#options.paths.some((given) => {
      const wanted = path.resolve(given);
      return place === wanted || place.startsWith(wanted + path.sep);
    });
  }

  #noteChange(quietMs = QUIET_MS): void {
    const { clock } = this.#options;
    const nowMs = clock.monotonic();
    this.#firstChangeMs ??= nowMs;
    const leftMs = this.#firstChangeMs + QUIET_MS_MAX - nowMs;
    this.#cancelQuiet();
    this.#cancelQuiet = clock.after(Math.max(0, Math.min(quietMs, leftMs)), () => {
      this.#firstChangeMs = undefined;
      void this.#settle();
    });
  }

  /** What is read from here on is at least as new as what the next look compares with. */
  async #settle(): Promise<void> {
    this.#stamp = JSON.stringify(await listFiles(this.#options.paths));
    if (!this.#stopped) this.#options.onChange();
  }
}
