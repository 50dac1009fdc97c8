/**
 * Endpoints (v1): the addresses behind the Service of the same name, as they were written before
 * EndpointSlices. Where a Service has EndpointSlices, those count.
 */
import { z } from "zod";
import { ipAddress } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { choice, object, port, refuseDuplicates, words } from "./schema.ts";

const kept = "Kept; changes nothing here.";

const endpointAddress = object({
  ip: ipAddress().describe("Address of the endpoint."),
  hostname: z.string().max(63).exactOptional().describe(kept),
  nodeName: z.string().max(253).exactOptional().describe(kept),
  targetRef: z.looseObject({}).exactOptional().describe(kept),
});

const ADDRESSES_MAX = 1000;

const subset = object({
  addresses: z
    .array(endpointAddress)
    .max(ADDRESSES_MAX)
    .exactOptional()
    .describe("Endpoints that take requests."),
  notReadyAddresses: z
    .array(endpointAddress)
    .max(ADDRESSES_MAX)
    .exactOptional()
    .describe("Endpoints that do not."),
  ports: z
    .array(
      object({
        name: z.string().max(63).exactOptional().describe("Name of the Service's port."),
        port: port().describe("Port of the endpoints."),
        protocol: choice(["TCP", "UDP", "SCTP"]).default("TCP").describe("Protocol of the port."),
        appProtocol: words(316).exactOptional().describe(kept),
      }),
    )
    .max(100)
    .exactOptional()
    .describe("Ports of every address of the subset."),
});

const subsets = z
  .array(subset)
  .max(100)
  .exactOptional()
  .describe("Addresses with the ports that they have in common.");

export type Endpoints = Typed<"Endpoints", { subsets?: z.infer<typeof subset>[] }>;

export const ENDPOINTS = defineKind({
  group: "",
  version: "v1",
  kind: "Endpoints",
  plural: "endpoints",
  shortNames: ["ep"],
  description: "Addresses behind the Service of the same name; EndpointSlices come before them.",
  fields: { subsets },
  check: (document, refuse) => {
    for (const [index, item] of ((document as Partial<Endpoints>).subsets ?? []).entries()) {
      const path = ["subsets", index, "ports"];
      const options = { path, field: "name", what: "the name" };
      refuseDuplicates(item.ports, { ...options, keyOfItem: (one) => one.name ?? "" }, refuse);
    }
  },
  columns: [column("Subsets", "subsets", { type: "integer" })],
});
