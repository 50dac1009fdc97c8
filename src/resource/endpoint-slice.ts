/** EndpointSlice (discovery.k8s.io/v1): the addresses behind a Service. */
import { isIP } from "node:net";
import { z } from "zod";
import { resourceName } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { choice, object, port, quoted, type Refuse, stringMap, words } from "./schema.ts";

const kept = "Kept; changes nothing here.";

const endpoint = object(
  {
    addresses: z
      .array(words(253))
      .min(1)
      .max(100)
      .describe("Addresses of the endpoint, all equal; the first is used."),
    conditions: object({
      ready: z
        .boolean()
        .nullable()
        .exactOptional()
        .describe("Whether it takes requests; null: yes."),
      serving: z.boolean().nullable().exactOptional().describe(kept),
      terminating: z.boolean().nullable().exactOptional().describe(kept),
    })
      .exactOptional()
      .describe("State of the endpoint."),
    hostname: resourceName().exactOptional().describe(kept),
    nodeName: z.string().max(253).exactOptional().describe(kept),
    targetRef: z.looseObject({}).exactOptional().describe(kept),
    zone: z.string().max(253).exactOptional().describe(kept),
    hints: z.looseObject({}).exactOptional().describe(kept),
    deprecatedTopology: stringMap(64).exactOptional().describe(kept),
  },
  {},
);

const endpointPort = object({
  name: z.string().max(63).nullable().exactOptional().describe("Name of the Service's port."),
  port: port().nullable().exactOptional().describe("Port of the endpoints."),
  protocol: choice(["TCP", "UDP", "SCTP"]).nullable().exactOptional().describe(kept),
  appProtocol: words(316).nullable().exactOptional().describe("Kept; that of the Service counts."),
});

const addressType = choice(["IPv4", "IPv6", "FQDN"]).describe(
  "Kind of all addresses of the slice.",
);
const endpoints = z.array(endpoint).max(1000).default([]).describe("The endpoints.");
const ports = z
  .array(endpointPort)
  .max(100)
  .nullable()
  .exactOptional()
  .describe("Ports of every endpoint.");

export type EndpointSlice = Typed<
  "EndpointSlice",
  {
    addressType: z.infer<typeof addressType>;
    endpoints: z.infer<typeof endpoints>;
    ports?: z.infer<typeof endpointPort>[] | null;
  }
>;

export const ENDPOINT_SLICE = defineKind({
  group: "discovery.k8s.io",
  version: "v1",
  kind: "EndpointSlice",
  plural: "endpointslices",
  description: "Addresses of the endpoints of the Service that kubernetes.io/service-name names.",
  fields: { addressType, endpoints, ports },
  check: (document, refuse) => checkAddresses(document as AddressedSlice, refuse),
  columns: [
    column("AddressType", "addressType"),
    column("Endpoints", "endpoints", { type: "integer" }),
  ],
});

type AddressedSlice = Pick<EndpointSlice, "addressType" | "endpoints">;

const FAMILY: Readonly<Record<string, number>> = { IPv4: 4, IPv6: 6 };

function checkAddresses(slice: AddressedSlice, refuse: Refuse): void {
  const family = FAMILY[slice.addressType];
  for (const [index, item] of slice.endpoints.entries()) {
    for (const [at, address] of item.addresses.entries()) {
      const found = isIP(address);
      if (family === undefined ? found !== 0 : found !== family) {
        const path = ["endpoints", index, "addresses", at];
        refuse(path, `must be of addressType ${slice.addressType}, is ${quoted(address)}`);
      }
    }
  }
}
