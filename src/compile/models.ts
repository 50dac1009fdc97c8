/**
 * AIGatewayRoutes: a part with all rules of the route, for which rule answers is known only once
 * the body has been read, and matches for the LLM paths on each listener. One route owns the LLM
 * paths of a listener; of two the older does.
 */
import { MODEL_HEADER } from "../resource/ai.ts";
import type { AIGatewayRoute, ModelRule } from "../resource/ai.ts";
import type { Cause, ConditionDraft, FieldPath } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { compareAge, fullName } from "./age.ts";
import type { Attachment, Place } from "./attach.ts";
import { entryAt } from "./context.ts";
import type { CompileContext } from "./context.ts";
import type { ListenerNode } from "./listeners.ts";
import type { SplitReference } from "./memo.ts";
import { hashPath } from "./pages.ts";
import type { ModelRoutePart, PartKey, ValueMatch } from "./program.ts";
import { noteReferences, problemAt, resolvedRefs, resolveReference } from "./references.ts";
import type { ReferenceProblem } from "./references.ts";
import { readTimeout } from "./rules.ts";
import { listOf } from "./stored.ts";

/** The paths that an AIGatewayRoute owns. */
const LLM_PATHS = ["/v1/chat/completions", "/v1/models"] as const;

/** A body that is larger is answered with 413. */
const BODY_BYTES_MAX = 10 * 1024 * 1024;

type ModelRuleEntry = ModelRoutePart["rules"][number];
/** The route that owns the LLM paths of a listener. */
type Owners = Map<ListenerNode, AIGatewayRoute>;

/** Compiles all AIGatewayRoutes, oldest first, for the older one owns what two ask for. */
export function compileModelRoutes(context: CompileContext): void {
  const owners: Owners = new Map();
  const routes = listOf(context.input, "AIGatewayRoute");
  for (const route of routes.toSorted(compareAge)) compileModelRoute(context, route, owners);
}

function compileModelRoute(context: CompileContext, route: AIGatewayRoute, owners: Owners): void {
  const key = keyOf(route);
  const { parentRefs, rules } = route.spec;
  const found = context.attach({ key, hostnames: [], parentRefs });
  const unsupported = rules.flatMap((rule, index) =>
    (rule.matches ?? []).flatMap((match, at) =>
      unsupportedMatch(match, ["spec", "rules", index, "matches", at]),
    ),
  );
  const attachments = found.map((one) => claim(one, { route, owners, unsupported }));
  const problems: ReferenceProblem[] = [];
  const splits: SplitReference[] = [];
  const part: ModelRoutePart = {
    type: "models",
    key: `models/${fullName(route)}`,
    route: fullName(route),
    rules: rules.map((rule, index) =>
      readRule(context, { route, rule, index, problems, references: splits }),
    ),
    modelsListed: [...new Set(rules.flatMap(exactModels))],
    bodyBytesMax: BODY_BYTES_MAX,
  };
  noteReferences(context, key, splits);
  const places = attachments.flatMap((one) => one.places);
  context.modelRoutes.push({
    references: splits,
    listeners: places.map(({ listener }) => listener),
  });
  const added = new Set<string>();
  for (const place of places) {
    placeRoute(context, { route, part, place, added });
  }
  for (const listener of attachments.flatMap((one) => one.unserved)) {
    entryAt(context.attachedTo, listener, () => new Set()).add(nameOf(route));
  }
  const references = resolvedRefs(problems);
  const parents = attachments.map(({ parentRef, accepted }) => ({
    parentRef,
    conditions: [accepted, references],
  }));
  context.statuses.push({ key, generation: route.metadata.generation, parents });
}

interface ClaimInput {
  readonly route: AIGatewayRoute;
  readonly owners: Owners;
  readonly unsupported: readonly Cause[];
}

/** An attachment without the listeners whose LLM paths belong to an older route. */
function claim(attachment: Attachment, { route, owners, unsupported }: ClaimInput): Attachment {
  const first = unsupported[0];
  if (first !== undefined) {
    const accepted = refused("UnsupportedValue", first);
    return { ...attachment, places: [], unserved: [], accepted };
  }
  const places = attachment.places.filter(({ listener }) => {
    const owner = entryAt(owners, listener, () => route);
    return owner === route;
  });
  const lost = attachment.places.find((place) => !places.includes(place));
  if (lost === undefined || places.length > 0) return { ...attachment, places };
  const owner = owners.get(lost.listener);
  const name = owner === undefined ? "" : fullName(owner);
  const message =
    `The LLM paths of listener ${lost.listener.spec.name} belong to the older AIGatewayRoute ` +
    `${name}; one route may hold many rules`;
  return {
    ...attachment,
    places,
    accepted: refused("Conflicted", { path: ["spec", "parentRefs"], message }),
  };
}

