/**
 * The listeners of all Gateways of our class: which of them can be served, on which sockets, and
 * what is wrong with the others.
 *
 * Of two listeners of one port and hostname, or of protocols that cannot share a port: within one
 * Gateway neither is served (Gateway API `ListenerConditionConflicted`: no winner may be picked);
 * across Gateways on overlapping addresses the older Gateway keeps what it has, so that a new
 * Gateway can never take traffic from one that works. A Unix socket has no ports: listeners of two
 * ports on one path are in conflict, too.
 */
import { UNIX_SOCKET, type Gateway } from "../resource/gateway.ts";
import type { Cause, ConditionDraft, FieldPath } from "../resource/resource.ts";
import type { ClientTrafficPolicy } from "../resource/client-traffic-policy.ts";
import { addressesOverlap, canonicalAddress, unixAddress, unixPath } from "./address.ts";
import { compareAge, fullName } from "./age.ts";
import { readCertificate } from "./certificates.ts";
import type { CertificateDeps, KeyPair, ReferenceProblem } from "./certificates.ts";
import type { ClientPolicies } from "./client-policies.ts";
import { isOurClass } from "./gateway-class.ts";
import { toHostname } from "./hostname.ts";
import { gatewayReferrer, readListenerTls } from "./listener-tls.ts";
import type { ListenerTlsNode } from "./listener-tls.ts";
import type { Hostname } from "./program.ts";
import { listOf } from "./stored.ts";

export type ListenerSpec = Gateway["spec"]["listeners"][number];

export interface GatewayNode {
  readonly gateway: Gateway;
  readonly addresses: readonly string[];
  /** `Accepted` where the Gateway as a whole cannot be served: then none of its listeners is. */
  readonly refusal: ConditionDraft | undefined;
  /** What is wrong with the certificate that backends shall see (`spec.tls.backend`). */
  readonly clientCertificateProblem: ReferenceProblem | undefined;
  readonly listeners: readonly ListenerNode[];
}

export interface ListenerNode {
  readonly gateway: Gateway;
  readonly addresses: readonly string[];
  readonly spec: ListenerSpec;
  readonly hostname: Hostname;
  readonly routeKinds: readonly RouteKind[];
  /** Names of kinds that `allowedRoutes.kinds` asks for and that no listener can carry. */
  readonly invalidKinds: readonly string[];
  /** The ClientTrafficPolicy that holds for the listener by itself. */
  readonly policy: ClientTrafficPolicy | undefined;
  /** Set where TLS ends here. */
  readonly tls: ListenerTlsNode | undefined;
  /** `ResolvedRefs` where a certificate or an authority cannot be had. */
  readonly unresolved: ConditionDraft | undefined;
  /** What the Gateway presents to backends with TLS. */
  readonly clientCertificate: KeyPair | undefined;
  /** Why it is not served; undefined for a listener that is. */
  readonly problem: ConditionDraft | undefined;
}

export interface RouteKind {
  readonly group: string;
  readonly kind: string;
}

const HTTP_ROUTE: RouteKind = { group: "gateway.networking.k8s.io", kind: "HTTPRoute" };
const GRPC_ROUTE: RouteKind = { group: "gateway.networking.k8s.io", kind: "GRPCRoute" };
const AI_ROUTE: RouteKind = { group: "sluice.dev", kind: "AIGatewayRoute" };

/** Every address of both families: where a Gateway without `spec.addresses` listens. */
export const ANY_ADDRESS = "::";

/** All Gateways of our classes, oldest first. */
export function readGateways(
  deps: CertificateDeps,
  policies: Pick<ClientPolicies, "policyOf">,
): readonly GatewayNode[] {
  const gateways = listOf(deps.input, "Gateway")
    .filter((gateway) => isOurClass(deps.input, gateway.spec.gatewayClassName))
    .toSorted(compareAge);
  const served: ListenerNode[] = [];
  return gateways.map((gateway) => {
    const node = readGateway(gateway, { deps, policies, served });
    served.push(...node.listeners.filter((listener) => listener.problem === undefined));
    return node;
  });
}

interface GatewayDeps {
  readonly deps: CertificateDeps;
  readonly policies: Pick<ClientPolicies, "policyOf">;
  /** The listeners of older Gateways. */
  readonly served: readonly ListenerNode[];
}

