/**
 * HTTPRoute (gateway.networking.k8s.io/v1): which requests go where. Limits, defaults and the rules
 * across fields are those of the published CRD (apis/v1/httproute_types.go, its CEL rules).
 */
import { z } from "zod";
import { headerName, pathProblem, sectionName } from "./format.ts";
import { checkFilters, httpFilter, prefixReplacementPath } from "./http-filter.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { regexProblem } from "./regex.ts";
import { backendReferenceFields, GATEWAY_GROUP } from "./reference.ts";
import {
  HOSTNAMES_COLUMN,
  checkExpression,
  checkParents,
  checkRules,
  headerMatch,
  parentRefs,
  refuseHeaderTwice,
  retry,
  routeHostnames,
  type RouteStatus,
  routeStatus,
  sessionPersistence,
  timeouts,
  valueMatchType,
} from "./route.ts";
import {
  across,
  choice,
  object,
  type Refuse,
  refuseDuplicates,
  throughout,
  words,
} from "./schema.ts";

const queryMatch = object({
  type: valueMatchType,
  name: headerName().describe("Name of the query parameter; case counts."),
  value: words(1024).describe("The value, or the expression."),
}).superRefine(across(checkExpression));

const pathMatch = object({
  type: choice(["Exact", "PathPrefix", "RegularExpression"])
    .default("PathPrefix")
    .describe("How the path is compared; a prefix is compared element by element."),
  value: z.string().max(1024).default("/").describe("The path, or the RE2 expression."),
}).superRefine(
  across((match: { readonly type: string; readonly value: string }, refuse) => {
    const regex = match.type === "RegularExpression";
    const problem = regex ? regexProblem(match.value) : pathProblem(match.value);
    if (problem !== undefined) refuse(["value"], problem);
  }),
);

const PATH_DEFAULT = { type: "PathPrefix", value: "/" } as const;

interface NamedMatch {
  readonly name: string;
}

const routeMatch = object({
  path: pathMatch.default(PATH_DEFAULT).describe("The path; any where absent."),
  headers: z.array(headerMatch).max(16).exactOptional().describe("Headers; all must match."),
  queryParams: z
    .array(queryMatch)
    .max(16)
    .exactOptional()
    .describe("Query parameters; all must match."),
  // No request with one of the last two reaches a route: they are answered with 501 and 405.
  method: choice(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"], ["CONNECT", "TRACE"])
    .exactOptional()
    .describe("The method; any where absent."),
}).superRefine(
  ...throughout((match: { headers?: NamedMatch[]; queryParams?: NamedMatch[] }, refuse) => {
    refuseHeaderTwice(match.headers, refuse);
    refuseDuplicates(
      match.queryParams,
      {
        path: ["queryParams"],
        field: "name",
        keyOfItem: (item) => item.name,
        what: "the parameter",
      },
      refuse,
    );
  }),
);

const backendReference = object({
  ...backendReferenceFields,
  filters: z
    .array(httpFilter)
    .max(16)
    .exactOptional()
    .describe("Filters for requests that go to this backend."),
})
  .superRefine(
    across((reference: BackendReferenceShape, refuse) => {
      const service = reference.group === "" && reference.kind === "Service";
      if (service && reference.port === undefined) refuse(["port"], "is required for a Service");
      checkFilters(reference.filters, ["filters"], refuse);
    }),
  )
  .describe("Where a share of the requests goes.");

interface BackendReferenceShape {
  readonly group: string;
  readonly kind: string;
  readonly port?: number;
  readonly filters?: z.infer<typeof httpFilter>[];
}

const ruleFields = object({
  name: sectionName().exactOptional().describe("Name of the rule, unique in the route."),
  matches: z
    .array(routeMatch)
    .max(64)
    .default([{ path: PATH_DEFAULT }])
    .describe("Which requests the rule takes; one match suffices."),
  filters: z.array(httpFilter).max(16).exactOptional().describe("Changes to the requests."),
  backendRefs: z
    .array(backendReference)
    .max(16)
    .exactOptional()
    .describe("Where the requests go, in proportion to weight."),
  timeouts: timeouts.exactOptional().describe("How long a request may take."),
  retry: retry.exactOptional().describe("When a request is sent again."),
  sessionPersistence: sessionPersistence
    .exactOptional()
    .describe("Requests of one session go to the same endpoint."),
});

export type HttpRule = z.infer<typeof ruleFields>;
export type HttpMatch = HttpRule["matches"][number];
export type HttpBackendRef = NonNullable<HttpRule["backendRefs"]>[number];

function checkRule(value: HttpRule, refuse: Refuse): void {
  checkFilters(value.filters, ["filters"], refuse);
  const redirects = value.filters?.some((filter) => filter.type === "RequestRedirect") === true;
  if (redirects && (value.backendRefs ?? []).length > 0) {
    refuse(["backendRefs"], "must be absent beside a RequestRedirect filter");
  }
  const only = value.matches.length === 1 ? value.matches[0] : undefined;
  const onePrefix = only?.path.type === "PathPrefix";
  const places: (readonly (string | number)[])[] = [];
  for (const [index, filter] of (value.filters ?? []).entries()) {
    const place = prefixReplacementPath(filter);
    if (place !== undefined) places.push(["filters", index, ...place]);
  }
  for (const [at, reference] of (value.backendRefs ?? []).entries()) {
    for (const [index, filter] of (reference.filters ?? []).entries()) {
      const place = prefixReplacementPath(filter);
      if (place !== undefined) places.push(["backendRefs", at, "filters", index, ...place]);
    }
  }
  for (const place of onePrefix ? [] : places) {
    refuse(place, "ReplacePrefixMatch needs a rule with exactly one match, of type PathPrefix");
  }
}

const rule = ruleFields.superRefine(...throughout(checkRule));

const specFields = object(
  {
    parentRefs,
    hostnames: routeHostnames,
    rules: z
      .array(rule)
      .min(1)
      .max(16)
      .default([{ matches: [{ path: PATH_DEFAULT }] }])
      .describe("Which requests go where."),
  },
  { unsupported: ["useDefaultGateways"] },
);

export type HttpRouteSpec = z.infer<typeof specFields>;

const httpRouteSpec = specFields
  .superRefine(...throughout(checkSpec))
  .describe("Which requests go where.");

function checkSpec(spec: HttpRouteSpec, refuse: Refuse): void {
  checkParents(spec.parentRefs, refuse);
  checkRules(spec.rules, refuse);
}

export type HTTPRoute = Typed<"HTTPRoute", { spec: HttpRouteSpec; status?: RouteStatus }>;

export const HTTP_ROUTE = defineKind({
  group: GATEWAY_GROUP,
  version: "v1",
  olderVersions: ["v1beta1"],
  kind: "HTTPRoute",
  plural: "httproutes",
  categories: ["gateway-api"],
  description: "Which HTTP requests of a Gateway go to which backends.",
  fields: { spec: httpRouteSpec },
  status: routeStatus,
  columns: [HOSTNAMES_COLUMN, column("Rules", "spec.rules", { type: "integer", priority: 1 })],
});
