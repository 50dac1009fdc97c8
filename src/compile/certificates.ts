/**
 * Certificates with their private keys, from Secrets and from files, and the authorities that vouch
 * for others'. What leaves here can be loaded by a worker; a private key leaves as a digest in the
 * part and as a value beside the Program.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { sha256 } from "../base/hash.ts";
import { CERTIFICATE_FILE_OPTION, KEY_FILE_OPTION, type Listener } from "../resource/gateway.ts";
import type { Cause, FieldPath, Resource, ResourceKey } from "../resource/resource.ts";
import type { AuthorityReference, CertificateReference } from "../resource/tls.ts";
import type { CompileInput } from "./compiled.ts";
import type { MayRefer } from "./grants.ts";
import type { CertificatePart } from "./program.ts";
import { decodeSecretValue } from "./secret.ts";

export interface KeyPair {
  readonly part: CertificatePart;
  readonly privateKey: string;
}

/** The texts of a certificate and its private key; `problem` says why files are not newer ones. */
export type KeyPairText =
  | { readonly certificate: string; readonly privateKey: string; readonly problem?: string }
  | { readonly problem: string };

export interface ReferenceProblem {
  readonly reason: "Invalid" | "InvalidKind" | "RefNotPermitted";
  readonly message: string;
  /** The resource that is named, and is not there. */
  readonly missing?: ResourceKey;
}

/** A problem of the reference that stands at `path`. */
export function causeOf(
  path: FieldPath,
  { reason, message, missing }: Omit<ReferenceProblem, "reason"> & { readonly reason: string },
): Cause {
  const fields: Readonly<Record<string, string>> = {
    InvalidKind: "kind",
    InvalidCACertificateKind: "kind",
    RefNotPermitted: "namespace",
  };
  const whole = [...path, fields[reason] ?? "name"];
  return { path: whole, message, ...(missing !== undefined && { missing }) };
}

/** Who refers: `group`, `kind` and `namespace` as a ReferenceGrant names them. */
export interface Referrer {
  readonly group: string;
  readonly kind: string;
  readonly namespace: string;
}

export interface CertificateDeps {
  readonly input: CompileInput;
  readonly mayRefer: MayRefer;
  /** Told of every resource that is looked up, by kind, namespace and name. */
  readonly onRead: (kind: string, namespace: string, name: string) => void;
}

/** The files that HTTPS listeners take their certificates from. */
export function certificateFileOf(
  listener: Pick<Listener, "tls">,
): { readonly certificate: string; readonly key: string } | undefined {
  const certificate = listener.tls?.options?.[CERTIFICATE_FILE_OPTION];
  const key = listener.tls?.options?.[KEY_FILE_OPTION];
  return certificate === undefined || key === undefined ? undefined : { certificate, key };
}

/** The key of a pair of files in `CompileInput.certificateFiles`. */
export function filePairKey(files: { readonly certificate: string; readonly key: string }): string {
  return JSON.stringify([files.certificate, files.key]);
}

/** The certificate in a Secret, if `from` may refer to it and it can be served. */
export function readCertificate(
  { input, mayRefer, onRead }: CertificateDeps,
  from: Referrer,
  ref: CertificateReference,
): KeyPair | { readonly problem: ReferenceProblem } {
  const { group, kind, name } = ref;
  const namespace = ref.namespace ?? from.namespace;
  const what = `${group === "" ? kind : `${group}/${kind}`} ${namespace}/${name}`;
  if (kind !== "Secret" || group !== "") {
    return invalid("InvalidKind", `${what} is no Secret, which certificates are read from`);
  }
  if (!mayRefer({ from, to: { group: "", kind: "Secret", namespace, name } })) {
    const message = `no ReferenceGrant in ${namespace} allows the reference to Secret ${name}`;
    return invalid("RefNotPermitted", message);
  }
  onRead("Secret", namespace, name);
  const secret = input.get("Secret", namespace, name);
  if (secret === undefined) {
    return invalid("Invalid", `${what} does not exist`, { kind, namespace, name });
  }
  const checked = readSecret(secret);
  if ("problem" in checked) return invalid("Invalid", `${what} ${checked.problem}`);
  return toPair(`Secret/${namespace}/${name}`, checked);
}

/** The certificate of files that were read, and what is wrong with them, if anything is. */
export function readCertificateFile(
  input: CompileInput,
  files: { readonly certificate: string; readonly key: string },
): { readonly pair?: KeyPair; readonly problem?: ReferenceProblem } {
  const text = input.certificateFiles.get(filePairKey(files));
  const problem = text === undefined ? `${files.certificate} has not been read` : text.problem;
  const invalidFile = problem === undefined ? {} : invalid("Invalid", problem);
  if (text === undefined || !("certificate" in text)) return invalidFile;
  // By both files: what one key file holds says nothing of another beside the same certificate.
  return { pair: toPair(`file/${filePairKey(files)}`, text), ...invalidFile };
}

function invalid(
  reason: ReferenceProblem["reason"],
  message: string,
  missing?: ResourceKey,
): { readonly problem: ReferenceProblem } {
  return { problem: { reason, message, ...(missing !== undefined && { missing }) } };
}

