/**
 * The outbox as it is by now: what the store holds, and on top of that what is known of it and
 * could not be saved yet. So a disk that refuses to record a delivery does not make it happen again
 * as long as the process lives; after a crash it does, under the same key.
 */
import type { Clock } from "../../base/clock.ts";
import type { JsonObject } from "../../base/json.ts";
import { StoreError } from "../../store/store.ts";
import type { Change, Store } from "../../store/store.ts";
import { readAnnouncement } from "./announcement.ts";
import type { Announcement } from "./announcement.ts";

export type Verdict =
  | { readonly type: "delivered" }
  | { readonly type: "retry"; readonly attempts: number; readonly notBeforeMs: number }
  | { readonly type: "dead"; readonly problem: string };

export interface Entry {
  readonly key: string;
  /** Undefined for a record that this version cannot read. */
  readonly announcement: Announcement | undefined;
  readonly attempts: number;
  /** Wall time, milliseconds since the epoch. */
  readonly notBeforeMs: number;
  /** What is known and not yet saved. */
  readonly verdict: Verdict | undefined;
}

/** A verdict that the disk refuses is offered to it again after this. */
const SAVE_AGAIN_MS = 1000;

export class Outbox {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #unsaved = new Map<
    string,
    { readonly verdict: Verdict; readonly notBeforeMs: number }
  >();
  #dead = 0;

  constructor(options: { readonly store: Store; readonly clock: Clock }) {
    this.#store = options.store;
    this.#clock = options.clock;
  }

  /** Announcements given up since the start. */
  get deadCount(): number {
    return this.#dead;
  }

  /** In the order in which things happened to each Rollout. */
  entries(): readonly Entry[] {
    const records = [...this.#store.records("outbox")];
    return records
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => {
        const announcement = readAnnouncement(value);
        const unsaved = this.#unsaved.get(key);
        const verdict = unsaved?.verdict;
        const retry = verdict?.type === "retry" ? verdict : announcement;
        const notBeforeMs = unsaved?.notBeforeMs ?? retry?.notBeforeMs ?? 0;
        return { key, announcement, attempts: retry?.attempts ?? 0, notBeforeMs, verdict };
      });
  }

  /** Records what became of an entry, together with `alongside`. A refusing disk is no error. */
  async save(entry: Entry, verdict: Verdict, alongside: readonly Change[]): Promise<void> {
    const { key } = entry;
    try {
      await this.#store.commit([...alongside, recordOf(key, verdict, this.#store)]);
      this.#unsaved.delete(key);
      if (verdict.type === "dead") this.#dead++;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const soonMs = this.#clock.now() + SAVE_AGAIN_MS;
      const notBeforeMs = verdict.type === "retry" ? Math.max(verdict.notBeforeMs, soonMs) : soonMs;
      this.#unsaved.set(key, { verdict, notBeforeMs });
    }
  }
}

function recordOf(key: string, verdict: Verdict, store: Store): Change {
  const record = { op: "record", table: "outbox", key } as const;
  if (verdict.type !== "retry") return { ...record, value: undefined };
  const { attempts, notBeforeMs } = verdict;
  const value = { ...(store.records("outbox").get(key) as JsonObject), attempts, notBeforeMs };
  return { ...record, value };
}
