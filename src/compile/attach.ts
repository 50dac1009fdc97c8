/**
 * Routes and the listeners that they attach to (Gateway API `ParentReference`, `AllowedRoutes`).
 * An attachment says on which hosts of which listeners a route is served, and why not elsewhere.
 */
import type { Gateway } from "../resource/gateway.ts";
import type { ParentReference } from "../resource/reference.ts";
import { keyOf } from "../resource/resource.ts";
import type { Cause, ConditionDraft, FieldPath, ResourceKey } from "../resource/resource.ts";
import { fullName } from "./age.ts";
import type { CompileInput } from "./compiled.ts";
import { isOurClass } from "./gateway-class.ts";
import { compareHostnames, intersectHostnames, toHostname } from "./hostname.ts";
import type { GatewayNode, ListenerNode } from "./listeners.ts";
import type { Hostname } from "./program.ts";
import { selectorMatches } from "./selector.ts";

export interface Attachment {
  readonly parentRef: ParentReference;
  readonly accepted: ConditionDraft;
  /** Where the route is accepted, and yet refused on some of the parent's listeners. */
  readonly conflict?: ConditionDraft;
  readonly places: readonly Place[];
  /**
   * Listeners that take the route and are not served: it counts among their routes (Gateway API
   * `ListenerStatus.attachedRoutes`).
   */
  readonly unserved: readonly ListenerNode[];
}

export interface Place {
  readonly listener: ListenerNode;
  readonly hostnames: readonly Hostname[];
  /** The route's own hostname behind each of these, the most specific where there are several. */
  readonly asked: ReadonlyMap<Hostname, Hostname>;
}

/** What attaches: a route of any kind. */
export interface Attaching {
  readonly key: ResourceKey;
  readonly hostnames: readonly string[];
  readonly parentRefs: readonly ParentReference[];
}

export type Attach = (route: Attaching) => readonly Attachment[];

/** Every namespace has this label in Kubernetes, so that selectors can name it. */
const NAME_LABEL = "kubernetes.io/metadata.name";

/** Makes the function that attaches routes; it counts nothing and keeps nothing. */
export function createAttach(input: CompileInput, gateways: readonly GatewayNode[]): Attach {
  const byName = new Map(gateways.map((node) => [fullName(node.gateway), node]));
  const labelsOf = (namespace: string): Readonly<Record<string, string>> => ({
    ...input.get("Namespace", "", namespace)?.metadata.labels,
    [NAME_LABEL]: namespace,
  });
  return (route) =>
    route.parentRefs.flatMap((parentRef, index) => {
      const path = ["spec", "parentRefs", index];
      const namespace = parentRef.namespace ?? route.key.namespace;
      const node = byName.get(`${namespace}/${parentRef.name}`);
      if (node !== undefined) return [attachTo(node, route, { parentRef, path, labelsOf })];
      const foreign = input.get("Gateway", namespace, parentRef.name) as Gateway | undefined;
      if (foreign !== undefined && !isOurClass(input, foreign.spec.gatewayClassName)) return [];
      const message = `Gateway ${namespace}/${parentRef.name} does not exist`;
      const missing = { kind: "Gateway", namespace, name: parentRef.name };
      const cause = { path: [...path, "name"], message, missing };
      const accepted = refused("NoMatchingParent", message, [cause]);
      return [{ parentRef, places: [], unserved: [], accepted }];
    });
}

interface AttachOptions {
  readonly parentRef: ParentReference;
  /** Where it stands in the route. */
  readonly path: FieldPath;
  readonly labelsOf: (namespace: string) => Readonly<Record<string, string>>;
}

