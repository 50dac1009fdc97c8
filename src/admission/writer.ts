/**
 * The one door through which people and files change resources. A rule looks at a change before it
 * is committed and may refuse it, warn, or add changes that must land in the same transaction (the
 * revision that an edit of a workload begins). Controllers, which only write status and what they
 * own, commit to the store directly.
 */
import type { Resource } from "../resource/resource.ts";
import type { Change } from "../store/store.ts";

/** What a rule may read: the store as it will be with the changes before this one. */
export interface AdmissionView {
  get(kind: string, namespace: string, name: string): Resource | undefined;
  list(kind: string, namespace?: string): readonly Resource[];
}

export interface Review {
  readonly additions: readonly Change[];
  readonly warnings: readonly string[];
}

/** Throws AdmissionError to refuse. */
export type AdmissionRule = (change: Change, view: AdmissionView) => Review;

/** A change that must not happen, for a reason that a person can act on. */
export class AdmissionError extends Error {
  override readonly name = "AdmissionError";
}

export interface WriteOptions {
  /** Everything happens but the write: the result shows what would be stored. */
  readonly dryRun?: boolean;
}

export interface WriteResult {
  /** One for each change asked for, in order, as it is stored now (for a deletion: as it was). */
  readonly resources: readonly (Resource | undefined)[];
  readonly warnings: readonly string[];
}

export interface Writer {
  /** All or nothing. Throws StoreError or AdmissionError. */
  write(changes: readonly Change[], options?: WriteOptions): Promise<WriteResult>;
}
