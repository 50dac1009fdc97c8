/**
 * TLS of HTTPS listeners: their certificates, and whose certificates clients must present. A
 * reference that cannot be followed is said on the listener; a listener without any certificate, or
 * without any of the authorities that it should verify clients by, is not served.
 */
import { sha256 } from "../base/hash.ts";
import type { ClientTrafficPolicy } from "../resource/client-traffic-policy.ts";
import { CERTIFICATE_FILE_OPTION } from "../resource/gateway.ts";
import type { Gateway } from "../resource/gateway.ts";
import { keyOf } from "../resource/resource.ts";
import type { Cause, ConditionDraft, FieldPath } from "../resource/resource.ts";
import { CIPHERS } from "../resource/tls.ts";
import type { AuthorityReference } from "../resource/tls.ts";
import {
  causeOf,
  certificateFileOf,
  readAuthorities,
  readCertificate,
  readCertificateFile,
} from "./certificates.ts";
import type { CertificateDeps, KeyPair, Referrer } from "./certificates.ts";
import type { AuthoritiesPart, ListenerTls, TlsVersion } from "./program.ts";
import { wantedFor, whyUnobtainable } from "./wanted-certificates.ts";

type ListenerSpec = Gateway["spec"]["listeners"][number];

export interface ListenerTlsNode {
  readonly tls: ListenerTls;
  readonly keyPairs: readonly KeyPair[];
  readonly authorities: AuthoritiesPart | undefined;
}

export interface ListenerTlsResult {
  readonly node?: ListenerTlsNode;
  /** `ResolvedRefs` where some reference cannot be followed. */
  readonly unresolved?: ConditionDraft;
  /** Why the listener is not served. */
  readonly problem?: ConditionDraft;
}

export interface ListenerTlsInput {
  readonly gateway: Gateway;
  readonly spec: ListenerSpec;
  readonly policy: ClientTrafficPolicy | undefined;
}

/** Reads the TLS of one HTTPS listener. */
export function readListenerTls(
  deps: CertificateDeps,
  { gateway, spec, policy }: ListenerTlsInput,
): ListenerTlsResult {
  const { keyPairs, problems } = readKeyPairs(deps, gateway, spec);
  const validation = readValidation(deps, { gateway, spec, policy });
  const unresolved = unresolvedOf([...problems, ...(validation?.problems ?? [])]);
  const said = unresolved === undefined ? {} : { unresolved };
  if (keyPairs.length === 0) {
    const awaited = awaitedSecret(deps, gateway, spec);
    if (awaited !== undefined) return awaited;
    const message = "tls names no certificate";
    const cause = { path: [...tlsPath(gateway, spec)], message };
    const condition = unresolved ?? refused("ResolvedRefs", "InvalidCertificateRef", [cause]);
    return { unresolved: condition, problem: { ...condition, type: "Programmed" } };
  }
  if (validation !== undefined && validation.authorities === undefined) {
    const causes = validation.problems.map((one) => one.cause);
    return { ...said, problem: refused("Accepted", "NoValidCACertificate", causes) };
  }
  const settings = policy?.spec.tls;
  const tls: ListenerTls = {
    certificates: keyPairs.map(({ part }) => part.key),
    minVersion: versionOf(settings?.minVersion, "TLSv1.2"),
    maxVersion: versionOf(settings?.maxVersion, "TLSv1.3"),
    ciphers: settings?.ciphers ?? CIPHERS,
    alpnProtocols: settings?.alpnProtocols ?? ["h2", "http/1.1"],
    ...(validation?.authorities !== undefined && {
      clientValidation: { authorities: validation.authorities.key, mode: validation.mode },
    }),
  };
  return { ...said, node: { tls, keyPairs, authorities: validation?.authorities } };
}

/** What is said where nothing is wrong but that the certificate is still being obtained. */
function awaitedSecret(
  { input }: CertificateDeps,
  gateway: Gateway,
  spec: ListenerSpec,
): ListenerTlsResult | undefined {
  const { namespace } = gateway.metadata;
  const missing = (spec.tls?.certificateRefs ?? []).filter(
    (ref) =>
      ref.kind === "Secret" &&
      ref.group === "" &&
      (ref.namespace ?? namespace) === namespace &&
      input.get("Secret", namespace, ref.name) === undefined,
  );
  for (const ref of missing) {
    const { name } = ref;
    const wanted = wantedFor(input, gateway, name);
    if (wanted === undefined) continue;
    const why = whyUnobtainable(input, namespace, wanted);
    const message =
      why === undefined
        ? `Secret ${namespace}/${name} does not exist yet: its certificate is being obtained`
        : `Secret ${namespace}/${name} does not exist, and cannot be obtained: ${why}`;
    const index = (spec.tls?.certificateRefs ?? []).indexOf(ref);
    const path = [...tlsPath(gateway, spec), "certificateRefs", index, "name"];
    const unresolved = refused("ResolvedRefs", "InvalidCertificateRef", [{ path, message }]);
    const reason = why === undefined ? "Pending" : "InvalidCertificateRef";
    return { unresolved, problem: refused("Programmed", reason, [{ path, message }]) };
  }
  return undefined;
}

function versionOf(version: string | undefined, otherwise: TlsVersion): TlsVersion {
  if (version === "1.2") return "TLSv1.2";
  return version === "1.3" ? "TLSv1.3" : otherwise;
}

