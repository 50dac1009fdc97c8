/**
 * Filters of an HTTPRoute (Gateway API HTTPRouteFilter): what may be changed on a request, what is
 * known but not built, and the rules between a filter's type and its field.
 */
import { z } from "zod";
import { headerName, headerValue, pathReplacement, preciseHostname } from "./format.ts";
import {
  across,
  choice,
  object,
  port,
  quoted,
  type Refuse,
  refuseDuplicates,
  throughout,
} from "./schema.ts";

/** Framing and connection headers belong to the gateway (RFC 9112 §6, RFC 9110 §7.6.1). */
const OWNED_HEADERS: Readonly<Record<string, string>> = {
  connection: "the gateway manages connections",
  "content-length": "the gateway frames messages",
  "keep-alive": "the gateway manages connections",
  "proxy-connection": "the gateway manages connections",
  te: "the gateway frames messages",
  trailer: "the gateway frames messages",
  "transfer-encoding": "the gateway frames messages",
  upgrade: "the gateway manages connections",
};

const headerToWrite = object({
  name: headerName().describe("Name of the header."),
  value: headerValue().describe("Its value."),
});

const headerFields = object({
  set: z.array(headerToWrite).max(16).exactOptional().describe("Headers to set, replacing theirs."),
  add: z.array(headerToWrite).max(16).exactOptional().describe("Values to add to headers."),
  remove: z.array(headerName()).max(16).exactOptional().describe("Names of headers to remove."),
});

export type HeaderFilter = z.infer<typeof headerFields>;

const headerFilter = headerFields.superRefine(...throughout(checkHeaders));

function checkHeaders(filter: HeaderFilter, refuse: Refuse): void {
  const options = { field: "name", keyOfItem: nameOf, what: "the header" };
  refuseDuplicates(filter.set, { ...options, path: ["set"] }, refuse);
  refuseDuplicates(filter.add, { ...options, path: ["add"] }, refuse);
  const removed = filter.remove?.map((name) => ({ name }));
  refuseDuplicates(removed, { path: ["remove"], keyOfItem: nameOf, what: "the header" }, refuse);
  for (const list of ["set", "add"] as const) {
    for (const [index, item] of (filter[list] ?? []).entries()) {
      checkOwned(item.name, [list, index, "name"], refuse);
    }
  }
  for (const [index, name] of (filter.remove ?? []).entries()) {
    checkOwned(name, ["remove", index], refuse);
  }
}

function nameOf(header: { readonly name: string }): string {
  return header.name.toLowerCase();
}

/** Refuses the name of a header that the gateway itself answers for. */
export function checkOwned(name: string, path: readonly (string | number)[], refuse: Refuse): void {
  const lower = name.toLowerCase();
  if (lower === "host") {
    refuse(path, "Host is changed by a URLRewrite filter's hostname, not by a header filter");
  } else if (Object.hasOwn(OWNED_HEADERS, lower)) {
    refuse(path, `${quoted(name)} may not be changed: ${OWNED_HEADERS[lower]}`);
  }
}

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
  URLRewrite: "urlRewrite",
} as const;

const filterFields = object(
  {
    type: choice(
      ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite"],
      ["RequestMirror", "CORS", "ExtensionRef", "ExternalAuth"],
    ).describe("What the filter does."),
    requestHeaderModifier: headerFilter.exactOptional().describe("Changes to request headers."),
    responseHeaderModifier: headerFilter.exactOptional().describe("Changes to response headers."),
    requestRedirect: redirect.exactOptional().describe("Answers with a redirect."),
    urlRewrite: rewrite.exactOptional().describe("Changes host or path for the backend."),
  },
  { unsupported: ["requestMirror", "cors", "extensionRef", "externalAuth"] },
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

/** Rules of a list of filters (Gateway API: each type at most once, redirect or rewrite). */
export function checkFilters(
  filters: readonly HttpFilter[] | undefined,
  path: readonly (string | number)[],
  refuse: Refuse,
): void {
  refuseDuplicates(
    filters,
    { path, field: "type", keyOfItem: (filter) => filter.type, what: "the filter type" },
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
