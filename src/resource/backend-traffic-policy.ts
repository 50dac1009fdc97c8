/**
 * BackendTrafficPolicy (sluice.dev/v1alpha1): how requests go to backends — sticky splits, rate
 * limits, retries, time limits, compression — in Envoy Gateway's words. Its other fields are refused
 * by name until they are built.
 */
import { z } from "zod";
import { headerName, isCidr } from "./format.ts";
import { byteQuantity, compressors } from "./compression.ts";
import { circuitBreaker, policyRetry, policyTimeout } from "./backend-retry.ts";
import { checkChanges, definePolicy, OTHER_TARGETS, type Policy, policyTargets } from "./policy.ts";
import { regexProblem } from "./regex.ts";
import {
  across,
  choice,
  integer,
  object,
  quoted,
  type Refuse,
  throughout,
  words,
} from "./schema.ts";

const hashFields = object({
  header: headerName().exactOptional().describe("Name of the header whose value is the key."),
  cookie: headerName().exactOptional().describe("Name of the cookie whose value is the key."),
  sourceIP: z.literal(true).exactOptional().describe("true: the client's address is the key."),
});

const splitHash = hashFields.superRefine(
  across((hash: z.infer<typeof hashFields>, refuse) => {
    const given = Object.values(hash).filter((value) => value !== undefined).length;
    if (given !== 1)
      refuse([], `must have exactly one of header, cookie and sourceIP, has ${given}`);
  }),
);

const headerSelectorFields = object({
  name: headerName().describe("Name of the header."),
  type: choice(["Exact", "RegularExpression", "Distinct"])
    .default("Exact")
    .describe("Distinct: each value of the header has a limit of its own."),
  value: words(1024).exactOptional().describe("For Exact and RegularExpression."),
  invert: z.boolean().exactOptional().describe("true: the header must not match."),
});

const headerSelector = headerSelectorFields.superRefine(
  across((selector: z.infer<typeof headerSelectorFields>, refuse) => {
    const { type, value, invert } = selector;
    if (type === "Distinct") {
      if (value !== undefined) refuse(["value"], "must be absent for Distinct");
      if (invert === true) refuse(["invert"], "must be absent for Distinct");
    } else if (value === undefined) {
      refuse(["value"], `is required for ${type}`);
    } else if (type === "RegularExpression") {
      const problem = regexProblem(value);
      if (problem !== undefined) refuse(["value"], problem);
    }
  }),
);

const clientSelectorFields = object(
  {
    headers: z.array(headerSelector).min(1).max(16).exactOptional().describe("All must hold."),
    sourceCIDR: object({
      value: z
        .string()
        .max(64)
        .refine(isCidr, {
          error: ({ input }) => `must be a range such as 10.0.0.0/8, is ${quoted(input)}`,
        })
        .describe("Range of client addresses."),
      type: choice(["Exact", "Distinct"])
        .default("Exact")
        .describe("Exact: the range shares a limit; Distinct: each address has its own."),
    })
      .exactOptional()
      .describe("Clients by address."),
  },
  { unsupported: ["methods", "path", "queryParams"] },
);

const clientSelector = clientSelectorFields.superRefine(
  across((selector: z.infer<typeof clientSelectorFields>, refuse) => {
    if (selector.headers === undefined && selector.sourceCIDR === undefined) {
      refuse([], "must have headers or sourceCIDR");
    }
  }),
);

const limit = object({
  requests: integer(1, 4_294_967_295).describe("Requests that are let through per unit."),
  unit: choice(["Second", "Minute", "Hour", "Day"], ["Month", "Year"]).describe("Unit of time."),
  burst: integer(1, 4_294_967_295)
    .exactOptional()
    .describe("Requests that may come at once after a pause; as many as `requests` where absent."),
});

const limitRule = object(
  {
    clientSelectors: z
      .array(clientSelector)
      .max(8)
      .exactOptional()
      .describe(
        "Which clients the limit counts; all selectors must hold; all clients where absent.",
      ),
    limit: limit.describe("How many requests are let through."),
  },
  { unsupported: ["cost", "shared", "shadowMode", "xRateLimitHeaders"] },
).superRefine(
  across((rule: { clientSelectors?: { sourceCIDR?: unknown }[] }, refuse) => {
    const ranges = rule.clientSelectors?.filter((item) => item.sourceCIDR !== undefined) ?? [];
    if (ranges.length > 1) refuse(["clientSelectors"], "may have one sourceCIDR in all");
  }),
);

