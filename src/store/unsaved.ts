/**
 * What is served from memory but not yet on disk, because the disk refused it: commits with
 * `evenUnsaved`. Of each resource and record only the newest state is kept, so that a disk that
 * stays full does not fill the memory; the versions in between are then missing from the history on
 * disk, which a watch after a restart sees as one change instead of several.
 */
import { keyOf, keyText } from "../resource/resource.ts";
import type { Batch, RecordRow, RevisionRow } from "./disk.ts";
import type { Change } from "./store.ts";

export class Unsaved {
  readonly #revisions = new Map<string, RevisionRow>();
  readonly #records = new Map<string, RecordRow>();
  readonly #statuses = new Set<string>();

  get isEmpty(): boolean {
    return this.#revisions.size === 0 && this.#records.size === 0;
  }

  get statusCount(): number {
    return this.#statuses.size;
  }

  add(batch: Batch, changes: readonly Change[]): void {
    for (const row of batch.revisions) this.#revisions.set(keyText(row), row);
    for (const row of batch.records) this.#records.set(`${row.table}/${row.key}`, row);
    for (const change of changes) {
      if (change.op === "status") this.#statuses.add(keyText(keyOf(change.resource)));
    }
  }

  /** Everything that is to be written, older versions first. */
  batch(): Batch {
    const revisions = [...this.#revisions.values()].toSorted((a, b) => a.version - b.version);
    return { revisions, records: [...this.#records.values()] };
  }

  clear(): void {
    this.#revisions.clear();
    this.#records.clear();
    this.#statuses.clear();
  }
}
