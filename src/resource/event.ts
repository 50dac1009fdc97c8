/** Event (v1): something that happened to a resource, kept for an hour. */
import { z } from "zod";
import { timestamp } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { integer, object } from "./schema.ts";

const objectReference = object({
  apiVersion: z.string().max(317).exactOptional().describe("API version of the resource."),
  kind: z.string().max(63).exactOptional().describe("Kind of the resource."),
  namespace: z.string().max(63).exactOptional().describe("Namespace of the resource."),
  name: z.string().max(253).exactOptional().describe("Name of the resource."),
  uid: z.string().max(128).exactOptional().describe("UID of the resource."),
  resourceVersion: z.string().max(64).exactOptional().describe("Version of the resource."),
  fieldPath: z.string().max(1024).exactOptional().describe("Part of the resource."),
});

const optionalTime = timestamp().nullable().exactOptional();

const fields = {
  involvedObject: objectReference.describe("What the event is about."),
  reason: z.string().max(128).exactOptional().describe("What happened, in one word."),
  message: z.string().max(4096).exactOptional().describe("What happened, for people."),
  type: z.string().max(63).exactOptional().describe("Normal or Warning."),
  count: integer(0, 2_147_483_647).exactOptional().describe("How often it happened."),
  firstTimestamp: optionalTime.describe("When it happened first."),
  lastTimestamp: optionalTime.describe("When it happened last."),
  eventTime: optionalTime.describe("When it happened."),
  source: object({
    component: z.string().max(253).exactOptional().describe("Who saw it."),
    host: z.string().max(253).exactOptional().describe("Where."),
  })
    .exactOptional()
    .describe("Who saw it."),
  action: z.string().max(128).exactOptional().describe("What was done about it."),
  related: objectReference.exactOptional().describe("A second resource of the event."),
  reportingComponent: z.string().max(253).exactOptional().describe("Who reported it."),
  reportingInstance: z.string().max(253).exactOptional().describe("Which instance reported it."),
  series: z.looseObject({}).nullable().exactOptional().describe("Repetitions of the event."),
};

const eventFields = object(fields);

export type Event = Typed<"Event", z.infer<typeof eventFields>>;

export const EVENT = defineKind({
  group: "",
  version: "v1",
  kind: "Event",
  plural: "events",
  shortNames: ["ev"],
  description: "Something that happened to a resource.",
  fields,
  columns: [
    column("Last Seen", "lastTimestamp", { type: "date" }),
    column("Type", "type"),
    column("Reason", "reason"),
    {
      name: "Object",
      type: "string",
      priority: 0,
      description: "What the event is about.",
      value: (resource) => {
        const { kind, name } = (resource as Event).involvedObject;
        return `${(kind ?? "").toLowerCase()}/${name ?? ""}`;
      },
    },
    column("Message", "message"),
    column("Count", "count", { type: "integer", priority: 1 }),
  ],
});
