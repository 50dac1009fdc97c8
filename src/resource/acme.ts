/**
 * Order and Challenge (acme.cert-manager.io/v1): what a Certificate has under way at its CA. The
 * certificate controller makes them and takes them away; they are there to be read, and so that an
 * order goes on where it stood after a restart.
 */
import { z } from "zod";
import { issuerReference } from "./certificate.ts";
import { conditions } from "./condition.ts";
import { hostname, preciseHostname, timestamp } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { parentReference } from "./reference.ts";
import { choice, object, text, words } from "./schema.ts";

const ACME_GROUP = "acme.cert-manager.io";

/** RFC 8555 §7.1.6, and "errored" where the CA did not want the order at all. */
const STATES = [
  "pending",
  "ready",
  "processing",
  "valid",
  "invalid",
  "expired",
  "errored",
] as const;

const state = z.enum(STATES).exactOptional().describe("As the CA last said, or errored.");
const url = z.string().max(4096);

const authorization = z.looseObject({
  url: url.describe("Of the authorization."),
  identifier: z.string().max(253).exactOptional().describe("The name to be proven."),
  wildcard: z.boolean().exactOptional().describe("Whether it is for all names below."),
});

const orderSpec = object({
  request: z.string().max(65_536).describe("The certificate signing request: PEM in base64."),
  issuerRef: issuerReference,
  commonName: hostname().exactOptional().describe("Common name in the request."),
  dnsNames: z.array(hostname()).min(1).max(100).describe("Names in the request."),
  duration: words(64).exactOptional().describe("Life to ask for."),
  profile: words(64).exactOptional().describe("The CA's profile."),
}).describe("What is ordered.");

const orderStatus = z
  .looseObject({
    url: url.exactOptional().describe("Of the order."),
    finalizeURL: url.exactOptional().describe("Where the request is sent."),
    expires: timestamp().exactOptional().describe("When the CA forgets the order."),
    authorizations: z.array(authorization).max(100).exactOptional().describe("What is to prove."),
    state,
    reason: z.string().max(4096).exactOptional().describe("Why, for people."),
    failureTime: timestamp().exactOptional().describe("When it failed."),
    retryTime: timestamp().exactOptional().describe("Before which the CA wants no other order."),
    certificate: z.string().max(1_048_576).exactOptional().describe("PEM chain in base64."),
  })
  .describe("How far it is.");

export type OrderSpec = z.infer<typeof orderSpec>;
export type OrderStatus = z.infer<typeof orderStatus>;
export type Order = Typed<"Order", { spec: OrderSpec; status?: OrderStatus }>;

export const ORDER = defineKind({
  group: ACME_GROUP,
  version: "v1",
  kind: "Order",
  plural: "orders",
  categories: ["cert-manager", "cert-manager-acme"],
  description: "One order of a certificate at a CA; made by the certificate controller.",
  fields: { spec: orderSpec },
  status: orderStatus,
  columns: [
    column("State", "status.state"),
    column("Issuer", "spec.issuerRef.name", { priority: 1 }),
    column("Reason", "status.reason", { priority: 1 }),
  ],
});

/** RFC 8555 §8.3: base64url alone, so that nothing in it can leave the path or the head. */
const TOKEN = /^[A-Za-z0-9_-]+$/;
const KEY_AUTHORIZATION = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

const challengeSpec = object({
  type: choice(["HTTP-01"], ["DNS-01"]).describe("How the name is proven."),
  url: url.describe("Of the challenge."),
  authorizationURL: url.describe("Of its authorization."),
  dnsName: preciseHostname().describe("The name to be proven."),
  token: text(TOKEN, "base64url", 512).describe("Last element of the path that is asked for."),
  key: text(KEY_AUTHORIZATION, "TOKEN.THUMBPRINT", 1024).describe("The answer."),
  issuerRef: issuerReference,
  parentRefs: z.array(parentReference).max(32).describe("Gateways that answer."),
}).describe("What the CA asks, and the answer.");

const challengeStatus = z
  .looseObject({
    conditions,
    presented: z.boolean().exactOptional().describe("Whether every worker gives the answer."),
    processing: z.boolean().exactOptional().describe("Whether the CA was told to look."),
    state,
    reason: z.string().max(4096).exactOptional().describe("Why, for people."),
  })
  .describe("How far it is.");

export type ChallengeSpec = z.infer<typeof challengeSpec>;
export type ChallengeStatus = z.infer<typeof challengeStatus>;
export type Challenge = Typed<"Challenge", { spec: ChallengeSpec; status?: ChallengeStatus }>;

export const CHALLENGE = defineKind({
  group: ACME_GROUP,
  version: "v1",
  kind: "Challenge",
  plural: "challenges",
  categories: ["cert-manager", "cert-manager-acme"],
  description: "One question of a CA, which Gateways answer; made by the certificate controller.",
  fields: { spec: challengeSpec },
  status: challengeStatus,
  columns: [
    column("State", "status.state"),
    column("Domain", "spec.dnsName"),
    column("Reason", "status.reason", { priority: 1 }),
  ],
});
