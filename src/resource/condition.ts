/** `metav1.Condition` and the statuses made of conditions alone, as schemas for every kind. */
import { z } from "zod";
import { words } from "./schema.ts";

/** Statuses are written by controllers, and by tools that patch them: unknown fields are kept. */
const condition = z
  .looseObject({
    type: words(316).describe("What the condition is about."),
    status: z.enum(["True", "False", "Unknown"]).describe("Whether it holds."),
    reason: z.string().max(1024).exactOptional().describe("Why, in one word for programs."),
    message: z.string().max(32_768).exactOptional().describe("Why, for people."),
    lastTransitionTime: z.string().max(64).exactOptional().describe("When status last changed."),
    observedGeneration: z
      .number()
      .int()
      .exactOptional()
      .describe("The generation that the condition speaks of."),
  })
  .describe("One aspect of the resource's state.");

export const conditions = z
  .array(condition)
  .max(64)
  .exactOptional()
  .describe("The resource's state, one aspect each.");

/** A status that consists of conditions. */
export const conditionStatus = z
  .looseObject({ conditions })
  .describe("What Sluice has made of the resource.");
