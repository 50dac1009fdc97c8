/**
 * Issuer and ClusterIssuer (cert-manager.io/v1): who signs certificates. Of cert-manager's issuers
 * the ACME one (RFC 8555) is built, with HTTP-01 challenges that the gateway answers itself.
 */
import { z } from "zod";
import { conditions } from "./condition.ts";
import { resourceName, urlProblem } from "./format.ts";
import { column, conditionColumn, defineKind, type KindOptions, type Typed } from "./kind.ts";
import { CERT_MANAGER_GROUP, parentReference } from "./reference.ts";
import { across, object, quoted, stringMap, words } from "./schema.ts";

const secretKey = object({
  name: resourceName().describe("Name of the Secret."),
  key: words(253).exactOptional().describe("Key in the Secret; tls.key where absent."),
}).describe("Where the account's private key is kept; it is made where there is none.");

const boundKey = object({
  name: resourceName().describe("Name of the Secret."),
  key: words(253).describe("Key in the Secret."),
}).describe("The MAC key, base64url, as the CA gave it out.");

const externalAccountBinding = object(
  {
    keyID: words(1024).describe("Id of the account at the CA that this one is bound to."),
    keySecretRef: boundKey,
  },
  { unsupported: ["keyAlgorithm"] },
);

const selector = object({
  matchLabels: stringMap(64).exactOptional().describe("Labels that the Certificate must have."),
  dnsNames: z.array(words(253)).max(256).exactOptional().describe("Names to solve, exactly."),
  dnsZones: z.array(words(253)).max(256).exactOptional().describe("Names to solve, and below."),
}).describe("Which names the solver is for; all where absent. The most specific solver is taken.");

const gatewayHTTPRoute = object(
  {
    parentRefs: z
      .array(parentReference)
      .max(32)
      .exactOptional()
      .describe(
        "Gateways that answer; where absent the one that asked for the certificate, or else all " +
          "of the Certificate's namespace.",
      ),
    labels: stringMap(64).exactOptional().describe("Labels of the Challenges."),
  },
  { unsupported: ["serviceType", "podTemplate"] },
);

const http01 = object(
  {
    gatewayHTTPRoute: gatewayHTTPRoute
      .exactOptional()
      .describe("Which Gateways answer the challenge, on their HTTP listeners."),
  },
  { unsupported: ["ingress"] },
);

const solver = object(
  {
    selector: selector.exactOptional(),
    http01: http01.describe("Challenges are answered over HTTP, by the gateway itself."),
  },
  { unsupported: ["dns01"] },
);

const server = z
  .string()
  .max(2048)
  .superRefine(
    across((url: string, refuse) => {
      const problem = urlProblem(url, ["https:"]);
      if (problem !== undefined) refuse([], problem);
    }),
  );

const BASE64 = /^[A-Za-z0-9+/\r\n]+={0,2}[\r\n]*$/;

const acme = object(
  {
    server: server.describe("Directory URL of the CA."),
    email: z
      .string()
      .max(320)
      .regex(/^[^\s@,?]+@[^\s@,?]+$/, {
        error: ({ input }) => `must be an e-mail address, is ${quoted(input)}`,
      })
      .exactOptional()
      .describe("Where the CA may write to."),
    privateKeySecretRef: secretKey,
    solvers: z.array(solver).min(1).max(64).describe("How names are proven."),
    externalAccountBinding: externalAccountBinding
      .exactOptional()
      .describe("Binds the account to one that exists at the CA."),
    caBundle: z
      .string()
      .max(1_048_576)
      .regex(BASE64, { error: "must be base64 of one or more PEM certificates" })
      .refine(
        (text) => Buffer.from(text, "base64").toString("latin1").includes("-----BEGIN CERTIFICATE"),
        {
          error: "must be base64 of one or more PEM certificates",
        },
      )
      .exactOptional()
      .describe("Whom the server's own certificate is trusted by; the system's roots else."),
    skipTLSVerify: z
      .boolean()
      .exactOptional()
      .describe("true: the server's own certificate is not verified; for tests alone."),
    preferredChain: z
      .string()
      .max(64)
      .exactOptional()
      .describe("Common name of an issuer: the chain that has it is taken."),
    profile: words(64).exactOptional().describe("The CA's profile to order by."),
    disableAccountKeyGeneration: z
      .boolean()
      .exactOptional()
      .describe("true: the account's key must be there already."),
    enableDurationFeature: z
      .boolean()
      .exactOptional()
      .describe("true: the CA is asked for the Certificate's duration; many refuse that."),
  },
  {
    unsupported: ["disableAccountKey"],
  },
).superRefine(
  across((value: { caBundle?: string; skipTLSVerify?: boolean }, refuse) => {
    if (value.caBundle !== undefined && value.skipTLSVerify === true) {
      refuse(["skipTLSVerify"], "must not be true beside caBundle");
    }
  }),
);

const spec = object(
  { acme: acme.describe("A CA that speaks ACME, such as Let's Encrypt.") },
  { unsupported: ["ca", "selfSigned", "vault", "venafi"] },
).describe("Who signs.");

const status = z
  .looseObject({
    conditions,
    acme: z
      .looseObject({
        uri: z.string().exactOptional().describe("URL of the account."),
        lastRegisteredEmail: z.string().exactOptional().describe("The account's e-mail address."),
        lastPrivateKeyHash: z.string().exactOptional().describe("Digest of the account's key."),
      })
      .exactOptional()
      .describe("The account at the CA."),
  })
  .describe("What Sluice has made of the issuer.");

export type AcmeIssuerSpec = z.infer<typeof acme>;
export type Solver = z.infer<typeof solver>;

interface IssuerFields {
  spec: z.infer<typeof spec>;
  status?: z.infer<typeof status>;
}

export type Issuer = Typed<"Issuer" | "ClusterIssuer", IssuerFields>;

const SHARED: Pick<KindOptions, "group" | "version" | "categories" | "fields" | "status"> = {
  group: CERT_MANAGER_GROUP,
  version: "v1",
  categories: ["cert-manager"],
  fields: { spec },
  status,
};

const columns = [
  conditionColumn("Ready", "Ready"),
  column("Server", "spec.acme.server", { priority: 1 }),
];

export const ISSUER = defineKind({
  ...SHARED,
  kind: "Issuer",
  plural: "issuers",
  description: "Who signs the certificates of one namespace.",
  columns,
});

export const CLUSTER_ISSUER = defineKind({
  ...SHARED,
  kind: "ClusterIssuer",
  plural: "clusterissuers",
  namespaced: false,
  description: "Who signs certificates, for all namespaces; its Secrets are in cert-manager.",
  columns,
});
