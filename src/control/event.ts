/**
 * Events (v1): what happened to a resource, for `kubectl describe`. The same thing happening again
 * raises the count of one Event instead of adding another; an Event is kept for one hour after it
 * last happened, and there are never more than a fixed number of them.
 */
import { type Clock, toTimestamp } from "../base/clock.ts";
import { contentHash } from "../base/hash.ts";
import type { Resource, ResourceDraft } from "../resource/resource.ts";
import type { Change, Store } from "../store/store.ts";
import type { Reconciler } from "./reconciler.ts";

export interface EventText {
  /** CamelCase, for programs: "RolloutAborted". */
  readonly reason: string;
  readonly message: string;
  readonly warning?: boolean;
}

export interface EventOptions {
  readonly store: Pick<Store, "get">;
  readonly nowMs: number;
  /** Who says so: "rollouts-controller". */
  readonly component: string;
}

const KEPT_MS = 60 * 60 * 1000;
/** Of one namespace-wide burst the oldest go first. */
const EVENTS_MAX = 5000;
const DELETIONS_MAX = 500;
/** As in Kubernetes. */
const MESSAGE_LENGTH_MAX = 1024;

/** The change that records what happened to `regarding`, to be committed with what made it happen. */
export function eventChange(regarding: Resource, text: EventText, options: EventOptions): Change {
  const now = toTimestamp(options.nowMs);
  const { name: of, namespace, uid } = regarding.metadata;
  const identity = contentHash([uid, text.reason, text.message, options.component]);
  const name = `${of}.${identity}`;
  // Kubernetes files the events of what has no namespace under "default".
  const place = namespace === "" ? "default" : namespace;
  const known = options.store.get("Event", place, name);
  if (known !== undefined) {
    const count = typeof known["count"] === "number" ? known["count"] + 1 : 2;
    const metadata = { ...known.metadata, resourceVersion: "" };
    return { op: "update", resource: { ...known, metadata, count, lastTimestamp: now } };
  }
  const resource: ResourceDraft = {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name, namespace: place },
    involvedObject: {
      apiVersion: regarding.apiVersion,
      kind: regarding.kind,
      name: of,
      namespace,
      uid,
      resourceVersion: regarding.metadata.resourceVersion,
    },
    reason: text.reason,
    message: text.message.slice(0, MESSAGE_LENGTH_MAX),
    type: text.warning === true ? "Warning" : "Normal",
    source: { component: options.component },
    reportingComponent: options.component,
    reportingInstance: "",
    firstTimestamp: now,
    lastTimestamp: now,
    count: 1,
  };
  return { op: "create", resource };
}

/** Deletes Events that are older than an hour, and the oldest where there are too many. */
export function createEventExpiry(options: {
  readonly store: Store;
  readonly clock: Clock;
}): Reconciler {
  const { store, clock } = options;
  return {
    name: "events",
    reconcile: async () => {
      const oldestFirst = store
        .list("Event")
        .map((event) => ({ event, endsAtMs: lastMs(event) + KEPT_MS }))
        .toSorted((a, b) => a.endsAtMs - b.endsAtMs);
      const surplus = oldestFirst.length - EVENTS_MAX;
      const due = oldestFirst.filter(
        ({ endsAtMs }, index) => endsAtMs <= clock.now() || index < surplus,
      );
      const batch = due.slice(0, DELETIONS_MAX);
      if (batch.length > 0) await store.commit(batch.map(({ event }) => deletion(event)));
      if (batch.length < due.length) return { wakeAtMs: clock.now() };
      return { wakeAtMs: oldestFirst.at(due.length)?.endsAtMs };
    },
  };
}

/** An Event that has just happened again is another version, which this must not delete. */
function deletion(event: Resource): Change {
  const { namespace, name, resourceVersion } = event.metadata;
  return { op: "delete", key: { kind: "Event", namespace, name }, resourceVersion };
}

function lastMs(event: Resource): number {
  const last = event["lastTimestamp"] ?? event["eventTime"];
  const parsed = typeof last === "string" ? Date.parse(last) : Number.NaN;
  return Number.isNaN(parsed) ? Date.parse(event.metadata.creationTimestamp) : parsed;
}
