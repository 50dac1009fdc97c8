/**
 * Delivers the outbox: at least once, with a growing wait after each failure and an end to it. A
 * record leaves the outbox only once a receiver has accepted it, or when it is given up, which an
 * Event on the Rollout says. Subscriptions that cannot be honoured are told by Events as well,
 * before there is anything to deliver.
 */
import type { Dispatcher } from "undici";
import type { Clock } from "../../base/clock.ts";
import { isJsonObject } from "../../base/json.ts";
import type { JsonObject } from "../../base/json.ts";
import type { Random } from "../../base/random.ts";
import type { Resource } from "../../resource/resource.ts";
import { StoreError } from "../../store/store.ts";
import type { Change, Store } from "../../store/store.ts";
import { eventChange } from "../event.ts";
import type { Outcome, Reconciler } from "../reconciler.ts";
import type { Announcement } from "./announcement.ts";
import { findWebhook } from "./configuration.ts";
import { Outbox } from "./outbox.ts";
import type { Entry, Verdict } from "./outbox.ts";
import { post } from "./post.ts";
import { createProblemFinder } from "./problems.ts";

export interface NotificationOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  /** Carries the requests; the caller closes it. */
  readonly dispatcher: Dispatcher;
}

export interface NotificationReconciler extends Reconciler {
  /** Announcements not yet delivered, and given up since the start: for /metrics. */
  counts(): { readonly pending: number; readonly dead: number };
}

/** With the waits below, an announcement is given up after about half an hour. */
export const ATTEMPTS_MAX = 12;
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 300_000;
/** Posted at the same time; a receiver that hangs holds up others no longer than one time-out. */
const PARALLEL_MAX = 32;
const PARALLEL_PER_SERVICE_MAX = 4;
/** Of more announcements than these the oldest are given up. */
export const OUTBOX_MAX = 10_000;

const COMPONENT = "notifications-controller";

/** A controller that tells webhooks what the outbox holds. */
export function createNotifications(options: NotificationOptions): NotificationReconciler {
  const outbox = new Outbox(options);
  const problemsOf = createProblemFinder(options.store);
  let told: ReadonlyMap<string, readonly string[]> = new Map();
  return {
    name: "notifications",
    counts: () => {
      return { pending: options.store.records("outbox").size, dead: outbox.deadCount };
    },
    reconcile: async (signal) => {
      told = await tellProblems(told, problemsOf, options);
      return deliverDue(outbox, options, signal);
    },
  };
}

async function deliverDue(
  outbox: Outbox,
  options: NotificationOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const nowMs = options.clock.now();
  const entries = outbox.entries();
  const surplus = entries.slice(0, Math.max(0, entries.length - OUTBOX_MAX));
  const dead: Verdict = { type: "dead", problem: "too many others are waiting" };
  await Promise.all(
    surplus.map((entry) => outbox.save(entry, dead, obituary(entry, dead, options))),
  );
  const due = entries.slice(surplus.length).filter((entry) => entry.notBeforeMs <= nowMs);
  const batch = pickFairly(due);
  await Promise.all(
    batch.map(async (entry) => {
      const verdict = await deliver(entry, options, signal);
      if (verdict === undefined) return;
      await outbox.save(entry, verdict, obituary(entry, verdict, options));
    }),
  );
  if (signal.aborted) return { wakeAtMs: undefined };
  if (batch.length < due.length) return { wakeAtMs: nowMs };
  const waits = outbox.entries().map((entry) => entry.notBeforeMs);
  return { wakeAtMs: waits.length === 0 ? undefined : Math.min(...waits) };
}

/** The first of every service, so that one that hangs does not take all places. */
function pickFairly(due: readonly Entry[]): readonly Entry[] {
  const counts = new Map<string, number>();
  const picked = due.filter(({ announcement }) => {
    if (announcement === undefined) return true;
    const service = `${placeOf(announcement).namespace}/${announcement.subscription.service}`;
    const count = (counts.get(service) ?? 0) + 1;
    counts.set(service, count);
    return count <= PARALLEL_PER_SERVICE_MAX;
  });
  return picked.slice(0, PARALLEL_MAX);
}

