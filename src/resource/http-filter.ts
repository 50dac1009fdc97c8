/**
 * Filters of an HTTPRoute (Gateway API HTTPRouteFilter): what may be changed on a request, what is
 * known but not built, and the rules between a filter's type and its field.
 */
import { z } from "zod";
import { cors } from "./cors-filter.ts";
import { apiGroup, kindName, pathReplacement, preciseHostname, resourceName } from "./format.ts";
import { headerFilter } from "./header-filter.ts";
import { mirror } from "./mirror-filter.ts";
import { across, choice, object, port, type Refuse, refuseDuplicates } from "./schema.ts";

const pathModifier = object({
  type: choice(["ReplaceFullPath", "ReplacePrefixMatch"]).describe("What is replaced."),
  replaceFullPath: pathReplacement().exactOptional().describe("For ReplaceFullPath: the new path."),
  replacePrefixMatch: pathReplacement()
    .exactOptional()
    .describe("For ReplacePrefixMatch: what the matched prefix becomes."),
}).superRefine(
  across((modifier: PathModifierShape, refuse) => {
    const needed = modifier.type === "ReplaceFullPath" ? "replaceFullPath" : "replacePrefixMatch";
    const other = needed === "replaceFullPath" ? "replacePrefixMatch" : "replaceFullPath";
    if (modifier[needed] === undefined) refuse([needed], `is required for ${modifier.type}`);
    if (modifier[other] !== undefined) refuse([other], `must be absent for ${modifier.type}`);
  }),
);

interface PathModifierShape {
  readonly type: string;
  readonly replaceFullPath?: string;
  readonly replacePrefixMatch?: string;
}

const redirect = object({
  scheme: choice(["http", "https"]).exactOptional().describe("Scheme of the Location."),
  hostname: preciseHostname().exactOptional().describe("Host of the Location."),
  path: pathModifier.exactOptional().describe("How the path of the Location is made."),
  port: port().exactOptional().describe("Port of the Location."),
  statusCode: z
    .literal([301, 302, 303, 307, 308], { error: "must be 301, 302, 303, 307 or 308" })
    .default(302)
    .describe("Status of the redirect: 301, 302, 303, 307 or 308."),
});

const rewrite = object({
  hostname: preciseHostname().exactOptional().describe("Host that the backend is asked for."),
  path: pathModifier.exactOptional().describe("How the path is changed."),
});

const FIELD_OF_TYPE = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestRedirect: "requestRedirect",
  RequestMirror: "requestMirror",
  URLRewrite: "urlRewrite",
  CORS: "cors",
  ExtensionRef: "extensionRef",
} as const;

/** Filters of which a list may hold several. */
const REPEATABLE: ReadonlySet<string> = new Set(["RequestMirror", "ExtensionRef"]);

/** Gateway API LocalObjectReference; what it names is looked up when routes are compiled. */
export const extensionReference = object({
  group: apiGroup().describe("API group of the filter: sluice.dev."),
  kind: kindName().describe("Kind of the filter: HTTPRouteFilter."),
  name: resourceName().describe("Name of the filter, in the route's namespace."),
});

const filterFields = object(
  {
    type: choice(
      [
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "CORS",
        "ExtensionRef",
      ],
      ["ExternalAuth", "DirectResponse"],
    ).describe("What the filter does."),
    requestHeaderModifier: headerFilter.exactOptional().describe("Changes to request headers."),
    responseHeaderModifier: headerFilter.exactOptional().describe("Changes to response headers."),
    requestRedirect: redirect.exactOptional().describe("Answers with a redirect."),
    requestMirror: mirror.exactOptional().describe("Sends a copy to another backend."),
    urlRewrite: rewrite.exactOptional().describe("Changes host or path for the backend."),
    cors: cors.exactOptional().describe("Lets pages of other origins call."),
    extensionRef: extensionReference.exactOptional().describe("A filter of a kind of its own."),
  },
  { unsupported: ["externalAuth", "directResponse"] },
);

export type HttpFilter = z.infer<typeof filterFields>;

export const httpFilter = filterFields
  .superRefine(across(checkTypeAndField))
  .describe("A change to requests or responses.");

function checkTypeAndField(filter: HttpFilter, refuse: Refuse): void {
  for (const [type, field] of Object.entries(FIELD_OF_TYPE)) {
    if (type === filter.type && filter[field] === undefined) {
      refuse([field], `is required for type ${filter.type}`);
    }
    if (type !== filter.type && filter[field] !== undefined) {
      refuse([field], `must be absent for type ${filter.type}; it belongs to type ${type}`);
    }
  }
}

/** Rules of a list of filters (Gateway API: most types at most once, redirect or rewrite). */
export function checkFilters(
  filters: readonly HttpFilter[] | undefined,
  path: readonly (string | number)[],
  refuse: Refuse,
): void {
  refuseDuplicates(
    filters,
    {
      path,
      field: "type",
      keyOfItem: ({ type }) => (REPEATABLE.has(type) ? undefined : type),
      what: "the filter type",
    },
    refuse,
  );
  const redirectIndex = (filters ?? []).findIndex((filter) => filter.type === "RequestRedirect");
  const rewrites = (filters ?? []).some((filter) => filter.type === "URLRewrite");
  if (redirectIndex !== -1 && rewrites) {
    refuse([...path, redirectIndex, "type"], "RequestRedirect and URLRewrite exclude each other");
  }
}

/** Where a filter replaces a matched prefix: the path of that field, or undefined. */
export function prefixReplacementPath(filter: HttpFilter): readonly string[] | undefined {
  for (const field of ["requestRedirect", "urlRewrite"] as const) {
    if (filter[field]?.path?.type === "ReplacePrefixMatch") return [field, "path", "type"];
  }
  return undefined;
}
