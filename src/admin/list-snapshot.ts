/**
 * Lists in pages (`limit` and `continue`), all of one moment: the first page keeps the rest of its
 * list, and later pages are cut from what was kept. Resources are immutable, so what is kept costs
 * a pointer each. A bounded number of lists is kept for five minutes; then they are expired (410),
 * as Kubernetes' own are, and clients start anew.
 */
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Resource } from "../resource/resource.ts";
import { badRequest, expired } from "./api-error.ts";

const SNAPSHOTS_MAX = 64;
const SNAPSHOT_AGE_MAX_MS = 5 * 60_000;

interface Snapshot {
  /** What was listed: path and selectors; a token is good for the same question alone. */
  readonly question: string;
  readonly resources: readonly Resource[];
  readonly resourceVersion: number;
  readonly expiresAtMs: number;
}

export interface Page {
  readonly resources: readonly Resource[];
  readonly resourceVersion: number;
  /** Absent on the last page. */
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

export interface PageRequest {
  readonly question: string;
  /** 0: everything. */
  readonly limit: number;
  /** Empty for the first page. */
  readonly token: string;
}

export class ListSnapshots {
  readonly #clock: Clock;
  readonly #random: Random;
  /** Oldest first. */
  readonly #snapshots = new Map<string, Snapshot>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** One page; `list` is called for a first page alone. Throws ApiError 400 and 410. */
  page(request: PageRequest, list: () => Pick<Page, "resources" | "resourceVersion">): Page {
    if (request.token !== "") return this.#next(request);
    const { resources, resourceVersion } = list();
    if (request.limit === 0 || resources.length <= request.limit) {
      return { resources, resourceVersion };
    }
    const id = Math.floor(this.#random() * 2 ** 48).toString(36);
    const { question } = request;
    const expiresAtMs = this.#clock.monotonic() + SNAPSHOT_AGE_MAX_MS;
    const snapshot = { question, resources, resourceVersion, expiresAtMs };
    this.#drop();
    this.#snapshots.set(id, snapshot);
    return cut(snapshot, { id, offset: 0, limit: request.limit });
  }

  #next(request: PageRequest): Page {
    const match = /^([0-9a-z]{1,10})\.(\d{1,9})$/.exec(request.token);
    if (match === null) throw badRequest("continue key is not valid");
    const [, id = "", offset] = match;
    const snapshot = this.#snapshots.get(id);
    if (snapshot === undefined || snapshot.expiresAtMs <= this.#clock.monotonic()) {
      throw expired(
        "The provided continue parameter is too old to display a consistent list result. You can " +
          "start a new list without the continue parameter.",
      );
    }
    if (snapshot.question !== request.question) {
      throw badRequest("continue key is not valid: it belongs to another list");
    }
    return cut(snapshot, { id, offset: Number(offset), limit: request.limit });
  }

  /** Makes room: what has expired goes, and the oldest if there are still too many. */
  #drop(): void {
    const nowMs = this.#clock.monotonic();
    for (const [id, { expiresAtMs }] of this.#snapshots) {
      if (expiresAtMs > nowMs && this.#snapshots.size < SNAPSHOTS_MAX) return;
      this.#snapshots.delete(id);
    }
  }
}

interface Cut {
  readonly id: string;
  readonly offset: number;
  readonly limit: number;
}

function cut(snapshot: Snapshot, { id, offset, limit }: Cut): Page {
  const { resources, resourceVersion } = snapshot;
  const end = limit === 0 ? resources.length : offset + limit;
  const page = { resources: resources.slice(offset, end), resourceVersion };
  const left = resources.length - end;
  return left <= 0 ? page : { ...page, continue: `${id}.${end}`, remainingItemCount: left };
}
