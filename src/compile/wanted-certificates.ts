/**
 * Certificates that are to be obtained: what a Gateway asks for by its annotations, what a Certificate
 * does, and why nothing can come of it where that is known before any CA is asked.
 */
import type { Certificate, CertificateSpec, IssuerReference } from "../resource/certificate.ts";
import type { Gateway } from "../resource/gateway.ts";
import type { Issuer } from "../resource/issuer.ts";
import { CERT_MANAGER_GROUP } from "../resource/reference.ts";
import type { Cause, FieldPath, Resource } from "../resource/resource.ts";
import type { CompileInput } from "./compiled.ts";
import { listOf } from "./stored.ts";

/** The annotations by which a Gateway asks for the certificates that its listeners name. */
export const ISSUER_ANNOTATION = "cert-manager.io/issuer";
export const CLUSTER_ISSUER_ANNOTATION = "cert-manager.io/cluster-issuer";

/** Whom a Gateway asks; undefined where it asks for nothing. */
export function issuerOf(gateway: Gateway): IssuerReference | undefined {
  const { annotations = {} } = gateway.metadata;
  const own = annotations[ISSUER_ANNOTATION];
  const name = own ?? annotations[CLUSTER_ISSUER_ANNOTATION];
  const kind = own === undefined ? "ClusterIssuer" : "Issuer";
  return name === undefined ? undefined : { name, kind, group: CERT_MANAGER_GROUP };
}

/** Names by Secret, over all listeners that end TLS with it; other namespaces' are not ours. */
export function namesBySecret(gateway: Gateway): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, readonly string[]>();
  for (const { protocol, hostname, tls } of gateway.spec.listeners) {
    // As for the compiler, case does not count.
    if (!["HTTPS", "TLS"].includes(protocol.toUpperCase())) continue;
    if (hostname === undefined || tls === undefined || tls.mode === "Passthrough") continue;
    for (const { group, kind, name, namespace } of tls.certificateRefs ?? []) {
      if (group !== "" || kind !== "Secret") continue;
      if ((namespace ?? gateway.metadata.namespace) !== gateway.metadata.namespace) continue;
      const known = names.get(name) ?? [];
      if (!known.includes(hostname)) names.set(name, [...known, hostname]);
    }
  }
  return names;
}

export type WantedCertificate = Pick<CertificateSpec, "issuerRef" | "dnsNames">;

/** What is to be obtained into a Secret of the Gateway's namespace; undefined where nothing is. */
export function wantedFor(
  input: CompileInput,
  gateway: Gateway,
  secretName: string,
): WantedCertificate | undefined {
  const issuerRef = issuerOf(gateway);
  const dnsNames = namesBySecret(gateway).get(secretName);
  if (issuerRef !== undefined && dnsNames !== undefined)
    return { issuerRef, dnsNames: [...dnsNames] };
  const { namespace } = gateway.metadata;
  return listOf(input, "Certificate").find(
    ({ metadata, spec }) => metadata.namespace === namespace && spec.secretName === secretName,
  )?.spec;
}

/**
 * Why no certificate can come of it; undefined where one may. HTTP-01 proves no wildcard (CA/Browser
 * Forum, Baseline Requirements 3.2.2.4.19); a CA that the account is bound to by other means may know
 * the domain proven already.
 */
export function whyUnobtainable(
  input: Pick<CompileInput, "get">,
  namespace: string,
  { issuerRef, dnsNames }: WantedCertificate,
): string | undefined {
  const home = issuerRef.kind === "ClusterIssuer" ? "" : namespace;
  const found = input.get(issuerRef.kind, home, issuerRef.name);
  const wildcards = dnsNames.filter((name) => name.startsWith("*."));
  if (found === undefined || wildcards.length === 0) return undefined;
  if ((found as Resource & Issuer).spec.acme.externalAccountBinding !== undefined) return undefined;
  return (
    `HTTP-01 cannot prove ${wildcards.join(", ")}, and DNS-01 is not supported by this version; ` +
    "name each host"
  );
}

/** What stands in the way of a Certificate. */
export function certificateProblems(
  input: Pick<CompileInput, "get">,
  certificate: Resource,
): readonly Cause[] {
  const { metadata, spec } = certificate as Resource & Certificate;
  const why = whyUnobtainable(input, metadata.namespace, spec);
  const path = ["spec", "issuerRef", "name"];
  return [
    ...missingIssuer(input, metadata.namespace, { issuerRef: spec.issuerRef, path }),
    ...(why === undefined ? [] : [{ path: ["spec", "dnsNames"], message: why }]),
  ];
}

/** That the issuer is not there whom a Gateway asks by its annotations. */
export function issuerProblems(
  input: Pick<CompileInput, "get">,
  resource: Resource,
): readonly Cause[] {
  const gateway = resource as Resource & Gateway;
  const issuerRef = issuerOf(gateway);
  if (issuerRef === undefined) return [];
  const annotation = issuerRef.kind === "Issuer" ? ISSUER_ANNOTATION : CLUSTER_ISSUER_ANNOTATION;
  const path = ["metadata", "annotations", annotation];
  return missingIssuer(input, gateway.metadata.namespace, { issuerRef, path });
}

function missingIssuer(
  input: Pick<CompileInput, "get">,
  home: string,
  { issuerRef, path }: { readonly issuerRef: IssuerReference; readonly path: FieldPath },
): readonly Cause[] {
  const { kind, name } = issuerRef;
  const missing = { kind, namespace: kind === "ClusterIssuer" ? "" : home, name };
  if (input.get(kind, missing.namespace, name) !== undefined) return [];
  const whole = kind === "ClusterIssuer" ? name : `${home}/${name}`;
  return [{ path, message: `${kind} ${whole} does not exist`, missing }];
}
