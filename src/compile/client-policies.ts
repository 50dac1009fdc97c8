/**
 * ClientTrafficPolicies and the listeners that they hold for: a listener's own before its Gateway's.
 * Listeners of one port share its connections, so what concerns a connection before its listener is
 * known is the oldest policy's there; a younger one that says otherwise is told so.
 */
import { parseDuration } from "../base/duration.ts";
import { jsonEqual } from "../base/json.ts";
import type { ClientTrafficPolicy } from "../resource/client-traffic-policy.ts";
import { parseQuantity } from "../resource/quantity.ts";
import type { ConditionDraft } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { addressCovers } from "./address.ts";
import { compareAge, fullName } from "./age.ts";
import type { AncestorStatusDraft, CompileInput, StatusDraft } from "./compiled.ts";
import { isHttps } from "./listeners.ts";
import type { GatewayNode, ListenerNode } from "./listeners.ts";
import { attachOne, placeText, refused } from "./policies.ts";
import { overriddenBy } from "./policy-overrides.ts";
import type { Holding } from "./policy-overrides.ts";
import type { ClientPart, PartKey } from "./program.ts";
import { listOf } from "./stored.ts";

export interface ClientPolicies {
  /** The policy that holds for a listener by itself. */
  policyOf(
    gateway: { readonly namespace: string; readonly name: string },
    listener: string,
  ): ClientTrafficPolicy | undefined;
  readonly attached: readonly AttachedPolicy[];
}

interface AttachedPolicy {
  readonly policy: ClientTrafficPolicy;
  readonly targets: readonly {
    readonly target: ClientTrafficPolicy["spec"]["targetRefs"][number];
    readonly accepted: ConditionDraft;
  }[];
}

/** Attaches all ClientTrafficPolicies, oldest first. */
export function readClientPolicies(input: CompileInput): ClientPolicies {
  const places = new Map<string, ClientTrafficPolicy>();
  const attached: AttachedPolicy[] = [];
  for (const policy of listOf(input, "ClientTrafficPolicy").toSorted(compareAge)) {
    const targets: AttachedPolicy["targets"][number][] = [];
    for (const target of policy.spec.targetRefs) {
      if (targets.some((one) => jsonEqual(one.target, target))) continue;
      const accepted = attachOne(input, places, { policy, target });
      if (accepted !== undefined) targets.push({ target, accepted });
    }
    attached.push({ policy, targets });
  }
  return {
    attached,
    policyOf: ({ namespace, name }, listener) =>
      places.get(placeText({ kind: "Gateway", namespace, name }, listener)) ??
      places.get(placeText({ kind: "Gateway", namespace, name })),
  };
}

/** What concerns a connection before it is known for which listener it is. */
const CONNECTION_FIELDS = ["proxyProtocol", "connectionLimit", "tcpKeepalive"] as const;

/** The policy that holds for the connections of a socket, out of those of its listeners. */
export function socketPolicy(listeners: readonly ListenerNode[]): ClientTrafficPolicy | undefined {
  const policies = [...new Set(listeners.map((one) => one.policy))]
    .filter((policy) => policy !== undefined)
    .toSorted(compareAge);
  const secure = listeners.some(({ tls }) => tls !== undefined);
  // Without TLS all listeners of a port are one to whoever connects: a Host comes later.
  return secure ? policies.find(concernsConnections) : policies[0];
}

function concernsConnections(policy: ClientTrafficPolicy): boolean {
  const part = clientPart(policy);
  return CONNECTION_FIELDS.some((field) => part[field] !== undefined);
}

/** Whether `policy` would have another connection than it gets under `governing`. */
function isOverruled(
  policy: ClientTrafficPolicy,
  governing: ClientTrafficPolicy,
  secure: boolean,
): boolean {
  if (policy === governing) return false;
  const [own, theirs] = [clientPart(policy), clientPart(governing)];
  if (secure) {
    return (
      concernsConnections(policy) &&
      CONNECTION_FIELDS.some((field) => !jsonEqual(own[field], theirs[field]))
    );
  }
  const { key: _own, ...ownSettings } = own;
  const { key: _theirs, ...theirSettings } = theirs;
  return !jsonEqual(ownSettings, theirSettings);
}

