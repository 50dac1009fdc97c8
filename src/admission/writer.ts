/**
 * The one door through which people and files change resources. A rule looks at a change before it
 * is committed and may refuse it, warn, or add changes that must land in the same transaction (the
 * revision that an edit of a workload begins). Controllers, which only write status and what they
 * own, commit to the store directly.
 */
import { randomUUID } from "node:crypto";
import { systemClock } from "../base/clock.ts";
import type { Clock } from "../base/clock.ts";
import { keyText } from "../resource/resource.ts";
import type { Cause, Resource } from "../resource/resource.ts";
import { keyOfChange } from "../store/change.ts";
import { Overlay } from "../store/overlay.ts";
import { StoreError } from "../store/store.ts";
import type { Change, Store } from "../store/store.ts";

/** What a rule may read: the store as it will be with the changes before this one. */
export interface AdmissionView {
  get(kind: string, namespace: string, name: string): Resource | undefined;
  list(kind: string, namespace?: string): readonly Resource[];
}

export interface Review {
  readonly additions: readonly Change[];
  readonly warnings: readonly string[];
}

/**
 * Throws AdmissionError to refuse. A resource that is to be created has its `metadata.uid` already.
 * Additions are made after the change, and are not reviewed themselves.
 */
export type AdmissionRule = (change: Change, view: AdmissionView) => Review;

/** A change that must not happen, for a reason that a person can act on. */
export class AdmissionError extends Error {
  override readonly name = "AdmissionError";
  /** The field that is wrong, where it is one. */
  readonly field: Cause | undefined;

  constructor(message: string, field?: Cause) {
    super(message);
    this.field = field;
  }
}

export interface WriteOptions {
  /** Everything happens but the write: the result shows what would be stored. */
  readonly dryRun?: boolean;
  /** The uid of what is created is the caller's, who has made it up; else it is made up here. */
  readonly keepUid?: boolean;
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

export interface WriterOptions {
  readonly store: Store;
  /** Dates what a dry run shows; default: the system's. */
  readonly clock?: Clock;
  /** Asked in this order about each change. */
  readonly rules: readonly AdmissionRule[];
  /** What else to tell whoever asks for the change, though nothing stands against it. */
  readonly warnings?: (change: Change, view: AdmissionView) => readonly string[];
}

/** Rounds against concurrent writers of the same resources before the conflict is handed on. */
const ATTEMPTS_MAX = 50;

/**
 * A writer that asks every rule about every change. What it decided on is pinned: where another
 * writer has changed a resource meanwhile, the rules are asked again about what it is now. Changes
 * that name a resourceVersion of their own are refused with Conflict instead.
 */
export function createWriter(options: WriterOptions): Writer {
  return {
    async write(asked, { dryRun = false, keepUid = false } = {}) {
      const changes = asked.map((change) => withoutForeignFields(change, keepUid));
      for (let attempt = 1; ; attempt++) {
        const plan = reviewAll(changes, options);
        if (dryRun) return { resources: plan.resources, warnings: plan.warnings };
        try {
          const written = await options.store.commit(plan.changes);
          const resources = plan.positions.map((position) => written[position]);
          return { resources, warnings: plan.warnings };
        } catch (error) {
          // What would be refused again is refused by the next review, with the same words.
          if (!isRace(error) || attempt === ATTEMPTS_MAX) throw error;
        }
      }
    },
  };
}

interface Plan {
  /** Those asked for and those added, in the order in which they are made. */
  readonly changes: readonly Change[];
  /** Where in `changes` each change asked for stands. */
  readonly positions: readonly number[];
  readonly resources: readonly (Resource | undefined)[];
  readonly warnings: readonly string[];
}

function reviewAll(asked: readonly Change[], options: WriterOptions): Plan {
  const { store, clock = systemClock, rules } = options;
  const view = new Overlay(store, { version: store.resourceVersion, nowMs: clock.now() });
  const touched = new Set<string>();
  const changes: Change[] = [];
  const positions: number[] = [];
  const resources: (Resource | undefined)[] = [];
  const warnings: string[] = [];
  for (const change of asked) {
    const reviews = rules.map((rule) => rule(change, view));
    warnings.push(...(options.warnings?.(change, view) ?? []));
    positions.push(changes.length);
    changes.push(pinned(change, view, touched));
    resources.push(view.apply(change));
    for (const review of reviews) {
      warnings.push(...review.warnings);
      for (const addition of review.additions) {
        changes.push(pinned(addition, view, touched));
        view.apply(addition);
      }
    }
  }
  return { changes, positions, resources, warnings: [...new Set(warnings)] };
}

/** The change, bound to the version that the rules saw, if it is the first of its key. */
function pinned(change: Change, view: AdmissionView, touched: Set<string>): Change {
  if (change.op === "record") return change;
  const key = keyOfChange(change);
  const isFirst = !touched.has(keyText(key));
  touched.add(keyText(key));
  const seen = view.get(key.kind, key.namespace, key.name)?.metadata.resourceVersion;
  if (!isFirst || seen === undefined || change.op === "create") return change;
  if (change.op === "delete") return { ...change, resourceVersion: change.resourceVersion ?? seen };
  const { metadata } = change.resource;
  const resourceVersion = metadata.resourceVersion || seen;
  return {
    ...change,
    resource: { ...change.resource, metadata: { ...metadata, resourceVersion } },
  };
}

/**
 * People and files do not choose a uid, and status has an operation of its own. An owner by uid is
 * theirs to name, as in Kubernetes.
 */
function withoutForeignFields(change: Change, keepUid: boolean): Change {
  if (change.op !== "create") return change;
  const { status: _status, ...resource } = change.resource;
  const given = keepUid ? resource.metadata.uid : undefined;
  const uid = given ?? randomUUID();
  return { op: "create", resource: { ...resource, metadata: { ...resource.metadata, uid } } };
}

function isRace(error: unknown): boolean {
  const races: readonly string[] = ["Conflict", "AlreadyExists", "NotFound"];
  return error instanceof StoreError && races.includes(error.code);
}
