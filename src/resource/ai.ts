/**
 * AIServiceBackend, BackendSecurityPolicy and AIGatewayRoute (sluice.dev/v1alpha1): LLM providers,
 * their credentials, and routes by model, in Envoy AI Gateway's words.
 */
import { z } from "zod";
import { conditionStatus } from "./condition.ts";
import { gatewayDuration, headerName, namespaceName, pathProblem, resourceName } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { definePolicy, type Policy, targetList } from "./policy.ts";
import { regexProblem } from "./regex.ts";
import { parentReference, secretReference, SLUICE_GROUP } from "./reference.ts";
import { checkParents, checkTimeouts, routeStatus } from "./route.ts";
import {
  across,
  choice,
  integer,
  object,
  port,
  quoted,
  type Refuse,
  throughout,
  words,
} from "./schema.ts";

/** The header that stands for the model which a request's body names. */
export const MODEL_HEADER = "x-ai-eg-model";

const OTHER_SCHEMAS = [
  "Anthropic",
  "AWSBedrock",
  "AWSAnthropic",
  "AzureOpenAI",
  "GCPVertexAI",
  "GCPAnthropic",
  "Cohere",
];

const schemaFields = object(
  {
    name: choice(["OpenAI"], OTHER_SCHEMAS).describe("The API that the provider speaks."),
    prefix: z
      .string()
      .max(1024)
      .superRefine(
        across((value: string, refuse) => {
          const problem = pathProblem(value);
          if (problem !== undefined) refuse([], problem);
        }),
      )
      .exactOptional()
      .describe("Path before the API's own, /v1 where absent."),
  },
  { unsupported: ["version"] },
);

const providerSpec = object(
  {
    version: words(253)
      .exactOptional()
      .describe("What is served; a change of it begins a new revision. Absent: any change does."),
    schema: schemaFields.describe("The API that the provider speaks."),
    backendRef: object({
      group: choice([SLUICE_GROUP], [""]).default(SLUICE_GROUP).describe("API group: sluice.dev."),
      kind: choice(["Backend"], ["Service"]).default("Backend").describe("Kind: Backend."),
      name: resourceName().describe("Name of the Backend."),
      namespace: namespaceName()
        .exactOptional()
        .describe("Its namespace; another than this resource's needs a ReferenceGrant."),
      port: port().exactOptional().describe("Kept; a Backend's endpoints have their own ports."),
    }).describe("Where the provider is reached; always live, never split."),
  },
  { unsupported: ["headerMutation", "bodyMutation", "timeouts"] },
).describe("An LLM provider.");

export type AIServiceBackendSpec = z.infer<typeof providerSpec>;
export type AIServiceBackend = Typed<
  "AIServiceBackend",
  { spec: AIServiceBackendSpec; status?: z.infer<typeof conditionStatus> }
>;

export const AI_SERVICE_BACKEND = defineKind({
  group: SLUICE_GROUP,
  version: "v1alpha1",
  kind: "AIServiceBackend",
  plural: "aiservicebackends",
  shortNames: ["aisb"],
  categories: ["sluice"],
  description: "An LLM provider: the API it speaks and the Backend that reaches it.",
  fields: { spec: providerSpec },
  status: conditionStatus,
  columns: [
    column("Version", "spec.version"),
    column("Schema", "spec.schema.name"),
    column("Backend", "spec.backendRef.name"),
  ],
});

const credentialFields = object(
  {
    targetRefs: targetList(
      object({
        group: choice([SLUICE_GROUP]).describe("API group: sluice.dev."),
        kind: choice(["AIServiceBackend"], ["InferencePool"]).describe("Kind: AIServiceBackend."),
        name: resourceName().describe("Name of the AIServiceBackend."),
      }),
    ).describe("Providers that get the credential."),
    type: choice(
      ["APIKey"],
      ["AWSCredentials", "AzureAPIKey", "AzureCredentials", "GCPCredentials", "AnthropicAPIKey"],
    ).describe("Kind of credential; APIKey is sent as Authorization: Bearer."),
    apiKey: object({
      secretRef: secretReference.describe("The Secret; its key apiKey holds the provider's key."),
    })
      .exactOptional()
      .describe("For type APIKey."),
  },
  {
    unsupported: [
      "awsCredentials",
      "azureAPIKey",
      "azureCredentials",
      "gcpCredentials",
      "anthropicAPIKey",
    ],
  },
);

export type BackendSecurityPolicySpec = z.infer<typeof credentialFields>;
export type BackendSecurityPolicy = Policy<"BackendSecurityPolicy", BackendSecurityPolicySpec>;

