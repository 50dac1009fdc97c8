/** ReferenceGrant (gateway.networking.k8s.io/v1): which references into a namespace may be. */
import { z } from "zod";
import { apiGroup, kindName, namespaceName, resourceName } from "./format.ts";
import { defineKind, type Typed } from "./kind.ts";
import { GATEWAY_GROUP } from "./reference.ts";
import { object } from "./schema.ts";

const grantSpec = object({
  from: z
    .array(
      object({
        group: apiGroup().describe("API group of the resource that refers."),
        kind: kindName().describe("Kind of the resource that refers."),
        namespace: namespaceName().describe("Namespace of the resource that refers."),
      }),
    )
    .min(1)
    .max(16)
    .describe("Who may refer."),
  to: z
    .array(
      object({
        group: apiGroup().describe("API group of the resource that is referred to."),
        kind: kindName().describe("Kind of the resource that is referred to."),
        name: resourceName().exactOptional().describe("Its name; all of the kind where absent."),
      }),
    )
    .min(1)
    .max(16)
    .describe("What may be referred to, in this namespace."),
}).describe("Who may refer to what.");

export type ReferenceGrantSpec = z.infer<typeof grantSpec>;
export type ReferenceGrant = Typed<"ReferenceGrant", { spec: ReferenceGrantSpec }>;

export const REFERENCE_GRANT = defineKind({
  group: GATEWAY_GROUP,
  version: "v1",
  olderVersions: ["v1beta1"],
  kind: "ReferenceGrant",
  plural: "referencegrants",
  shortNames: ["refgrant"],
  categories: ["gateway-api"],
  description: "Permits references from other namespaces into its own.",
  fields: { spec: grantSpec },
});
