/**
 * GRPCRoute (gateway.networking.k8s.io/v1): which gRPC calls go where. Limits, defaults and the
 * rules across fields are those of the published CRD (apis/v1/grpcroute_types.go, its CEL rules).
 */
import { z } from "zod";
import { sectionName } from "./format.ts";
import { headerFilter } from "./header-filter.ts";
import { extensionReference } from "./http-filter.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { mirror } from "./mirror-filter.ts";
import { backendReferenceFields, GATEWAY_GROUP } from "./reference.ts";
import { regexProblem } from "./regex.ts";
import {
  HOSTNAMES_COLUMN,
  checkParents,
  checkRules,
  headerMatch,
  parentRefs,
  refuseHeaderTwice,
  routeHostnames,
  type RouteStatus,
  routeStatus,
  sessionPersistence,
} from "./route.ts";
import {
  across,
  choice,
  object,
  quoted,
  type Refuse,
  refuseDuplicates,
  throughout,
  words,
} from "./schema.ts";

const SERVICE = /^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i;
const METHOD = /^[A-Za-z_][A-Za-z_0-9]*$/;

const methodFields = object({
  type: choice(["Exact", "RegularExpression"])
    .default("Exact")
    .describe("How they are compared; expressions are RE2 and must match all of it."),
  service: words(1024).exactOptional().describe("Full name of the service; any where absent."),
  method: words(1024).exactOptional().describe("Name of the method; any where absent."),
});

function checkMethod(match: z.infer<typeof methodFields>, refuse: Refuse): void {
  const { type, service, method } = match;
  if (service === undefined && method === undefined) refuse([], "must have service or method");
  for (const [field, value] of Object.entries({ service, method })) {
    if (value === undefined) continue;
    if (type === "RegularExpression") {
      const problem = regexProblem(value);
      if (problem !== undefined) refuse([field], problem);
    } else if (!(field === "service" ? SERVICE : METHOD).test(value)) {
      refuse([field], `must be the name of a gRPC ${field}, is ${quoted(value)}`);
    }
  }
}

const grpcMatch = object({
  method: methodFields
    .superRefine(across(checkMethod))
    .exactOptional()
    .describe("Service and method; any where absent."),
  headers: z.array(headerMatch).max(16).exactOptional().describe("Metadata; all must match."),
}).superRefine(
  ...throughout((match: { headers?: { name: string }[] }, refuse) => {
    refuseHeaderTwice(match.headers, refuse);
  }),
);

const FIELD_OF_TYPE = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestMirror: "requestMirror",
  ExtensionRef: "extensionRef",
} as const;

const filterFields = object({
  type: choice([
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "ExtensionRef",
  ]).describe("What the filter does."),
  requestHeaderModifier: headerFilter.exactOptional().describe("Changes to request metadata."),
  responseHeaderModifier: headerFilter.exactOptional().describe("Changes to response metadata."),
  requestMirror: mirror.exactOptional().describe("Sends a copy to another backend."),
  extensionRef: extensionReference.exactOptional().describe("A filter of a kind of its own."),
});

export type GrpcFilter = z.infer<typeof filterFields>;

const grpcFilter = filterFields
  .superRefine(
    across((filter: GrpcFilter, refuse) => {
      for (const [type, field] of Object.entries(FIELD_OF_TYPE)) {
        if (type === filter.type && filter[field] === undefined) {
          refuse([field], `is required for type ${filter.type}`);
        }
        if (type !== filter.type && filter[field] !== undefined) {
          refuse([field], `must be absent for type ${filter.type}; it belongs to type ${type}`);
        }
      }
    }),
  )
  .describe("A change to calls or answers.");

const filters = z.array(grpcFilter).max(16);

function refuseFilterTwice(list: readonly GrpcFilter[] | undefined, refuse: Refuse): void {
  const keyOfItem = ({ type }: GrpcFilter): string | undefined =>
    type === "RequestMirror" || type === "ExtensionRef" ? undefined : type;
  const options = { path: ["filters"], field: "type", keyOfItem, what: "the filter type" };
  refuseDuplicates(list, options, refuse);
}

const backendReference = object({
  ...backendReferenceFields,
  filters: filters.exactOptional().describe("Filters for calls that go to this backend."),
})
  .superRefine(
    across((reference: { group: string; kind: string; port?: number }, refuse) => {
      const service = reference.group === "" && reference.kind === "Service";
      if (service && reference.port === undefined) refuse(["port"], "is required for a Service");
      refuseFilterTwice((reference as { filters?: GrpcFilter[] }).filters, refuse);
    }),
  )
  .describe("Where a share of the calls goes.");

const ruleFields = object({
  name: sectionName().exactOptional().describe("Name of the rule, unique in the route."),
  matches: z
    .array(grpcMatch)
    .max(64)
    .exactOptional()
    .describe("Which calls the rule takes; one match suffices; all where absent."),
  filters: filters.exactOptional().describe("Changes to the calls."),
  backendRefs: z
    .array(backendReference)
    .max(16)
    .exactOptional()
    .describe("Where the calls go, in proportion to weight."),
  sessionPersistence: sessionPersistence
    .exactOptional()
    .describe("Calls of one session go to the same endpoint."),
});

export type GrpcRule = z.infer<typeof ruleFields>;
export type GrpcMatch = NonNullable<GrpcRule["matches"]>[number];

const rule = ruleFields.superRefine(
  ...throughout((value: GrpcRule, refuse) => refuseFilterTwice(value.filters, refuse)),
);

const specFields = object(
  {
    parentRefs,
    hostnames: routeHostnames,
    rules: z.array(rule).max(16).exactOptional().describe("Which calls go where."),
  },
  { unsupported: ["useDefaultGateways"] },
);

export type GrpcRouteSpec = z.infer<typeof specFields>;
export type GRPCRoute = Typed<"GRPCRoute", { spec: GrpcRouteSpec; status?: RouteStatus }>;

function checkSpec(spec: GrpcRouteSpec, refuse: Refuse): void {
  checkParents(spec.parentRefs, refuse);
  checkRules(spec.rules ?? [], refuse);
}

export const GRPC_ROUTE = defineKind({
  group: GATEWAY_GROUP,
  version: "v1",
  kind: "GRPCRoute",
  plural: "grpcroutes",
  categories: ["gateway-api"],
  description: "Which gRPC calls of a Gateway go to which backends.",
  fields: {
    spec: specFields.superRefine(...throughout(checkSpec)).describe("Which calls go where."),
  },
  status: routeStatus,
  columns: [HOSTNAMES_COLUMN, column("Rules", "spec.rules", { type: "integer", priority: 1 })],
});
