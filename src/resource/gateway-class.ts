/**
 * GatewayClass (gateway.networking.k8s.io/v1): who serves the Gateways of a class. Sluice serves the
 * class `sluice` without such a document, and every class that names its controller.
 */
import { z } from "zod";
import { conditions } from "./condition.ts";
import { apiGroup, kindName, namespaceName, resourceName } from "./format.ts";
import { column, conditionColumn, defineKind, type Typed } from "./kind.ts";
import { GATEWAY_GROUP } from "./reference.ts";
import { object, text } from "./schema.ts";

const CONTROLLER =
  /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/;

const specFields = object({
  controllerName: text(CONTROLLER, 'a controller such as "sluice.dev/gateway-controller"').describe(
    "Who serves the class; sluice.dev/gateway-controller is Sluice.",
  ),
  parametersRef: object({
    group: apiGroup().describe("API group of the parameters."),
    kind: kindName().describe("Their kind."),
    name: resourceName().describe("Their name."),
    namespace: namespaceName().exactOptional().describe("Their namespace."),
  })
    .exactOptional()
    .describe("Parameters of other controllers; Sluice takes none."),
  description: z.string().max(64).exactOptional().describe("What the class is for."),
});

const status = z
  .looseObject({
    conditions,
    supportedFeatures: z
      .array(z.looseObject({ name: z.string().describe("Name of the feature.") }))
      .max(128)
      .exactOptional()
      .describe("Features of Gateway API that are served."),
  })
  .describe("What Sluice has made of the class.");

export type GatewayClass = Typed<
  "GatewayClass",
  { spec: z.infer<typeof specFields>; status?: z.infer<typeof status> }
>;

export const GATEWAY_CLASS_KIND = defineKind({
  group: GATEWAY_GROUP,
  version: "v1",
  olderVersions: ["v1beta1"],
  kind: "GatewayClass",
  plural: "gatewayclasses",
  shortNames: ["gc"],
  categories: ["gateway-api"],
  namespaced: false,
  description: "Who serves the Gateways of a class.",
  fields: { spec: specFields.describe("Who serves the class.") },
  status,
  columns: [
    column("Controller", "spec.controllerName"),
    conditionColumn("Accepted", "Accepted"),
    column("Description", "spec.description", { priority: 1 }),
  ],
});
