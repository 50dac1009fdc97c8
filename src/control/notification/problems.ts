/**
 * What stands against the subscriptions of a Rollout, in words for people. Found anew only where
 * the annotations or the configuration have changed: the store hands out the same objects until
 * then, so comparing them is enough, and a Rollout whose status moves every second costs nothing.
 */
import type { Resource } from "../../resource/resource.ts";
import { CONFIG_NAME, SECRET_NAME, SHARED_NAMESPACE, findWebhook } from "./configuration.ts";
import type { ConfigurationSource } from "./configuration.ts";
import { subscriptionsOf } from "./subscription.ts";

interface Found {
  readonly sources: readonly (Resource | undefined)[];
  readonly problems: readonly string[];
}

/** A function from a Rollout to its problems, each of them once. */
export function createProblemFinder(
  source: ConfigurationSource,
): (rollout: Resource) => readonly string[] {
  const known = new WeakMap<object, Found>();
  return (rollout) => {
    const { annotations, namespace } = rollout.metadata;
    if (annotations === undefined) return [];
    const sources = sourcesOf(source, namespace);
    const before = known.get(annotations);
    if (before?.sources.every((each, index) => each === sources[index]) === true) {
      return before.problems;
    }
    const problems = findProblems(rollout, source);
    known.set(annotations, { sources, problems });
    return problems;
  };
}

function findProblems(rollout: Resource, source: ConfigurationSource): readonly string[] {
  const { subscriptions, problems } = subscriptionsOf(rollout);
  const services = subscriptions.map((subscription) => {
    const found = findWebhook(source, rollout.metadata.namespace, subscription);
    return found.ok ? undefined : found.problem;
  });
  return [...new Set([...problems, ...services.filter((text) => text !== undefined)])];
}

function sourcesOf(source: ConfigurationSource, namespace: string): Found["sources"] {
  return [namespace, SHARED_NAMESPACE].flatMap((place) => [
    source.get("ConfigMap", place, CONFIG_NAME),
    source.get("Secret", place, SECRET_NAME),
  ]);
}
