/** What kinds that speak of TLS share: versions, ciphers, certificates and their authorities. */
import { z } from "zod";
import { apiGroup, kindName, namespaceName, resourceName } from "./format.ts";
import { choice, object } from "./schema.ts";

/** A certificate with its private key (Gateway API SecretObjectReference). */
export const certificateReference = object({
  group: apiGroup().default("").describe("API group of the certificate's resource."),
  kind: kindName().default("Secret").describe("Kind of the certificate's resource."),
  name: resourceName().describe("Name of the Secret, of type kubernetes.io/tls."),
  namespace: namespaceName()
    .exactOptional()
    .describe("Namespace of the Secret; another than this resource's needs a ReferenceGrant."),
});

export type CertificateReference = z.infer<typeof certificateReference>;

/** Certificate authorities in the namespace of the resource that names them. */
export const localAuthorityReference = object({
  group: apiGroup().default("").describe('API group: "".'),
  kind: choice(["ConfigMap", "Secret"]).describe("Kind that holds the certificates."),
  name: resourceName().describe("Name; its key ca.crt holds certificates in PEM."),
});

/** Certificate authorities of any kind: what cannot be followed becomes a condition. */
const authorityFields = {
  group: apiGroup().default("").describe('API group: "".'),
  name: resourceName().describe("Name; its key ca.crt holds certificates in PEM."),
  namespace: namespaceName()
    .exactOptional()
    .describe("Its namespace; another than this resource's needs a ReferenceGrant."),
} as const;

const authorityKind = "Kind that holds the certificates: ConfigMap or Secret.";

/** Gateway API ObjectReference. */
export const authorityReference = object({
  ...authorityFields,
  kind: kindName().describe(authorityKind),
});

/** Envoy Gateway writes authorities as SecretObjectReferences, whose kind has a default. */
export const secretAuthorityReference = object({
  ...authorityFields,
  kind: kindName().default("Secret").describe(authorityKind),
});

export type AuthorityReference = z.infer<typeof authorityReference>;

/** Versions of Envoy Gateway's TLSVersion; those that are broken are refused. */
const VERSIONS = ["Auto", "1.2", "1.3"] as const;
const BROKEN_VERSIONS = ["1.0", "1.1"];

/** Ciphers of TLS 1.2 with forward secrecy and authenticated encryption, as Envoy offers them. */
export const CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
] as const;

/** Ciphers that Envoy knows: without forward secrecy, or with CBC. */
const WEAK_CIPHERS = [
  "ECDHE-ECDSA-AES128-SHA",
  "ECDHE-RSA-AES128-SHA",
  "ECDHE-ECDSA-AES256-SHA",
  "ECDHE-RSA-AES256-SHA",
  "ECDHE-ECDSA-AES128-SHA256",
  "ECDHE-RSA-AES128-SHA256",
  "AES128-GCM-SHA256",
  "AES256-GCM-SHA384",
  "AES128-SHA",
  "AES256-SHA",
];

/** Fields of Envoy Gateway's TLSSettings. */
export const tlsSettingsFields = {
  minVersion: choice(VERSIONS, BROKEN_VERSIONS)
    .exactOptional()
    .describe("Oldest version of TLS to speak; 1.2 where absent or Auto."),
  maxVersion: choice(VERSIONS, BROKEN_VERSIONS)
    .exactOptional()
    .describe("Newest version of TLS to speak; 1.3 where absent or Auto."),
  ciphers: z
    .array(choice(CIPHERS, WEAK_CIPHERS))
    .min(1)
    .max(CIPHERS.length)
    .exactOptional()
    .describe("Ciphers of TLS 1.2, the preferred one first; those of TLS 1.3 are always offered."),
  alpnProtocols: z
    .array(choice(["h2", "http/1.1"], ["http/1.0", "h3"]))
    .max(2)
    .exactOptional()
    .describe("Protocols to offer, the preferred one first; h2 and http/1.1 where absent."),
} as const;