function attachTo(node: GatewayNode, route: Attaching, options: AttachOptions): Attachment {
  const { parentRef, path } = options;
  const refuse = (
    reason: string,
    message: string,
    causes: readonly Cause[] = [{ path: [...path, "name"], message }],
  ): Attachment => ({
    parentRef,
    places: [],
    unserved: [],
    accepted: refused(reason, message, causes),
  });
  const name = fullName(node.gateway);
  const named = node.listeners.filter(
    ({ spec }) =>
      (parentRef.sectionName === undefined || parentRef.sectionName === spec.name) &&
      (parentRef.port === undefined || parentRef.port === spec.port),
  );
  if (named.length === 0) {
    const known = node.listeners.map(({ spec }) => `${spec.name} (${spec.port})`).join(", ");
    const message = `Gateway ${name} has no such listener; it has ${known}`;
    const field = parentRef.sectionName === undefined ? "port" : "sectionName";
    return refuse("NoMatchingParent", message, [{ path: [...path, field], message }]);
  }
  // Whether a listener allows a route does not depend on whether it can be served.
  const allowed = named.filter((listener) => allows(listener, route, options));
  if (allowed.length === 0) {
    const what = `${route.key.kind}s of namespace ${route.key.namespace}`;
    const message = `No listener of Gateway ${name} allows ${what}`;
    return refuse("NotAllowedByListeners", message);
  }
  const served = allowed.filter((listener) => listener.problem === undefined);
  const unserved = allowed.filter(
    (listener) => listener.problem !== undefined && wouldTake(listener, route),
  );
  if (served.length === 0) {
    const why = allowed.map(({ spec, problem }) => `${spec.name}: ${problem?.message}`).join("; ");
    const isPending = allowed.every(({ problem }) => problem?.reason === "Pending");
    const reason = isPending ? "Pending" : "NoMatchingParent";
    const message = `No listener of Gateway ${name} is served: ${why}`;
    // What is wrong is the listeners', and said there.
    const causes = allowed.flatMap(listenerCauses);
    return { ...refuse(reason, message, causes), unserved };
  }
  const places = served
    .map((listener) => {
      const asked = commonHostnames(listener, route);
      return { listener, hostnames: [...asked.keys()], asked };
    })
    .filter((place) => place.hostnames.length > 0);
  if (places.length === 0) {
    const known = served.map(({ spec }) => `${spec.name} (${spec.hostname ?? "*"})`).join(", ");
    const message = `No hostname of the route fits a listener of Gateway ${name}; it has ${known}`;
    const causes = [{ path: ["spec", "hostnames"], message }];
    return { ...refuse("NoMatchingListenerHostname", message, causes), unserved };
  }
  return { parentRef, places, unserved, accepted: ACCEPTED };
}

/** Whether a listener that is not served, but allows the route, has a host of it. */
function wouldTake(listener: ListenerNode, route: Attaching): boolean {
  return carries(listener.routeKinds, route.key.kind) && commonHostnames(listener, route).size > 0;
}

/** Hosts that both the listener and the route have, and which hostname of the route says so. */
function commonHostnames(
  listener: ListenerNode,
  route: Attaching,
): ReadonlyMap<Hostname, Hostname> {
  const wanted = route.hostnames.length === 0 ? [""] : route.hostnames;
  const common = new Map<Hostname, Hostname>();
  for (const asked of wanted.map(toHostname)) {
    const hostname = intersectHostnames(listener.hostname, asked);
    if (hostname === undefined) continue;
    const known = common.get(hostname);
    if (known === undefined || compareHostnames(asked, known) < 0) common.set(hostname, asked);
  }
  return common;
}

function allows(listener: ListenerNode, route: Attaching, options: AttachOptions): boolean {
  if (!allowsKind(listener, route.key.kind)) return false;
  const namespaces = listener.spec.allowedRoutes?.namespaces;
  switch (namespaces?.from ?? "Same") {
    case "All":
      return true;
    case "Same":
      return listener.gateway.metadata.namespace === route.key.namespace;
    case "Selector": {
      const selector = namespaces?.selector;
      const labels = options.labelsOf(route.key.namespace);
      return selector !== undefined && selectorMatches(selector, labels);
    }
    case "None":
      return false;
  }
  return false;
}

function allowsKind({ spec, problem, routeKinds }: ListenerNode, kind: string): boolean {
  const asked = spec.allowedRoutes?.kinds ?? [];
  // What a protocol carries that is not served is not known here, only what its listener asks for.
  if (problem !== undefined && asked.length === 0) return true;
  return carries(problem === undefined ? routeKinds : asked, kind);
}

function carries(kinds: readonly { readonly kind: string }[], kind: string): boolean {
  // A listener that allows HTTPRoutes allows LLM routes too, which are HTTPRoutes elsewhere.
  const also = kind === "AIGatewayRoute" ? "HTTPRoute" : kind;
  return kinds.some((one) => one.kind === kind || one.kind === also);
}

/** What is wrong with a listener, as fields of its Gateway. */
function listenerCauses({ gateway, spec, problem }: ListenerNode): readonly Cause[] {
  if (problem === undefined) return [];
  const { message } = problem;
  const own = { path: ["spec", "listeners", gateway.spec.listeners.indexOf(spec)], message };
  return (problem.causes ?? [own]).map((cause) => ({ resource: keyOf(gateway), ...cause }));
}

function refused(reason: string, message: string, causes: readonly Cause[]): ConditionDraft {
  return { type: "Accepted", status: "False", reason, message, causes };
}

const ACCEPTED: ConditionDraft = {
  type: "Accepted",
  status: "True",
  reason: "Accepted",
  message: "Route is accepted",
};