const rateLimitFields = object(
  {
    type: choice(["Local"], ["Global"]).describe("Local: exact over all workers of this process."),
    local: object({
      rules: z.array(limitRule).min(1).max(16).describe("Limits; a request must pass them all."),
    })
      .exactOptional()
      .describe("Limits of this gateway."),
  },
  { unsupported: ["global"] },
);

const rateLimit = rateLimitFields.superRefine(
  across((value: z.infer<typeof rateLimitFields>, refuse) => {
    if (value.local === undefined) refuse(["local"], "is required for type Local");
  }),
);

const specFields = object(
  {
    targetRefs: policyTargets,
    split: object({
      hash: splitHash.describe("What keeps a client on its side of a split; absent key: random."),
    })
      .exactOptional()
      .describe("How requests are split between versions."),
    rateLimit: rateLimit.exactOptional().describe("How many requests are let through."),
    retry: policyRetry.exactOptional().describe("When a request is sent again."),
    timeout: policyTimeout.exactOptional().describe("How long things may take."),
    circuitBreaker: circuitBreaker.exactOptional().describe("How connections are used."),
    compressor: compressors.exactOptional().describe("How responses are compressed."),
    compression: compressors.exactOptional().describe("The older name of compressor."),
    requestBuffer: object({
      limit: byteQuantity().describe("Longer request bodies are answered with 413."),
    })
      .exactOptional()
      .describe("How long request bodies may be."),
    httpUpgrade: z
      .array(
        object({
          type: choice(["websocket"], ["CONNECT", "spdy/3.1"]).describe("The protocol."),
        }),
      )
      .max(1)
      .exactOptional()
      .describe("Protocols that requests may upgrade to; websocket where absent, none where []."),
    mergeType: choice(["JSONMerge"], ["StrategicMerge"])
      .exactOptional()
      .describe(
        "For routes: fields that are absent here are those of the Gateway's policy (RFC 7396); " +
          "otherwise that policy does not count here.",
      ),
  },
  {
    unsupported: [
      ...OTHER_TARGETS,
      "loadBalancer",
      "healthCheck",
      "tcpKeepalive",
      "proxyProtocol",
      "faultInjection",
      "connection",
      "dns",
      "http2",
      "useClientProtocol",
      "responseOverride",
      "telemetry",
      "routingType",
      "bandwidthLimit",
      "admissionControl",
      "preconnect",
    ],
  },
);

export type BackendTrafficPolicySpec = z.infer<typeof specFields>;
export type RateLimitRule = z.infer<typeof limitRule>;
export type BackendTrafficPolicy = Policy<"BackendTrafficPolicy", BackendTrafficPolicySpec>;

/** What an AIGatewayRoute has no use for: its answers are watched and its bodies bounded already. */
const NOT_FOR_MODELS = [
  "retry",
  "timeout",
  "circuitBreaker",
  "compressor",
  "compression",
  "requestBuffer",
  "httpUpgrade",
  "mergeType",
] as const;

function checkSpec(spec: BackendTrafficPolicySpec, refuse: Refuse): void {
  const { mergeType: _mergeType, ...settings } = spec;
  checkChanges(settings, refuse);
  if (spec.compression !== undefined && spec.compressor !== undefined) {
    refuse(["compression"], "must be absent beside compressor, which is its newer name");
  }
  for (const [index, target] of spec.targetRefs.entries()) {
    if (target.kind === "Gateway" && spec.mergeType !== undefined) {
      refuse(["mergeType"], `must be absent for the Gateway that targetRefs[${index}] names`);
    }
    if (target.kind !== "AIGatewayRoute") continue;
    for (const field of NOT_FOR_MODELS) {
      if (spec[field] === undefined) continue;
      refuse([field], `does not apply to the AIGatewayRoute that targetRefs[${index}] names`);
    }
  }
}

export const BACKEND_TRAFFIC_POLICY = definePolicy({
  kind: "BackendTrafficPolicy",
  plural: "backendtrafficpolicies",
  shortNames: ["btp"],
  description: "How requests of a Gateway or route go to backends: splits, limits, retries.",
  spec: specFields.superRefine(...throughout(checkSpec)).describe("What is done, and for what."),
});
