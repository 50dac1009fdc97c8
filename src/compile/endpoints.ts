/**
 * Where requests to a Backend or a Service go: addresses, and how to speak to them. Anything that
 * would have to be spoken to otherwise than the documents say (another protocol, a certificate
 * authority that is not there) is a problem, never a plain connection instead.
 */
import type { BackendSpec } from "../resource/backend.ts";
import type { Endpoints } from "../resource/endpoints.ts";
import type { EndpointSlice } from "../resource/endpoint-slice.ts";
import type { ResourceKey } from "../resource/resource.ts";
import type { Service } from "../resource/service.ts";
import { appProtocolOf, poolProtocol } from "./app-protocol.ts";
import type { AppProtocol } from "./app-protocol.ts";
import type { BackendTlsOf } from "./backend-tls.ts";
import { authoritiesIn } from "./certificates.ts";
import type { BackendProblem, BackendTarget, FieldPlace } from "./compiled.ts";
import type { EndpointAddress, PoolPart } from "./program.ts";
import type { TracingReader } from "./reader.ts";
import { isOfKind } from "./stored.ts";

export interface Connection extends Pick<PoolPart, "endpoints" | "tls" | "protocol"> {
  /** It takes WebSockets alone. */
  readonly websocket?: true;
}
export type ConnectionResult = Connection | { readonly problem: BackendProblem };

export interface ConnectDeps {
  readonly reader: TracingReader;
  readonly backendTlsOf: BackendTlsOf;
}

/** The endpoints of a Backend's spec. A BackendTLSPolicy holds in place of its own `tls`. */
export function connectBackend(
  { reader, backendTlsOf }: ConnectDeps,
  spec: BackendSpec,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): ConnectionResult {
  const endpoints = (spec.endpoints ?? []).flatMap((one): EndpointAddress[] => {
    if (one.ip !== undefined) return [{ host: one.ip.address, port: one.ip.port }];
    if (one.fqdn !== undefined) return [{ host: one.fqdn.hostname, port: one.fqdn.port }];
    return one.unix === undefined ? [] : [{ unixPath: one.unix.path }];
  });
  const self = { kind: "Backend", namespace, name };
  const policy = backendTlsOf({ kind: "Backend", namespace, name });
  if (policy !== undefined && "problem" in policy) return policy;
  const spoken = backendProtocol(self, spec, spec.tls !== undefined || policy !== undefined);
  if ("problem" in spoken) return spoken;
  if (policy !== undefined) {
    return { endpoints, tls: policy.tls, ...spokenOver(spoken, policy.tls) };
  }
  if (spec.tls === undefined) return { endpoints, ...spokenOver(spoken, undefined) };
  const names = (spec.endpoints ?? []).map((one) => one.fqdn?.hostname);
  const serverName = spec.tls.sni ?? names[0];
  const differ = spec.tls.sni === undefined && names.some((one) => one !== names[0]);
  if (serverName === undefined || differ) {
    const message = "tls needs sni where the endpoints are not of one hostname";
    return unsupported(message, { resource: self, path: ["spec", "tls"] });
  }
  const authorities = readAuthorities(reader, spec.tls.caCertificateRefs ?? [], self);
  if ("problem" in authorities) return authorities;
  const tls =
    authorities.pem === "" ? { serverName } : { serverName, caCertificates: authorities.pem };
  return { endpoints, tls, ...spokenOver(spoken, tls) };
}

/** What several `appProtocols` come to together. */
function backendProtocol(
  resource: ResourceKey,
  spec: BackendSpec,
  secure: boolean,
): AppProtocol | { readonly problem: BackendProblem } {
  const all: AppProtocol = {};
  const path = ["spec", "appProtocols"];
  for (const [index, name] of (spec.appProtocols ?? []).entries()) {
    const one = appProtocolOf(name);
    if (one === undefined) {
      const at = { resource, path: [...path, index] };
      return unsupported(`appProtocols: ${name} is not known`, at);
    }
    Object.assign(all, one);
  }
  if (all.tls === true && !secure) {
    const message = "appProtocols asks for TLS, so tls or a BackendTLSPolicy must be there";
    return unsupported(message, { resource, path });
  }
  return all;
}

function spokenOver(
  spoken: AppProtocol,
  tls: PoolPart["tls"],
): Pick<Connection, "protocol" | "websocket"> {
  const protocol = poolProtocol(spoken, tls);
  return spoken.websocket === true ? { ...protocol, websocket: true } : protocol;
}

interface AuthorityRef {
  readonly kind: "ConfigMap" | "Secret";
  readonly name: string;
}