function readGateway(gateway: Gateway, { deps, policies, served }: GatewayDeps): GatewayNode {
  const wanted = gateway.spec.addresses ?? [];
  const read = wanted.map((one) => readAddress(one));
  const bad = wanted.findIndex((_, index) => read[index] === undefined);
  const addresses = wanted.length === 0 ? [ANY_ADDRESS] : read.filter((one) => one !== undefined);
  const refusal = refusalOf(gateway, bad);
  const presented = readClientCertificate(deps, gateway);
  const clientCertificate = "part" in presented ? presented : undefined;
  const around = { deps, policies, gateway, addresses, served, refusal, clientCertificate };
  const listeners = gateway.spec.listeners.map((spec) => readListener(spec, around));
  const clientCertificateProblem = "problem" in presented ? presented.problem : undefined;
  return { gateway, addresses, refusal, clientCertificateProblem, listeners };
}

/**
 * Gateway API `GatewayConditionAccepted`; `bad` is the index of an address of a kind that cannot be
 * bound, or -1.
 */
function refusalOf({ spec }: Gateway, bad: number): ConditionDraft | undefined {
  const parameters = spec.infrastructure?.parametersRef;
  if (parameters !== undefined) {
    const message = `infrastructure.parametersRef is not supported: Sluice takes no ${parameters.kind}`;
    const path = ["spec", "infrastructure", "parametersRef"];
    return refused("InvalidParameters", { path, message });
  }
  const address = spec.addresses?.[bad];
  if (address === undefined) return undefined;
  const { type, value = "" } = address;
  const message =
    `address ${JSON.stringify(value)} of type ${type} cannot be bound; ` +
    `valid: type IPAddress with an IP address of this host as value, or type ${UNIX_SOCKET} with a path`;
  return refused("UnsupportedAddress", { path: ["spec", "addresses", bad], message });
}

/** Gateway API `spec.tls.backend.clientCertificateRef`. */
function readClientCertificate(
  deps: CertificateDeps,
  gateway: Gateway,
): KeyPair | { readonly problem: ReferenceProblem | undefined } {
  const ref = gateway.spec.tls?.backend?.clientCertificateRef;
  if (ref === undefined) return { problem: undefined };
  return readCertificate(deps, gatewayReferrer(gateway.metadata.namespace), ref);
}

interface Surroundings extends GatewayDeps {
  readonly gateway: Gateway;
  readonly addresses: readonly string[];
  readonly refusal: ConditionDraft | undefined;
  readonly clientCertificate: KeyPair | undefined;
}

function readListener(spec: ListenerSpec, around: Surroundings): ListenerNode {
  const { gateway, addresses, clientCertificate } = around;
  const hostname = toHostname(spec.hostname);
  const policy = around.policies.policyOf(gateway.metadata, spec.name);
  const read = isHttps(spec) ? readListenerTls(around.deps, { gateway, spec, policy }) : {};
  return {
    gateway,
    addresses,
    spec,
    hostname,
    ...readKinds(spec),
    policy,
    tls: read.node,
    unresolved: read.unresolved,
    clientCertificate,
    problem: listenerProblem(spec, around) ?? read.problem,
  };
}

function readAddress(address: {
  readonly type?: string;
  readonly value?: string;
}): string | undefined {
  if (address.type === UNIX_SOCKET) return unixAddress(address.value ?? "");
  if ((address.type ?? "IPAddress") !== "IPAddress") return undefined;
  if (address.value === undefined) return ANY_ADDRESS;
  return canonicalAddress(address.value ?? "");
}

function readKinds(spec: ListenerSpec): Pick<ListenerNode, "routeKinds" | "invalidKinds"> {
  if (!isHttp(spec) && !isHttps(spec)) return { routeKinds: [], invalidKinds: [] };
  const wanted = spec.allowedRoutes?.kinds ?? [];
  const known = [HTTP_ROUTE, GRPC_ROUTE, AI_ROUTE];
  if (wanted.length === 0) return { routeKinds: known, invalidKinds: [] };
  const isWanted = ({ group, kind }: RouteKind): boolean =>
    wanted.some((one) => one.kind === kind && (one.group ?? HTTP_ROUTE.group) === group);
  const isKnown = (one: { readonly kind: string; readonly group?: string }): boolean =>
    known.some(({ group, kind }) => one.kind === kind && (one.group ?? HTTP_ROUTE.group) === group);
  return {
    routeKinds: known.filter(isWanted),
    invalidKinds: wanted.filter((one) => !isKnown(one)).map((one) => one.kind),
  };
}

