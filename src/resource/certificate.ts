/**
 * Certificate (cert-manager.io/v1): a certificate that is obtained, kept in a Secret and renewed in
 * time. A Gateway with the annotation cert-manager.io/issuer gets one for each Secret that its
 * HTTPS listeners name.
 */
import { z } from "zod";
import { parseDuration } from "../base/duration.ts";
import { conditions } from "./condition.ts";
import { hostname, resourceName, timestamp } from "./format.ts";
import { column, conditionColumn, defineKind, type Typed } from "./kind.ts";
import { CERT_MANAGER_GROUP } from "./reference.ts";
import { across, choice, integer, object, quoted, type Refuse, stringMap } from "./schema.ts";

const HOUR_MS = 3_600_000;
/** cert-manager's own lower bounds. */
const DURATION_MS_MIN = HOUR_MS;
const RENEW_BEFORE_MS_MIN = 300_000;

/** A Go duration. */
const duration = z
  .string()
  .max(64)
  .refine((text) => parseDuration(text) !== undefined, {
    error: ({ input }) => `must be a duration such as "2160h", is ${quoted(input)}`,
  });

export const issuerReference = object({
  name: resourceName().describe("Name of the issuer."),
  kind: choice(["Issuer", "ClusterIssuer"])
    .default("Issuer")
    .describe("Issuer (of the same namespace) or ClusterIssuer."),
  group: choice([CERT_MANAGER_GROUP]).default(CERT_MANAGER_GROUP).describe("API group."),
}).describe("Who signs.");

export type IssuerReference = z.infer<typeof issuerReference>;

const RSA_SIZES = [2048, 3072, 4096];
const ECDSA_SIZES = [256, 384];

const privateKey = object({
  algorithm: choice(["RSA", "ECDSA"], ["Ed25519"]).default("RSA").describe("Of the private key."),
  size: integer(256, 4096)
    .exactOptional()
    .describe("Bits: 2048, 3072 or 4096 for RSA (2048), 256 or 384 for ECDSA (256)."),
  encoding: choice(["PKCS1", "PKCS8"])
    .default("PKCS1")
    .describe("Form of tls.key; PKCS1 is SEC 1 for ECDSA."),
  rotationPolicy: choice(["Always", "Never"])
    .default("Always")
    .describe("Whether each certificate gets a key of its own."),
}).superRefine(
  across((key: { algorithm: string; size?: number }, refuse) => {
    const sizes = key.algorithm === "RSA" ? RSA_SIZES : ECDSA_SIZES;
    if (key.size !== undefined && !sizes.includes(key.size)) {
      refuse(["size"], `must be one of ${sizes.join(", ")} for ${key.algorithm}`);
    }
  }),
);

const fields = object(
  {
    secretName: resourceName().describe("The Secret (kubernetes.io/tls) that is written."),
    dnsNames: z.array(hostname()).min(1).max(100).describe("Names that the certificate is for."),
    commonName: hostname()
      .exactOptional()
      .describe("Common name, at most 64 characters; CAs no longer want one."),
    issuerRef: issuerReference,
    duration: duration
      .exactOptional()
      .describe("Life to ask for, where the issuer has enableDurationFeature; the CA decides."),
    renewBefore: duration
      .exactOptional()
      .describe("How long before its end it is renewed; a third of its life where absent."),
    renewBeforePercentage: integer(1, 99)
      .exactOptional()
      .describe("As renewBefore, in percent of the certificate's life."),
    privateKey: privateKey
      .default({ algorithm: "RSA", encoding: "PKCS1", rotationPolicy: "Always" })
      .describe("Of the certificate's own key."),
    secretTemplate: object({
      labels: stringMap(64).exactOptional().describe("Labels of the Secret."),
      annotations: stringMap(64).exactOptional().describe("Annotations of the Secret."),
    })
      .exactOptional()
      .describe("What the Secret has besides."),
  },
  {
    unsupported: [
      "additionalOutputFormats",
      "emailAddresses",
      "encodeUsagesInRequest",
      "ipAddresses",
      "isCA",
      "keystores",
      "literalSubject",
      "nameConstraints",
      "otherNames",
      "revisionHistoryLimit",
      "signatureAlgorithm",
      "subject",
      "uris",
      "usages",
    ],
  },
);

type Fields = z.infer<typeof fields>;

function check(spec: Fields, refuse: Refuse): void {
  const life = spec.duration === undefined ? undefined : parseDuration(spec.duration);
  const before = spec.renewBefore === undefined ? undefined : parseDuration(spec.renewBefore);
  if (life !== undefined && life < DURATION_MS_MIN) refuse(["duration"], "must be at least 1h");
  if (before !== undefined && before < RENEW_BEFORE_MS_MIN) {
    refuse(["renewBefore"], "must be at least 5m");
  }
  if (before !== undefined && life !== undefined && before >= life) {
    refuse(["renewBefore"], "must be less than duration");
  }
  if (before !== undefined && spec.renewBeforePercentage !== undefined) {
    refuse(["renewBeforePercentage"], "must be absent beside renewBefore");
  }
  if (spec.commonName === undefined) return;
  if (spec.commonName.length > 64) refuse(["commonName"], "has at most 64 characters");
  if (!spec.dnsNames.includes(spec.commonName)) {
    refuse(["commonName"], "must be one of dnsNames");
  }
}

const spec = fields.superRefine(across(check)).describe("What to obtain.");

const status = z
  .looseObject({
    conditions,
    notBefore: timestamp().exactOptional().describe("From when the certificate is valid."),
    notAfter: timestamp().exactOptional().describe("Until when."),
    renewalTime: timestamp().exactOptional().describe("When it is renewed."),
    revision: integer(0, 2_147_483_647).exactOptional().describe("Counts certificates obtained."),
    nextPrivateKeySecretName: z
      .string()
      .max(253)
      .exactOptional()
      .describe("The Secret with the key of the certificate that is being obtained."),
    failedIssuanceAttempts: integer(0, 2_147_483_647)
      .exactOptional()
      .describe("Failures since the last certificate."),
    lastFailureTime: timestamp().exactOptional().describe("When it failed last."),
    nextIssuanceTime: timestamp()
      .exactOptional()
      .describe("After a failure: when the next attempt may begin; an edit need not wait."),
  })
  .describe("What has come of it.");

export type CertificateSpec = Fields;
export type CertificateStatus = z.infer<typeof status>;
export type Certificate = Typed<
  "Certificate",
  { spec: CertificateSpec; status?: CertificateStatus }
>;

export const CERTIFICATE = defineKind({
  group: CERT_MANAGER_GROUP,
  version: "v1",
  kind: "Certificate",
  plural: "certificates",
  shortNames: ["cert", "certs"],
  categories: ["cert-manager"],
  description: "A certificate that is obtained, kept in a Secret and renewed in time.",
  fields: { spec },
  status,
  columns: [
    conditionColumn("Ready", "Ready"),
    column("Secret", "spec.secretName"),
    column("Issuer", "spec.issuerRef.name", { priority: 1 }),
    column("Expires", "status.notAfter", { priority: 1 }),
  ],
});