function toPair(
  name: string,
  { certificate, privateKey }: { readonly certificate: string; readonly privateKey: string },
): KeyPair {
  const ref = `${name}/tls.key`;
  const part: CertificatePart = {
    type: "certificate",
    key: `certificate/${name}`,
    chain: certificate,
    privateKey: { ref, digest: sha256(privateKey) },
  };
  return { part, privateKey };
}

/** Loading a key takes a millisecond, and every compilation asks again for each Secret. */
const checkedSecrets = new WeakMap<Resource, KeyPairText>();

function readSecret(secret: Resource): KeyPairText {
  const known = checkedSecrets.get(secret);
  if (known !== undefined) return known;
  const data = (secret["data"] ?? {}) as Readonly<Record<string, string>>;
  const [certificate, privateKey] = [data["tls.crt"], data["tls.key"]];
  const checked: KeyPairText =
    certificate === undefined || privateKey === undefined
      ? { problem: `has no key ${certificate === undefined ? "tls.crt" : "tls.key"}` }
      : checkKeyPair(decodeSecretValue(certificate), decodeSecretValue(privateKey), {
          certificate: "in tls.crt",
          key: "in tls.key",
        });
  checkedSecrets.set(secret, checked);
  return checked;
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * A chain and its key in one spelling, or why they cannot be served: a sentence without its subject.
 * `places` are where each stands, for the sentence. Never says anything of the key itself.
 */
export function checkKeyPair(
  certificate: string,
  privateKey: string,
  places: { readonly certificate: string; readonly key: string },
): KeyPairText {
  const certificates = certificate.match(PEM_CERTIFICATE) ?? [];
  const parsed = certificates.map(parseCertificate);
  const [leaf] = parsed;
  if (leaf === undefined || parsed.includes(undefined)) {
    return { problem: `has no certificate in PEM ${places.certificate}` };
  }
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(privateKey))) {
      return {
        problem: `has a certificate ${places.certificate} that does not fit the private key ${places.key}`,
      };
    }
  } catch {
    return { problem: `has no private key in PEM without passphrase ${places.key}` };
  }
  const chain = `${certificates.join("\n")}\n`;
  try {
    createSecureContext({ cert: chain, key: privateKey });
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? "error";
    return { problem: `has a certificate ${places.certificate} that cannot be served (${reason})` };
  }
  return { certificate: chain, privateKey };
}

function parseCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

export interface AuthorityProblem {
  readonly reason: "InvalidCACertificateRef" | "InvalidKind" | "RefNotPermitted";
  readonly message: string;
  /** Which of the references it is. */
  readonly index: number;
  readonly missing?: ResourceKey;
}

/** The certificates under `ca.crt` of all references that can be followed, and what the others lack. */
export function readAuthorities(
  deps: CertificateDeps,
  from: Referrer,
  refs: readonly AuthorityReference[],
): { readonly pem: string; readonly problems: readonly AuthorityProblem[] } {
  const texts: string[] = [];
  const problems: AuthorityProblem[] = [];
  for (const [index, ref] of refs.entries()) {
    const read = readAuthority(deps, from, ref);
    if (typeof read === "string") texts.push(read);
    else problems.push({ ...read, index });
  }
  return { pem: texts.join("\n"), problems };
}

function readAuthority(
  { input, mayRefer, onRead }: CertificateDeps,
  from: Referrer,
  ref: AuthorityReference,
): string | Omit<AuthorityProblem, "index"> {
  const { kind, name } = ref;
  const group = ref.group ?? "";
  const namespace = ref.namespace ?? from.namespace;
  if (group !== "" || (kind !== "ConfigMap" && kind !== "Secret")) {
    const what = group === "" ? kind : `${group}/${kind}`;
    const message = `${what} ${name} holds no certificate authorities; valid: ConfigMap, Secret`;
    return { reason: "InvalidKind", message };
  }
  if (!mayRefer({ from, to: { group, kind, namespace, name } })) {
    const message = `no ReferenceGrant in ${namespace} allows the reference to ${kind} ${name}`;
    return { reason: "RefNotPermitted", message };
  }
  onRead(kind, namespace, name);
  const holder = input.get(kind, namespace, name);
  const pem = authoritiesIn(holder);
  if (!("problem" in pem)) return pem.pem;
  const message = `${kind} ${namespace}/${name} ${pem.problem}`;
  const missing = holder === undefined ? { missing: { kind, namespace, name } } : {};
  return { reason: "InvalidCACertificateRef", message, ...missing };
}

/** The certificates that a ConfigMap or Secret holds under `ca.crt`. */
export function authoritiesIn(
  holder: Resource | undefined,
): { readonly pem: string } | { readonly problem: string } {
  if (holder === undefined) return { problem: "does not exist" };
  const known = checkedAuthorities.get(holder);
  if (known !== undefined) return known;
  const data = holder["data"] as Readonly<Record<string, string>> | undefined;
  const stored = data?.["ca.crt"] ?? "";
  const text = holder.kind === "Secret" ? decodeSecretValue(stored) : stored;
  const certificates = text.match(PEM_CERTIFICATE) ?? [];
  const good = certificates.length > 0 && !certificates.map(parseCertificate).includes(undefined);
  const checked = good
    ? { pem: certificates.join("\n") }
    : { problem: "has no certificate in PEM under ca.crt" };
  checkedAuthorities.set(holder, checked);
  return checked;
}

const checkedAuthorities = new WeakMap<Resource, { pem: string } | { problem: string }>();
