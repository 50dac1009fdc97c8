/**
 * SecurityPolicy (sluice.dev/v1alpha1): who may call a Gateway or route, by API key. Envoy
 * Gateway's other ways are refused by name: nobody must believe in a guard that is not there.
 */
import { z } from "zod";
import { headerName, namespaceName, resourceName } from "./format.ts";
import { checkOwned } from "./header-filter.ts";
import { definePolicy, OTHER_TARGETS, type Policy, policyTargets } from "./policy.ts";
import { SLUICE_GROUP } from "./reference.ts";
import { across, choice, object, words } from "./schema.ts";

const credentialFields = object({
  group: choice(["", SLUICE_GROUP])
    .exactOptional()
    .describe('API group; "" for a Secret and sluice.dev for a Consumer where absent.'),
  kind: choice(["Secret", "Consumer"])
    .default("Secret")
    .describe("Secret: client id → key. Consumer: the digests of one client's keys."),
  name: resourceName().describe("Name of the Secret or Consumer."),
  namespace: namespaceName()
    .exactOptional()
    .describe("Its namespace; another than the policy's needs a ReferenceGrant."),
});

const credentialReference = credentialFields
  .superRefine(
    across((reference: z.infer<typeof credentialFields>, refuse) => {
      const group = reference.kind === "Secret" ? "" : SLUICE_GROUP;
      if (reference.group !== undefined && reference.group !== group) {
        refuse(["group"], `must be "${group}" for kind ${reference.kind}`);
      }
    }),
  )
  .describe("Where keys come from.");

const extractFields = object({
  headers: z.array(headerName()).max(16).exactOptional().describe("Headers to look in."),
  params: z.array(words(256)).max(16).exactOptional().describe("Query parameters to look in."),
  cookies: z.array(headerName()).max(16).exactOptional().describe("Cookies to look in."),
});

const extractFrom = extractFields
  .superRefine(
    across((value: z.infer<typeof extractFields>, refuse) => {
      const places = Object.values(value).flat().length;
      if (places === 0) refuse([], "must name a header, parameter or cookie");
    }),
  )
  .describe("Where a key is looked for.");

const apiKeyFields = object({
  credentialRefs: z.array(credentialReference).min(1).max(64).describe("Where keys come from."),
  extractFrom: z
    .array(extractFrom)
    .min(1)
    .max(16)
    .describe("Where a key is looked for, in this order; the first key found counts."),
  forwardClientIDHeader: headerName()
    .exactOptional()
    .describe("Header that tells the backend who called."),
  sanitize: z
    .boolean()
    .exactOptional()
    .describe("true: the key is removed before the request goes to the backend."),
});

const apiKeyAuth = apiKeyFields.superRefine(
  across((auth: z.infer<typeof apiKeyFields>, refuse) => {
    const header = auth.forwardClientIDHeader;
    if (header !== undefined) checkOwned(header, ["forwardClientIDHeader"], refuse);
  }),
);

const specFields = object(
  {
    targetRefs: policyTargets,
    apiKeyAuth: apiKeyAuth.describe("Only callers with a key are let through; others get 401."),
  },
  {
    unsupported: [
      ...OTHER_TARGETS,
      "mergeType",
      "cors",
      "csrf",
      "basicAuth",
      "jwt",
      "oidc",
      "extAuth",
      "authorization",
    ],
  },
);

export type SecurityPolicySpec = z.infer<typeof specFields>;
export type CredentialReference = z.infer<typeof credentialReference>;
export type SecurityPolicy = Policy<"SecurityPolicy", SecurityPolicySpec>;

export const SECURITY_POLICY = definePolicy({
  kind: "SecurityPolicy",
  plural: "securitypolicies",
  shortNames: ["sp"],
  description: "Who may call a Gateway or route.",
  spec: specFields.describe("Who may call."),
});
