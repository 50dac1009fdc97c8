/**
 * The listeners of all Gateways of our class: which of them can be served, on which sockets, and
 * what is wrong with the others.
 *
 * Of two listeners of one port and hostname, or of protocols that cannot share a port: within one
 * Gateway neither is served (Gateway API `ListenerConditionConflicted`: no winner may be picked);
 * across Gateways on overlapping addresses the older Gateway keeps what it has, so that a new
 * Gateway can never take traffic from one that works.
 */
import type { Gateway } from "../resource/gateway.ts";
import type { ConditionDraft } from "../resource/resource.ts";
import { addressesOverlap, canonicalAddress } from "./address.ts";
import { compareAge, fullName } from "./age.ts";
import { GATEWAY_CLASS } from "./compiled.ts";
import type { CompileInput } from "./compiled.ts";
import { toHostname } from "./hostname.ts";
import type { Hostname } from "./program.ts";
import { listOf } from "./stored.ts";

export type ListenerSpec = Gateway["spec"]["listeners"][number];

export interface GatewayNode {
  readonly gateway: Gateway;
  readonly addresses: readonly string[];
  /** Set where an address is of a kind that cannot be bound: then no listener is served. */
  readonly addressProblem: string | undefined;
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

/** All Gateways of class `sluice`, oldest first. */
export function readGateways(input: CompileInput): readonly GatewayNode[] {
  const gateways = listOf(input, "Gateway")
    .filter((gateway) => gateway.spec.gatewayClassName === GATEWAY_CLASS)
    .toSorted(compareAge);
  const served: ListenerNode[] = [];
  return gateways.map((gateway) => {
    const node = readGateway(gateway, served);
    served.push(...node.listeners.filter((listener) => listener.problem === undefined));
    return node;
  });
}

/** `served` are the listeners of older Gateways. */
function readGateway(gateway: Gateway, served: readonly ListenerNode[]): GatewayNode {
  const wanted = gateway.spec.addresses ?? [];
  const read = wanted.map((one) => readAddress(one));
  const bad = wanted.find((_, index) => read[index] === undefined);
  const addresses = wanted.length === 0 ? [ANY_ADDRESS] : read.filter((one) => one !== undefined);
  const addressProblem =
    bad === undefined
      ? undefined
      : `address ${JSON.stringify(bad.value ?? "")} cannot be bound; ` +
        `valid: type IPAddress with an IP address of this host as value`;
  const around = { gateway, addresses, served, addressProblem };
  const listeners = gateway.spec.listeners.map((spec) => readListener(spec, around));
  return { gateway, addresses, addressProblem, listeners };
}

interface Surroundings {
  readonly gateway: Gateway;
  readonly addresses: readonly string[];
  readonly served: readonly ListenerNode[];
  readonly addressProblem: string | undefined;
}

function readListener(spec: ListenerSpec, around: Surroundings): ListenerNode {
  const { gateway, addresses } = around;
  const problem = listenerProblem(spec, around);
  const hostname = toHostname(spec.hostname);
  return { gateway, addresses, spec, hostname, ...readKinds(spec), problem };
}

function readAddress(address: {
  readonly type?: string;
  readonly value?: string;
}): string | undefined {
  if ((address.type ?? "IPAddress") !== "IPAddress") return undefined;
  return canonicalAddress(address.value ?? "");
}

function readKinds(spec: ListenerSpec): Pick<ListenerNode, "routeKinds" | "invalidKinds"> {
  if (spec.protocol !== "HTTP") return { routeKinds: [], invalidKinds: [] };
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
  const others = around.gateway.spec.listeners.filter((other) => other !== spec);
  const inside = others.map((other) => clash(spec, other)).find((one) => one !== undefined);
  if (inside !== undefined) return conflicted(inside, "of this Gateway");
  if (spec.protocol !== "HTTP") {
    const message = `protocol ${spec.protocol} is not supported by this version; valid: HTTP`;
    return { type: "Accepted", status: "False", reason: "UnsupportedProtocol", message };
  }
  if (around.addressProblem !== undefined) {
    const message = around.addressProblem;
    return { type: "Accepted", status: "False", reason: "UnsupportedAddress", message };
  }
  for (const older of around.served) {
    const outside = clash(spec, older.spec);
    if (outside === undefined || !overlap(around.addresses, older.addresses)) continue;
    return conflicted(outside, `of the older Gateway ${fullName(older.gateway)}`);
  }
  return undefined;
}

interface Clash {
  readonly reason: "HostnameConflict" | "ProtocolConflict";
  readonly other: ListenerSpec;
}

function clash(spec: ListenerSpec, other: ListenerSpec): Clash | undefined {
  if (spec.port !== other.port) return undefined;
  const [mine, theirs] = [transport(spec.protocol), transport(other.protocol)];
  if (mine !== theirs) {
    const apart = mine === "UDP" || theirs === "UDP";
    return apart ? undefined : { reason: "ProtocolConflict", other };
  }
  const same = toHostname(spec.hostname) === toHostname(other.hostname);
  return same ? { reason: "HostnameConflict", other } : undefined;
}

/** What can share a port: HTTPS and TLS do, told apart by SNI. */
function transport(protocol: string): string {
  return protocol === "TLS" ? "HTTPS" : protocol;
}

function conflicted(found: Clash, whose: string): ConditionDraft {
  const { port, protocol, hostname } = found.other;
  const what =
    found.reason === "ProtocolConflict"
      ? `port ${port} is used with protocol ${protocol}`
      : `port ${port} and hostname ${hostname ?? "*"} are taken`;
  const message = `${what} by listener ${found.other.name} ${whose}`;
  return { type: "Conflicted", status: "True", reason: found.reason, message };
}

function overlap(a: readonly string[], b: readonly string[]): boolean {
  return a.some((one) => b.some((other) => addressesOverlap(one, other)));
}