function readAuthorities(
  reader: TracingReader,
  refs: readonly AuthorityRef[],
  resource: ResourceKey,
): { readonly pem: string } | { readonly problem: BackendProblem } {
  const texts: string[] = [];
  const { namespace } = resource;
  for (const [index, { kind, name }] of refs.entries()) {
    const holder = reader.get(kind, namespace, name);
    const read = authoritiesIn(holder);
    if ("problem" in read) {
      const what = read.problem;
      const message = `${kind} ${namespace}/${name}, named by tls.caCertificateRefs, ${what}`;
      const at = { resource, path: ["spec", "tls", "caCertificateRefs", index, "name"] };
      const missing = holder === undefined ? { missing: { kind, namespace, name } } : {};
      return { problem: { reason: "InvalidCACertificateRef", message, at, ...missing } };
    }
    texts.push(read.pem);
  }
  return { pem: texts.join("\n") };
}

/** The endpoints of one port of a Service, out of its EndpointSlices or else its Endpoints. */
export function connectService(
  { reader, backendTlsOf }: ConnectDeps,
  service: Service,
  target: BackendTarget,
): ConnectionResult {
  const port = service.spec.ports?.find(
    (one) => one.port === target.port && (one.protocol ?? "TCP") === "TCP",
  );
  const name = `Service ${target.namespace}/${target.name}`;
  if (port === undefined) {
    const known = (service.spec.ports ?? []).filter((one) => (one.protocol ?? "TCP") === "TCP");
    const valid = known.length === 0 ? "" : `; valid: ${known.map((one) => one.port).join(", ")}`;
    const message = `${name} has no TCP port ${target.port ?? "(none was named)"}${valid}`;
    return { problem: { reason: "BackendNotFound", message, field: "port" } };
  }
  const spoken = appProtocolOf(port.appProtocol);
  const { namespace } = target;
  const portName = port.name === undefined ? {} : { portName: port.name };
  const policy = backendTlsOf({ kind: "Service", namespace, name: target.name, ...portName });
  if (policy !== undefined && "problem" in policy) return policy;
  if (spoken === undefined || (spoken.tls === true && policy === undefined)) {
    const why = spoken === undefined ? "is not supported" : "needs a BackendTLSPolicy";
    const message = `appProtocol ${port.appProtocol} of ${name} ${why}`;
    const index = (service.spec.ports ?? []).indexOf(port);
    const resource = { kind: "Service", namespace, name: target.name };
    const at = { resource, path: ["spec", "ports", index, "appProtocol"] };
    return { problem: { reason: "UnsupportedProtocol", message, at } };
  }
  const slices = reader.slicesOf(service).filter((one) => isOfKind(one, "EndpointSlice"));
  const listed = reader.get("Endpoints", target.namespace, target.name);
  const endpoints = new Map<string, EndpointAddress>();
  for (const slice of slices) {
    for (const endpoint of readSlice(slice, port)) {
      endpoints.set(`${endpoint.host} ${endpoint.port}`, endpoint);
    }
  }
  if (slices.length === 0 && isOfKind(listed, "Endpoints")) {
    for (const endpoint of readSubsets(listed, port)) {
      endpoints.set(`${endpoint.host} ${endpoint.port}`, endpoint);
    }
  }
  const tls = policy === undefined ? {} : { tls: policy.tls };
  return { endpoints: [...endpoints.values()], ...tls, ...spokenOver(spoken, tls.tls) };
}

type ServicePort = NonNullable<Service["spec"]["ports"]>[number];

type HostAndPort = Extract<EndpointAddress, { host: string }>;

/** The port of the endpoints that a port of a Service leads to. */
function endpointPort(
  ports: readonly { readonly name?: string | null; readonly port?: number | null }[],
  port: ServicePort,
): number | undefined {
  const targetPort = port.targetPort ?? port.port;
  const found =
    ports.find((one) => (one.name ?? "") === (port.name ?? "")) ??
    // What is written by hand often leaves the name out; a number that fits says as much.
    ports.find((one) => one.name === targetPort || one.port === targetPort);
  return found?.port ?? undefined;
}

function readSubsets(listed: Endpoints, port: ServicePort): readonly HostAndPort[] {
  return (listed.subsets ?? []).flatMap(({ addresses = [], ports = [] }) => {
    const number = endpointPort(ports, port);
    return number === undefined ? [] : addresses.map(({ ip }) => ({ host: ip, port: number }));
  });
}

function readSlice(slice: EndpointSlice, port: ServicePort): readonly HostAndPort[] {
  const number = endpointPort(slice.ports ?? [], port);
  if (number === undefined) return [];
  return slice.endpoints
    .filter((endpoint) => endpoint.conditions?.ready !== false)
    .flatMap(({ addresses }) => addresses.slice(0, 1))
    .map((host) => ({ host, port: number }));
}

function unsupported(message: string, at: FieldPlace): { readonly problem: BackendProblem } {
  return { problem: { reason: "UnsupportedValue", message, at } };
}
