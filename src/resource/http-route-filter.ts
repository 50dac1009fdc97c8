/**
 * HTTPRouteFilter (sluice.dev/v1alpha1): what Gateway API's own filters cannot say, in Envoy
 * Gateway's words. A route names it in a filter of type ExtensionRef.
 */
import { z } from "zod";
import { apiGroup, headerName, headerValue, resourceName } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { SLUICE_GROUP } from "./reference.ts";
import { regexProblem } from "./regex.ts";
import { across, choice, integer, object, quoted, type Refuse, words } from "./schema.ts";

/** Envoy takes no longer direct responses, and a part of the Program must stay small. */
export const DIRECT_BODY_BYTES_MAX = 4096;

const bodyFields = object({
  type: choice(["Inline", "ValueRef"]).default("Inline").describe("Where the body stands."),
  inline: z
    .string()
    .max(DIRECT_BODY_BYTES_MAX)
    .exactOptional()
    .describe("For Inline: the body, at most 4096 bytes."),
  valueRef: object({
    group: apiGroup().default("").describe('API group: "".'),
    kind: choice(["ConfigMap"]).describe("Kind that holds the body."),
    name: resourceName().describe(
      "Name; the body is its key response.body, or its first key where there is none.",
    ),
  })
    .exactOptional()
    .describe("For ValueRef: a ConfigMap of this namespace."),
});

type Body = z.infer<typeof bodyFields>;

function checkBody(body: Body, refuse: Refuse): void {
  const needed = body.type === "Inline" ? "inline" : "valueRef";
  const other = needed === "inline" ? "valueRef" : "inline";
  if (body[needed] === undefined) refuse([needed], `is required for type ${body.type}`);
  if (body[other] !== undefined) refuse([other], `must be absent for type ${body.type}`);
  if (Buffer.byteLength(body.inline ?? "") > DIRECT_BODY_BYTES_MAX) {
    refuse(["inline"], `may have at most ${DIRECT_BODY_BYTES_MAX} bytes`);
  }
}

/** Status codes whose responses have no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5). */
const BODILESS: readonly number[] = [204, 205, 304];

const directResponseFields = object(
  {
    contentType: headerValue().exactOptional().describe("Content-Type of the response."),
    body: bodyFields.superRefine(across(checkBody)).exactOptional().describe("Its body."),
    statusCode: integer(200, 599).default(200).describe("Its status code."),
  },
  { unsupported: ["header"] },
);

const directResponse = directResponseFields.superRefine(
  across((value: z.infer<typeof directResponseFields>, refuse) => {
    const { statusCode, body } = value;
    if (body === undefined || !BODILESS.includes(statusCode)) return;
    refuse(["body"], `must be absent for statusCode ${statusCode}, which has none`);
  }),
);

/** What stands in a path, and \0 to \9 for what the expression found. */
const SUBSTITUTION = /^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2}|\\[0-9])*$/;

const regexFields = object({
  pattern: words(1024).describe("RE2 expression; every match in the path is replaced."),
  substitution: z
    .string()
    .max(1024)
    .describe(String.raw`What a match becomes; \1 to \9 are groups, \0 is all of it.`),
});

function checkRegex(value: z.infer<typeof regexFields>, refuse: Refuse): void {
  const problem = regexProblem(value.pattern);
  if (problem !== undefined) refuse(["pattern"], problem);
  if (!SUBSTITUTION.test(value.substitution)) {
    const what = "must be of the characters that a URL path may hold and \\0 to \\9";
    refuse(["substitution"], `${what}, is ${quoted(value.substitution)}`);
  }
}

const hostnameFields = object({
  type: choice(["Header"], ["Backend"]).describe("Header: the Host is that header's value."),
  header: headerName().describe("Name of the header."),
});

const specFields = object(
  {
    urlRewrite: object({
      hostname: hostnameFields.exactOptional().describe("Host that the backend is asked for."),
      path: object({
        type: choice(["ReplaceRegexMatch"]).describe("How the path is changed."),
        replaceRegexMatch: regexFields
          .superRefine(across(checkRegex))
          .describe("What is replaced by what."),
      })
        .exactOptional()
        .describe("How the path is changed."),
    })
      .exactOptional()
      .describe("Changes host or path for the backend."),
    directResponse: directResponse.exactOptional().describe("Answers without a backend."),
  },
  { unsupported: ["credentialInjection", "matches", "cache"] },
);

export type HttpRouteFilterSpec = z.infer<typeof specFields>;
export type HTTPRouteFilter = Typed<"HTTPRouteFilter", { spec: HttpRouteFilterSpec }>;

function checkSpec(spec: HttpRouteFilterSpec, refuse: Refuse): void {
  const { urlRewrite, directResponse: direct } = spec;
  if (urlRewrite === undefined && direct === undefined) {
    refuse([], "must have urlRewrite or directResponse: it would change nothing");
  }
  if (urlRewrite !== undefined && direct !== undefined) {
    refuse(["urlRewrite"], "must be absent beside directResponse, which has no backend");
  }
  if (urlRewrite !== undefined && Object.keys(urlRewrite).length === 0) {
    refuse(["urlRewrite"], "must have hostname or path: it would change nothing");
  }
}

export const HTTP_ROUTE_FILTER = defineKind({
  group: SLUICE_GROUP,
  version: "v1alpha1",
  kind: "HTTPRouteFilter",
  plural: "httproutefilters",
  shortNames: ["hrf"],
  categories: ["sluice"],
  description: "A filter that routes name by extensionRef: direct responses, regex rewrites.",
  fields: { spec: specFields.superRefine(across(checkSpec)).describe("What the filter does.") },
  columns: [column("Status code", "spec.directResponse.statusCode", { type: "integer" })],
});
