/** Consumer (sluice.dev/v1alpha1): a client, known by digests of its API keys alone. */
import { z } from "zod";
import { conditionStatus } from "./condition.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { SLUICE_GROUP } from "./reference.ts";
import { object, type Refuse, refuseDuplicates, throughout } from "./schema.ts";

const apiKey = object(
  {
    // The value is not repeated in the message: people paste the key itself here.
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/, {
        error: "must be the SHA-256 of the key, 64 lower-case hexadecimal digits (sha256sum)",
      })
      .describe("SHA-256 of the key, 64 lower-case hexadecimal digits."),
  },
  {
    refused: { key: "is not stored in plain text: give its digest as sha256, or use a Secret" },
  },
);

const specFields = object(
  {
    apiKeys: z.array(apiKey).max(16).describe("Keys that the client may use."),
  },
  {
    unsupported: ["team", "budgets", "budget", "allowedModels", "models", "tools", "allowedTools"],
  },
);

export type ConsumerSpec = z.infer<typeof specFields>;
export type Consumer = Typed<
  "Consumer",
  { spec: ConsumerSpec; status?: z.infer<typeof conditionStatus> }
>;

function checkSpec(spec: ConsumerSpec, refuse: Refuse): void {
  refuseDuplicates(
    spec.apiKeys,
    { path: ["apiKeys"], field: "sha256", keyOfItem: (item) => item.sha256, what: "the digest" },
    refuse,
  );
}

export const CONSUMER = defineKind({
  group: SLUICE_GROUP,
  version: "v1alpha1",
  kind: "Consumer",
  plural: "consumers",
  categories: ["sluice"],
  description: "A client of the gateway; its name is the client id.",
  fields: { spec: specFields.superRefine(...throughout(checkSpec)).describe("The client's keys.") },
  status: conditionStatus,
  columns: [column("Keys", "spec.apiKeys", { type: "integer" })],
});
