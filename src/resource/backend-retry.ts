/**
 * How a BackendTrafficPolicy has requests tried again, how long they may take and how connections
 * are used (Envoy Gateway Retry, Timeout, CircuitBreaker).
 */
import { z } from "zod";
import { parseDuration } from "../base/duration.ts";
import { gatewayDuration, positiveDuration } from "./format.ts";
import {
  across,
  choice,
  integer,
  object,
  type Refuse,
  refuseDuplicates,
  throughout,
} from "./schema.ts";

/** Tries beyond the first that a policy may ask for. */
const RETRIES_MAX = 128;

export const RETRY_TRIGGERS = [
  "5xx",
  "gateway-error",
  "reset",
  "reset-before-request",
  "connect-failure",
  "retriable-4xx",
  "refused-stream",
  "retriable-status-codes",
  "cancelled",
  "deadline-exceeded",
  "internal",
  "resource-exhausted",
  "unavailable",
] as const;

const backOffFields = object({
  baseInterval: gatewayDuration()
    .exactOptional()
    .describe("Least wait before the first repetition, doubled from then on; 25ms where absent."),
  maxInterval: gatewayDuration()
    .exactOptional()
    .describe("Longest wait; ten times baseInterval where absent."),
});

function checkBackOff(value: z.infer<typeof backOffFields>, refuse: Refuse): void {
  const { baseInterval, maxInterval } = value;
  const baseMs = parseDuration(baseInterval ?? "25ms") ?? 0;
  if (baseMs === 0) refuse(["baseInterval"], "must be more than nothing");
  if (maxInterval === undefined) return;
  if ((parseDuration(maxInterval) ?? 0) < baseMs) {
    refuse(["maxInterval"], `must be at least baseInterval, ${baseInterval ?? "25ms"}`);
  }
}

const retryOnFields = object({
  triggers: z
    .array(choice(RETRY_TRIGGERS))
    .min(1)
    .max(RETRY_TRIGGERS.length)
    .exactOptional()
    .describe("What a request is sent again after."),
  httpStatusCodes: z
    .array(integer(400, 599))
    .max(64)
    .exactOptional()
    .describe("Status codes that the trigger retriable-status-codes stands for."),
});

function checkRetryOn(value: z.infer<typeof retryOnFields>, refuse: Refuse): void {
  const { triggers, httpStatusCodes } = value;
  const keyOfItem = String;
  refuseDuplicates(triggers, { path: ["triggers"], keyOfItem, what: "the trigger" }, refuse);
  const codes = triggers === undefined || triggers.includes("retriable-status-codes");
  if (httpStatusCodes !== undefined && !codes) {
    refuse(["httpStatusCodes"], "needs the trigger retriable-status-codes");
  }
}

export const policyRetry = object(
  {
    numRetries: integer(0, RETRIES_MAX)
      .default(2)
      .describe("How often a request is sent again at most."),
    retryOn: retryOnFields
      .superRefine(...throughout(checkRetryOn))
      .exactOptional()
      .describe("What it is sent again after; what fails before it is answered where absent."),
    perRetry: object({
      timeout: gatewayDuration()
        .exactOptional()
        .describe("For each try; a route's own time limit of a try comes first."),
      backOff: backOffFields
        .superRefine(across(checkBackOff))
        .exactOptional()
        .describe("Waits between tries."),
    })
      .exactOptional()
      .describe("What holds for each try."),
  },
  { unsupported: ["numAttemptsPerPriority"] },
);

export const policyTimeout = object({
  tcp: object({
    connectTimeout: positiveDuration()
      .exactOptional()
      .describe("For a connection to come about, with TLS; 5s where absent."),
  })
    .exactOptional()
    .describe("Of connections."),
  http: object(
    {
      connectionIdleTimeout: positiveDuration()
        .exactOptional()
        .describe("How long a connection is kept without a request; 4s where absent."),
      maxConnectionDuration: gatewayDuration()
        .exactOptional()
        .describe("After that long a connection takes no further request."),
      requestTimeout: gatewayDuration()
        .exactOptional()
        .describe("For a request with all its tries; a route's own time limit comes first."),
    },
    { unsupported: ["maxStreamDuration", "streamIdleTimeout"] },
  )
    .exactOptional()
    .describe("Of requests."),
});

const CONNECTIONS_MAX = 1_000_000;
const PER_ENDPOINT =
  "is not supported by this version; perEndpoint.maxConnections limits connections to an endpoint";

export const circuitBreaker = object(
  {
    maxRequestsPerConnection: integer(1, 4_294_967_295)
      .exactOptional()
      .describe("After so many requests a connection takes no further one."),
    perEndpoint: object({
      maxConnections: integer(1, CONNECTIONS_MAX)
        .exactOptional()
        .describe("Connections of each worker to each endpoint; 1024 where absent."),
    })
      .exactOptional()
      .describe("Limits for each endpoint."),
  },
  {
    unsupported: ["maxPendingRequests", "maxParallelRequests", "maxParallelRetries", "retryBudget"],
    refused: { maxConnections: PER_ENDPOINT },
  },
);

export type PolicyRetry = z.infer<typeof policyRetry>;
export type PolicyTimeout = z.infer<typeof policyTimeout>;
export type CircuitBreaker = z.infer<typeof circuitBreaker>;
