/**
 * Statuses of Gateways and their listeners (Gateway API `GatewayStatus`). `Programmed` says that
 * the listener stands in the Program, that its port was free, and that no worker has said that it could
 * not open its socket or load what belongs to it.
 */
import type { ConditionDraft } from "../resource/resource.ts";
import { UNIX_SOCKET } from "../resource/gateway.ts";
import { keyOf } from "../resource/resource.ts";
import { unixPath } from "./address.ts";
import { causeOf } from "./certificates.ts";
import { clientKey } from "./client-policies.ts";
import type { CompileInput, ListenerStatusDraft, StatusAddress, StatusDraft } from "./compiled.ts";
import { intersectHostnames } from "./hostname.ts";
import { isHttps } from "./listeners.ts";
import type { GatewayNode, ListenerNode } from "./listeners.ts";
import { socketKey } from "./sockets.ts";

export interface GatewayStatusInput {
  readonly input: CompileInput;
  readonly attachedTo: ReadonlyMap<ListenerNode, ReadonlySet<string>>;
}

/** The draft for one Gateway, with one entry for each of its listeners. */
export function gatewayStatus(node: GatewayNode, context: GatewayStatusInput): StatusDraft {
  const listeners = node.listeners.map((listener) => listenerStatus(node, listener, context));
  return {
    key: keyOf(node.gateway),
    generation: node.gateway.metadata.generation,
    addresses: node.refusal === undefined ? node.addresses.map(addressStatus) : [],
    listeners,
    conditions: [acceptedOf(node, listeners), programmedOf(listeners), ...tlsConditions(node)],
  };
}

function addressStatus(address: string): StatusAddress {
  const path = unixPath(address);
  return path === undefined
    ? { type: "IPAddress", value: address }
    : { type: UNIX_SOCKET, value: path };
}

function listenerStatus(
  node: GatewayNode,
  listener: ListenerNode,
  { input, attachedTo }: GatewayStatusInput,
): ListenerStatusDraft {
  const { spec, problem } = listener;
  const refused = problem?.type === "Accepted" ? problem : undefined;
  const conflict = problem?.type === "Conflicted" ? problem : undefined;
  const unavailable = listener.addresses
    .map((address) => input.unavailableSockets.get(socketKey(address, spec.port)))
    .find((reason) => reason !== undefined);
  return {
    name: spec.name,
    attachedRoutes: attachedTo.get(listener)?.size ?? 0,
    supportedKinds: listener.routeKinds,
    conditions: [
      ...(conflict === undefined
        ? [refused ?? condition("Accepted", undefined, "Listener is accepted"), NO_CONFLICT]
        : // The conflict first: lists of problems say of several conditions with one message the first.
          [conflict, condition("Accepted", { ...conflict, reason: "Invalid" }, "")]),
      programmed(problem, unavailable, failureOf(listener, input)),
      resolved(listener),
      ...overlapping(listener, node),
    ],
  };
}

const NO_CONFLICT: ConditionDraft = {
  type: "Conflicted",
  status: "False",
  reason: "NoConflicts",
  message: "No other listener is in conflict",
};

/** A condition that is True unless `problem` stands in its way. */
function condition(
  type: string,
  problem: ConditionDraft | undefined,
  message: string,
): ConditionDraft {
  if (problem === undefined) return { type, status: "True", reason: type, message };
  return { ...problem, type, status: "False" };
}

/** What some worker could not do with a part without which the listener serves nobody. */
function failureOf(
  { addresses, spec, tls, policy }: ListenerNode,
  { failedParts }: CompileInput,
): string | undefined {
  if (failedParts.size === 0) return undefined;
  const keys = addresses.map((address) => socketKey(address, spec.port));
  for (const { part } of tls?.keyPairs ?? []) keys.push(part.key);
  if (tls?.authorities !== undefined) keys.push(tls.authorities.key);
  if (policy !== undefined) keys.push(clientKey(policy));
  const failed = keys.find((key) => failedParts.has(key));
  return failed === undefined ? undefined : failedParts.get(failed);
}

function programmed(
  problem: ConditionDraft | undefined,
  unavailable: string | undefined,
  failure: string | undefined,
): ConditionDraft {
  if (problem !== undefined) {
    const reason = problem.reason === "Pending" ? problem.reason : "Invalid";
    return { ...problem, type: "Programmed", status: "False", reason };
  }
  if (unavailable !== undefined) {
    const message = unavailable;
    return { type: "Programmed", status: "False", reason: "PortUnavailable", message };
  }
  if (failure !== undefined) {
    return { type: "Programmed", status: "False", reason: "Invalid", message: failure };
  }
  return condition("Programmed", undefined, "Listener is programmed");
}