/** Who refers where a Gateway does. */
export function gatewayReferrer(namespace: string): Referrer {
  return { group: "gateway.networking.k8s.io", kind: "Gateway", namespace };
}

interface Unresolved {
  readonly reason: string;
  readonly cause: Cause;
}

/** Where the TLS of a listener stands in its Gateway. */
function tlsPath(gateway: Gateway, spec: ListenerSpec): FieldPath {
  return ["spec", "listeners", gateway.spec.listeners.indexOf(spec), "tls"];
}

function readKeyPairs(
  deps: CertificateDeps,
  gateway: Gateway,
  spec: ListenerSpec,
): { readonly keyPairs: readonly KeyPair[]; readonly problems: readonly Unresolved[] } {
  const keyPairs: KeyPair[] = [];
  const problems: Unresolved[] = [];
  const from = gatewayReferrer(gateway.metadata.namespace);
  const path = tlsPath(gateway, spec);
  const note = (reason: string, cause: Cause): void => {
    problems.push({
      reason: reason === "RefNotPermitted" ? reason : "InvalidCertificateRef",
      cause,
    });
  };
  for (const [index, ref] of (spec.tls?.certificateRefs ?? []).entries()) {
    const read = readCertificate(deps, from, ref);
    if ("part" in read) keyPairs.push(read);
    else note(read.problem.reason, causeOf([...path, "certificateRefs", index], read.problem));
  }
  const files = certificateFileOf(spec);
  if (files !== undefined) {
    const { pair, problem } = readCertificateFile(deps.input, files);
    if (pair !== undefined) keyPairs.push(pair);
    if (problem !== undefined) {
      const { reason, message } = problem;
      note(reason, { path: [...path, "options", CERTIFICATE_FILE_OPTION], message });
    }
  }
  return { keyPairs, problems };
}

type Mode = NonNullable<ListenerTls["clientValidation"]>["mode"];

interface Validation {
  readonly mode: Mode;
  /** Undefined where not one of the references can be followed. */
  readonly authorities: AuthoritiesPart | undefined;
  readonly problems: readonly Unresolved[];
}

/** The policy's word holds before the Gateway's own, and a port's before the default. */
function readValidation(
  deps: CertificateDeps,
  { gateway, spec, policy }: ListenerTlsInput,
): Validation | undefined {
  const ofPolicy = policy?.spec.tls?.clientValidation;
  if (policy !== undefined && ofPolicy !== undefined) {
    const { namespace } = policy.metadata;
    const from = { group: "sluice.dev", kind: "ClientTrafficPolicy", namespace };
    const mode = ofPolicy.optional === true ? "optional" : "required";
    const path = ["spec", "tls", "clientValidation", "caCertificateRefs"];
    const place = { resource: keyOf(policy), path };
    return validate(deps, from, { mode, refs: ofPolicy.caCertificateRefs, place });
  }
  const ofGateway = frontendValidation(gateway, spec.port);
  if (ofGateway === undefined) return undefined;
  const from = gatewayReferrer(gateway.metadata.namespace);
  const mode = ofGateway.mode === "AllowInsecureFallback" ? "insecure" : "required";
  const place = { path: frontendPath(gateway, spec.port) };
  return validate(deps, from, { mode, refs: ofGateway.caCertificateRefs, place });
}

/** Gateway API `spec.tls.frontend`: what holds on a port. */
export function frontendValidation(gateway: Gateway, port: number) {
  const frontend = gateway.spec.tls?.frontend;
  const ofPort = frontend?.perPort?.find((one) => one.port === port);
  return ofPort === undefined ? frontend?.default.validation : ofPort.tls.validation;
}

/** Where that stands: its `caCertificateRefs`. */
function frontendPath(gateway: Gateway, port: number): FieldPath {
  const perPort = gateway.spec.tls?.frontend?.perPort ?? [];
  const index = perPort.findIndex((one) => one.port === port);
  const own = index === -1 ? ["default"] : ["perPort", index, "tls"];
  return ["spec", "tls", "frontend", ...own, "validation", "caCertificateRefs"];
}

interface ValidationInput {
  readonly mode: Mode;
  readonly refs: readonly AuthorityReference[];
  /** Where these stand. */
  readonly place: Pick<Cause, "resource" | "path">;
}

function validate(
  deps: CertificateDeps,
  from: Referrer,
  { mode, refs, place }: ValidationInput,
): Validation {
  const { pem, problems } = readAuthorities(deps, from, refs);
  const authorities: AuthoritiesPart | undefined =
    pem === ""
      ? undefined
      : { type: "authorities", key: `authorities/${sha256(pem).slice(0, 16)}`, pem };
  const said = problems.map((problem) => ({
    reason: problem.reason === "InvalidKind" ? "InvalidCACertificateKind" : problem.reason,
    cause: { ...place, ...causeOf([...place.path, problem.index], problem) },
  }));
  return { mode, authorities, problems: said };
}

function unresolvedOf(problems: readonly Unresolved[]): ConditionDraft | undefined {
  const [first] = problems;
  if (first === undefined) return undefined;
  const causes = problems.map((one) => one.cause);
  return refused("ResolvedRefs", first.reason, causes);
}

function refused(type: string, reason: string, causes: readonly Cause[]): ConditionDraft {
  const message = [...new Set(causes.map((one) => one.message))].join("; ");
  return { type, status: "False", reason, message, causes };
}
