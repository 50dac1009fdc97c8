/** What a Secret of type kubernetes.io/tls holds: facts about the pair, or why it is none. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { Secret } from "../../resource/core.ts";

export interface KeyPairFacts {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** As in the certificate, lower case, sorted. */
  readonly dnsNames: readonly string[];
  readonly algorithm: "RSA" | "ECDSA" | "other";
  /** Bits. */
  readonly size: number;
}

export type KeyPairReading =
  | { readonly ok: true; readonly facts: KeyPairFacts }
  /** `reason` is cert-manager's. */
  | { readonly ok: false; readonly reason: string; readonly message: string };

/** Secrets are immutable, and reading a certificate costs more than remembering it. */
const known = new WeakMap<object, KeyPairReading>();

/** Reads the pair; a Secret that is not there is no pair either. */
export function readKeyPair(secret: Secret | undefined): KeyPairReading {
  if (secret === undefined) {
    const message = "Issuing certificate as Secret does not exist";
    return { ok: false, reason: "DoesNotExist", message };
  }
  let reading = known.get(secret);
  if (reading === undefined) {
    reading = read(secret);
    known.set(secret, reading);
  }
  return reading;
}

/** The text of one key of a Secret; undefined where it is not there or empty. */
export function secretText(secret: Secret | undefined, key: string): string | undefined {
  const encoded = secret?.data?.[key];
  return encoded === undefined || encoded === ""
    ? undefined
    : Buffer.from(encoded, "base64").toString("utf8");
}

/** By Secret and key, for reading a private key costs more than remembering that it is one. */
const privateKeys = new WeakMap<Secret, Map<string, boolean>>();

/** Whether what stands under one key of a Secret is a private key in PEM without a passphrase. */
export function holdsPrivateKey(secret: Secret | undefined, key: string): boolean {
  const text = secretText(secret, key);
  if (secret === undefined || text === undefined) return false;
  const keys = privateKeys.get(secret) ?? new Map<string, boolean>();
  privateKeys.set(secret, keys);
  const holds = keys.get(key) ?? isPrivateKey(text);
  keys.set(key, holds);
  return holds;
}

function isPrivateKey(pem: string): boolean {
  try {
    createPrivateKey(pem);
    return true;
  } catch {
    return false;
  }
}

function read(secret: Secret): KeyPairReading {
  const certificate = secretText(secret, "tls.crt");
  const privateKey = secretText(secret, "tls.key");
  if (certificate === undefined || privateKey === undefined) {
    const message = "Issuing certificate as Secret does not contain a certificate and its key";
    return { ok: false, reason: "MissingData", message };
  }
  try {
    const x509 = new X509Certificate(certificate);
    const key = createPrivateKey(privateKey);
    if (!x509.checkPrivateKey(key)) {
      const message = "Issuing certificate as Secret contains a private key of another certificate";
      return { ok: false, reason: "InvalidKeyPair", message };
    }
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
    const algorithm = type === "rsa" ? "RSA" : type === "ec" ? "ECDSA" : "other";
    return {
      ok: true,
      facts: {
        notBeforeMs: x509.validFromDate.getTime(),
        notAfterMs: x509.validToDate.getTime(),
        dnsNames: dnsNamesOf(x509.subjectAltName ?? ""),
        algorithm,
        size: details?.modulusLength ?? CURVE_BITS[details?.namedCurve ?? ""] ?? 0,
      },
    };
  } catch {
    // What OpenSSL says may quote what it was given.
    const message = "Issuing certificate as Secret contains what cannot be read";
    return { ok: false, reason: "InvalidCertificate", message };
  }
}

const CURVE_BITS: Readonly<Record<string, number>> = {
  prime256v1: 256,
  secp384r1: 384,
  secp521r1: 521,
};

function dnsNamesOf(subjectAltName: string): readonly string[] {
  return subjectAltName
    .split(", ")
    .filter((name) => name.startsWith("DNS:"))
    .map((name) => name.slice("DNS:".length).toLowerCase())
    .toSorted();
}