function resolved({ gateway, spec, invalidKinds, unresolved }: ListenerNode): ConditionDraft {
  if (unresolved !== undefined) return unresolved;
  if (invalidKinds.length === 0) {
    return condition("ResolvedRefs", undefined, "All references are resolved");
  }
  const valid = "valid: HTTPRoute, GRPCRoute, AIGatewayRoute";
  const message = `Kinds that no HTTP listener carries: ${invalidKinds.join(", ")}; ${valid}`;
  const path = ["spec", "listeners", gateway.spec.listeners.indexOf(spec)];
  const causes = [{ path: [...path, "allowedRoutes", "kinds"], message }];
  return { type: "ResolvedRefs", status: "False", reason: "InvalidRouteKinds", message, causes };
}

/**
 * Gateway API `OverlappingTLSConfig`: a client may use one connection for hosts of two listeners,
 * which then have their requests answered with 421.
 */
function overlapping({ spec, hostname }: ListenerNode, node: GatewayNode): ConditionDraft[] {
  if (!isHttps(spec)) return [];
  const others = node.listeners.filter(
    (one) =>
      one.spec !== spec &&
      isHttps(one.spec) &&
      one.spec.port === spec.port &&
      intersectHostnames(one.hostname, hostname) !== undefined,
  );
  if (others.length === 0) return [];
  const names = others.map((one) => one.spec.name).join(", ");
  const message = `Hostnames of this listener are also those of listener ${names}`;
  return [
    { type: "OverlappingTLSConfig", status: "True", reason: "OverlappingHostnames", message },
  ];
}

/** What `spec.tls` of a Gateway has to say beyond its listeners. */
function tlsConditions({ gateway, clientCertificateProblem }: GatewayNode): ConditionDraft[] {
  const { backend, frontend } = gateway.spec.tls ?? {};
  const conditions: ConditionDraft[] = [];
  if (clientCertificateProblem !== undefined) {
    const { reason, message } = clientCertificateProblem;
    const said = reason === "RefNotPermitted" ? reason : "InvalidClientCertificateRef";
    const path = ["spec", "tls", "backend", "clientCertificateRef"];
    const causes = [causeOf(path, clientCertificateProblem)];
    conditions.push({ type: "ResolvedRefs", status: "False", reason: said, message, causes });
  } else if (backend?.clientCertificateRef !== undefined) {
    conditions.push(condition("ResolvedRefs", undefined, "All references are resolved"));
  }
  const validations = [frontend?.default, ...(frontend?.perPort ?? []).map((one) => one.tls)];
  if (validations.some((one) => one?.validation?.mode === "AllowInsecureFallback")) {
    conditions.push({
      type: "InsecureFrontendValidationMode",
      status: "True",
      reason: "ConfigurationChanged",
      message: "Clients without a valid certificate are served: mode is AllowInsecureFallback",
    });
  }
  return conditions;
}

function acceptedOf(node: GatewayNode, listeners: readonly ListenerStatusDraft[]): ConditionDraft {
  if (node.refusal !== undefined) return node.refusal;
  const good = listeners.filter((listener) => isTrue(listener, "Accepted"));
  if (good.length === listeners.length) {
    return condition("Accepted", undefined, "Gateway is accepted");
  }
  const bad = listeners.filter((listener) => !good.includes(listener)).map((one) => one.name);
  const message = `Listeners that are not accepted: ${bad.join(", ")}`;
  const status = good.length === 0 ? "False" : "True";
  return { type: "Accepted", status, reason: "ListenersNotValid", message };
}

/** A Gateway is programmed when one of its listeners is, and waits while all of them do. */
function programmedOf(listeners: readonly ListenerStatusDraft[]): ConditionDraft {
  if (listeners.some((listener) => isTrue(listener, "Programmed"))) {
    return condition("Programmed", undefined, "Gateway is programmed");
  }
  const found = listeners.flatMap(({ conditions }) =>
    conditions.filter(({ type }) => type === "Programmed"),
  );
  const refused = (reason: string, message: string): ConditionDraft => ({
    type: "Programmed",
    status: "False",
    reason,
    message,
  });
  const [first] = found;
  if (first !== undefined && found.every(({ reason }) => reason === "Pending")) {
    return refused("Pending", first.message);
  }
  const unavailable = found.find(({ reason }) => reason === "PortUnavailable");
  if (unavailable !== undefined) return refused("AddressNotUsable", unavailable.message);
  return refused("Invalid", "No listener is programmed");
}

function isTrue(listener: ListenerStatusDraft, type: string): boolean {
  return listener.conditions.some((one) => one.type === type && one.status === "True");
}
