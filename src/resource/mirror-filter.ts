/** RequestMirror (Gateway API HTTPRequestMirrorFilter): a copy of a request for another backend. */
import { z } from "zod";
import { backendObjectFields } from "./reference.ts";
import { across, integer, object, type Refuse } from "./schema.ts";

const INT32_MAX = 2_147_483_647;

const backendObject = object(backendObjectFields).superRefine(
  across((reference: { group: string; kind: string; port?: number }, refuse) => {
    const service = reference.group === "" && reference.kind === "Service";
    if (service && reference.port === undefined) refuse(["port"], "is required for a Service");
  }),
);

const fractionFields = object({
  numerator: integer(0, INT32_MAX).describe("So many of `denominator` requests."),
  denominator: integer(1, INT32_MAX).default(100).describe("100 where absent."),
});

const fraction = fractionFields.superRefine(
  across((value: z.infer<typeof fractionFields>, refuse) => {
    if (value.numerator > value.denominator) {
      refuse(["numerator"], `must be at most the denominator, ${value.denominator}`);
    }
  }),
);

const mirrorFields = object({
  backendRef: backendObject.describe("Where copies go; answers are thrown away."),
  percent: integer(0, 100).exactOptional().describe("Share of the requests; all where absent."),
  fraction: fraction.exactOptional().describe("Share of the requests, instead of percent."),
});

export type MirrorFilter = z.infer<typeof mirrorFields>;

export const mirror = mirrorFields.superRefine(across(checkShare));

function checkShare(filter: MirrorFilter, refuse: Refuse): void {
  if (filter.percent !== undefined && filter.fraction !== undefined) {
    refuse(["fraction"], "must be absent beside percent");
  }
}
