/**
 * Service (v1). Sluice reads its ports and finds its endpoints in EndpointSlices; what a cluster's
 * network makes of the other fields has no counterpart here, so they are kept and change nothing.
 */
import { isIP } from "node:net";
import { z } from "zod";
import { conditionStatus } from "./condition.ts";
import { defineKind, type Typed } from "./kind.ts";
import {
  choice,
  integer,
  object,
  port,
  refuseDuplicates,
  stringMap,
  text,
  throughout,
  words,
} from "./schema.ts";

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
/** RFC 1035 label: the name of a Service begins with a letter. */
const SERVICE_NAME = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;

const clusterAddress = z
  .string()
  .max(64)
  .refine((value) => value === "" || value === "None" || isIP(value) !== 0, {
    error: 'must be an IP address, "None" or ""',
  });

const servicePort = object({
  name: text(LABEL, "lower-case letters, digits and '-'", 63)
    .exactOptional()
    .describe("Name of the port; required where there are several."),
  protocol: choice(["TCP", "UDP", "SCTP"]).default("TCP").describe("Protocol of the port."),
  port: port().describe("Port of the Service, which routes refer to."),
  targetPort: z
    .union([port(), text(LABEL, "a port name", 63)], {
      error: "must be a port number or the name of a port",
    })
    .exactOptional()
    .describe("Port of the endpoints; that of the EndpointSlice decides."),
  appProtocol: words(316)
    .exactOptional()
    .describe("What is spoken there, such as kubernetes.io/h2c or ws; HTTP/1.1 where absent."),
  nodePort: integer(0, 65_535).exactOptional().describe("Kept; changes nothing here."),
});

const kept = "Kept; changes nothing here.";

const serviceSpec = object(
  {
    selector: stringMap(64).exactOptional().describe("Kept; endpoints come from EndpointSlices."),
    ports: z
      .array(servicePort)
      .max(100)
      .exactOptional()
      .describe("Ports that routes may refer to."),
    type: choice(["ClusterIP", "NodePort", "LoadBalancer"], ["ExternalName"])
      .exactOptional()
      .describe(kept),
    clusterIP: clusterAddress.exactOptional().describe(kept),
    clusterIPs: z.array(clusterAddress).max(2).exactOptional().describe(kept),
    externalIPs: z.array(clusterAddress).max(64).exactOptional().describe(kept),
    externalTrafficPolicy: choice(["Cluster", "Local"]).exactOptional().describe(kept),
    internalTrafficPolicy: choice(["Cluster", "Local"]).exactOptional().describe(kept),
    healthCheckNodePort: integer(0, 65_535).exactOptional().describe(kept),
    ipFamilies: z
      .array(choice(["IPv4", "IPv6"]))
      .max(2)
      .exactOptional()
      .describe(kept),
    ipFamilyPolicy: choice(["SingleStack", "PreferDualStack", "RequireDualStack"])
      .exactOptional()
      .describe(kept),
    loadBalancerClass: z.string().max(253).exactOptional().describe(kept),
    loadBalancerIP: z.string().max(64).exactOptional().describe(kept),
    allocateLoadBalancerNodePorts: z.boolean().exactOptional().describe(kept),
    publishNotReadyAddresses: z.literal(false).exactOptional().describe("Only false."),
    sessionAffinity: choice(["None"], ["ClientIP"])
      .exactOptional()
      .describe("Only None; see BackendTrafficPolicy for sticky splits."),
  },
  {
    unsupported: [
      "externalName",
      "sessionAffinityConfig",
      "loadBalancerSourceRanges",
      "trafficDistribution",
    ],
  },
).describe("Ports of the Service.");

export type ServiceSpec = z.infer<typeof serviceSpec>;
export type Service = Typed<"Service", { spec: ServiceSpec }>;

export const SERVICE = defineKind({
  group: "",
  version: "v1",
  kind: "Service",
  plural: "services",
  shortNames: ["svc"],
  categories: ["all"],
  name: text(SERVICE_NAME, "lower-case letters, digits and '-', beginning with a letter", 63),
  description: "A named set of endpoints, which EndpointSlices list.",
  fields: {
    spec: serviceSpec.superRefine(
      ...throughout((spec: ServiceSpec, refuse) => {
        const ports = spec.ports ?? [];
        for (const [index, item] of ports.length > 1 ? ports.entries() : []) {
          if (item.name === undefined) {
            refuse(["ports", index, "name"], "is required where there are several ports");
          }
        }
        refuseDuplicates(
          ports,
          { path: ["ports"], field: "name", keyOfItem: (item) => item.name, what: "the name" },
          refuse,
        );
        refuseDuplicates(
          ports,
          {
            path: ["ports"],
            field: "port",
            keyOfItem: (item) => `${item.protocol} ${item.port}`,
            what: "protocol and port",
          },
          refuse,
        );
      }),
    ),
  },
  status: conditionStatus,
  columns: [
    {
      name: "Ports",
      type: "string",
      priority: 0,
      description: "Ports of the Service.",
      value: (resource) =>
        (resource as Service).spec.ports?.map((item) => `${item.port}/${item.protocol}`).join(","),
    },
  ],
});