function listenerProblem(spec: ListenerSpec, around: Surroundings): ConditionDraft | undefined {
  const all = around.gateway.spec.listeners;
  const path = ["spec", "listeners", all.indexOf(spec)];
  const others = all.filter((other) => other !== spec);
  const paths = around.addresses.filter(isUnix);
  const inside = others.map((other) => clash(spec, other, paths)).find((one) => one !== undefined);
  if (inside !== undefined) return conflicted(path, inside, "of this Gateway");
  if (!isHttp(spec) && !isHttps(spec)) {
    const message = `protocol ${spec.protocol} is not supported by this version; valid: HTTP, HTTPS`;
    return refused("UnsupportedProtocol", { path: [...path, "protocol"], message });
  }
  if (around.refusal !== undefined) return around.refusal;
  for (const older of around.served) {
    const shared = paths.filter((one) => older.addresses.includes(one));
    const outside = clash(spec, older.spec, shared);
    if (outside === undefined || !overlap(around.addresses, older.addresses)) continue;
    return conflicted(path, outside, `of the older Gateway ${fullName(older.gateway)}`);
  }
  return undefined;
}

interface Clash {
  readonly reason: "HostnameConflict" | "ProtocolConflict";
  readonly other: ListenerSpec;
  /** The Unix socket that both want, for different ports. */
  readonly path?: string | undefined;
}

/** `paths`: the Unix sockets that both are on. */
function clash(
  spec: ListenerSpec,
  other: ListenerSpec,
  paths: readonly string[],
): Clash | undefined {
  const [mine, theirs] = [spec.protocol.toUpperCase(), other.protocol.toUpperCase()];
  if (!WEB.includes(mine) || !WEB.includes(theirs)) return undefined;
  if (spec.port !== other.port) {
    const [path] = paths;
    return path === undefined ? undefined : { reason: "ProtocolConflict", other, path };
  }
  if (mine !== theirs && (mine === "HTTP" || theirs === "HTTP")) {
    return { reason: "ProtocolConflict", other };
  }
  if (toHostname(spec.hostname) !== toHostname(other.hostname)) return undefined;
  return { reason: mine === theirs ? "HostnameConflict" : "ProtocolConflict", other };
}

/**
 * Protocols that can be in conflict; HTTPS and TLS share a port, told apart by SNI. A listener of TCP is
 * refused for its protocol alone, and keeps no other from being served (Gateway API
 * `GatewaySpec.listeners`).
 */
const WEB: readonly string[] = ["HTTP", "HTTPS", "TLS"];

/** Gateway API: names of protocols are compared without regard to case. */
function isHttp(spec: ListenerSpec): boolean {
  return spec.protocol.toUpperCase() === "HTTP";
}

/** Whether TLS ends at the listener. */
export function isHttps(spec: ListenerSpec): boolean {
  return spec.protocol.toUpperCase() === "HTTPS";
}

function refused(reason: string, cause: Cause): ConditionDraft {
  const { message } = cause;
  return { type: "Accepted", status: "False", reason, message, causes: [cause] };
}

function conflicted(path: FieldPath, found: Clash, whose: string): ConditionDraft {
  const message = `${whatIsTaken(found)} by listener ${found.other.name} ${whose}`;
  const causes = [{ path: [...path, "port"], message }];
  return { type: "Conflicted", status: "True", reason: found.reason, message, causes };
}

function whatIsTaken({ reason, other, path }: Clash): string {
  const { port, protocol, hostname } = other;
  if (path !== undefined) return `${path}, which has one port, is used with port ${port}`;
  return reason === "ProtocolConflict"
    ? `port ${port} is used with protocol ${protocol}`
    : `port ${port} and hostname ${hostname ?? "*"} are taken`;
}

function isUnix(address: string): boolean {
  return unixPath(address) !== undefined;
}

function overlap(a: readonly string[], b: readonly string[]): boolean {
  return a.some((one) => b.some((other) => addressesOverlap(one, other)));
}