function refused(reason: string, cause: Cause): ConditionDraft {
  const { message } = cause;
  return { type: "Accepted", status: "False", reason, message, causes: [cause] };
}

/** As it counts among the routes of a listener. */
function nameOf(route: AIGatewayRoute): string {
  return `AIGatewayRoute/${fullName(route)}`;
}

interface PlaceInput {
  readonly route: AIGatewayRoute;
  readonly part: ModelRoutePart;
  readonly place: Place;
  /** Parts and places that were added before. */
  readonly added: Set<string>;
}

function placeRoute(context: CompileContext, { route, part, place, added }: PlaceInput): void {
  const { listener } = place;
  const rule = { key: keyOf(route), section: undefined };
  const { scope, settings } = context.policies.settingsFor(rule, listener);
  const key: PartKey = `${part.key}${scope}`;
  if (!added.has(key)) context.parts.add({ ...part, key, ...settings });
  added.add(key);
  const name = nameOf(route);
  const attached = entryAt(context.attachedTo, listener, () => new Set());
  if (attached.has(name)) return;
  attached.add(name);
  const list = entryAt(context.matchesOf, listener, () => []);
  for (const hostname of place.hostnames) {
    for (const [order, value] of LLM_PATHS.entries()) {
      const entry = { path: { type: "Exact" as const, value }, rule: key };
      list.push({ hostname, asked: hostname, entry, route, order, pathHash: hashPath(value) });
    }
  }
}

interface RuleInput {
  readonly route: AIGatewayRoute;
  readonly rule: ModelRule;
  readonly index: number;
  readonly problems: ReferenceProblem[];
  readonly references: SplitReference[];
}

function readRule(context: CompileContext, input: RuleInput): ModelRuleEntry {
  const { route, rule, index, problems, references } = input;
  const referring = {
    group: "sluice.dev",
    key: keyOf(route),
    kinds: { AIServiceBackend: "sluice.dev" },
    grpc: false,
    references,
  };
  const backends = rule.backendRefs.map((ref, at) => {
    const result = resolveReference(context, referring, ref);
    const path = ["spec", "rules", index, "backendRefs", at];
    if (result.problem !== undefined) problems.push(problemAt(path, result.problem));
    return {
      weight: ref.weight ?? 1,
      ...(result.split !== undefined && { split: result.split }),
      ...(ref.modelNameOverride !== undefined && { modelNameOverride: ref.modelNameOverride }),
    };
  });
  const requestTimeoutMs = readTimeout(rule.timeouts?.request);
  const backendRequestTimeoutMs = readTimeout(rule.timeouts?.backendRequest);
  return {
    models: readModels(rule),
    backends,
    ...(requestTimeoutMs !== undefined && { requestTimeoutMs }),
    ...(backendRequestTimeoutMs !== undefined && { backendRequestTimeoutMs }),
  };
}

/** The models that a rule takes, any of them; empty for every model. */
function readModels(rule: ModelRule): readonly ValueMatch[] {
  const matches = rule.matches ?? [];
  const open = matches.some((match) => (match.headers ?? []).length === 0);
  if (open) return [];
  return matches.flatMap((match) =>
    (match.headers ?? []).slice(0, 1).map(({ type, value }) => ({
      name: MODEL_HEADER,
      type: type ?? "Exact",
      value,
    })),
  );
}

function exactModels(rule: ModelRule): readonly string[] {
  return readModels(rule)
    .filter((model) => model.type === "Exact")
    .map((model) => model.value);
}

/**
 * Several conditions on the one model of a request are refused: one expression can say the same.
 */
function unsupportedMatch(
  match: NonNullable<ModelRule["matches"]>[number],
  path: FieldPath,
): readonly Cause[] {
  if ((match.headers ?? []).length < 2) return [];
  const message = `a match may have one entry for ${MODEL_HEADER}; write several matches for any of several`;
  return [{ path: [...path, "headers"], message }];
}
