/**
 * Challenges (acme.cert-manager.io/v1): the answers that a CA asks for, as rules with a fixed answer
 * on one path of one host. Hosts and paths are exact, so that they go before users' routes, and no
 * policy of a Gateway touches them: a CA has no API key.
 */
import type { Challenge } from "../resource/acme.ts";
import type { ConditionDraft } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { fullName } from "./age.ts";
import type { CompileContext } from "./context.ts";
import { entryAt } from "./context.ts";
import { hashPath } from "./pages.ts";
import type { MatchEntry, PartKey, RulePart } from "./program.ts";
import { listOf } from "./stored.ts";

const PATH = "/.well-known/acme-challenge/";

/** The part that answers a Challenge: once every worker serves it, the CA may look. */
export function challengeKey(namespace: string, name: string): PartKey {
  return `rule/Challenge/${namespace}/${name}`;
}

/** Adds a rule for each Challenge that some listener takes, and says of the others why not. */
export function compileChallenges(context: CompileContext): void {
  for (const challenge of listOf(context.input, "Challenge")) {
    const { dnsName, parentRefs } = challenge.spec;
    const { namespace } = challenge.metadata;
    const attachments = context.attach({
      // A listener that takes the namespace's HTTPRoutes takes its challenges.
      key: { kind: "HTTPRoute", namespace, name: challenge.metadata.name },
      hostnames: [dnsName],
      parentRefs,
    });
    const places = attachments.flatMap((one) => one.places);
    const refused = attachments.find((one) => one.places.length === 0)?.accepted;
    if (places.length > 0) place(context, challenge, places);
    context.statuses.push({
      key: keyOf(challenge),
      generation: challenge.metadata.generation,
      conditions: [places.length > 0 ? ACCEPTED : (refused ?? NOWHERE)],
    });
  }
}

type Places = ReturnType<CompileContext["attach"]>[number]["places"];

function place(context: CompileContext, challenge: Challenge, places: Places): void {
  const { namespace, name } = challenge.metadata;
  const part: RulePart = {
    type: "rule",
    key: challengeKey(namespace, name),
    route: `${namespace}/acme-challenge`,
    filters: {
      directResponse: {
        statusCode: 200,
        contentType: "application/octet-stream",
        body: challenge.spec.key,
      },
    },
    backends: [],
  };
  context.parts.add(part);
  const value = `${PATH}${challenge.spec.token}`;
  const entry: MatchEntry = { path: { type: "Exact", value }, rule: part.key };
  const placed = new Set<string>();
  for (const { listener, asked } of places) {
    const where = `${fullName(listener.gateway)}/${listener.spec.name}`;
    if (placed.has(where)) continue;
    placed.add(where);
    const list = entryAt(context.matchesOf, listener, () => []);
    for (const [hostname, wanted] of asked) {
      list.push({
        hostname,
        asked: wanted,
        entry,
        route: challenge,
        order: 0,
        pathHash: hashPath(value),
      });
    }
  }
}

const ACCEPTED: ConditionDraft = {
  type: "Accepted",
  status: "True",
  reason: "Accepted",
  message: "A listener takes the challenge",
};

const NOWHERE: ConditionDraft = {
  type: "Accepted",
  status: "False",
  reason: "NoMatchingParent",
  message: "No Gateway is there to answer the challenge",
};