/** Statuses of all ClientTrafficPolicies, once it is known which listeners share a port. */
export function clientPolicyStatuses(
  { attached }: ClientPolicies,
  gateways: readonly GatewayNode[],
): readonly StatusDraft[] {
  const listeners = gateways
    .flatMap((node) => node.listeners)
    .filter((one) => one.problem === undefined);
  const all = attached.flatMap(({ policy, targets }) =>
    targets
      .filter(({ accepted }) => accepted.status === "True")
      .map(({ target }) => holdingOf(policy, target)),
  );
  return attached.map(({ policy, targets }) => {
    const ancestors = targets.map(({ target, accepted }): AncestorStatusDraft => {
      const { namespace } = policy.metadata;
      const ancestorRef = { ...target, namespace };
      if (accepted.status === "False") return { ancestorRef, conditions: [accepted] };
      const overruled = withoutTls(policy, gateways) ?? overruledOn(policy, listeners);
      const overridden = overriddenBy(holdingOf(policy, target), all);
      const conditions = [overruled ?? accepted];
      if (overridden !== undefined) conditions.push(overridden);
      return { ancestorRef, conditions };
    });
    return { key: keyOf(policy), generation: policy.metadata.generation, ancestors };
  });
}

type Target = AttachedPolicy["targets"][number]["target"];

function holdingOf(
  { metadata }: ClientTrafficPolicy,
  { kind, name, sectionName }: Target,
): Holding {
  const target = { kind, namespace: metadata.namespace, name };
  return { target, section: sectionName, merges: false };
}

function overruledOn(
  policy: ClientTrafficPolicy,
  listeners: readonly ListenerNode[],
): ConditionDraft | undefined {
  for (const own of listeners.filter((one) => one.policy === policy)) {
    for (const here of sharedSockets(own, listeners)) {
      const governing = socketPolicy(here);
      if (governing === undefined || !isOverruled(policy, governing, own.tls !== undefined)) {
        continue;
      }
      const message =
        `Connections of port ${own.spec.port} are those of the older ClientTrafficPolicy ` +
        `${fullName(governing)}, which says otherwise`;
      return refused("Conflicted", { path: ["spec"], message });
    }
  }
  return undefined;
}

/** The listeners of each socket that a listener is on: of its own addresses, and of narrower ones. */
function sharedSockets(
  own: ListenerNode,
  listeners: readonly ListenerNode[],
): readonly (readonly ListenerNode[])[] {
  const ofPort = listeners.filter((one) => one.spec.port === own.spec.port);
  const isOn = ({ addresses }: ListenerNode, address: string): boolean =>
    addresses.some((one) => addressCovers(one, address));
  const sockets = new Set(ofPort.flatMap(({ addresses }) => addresses));
  return [...sockets]
    .filter((address) => isOn(own, address))
    .map((address) => ofPort.filter((one) => isOn(one, address)));
}

/** Nobody shall believe that clients are verified where TLS does not end. */
function withoutTls(
  policy: ClientTrafficPolicy,
  gateways: readonly GatewayNode[],
): ConditionDraft | undefined {
  if (policy.spec.tls === undefined) return undefined;
  const own = gateways.flatMap((node) => node.listeners).filter((one) => one.policy === policy);
  if (own.length === 0 || own.some(({ spec }) => isHttps(spec))) return undefined;
  const message = "tls is set, and none of the listeners that the policy holds for is HTTPS";
  return refused("Invalid", { path: ["spec", "tls"], message });
}

/** The key of the part that a policy comes to. */
export function clientKey(policy: ClientTrafficPolicy): PartKey {
  return `client/${fullName(policy)}`;
}