/** What becomes of an entry; undefined where a shutdown came first, for the next start to try. */
async function deliver(
  entry: Entry,
  options: NotificationOptions,
  signal: AbortSignal,
): Promise<Verdict | undefined> {
  const { key, announcement, verdict } = entry;
  if (verdict !== undefined && verdict.type !== "retry") return verdict;
  if (announcement === undefined) return { type: "dead", problem: "it cannot be read" };
  const { store, clock, dispatcher } = options;
  const webhook = findWebhook(store, placeOf(announcement).namespace, announcement.subscription);
  const data = dataOf(announcement);
  const problem = webhook.ok
    ? await post(webhook.value, { key, data, clock, signal, dispatcher })
    : webhook.problem;
  if (problem === undefined) return { type: "delivered" };
  if (signal.aborted) return undefined;
  const attempts = entry.attempts + 1;
  if (attempts >= ATTEMPTS_MAX) return { type: "dead", problem };
  const waitMs = Math.min(BACKOFF_FIRST_MS * 2 ** entry.attempts, BACKOFF_MAX_MS);
  const notBeforeMs = clock.now() + waitMs * (0.5 + options.random() / 2);
  return { type: "retry", attempts, notBeforeMs };
}

/** What receivers are sent, and what templates may name. */
function dataOf({ subscription, rollout, analysisRun }: Announcement): JsonObject {
  const { trigger, recipient } = subscription;
  return { trigger, recipient, rollout, ...(analysisRun !== undefined && { analysisRun }) };
}

function obituary(
  { announcement }: Entry,
  verdict: Verdict,
  options: NotificationOptions,
): readonly Change[] {
  if (verdict.type !== "dead" || announcement === undefined) return [];
  const { namespace, name } = placeOf(announcement);
  const rollout = options.store.get("Rollout", namespace, name);
  if (rollout === undefined) return [];
  const { trigger, service } = announcement.subscription;
  const message = `Gave up telling ${service} of ${trigger}: ${verdict.problem}`;
  return [warning(rollout, { reason: "NotificationFailed", message }, options)];
}

function placeOf({ rollout }: Announcement): { readonly namespace: string; readonly name: string } {
  const metadata = isJsonObject(rollout["metadata"]) ? rollout["metadata"] : {};
  const { namespace, name } = metadata;
  return {
    namespace: typeof namespace === "string" ? namespace : "",
    name: typeof name === "string" ? name : "",
  };
}

/** Each problem is told once, and again when it has changed or Sluice has started anew. */
async function tellProblems(
  told: ReadonlyMap<string, readonly string[]>,
  problemsOf: (rollout: Resource) => readonly string[],
  options: NotificationOptions,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const { store } = options;
  const found = new Map<string, readonly string[]>();
  const changes: Change[] = [];
  for (const rollout of store.list("Rollout")) {
    const problems = problemsOf(rollout);
    if (problems.length === 0) continue;
    const { uid } = rollout.metadata;
    found.set(uid, problems);
    for (const message of problems) {
      if (told.get(uid)?.includes(message) === true) continue;
      changes.push(warning(rollout, { reason: "NotificationMisconfigured", message }, options));
    }
  }
  try {
    if (changes.length > 0) await store.commit(changes);
    return found;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    // What could not be told now is told by the next round; deliveries must not wait for it.
    return told;
  }
}

function warning(
  rollout: Resource,
  text: { readonly reason: string; readonly message: string },
  { store, clock }: NotificationOptions,
): Change {
  const options = { store, nowMs: clock.now(), component: COMPONENT };
  return eventChange(rollout, { ...text, warning: true }, options);
}
