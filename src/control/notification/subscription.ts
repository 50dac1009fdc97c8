/**
 * Who wants to hear of what: the annotations of Argo's notifications on a Rollout,
 * `notifications.argoproj.io/subscribe.TRIGGER.SERVICE: "RECIPIENT;RECIPIENT"`. An annotation that
 * cannot be honoured is a problem in words, never passed over.
 */
import type { Resource } from "../../resource/resource.ts";

/** Argo Rollouts' triggers, without `on-scaling-replica-set`: nothing here is scaled. */
export const TRIGGERS = [
  "on-rollout-updated",
  "on-rollout-step-completed",
  "on-rollout-paused",
  "on-rollout-completed",
  "on-rollout-aborted",
  "on-analysis-run-running",
  "on-analysis-run-failed",
  "on-analysis-run-error",
] as const;

export type Trigger = (typeof TRIGGERS)[number];

export interface Subscription {
  readonly trigger: Trigger;
  /** NAME of a `service.webhook.NAME` in the configuration. */
  readonly service: string;
  /** Handed to the receiver; empty where the annotation names nobody. */
  readonly recipient: string;
}

export interface Subscriptions {
  readonly subscriptions: readonly Subscription[];
  /** One sentence each, fit for a person. */
  readonly problems: readonly string[];
}

const PREFIX = "notifications.argoproj.io/";
const SUBSCRIBE = "subscribe.";
/** Each recipient of each trigger is a message: an annotation must not ask for thousands. */
export const SUBSCRIPTIONS_MAX = 50;

/** The subscriptions on a Rollout, and what is wrong with those that cannot be honoured. */
export function subscriptionsOf(rollout: Resource): Subscriptions {
  const subscriptions: Subscription[] = [];
  const problems: string[] = [];
  for (const [name, value] of Object.entries(rollout.metadata.annotations ?? {})) {
    if (!name.startsWith(PREFIX)) continue;
    const { found, problem } = parseAnnotation(name, value);
    subscriptions.push(...found);
    if (problem !== undefined) problems.push(problem);
  }
  if (subscriptions.length > SUBSCRIPTIONS_MAX) {
    const held = `The notification annotations hold ${subscriptions.length} subscriptions`;
    problems.push(`${held}; only the first ${SUBSCRIPTIONS_MAX} count`);
  }
  return { subscriptions: subscriptions.slice(0, SUBSCRIPTIONS_MAX), problems };
}

function parseAnnotation(
  name: string,
  value: string,
): { readonly found: readonly Subscription[]; readonly problem?: string } {
  const rest = name.slice(PREFIX.length);
  // The record that Argo's own controller keeps of what it has sent.
  if (rest.startsWith("notified.") || rest === "notified") return { found: [] };
  if (!rest.startsWith(SUBSCRIBE)) {
    const form = `${PREFIX}subscribe.TRIGGER.SERVICE`;
    return { found: [], problem: `The annotation ${name} is not supported; valid: ${form}` };
  }
  const [triggerName = "", ...service] = rest.slice(SUBSCRIBE.length).split(".");
  const trigger = TRIGGERS.find((known) => known === triggerName);
  if (trigger === undefined || service.join(".") === "") {
    const problem =
      trigger === undefined
        ? `the trigger "${triggerName}" is not known; valid: ${TRIGGERS.join(", ")}`
        : "it names no service";
    return { found: [], problem: `Cannot subscribe by the annotation ${name}: ${problem}` };
  }
  const recipients = value.split(";").map((recipient) => recipient.trim());
  const named = recipients.filter((recipient) => recipient !== "");
  const found = (named.length === 0 ? [""] : [...new Set(named)]).map((recipient) => {
    return { trigger, service: service.join("."), recipient };
  });
  return { found };
}