/** What a policy comes to for the data plane; TLS stands with the listener. */
export function clientPart(policy: ClientTrafficPolicy): ClientPart {
  const { spec } = policy;
  const limit = spec.connection?.connectionLimit;
  const timeouts = readTimeouts(spec.timeout?.http);
  const keepalive = readKeepalive(spec.tcpKeepalive);
  const proxyProtocol = readProxyProtocol(spec);
  const forwarded = spec.headers?.xForwardedClientCert;
  const http2 = readHttp2(spec.http2);
  const clientIpDetection = readIpDetection(spec.clientIPDetection);
  const path = readPath(spec.path);
  return {
    type: "client",
    key: clientKey(policy),
    ...(proxyProtocol !== undefined && { proxyProtocol }),
    ...(limit !== undefined && {
      connectionLimit: { value: limit.value, closeDelayMs: toMs(limit.closeDelay ?? "0s") },
    }),
    ...(keepalive !== undefined && { tcpKeepalive: keepalive }),
    ...(timeouts !== undefined && { timeouts }),
    ...(forwarded !== undefined && {
      forwardedClientCert: { mode: forwarded.mode, details: forwarded.certDetailsToAdd ?? [] },
    }),
    ...(http2 !== undefined && { http2 }),
    ...(clientIpDetection !== undefined && { clientIpDetection }),
    ...(path !== undefined && { path }),
  };
}

type Spec = ClientTrafficPolicy["spec"];

/** The schema has checked the form. */
function toMs(duration: string): number {
  return parseDuration(duration) ?? 0;
}

function readProxyProtocol(spec: Spec): ClientPart["proxyProtocol"] {
  if (spec.proxyProtocol !== undefined) {
    return spec.proxyProtocol.optional === true ? "optional" : "required";
  }
  return spec.enableProxyProtocol === true ? "required" : undefined;
}

function readTimeouts(http: NonNullable<Spec["timeout"]>["http"]): ClientPart["timeouts"] {
  if (http === undefined) return undefined;
  const { requestReceivedTimeout, idleTimeout, streamIdleTimeout } = http;
  return {
    ...(requestReceivedTimeout !== undefined && {
      requestReceivedMs: toMs(requestReceivedTimeout),
    }),
    ...(idleTimeout !== undefined && { idleMs: toMs(idleTimeout) }),
    ...(streamIdleTimeout !== undefined && { streamIdleMs: toMs(streamIdleTimeout) }),
  };
}

function readKeepalive(keepalive: Spec["tcpKeepalive"]): ClientPart["tcpKeepalive"] {
  if (keepalive === undefined) return undefined;
  const { probes, idleTime, interval } = keepalive;
  return {
    ...(probes !== undefined && { probes }),
    ...(idleTime !== undefined && { idleMs: toMs(idleTime) }),
    ...(interval !== undefined && { intervalMs: toMs(interval) }),
  };
}

function readHttp2(http2: Spec["http2"]): ClientPart["http2"] {
  if (http2 === undefined) return undefined;
  const { maxConcurrentStreams, initialStreamWindowSize, initialConnectionWindowSize } = http2;
  const stream = parseQuantity(initialStreamWindowSize ?? "");
  const connection = parseQuantity(initialConnectionWindowSize ?? "");
  return {
    ...(maxConcurrentStreams !== undefined && { maxConcurrentStreams }),
    ...(stream !== undefined && { initialStreamWindowBytes: stream }),
    ...(connection !== undefined && { initialConnectionWindowBytes: connection }),
  };
}

function readIpDetection(detection: Spec["clientIPDetection"]): ClientPart["clientIpDetection"] {
  const { xForwardedFor, customHeader } = detection ?? {};
  if (customHeader !== undefined) {
    const { name, failClosed } = customHeader;
    return { type: "header", name: name.toLowerCase(), failClosed: failClosed === true };
  }
  if (xForwardedFor?.trustedCIDRs !== undefined) {
    return { type: "cidrs", trusted: xForwardedFor.trustedCIDRs };
  }
  const trustedHops = xForwardedFor?.numTrustedHops;
  return trustedHops === undefined ? undefined : { type: "hops", trustedHops };
}

function readPath(path: Spec["path"]): ClientPart["path"] {
  if (path === undefined) return undefined;
  const { escapedSlashesAction, disableMergeSlashes } = path;
  return {
    ...(escapedSlashesAction !== undefined && { escapedSlashes: escapedSlashesAction }),
    ...(disableMergeSlashes === true && { keepsRepeatedSlashes: true as const }),
  };
}
