/** ControllerRevision (apps/v1): one recorded state of a resource that a Rollout names. */
import { z } from "zod";
import { column, defineKind } from "./kind.ts";
import { integer } from "./schema.ts";

const data = z.looseObject({}).describe("The recorded spec.");
const revision = integer(0, Number.MAX_SAFE_INTEGER).describe("Number of the revision.");

export const CONTROLLER_REVISION = defineKind({
  group: "apps",
  version: "v1",
  kind: "ControllerRevision",
  plural: "controllerrevisions",
  description: "One recorded state of a resource that a Rollout names. Written by Sluice.",
  fields: { data, revision },
  columns: [
    {
      name: "Owner",
      type: "string",
      priority: 0,
      description: "The Rollout that the revision belongs to.",
      value: (resource) => {
        const owner = resource.metadata.ownerReferences?.[0];
        return owner === undefined ? undefined : `${owner.kind}/${owner.name}`;
      },
    },
    column("Revision", "revision", { type: "integer" }),
  ],
});
