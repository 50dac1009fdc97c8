/** References between resources, as Gateway API and Envoy Gateway write them. */
import { z } from "zod";
import { apiGroup, kindName, namespaceName, resourceName, sectionName } from "./format.ts";
import { choice, integer, object, port } from "./schema.ts";

export const GATEWAY_GROUP = "gateway.networking.k8s.io";
export const SLUICE_GROUP = "sluice.dev";
export const ARGO_GROUP = "argoproj.io";
export const CERT_MANAGER_GROUP = "cert-manager.io";

/** Gateway API ParentReference; other parents than a Gateway come with later versions. */
export const parentReference = object({
  group: choice([GATEWAY_GROUP], [""]).default(GATEWAY_GROUP).describe("API group of the parent."),
  kind: choice(["Gateway"], ["Service", "ListenerSet", "XListenerSet"])
    .default("Gateway")
    .describe("Kind of the parent."),
  namespace: namespaceName()
    .exactOptional()
    .describe("Namespace of the parent; that of this resource where absent."),
  name: resourceName().describe("Name of the Gateway."),
  sectionName: sectionName()
    .exactOptional()
    .describe("Name of one listener; all listeners where absent."),
  port: port().exactOptional().describe("Port of the listeners to attach to; all where absent."),
}).describe("A Gateway that this route attaches to.");

export type ParentReference = z.infer<typeof parentReference>;

/** The fields of Gateway API BackendObjectReference. */
export const backendObjectFields = {
  group: apiGroup().default("").describe('API group of the backend: "" or sluice.dev.'),
  kind: kindName().default("Service").describe("Kind of the backend: Service or Backend."),
  name: resourceName().describe("Name of the backend."),
  namespace: namespaceName()
    .exactOptional()
    .describe("Namespace of the backend; another than the route's needs a ReferenceGrant."),
  port: port().exactOptional().describe("Port of the Service; required for a Service."),
} as const;

/** The fields of Gateway API BackendRef. */
export const backendReferenceFields = {
  ...backendObjectFields,
  weight: integer(0, 1_000_000)
    .default(1)
    .describe("Share of the requests, in proportion to the sum of weights of the rule."),
} as const;

export const secretReference = object({
  group: choice([""]).default("").describe("API group of the Secret."),
  kind: choice(["Secret"]).default("Secret").describe("Kind: Secret."),
  name: resourceName().describe("Name of the Secret."),
  namespace: namespaceName()
    .exactOptional()
    .describe("Namespace of the Secret; another than this resource's needs a ReferenceGrant."),
});