export const BACKEND_SECURITY_POLICY = definePolicy({
  kind: "BackendSecurityPolicy",
  plural: "backendsecuritypolicies",
  shortNames: ["bsp"],
  description: "The credential that requests to an LLM provider carry.",
  spec: credentialFields
    .superRefine(
      across((spec: BackendSecurityPolicySpec, refuse) => {
        if (spec.apiKey === undefined) refuse(["apiKey"], "is required for type APIKey");
      }),
    )
    .describe("The credential and who gets it."),
  columns: [column("Type", "spec.type")],
});

const modelMatchFields = object({
  type: choice(["Exact", "RegularExpression"]).default("Exact").describe("How it is compared."),
  name: headerName().describe(`The header, ${MODEL_HEADER}: the model that the body names.`),
  value: words(4096).describe("The model, or an RE2 expression that must match all of it."),
});

const modelMatch = modelMatchFields.superRefine(
  across((match: z.infer<typeof modelMatchFields>, refuse) => {
    if (match.name.toLowerCase() !== MODEL_HEADER) {
      refuse(
        ["name"],
        `${quoted(match.name)} is not supported by this version; valid: ${MODEL_HEADER}`,
      );
    }
    const problem = match.type === "RegularExpression" ? regexProblem(match.value) : undefined;
    if (problem !== undefined) refuse(["value"], problem);
  }),
);

const modelBackend = object(
  {
    group: choice([SLUICE_GROUP]).default(SLUICE_GROUP).describe("API group: sluice.dev."),
    kind: choice(["AIServiceBackend"], ["InferencePool"])
      .default("AIServiceBackend")
      .describe("Kind: AIServiceBackend."),
    name: resourceName().describe("Name of the AIServiceBackend."),
    namespace: namespaceName()
      .exactOptional()
      .describe("Its namespace; another than the route's needs a ReferenceGrant."),
    weight: integer(0, 1_000_000)
      .default(1)
      .describe("Share of the requests, in proportion to the sum of weights of the rule."),
    modelNameOverride: words(256)
      .exactOptional()
      .describe("The model that the provider is asked for; the client's own where absent."),
  },
  { unsupported: ["priority", "headerMutation", "bodyMutation"] },
);

const modelRule = object(
  {
    matches: z
      .array(
        object(
          {
            headers: z
              .array(modelMatch)
              .min(1)
              .max(16)
              .exactOptional()
              .describe("All must match; any model where absent."),
          },
          { unsupported: ["path", "queryParams", "method"] },
        ),
      )
      .max(128)
      .exactOptional()
      .describe("Which models the rule takes; one match suffices; all where absent."),
    backendRefs: z.array(modelBackend).min(1).max(128).describe("Providers, by weight."),
    timeouts: object({
      request: gatewayDuration().exactOptional().describe("For the whole request."),
      backendRequest: gatewayDuration().exactOptional().describe("For one attempt."),
    })
      .superRefine(across(checkTimeouts))
      .exactOptional()
      .describe("How long a request may take."),
  },
  { unsupported: ["modelsOwnedBy", "modelsCreatedAt", "filters", "name", "hostnames"] },
);

const modelRouteFields = object(
  {
    parentRefs: z.array(parentReference).min(1).max(16).describe("Gateways to attach to."),
    rules: z.array(modelRule).min(1).max(15).describe("Which models go to which providers."),
  },
  { unsupported: ["llmRequestCosts", "filterConfig", "hostnames", "schema"] },
);

export type AIGatewayRouteSpec = z.infer<typeof modelRouteFields>;
export type ModelRule = AIGatewayRouteSpec["rules"][number];
export type AIGatewayRoute = Typed<
  "AIGatewayRoute",
  { spec: AIGatewayRouteSpec; status?: z.infer<typeof routeStatus> }
>;

export const AI_GATEWAY_ROUTE = defineKind({
  group: SLUICE_GROUP,
  version: "v1alpha1",
  kind: "AIGatewayRoute",
  plural: "aigatewayroutes",
  shortNames: ["aigr"],
  categories: ["sluice"],
  description: "Which models of a Gateway's LLM paths go to which providers.",
  fields: {
    spec: modelRouteFields
      .superRefine(
        ...throughout((spec: AIGatewayRouteSpec, refuse: Refuse) =>
          checkParents(spec.parentRefs, refuse),
        ),
      )
      .describe("Which models go to which providers."),
  },
  status: routeStatus,
  columns: [column("Rules", "spec.rules", { type: "integer" })],
});
