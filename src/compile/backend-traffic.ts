/**
 * BackendTrafficPolicy as rules carry it, but for its rate limits: retries, time limits, use of
 * connections, compression, limits of bodies, upgrades. Values that the policy leaves open are
 * Envoy Gateway's.
 */
import { parseDuration } from "../base/duration.ts";
import type { CircuitBreaker, PolicyRetry, PolicyTimeout } from "../resource/backend-retry.ts";
import type { BackendTrafficPolicySpec } from "../resource/backend-traffic-policy.ts";
import type { Compressor } from "../resource/compression.ts";
import { parseQuantity } from "../resource/quantity.ts";
import type { RulePart } from "./program.ts";
import type { Compression, ConnectionLimits, Retry, RetryTrigger } from "./rule-part.ts";
import { BACKOFF_BASE_MS, BACKOFF_GROWTH, codeRanges, readTimeout } from "./rules.ts";

export type TrafficSettings = Pick<
  RulePart,
  | "backendRequestTimeoutMs"
  | "compression"
  | "connections"
  | "requestBodyBytesMax"
  | "requestTimeoutMs"
  | "retry"
  | "websocket"
>;

export function readTraffic(spec: BackendTrafficPolicySpec): TrafficSettings {
  const connections = readConnections(spec.timeout, spec.circuitBreaker);
  const requestTimeoutMs = readTimeout(spec.timeout?.http?.requestTimeout);
  const backendRequestTimeoutMs = readTimeout(spec.retry?.perRetry?.timeout);
  const compressors = spec.compressor ?? spec.compression;
  const requestBodyBytesMax = parseQuantity(spec.requestBuffer?.limit ?? "");
  return {
    ...(spec.retry !== undefined && { retry: readRetry(spec.retry) }),
    ...(requestTimeoutMs !== undefined && { requestTimeoutMs }),
    ...(backendRequestTimeoutMs !== undefined && { backendRequestTimeoutMs }),
    ...(connections !== undefined && { connections }),
    ...(compressors !== undefined && { compression: readCompression(compressors) }),
    ...(requestBodyBytesMax !== undefined && { requestBodyBytesMax }),
    ...(spec.httpUpgrade?.length === 0 && { websocket: false }),
  };
}

type Trigger = NonNullable<NonNullable<PolicyRetry["retryOn"]>["triggers"]>[number];

interface Meaning {
  readonly on?: readonly RetryTrigger[];
  readonly codes?: readonly (readonly [number, number])[];
  readonly grpc?: readonly number[];
}

/** No answer at all, for whatever reason. */
const SILENCE: readonly RetryTrigger[] = ["connect", "refused", "reset", "timeout"];

/** Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`. */
const MEANINGS: Readonly<Record<Trigger, Meaning>> = {
  "5xx": { on: SILENCE, codes: [[500, 599]] },
  "gateway-error": { on: ["timeout"], codes: [[502, 504]] },
  reset: { on: SILENCE },
  // Before a byte of the request was sent nothing but the connection can have failed.
  "reset-before-request": { on: ["connect"] },
  "connect-failure": { on: ["connect"] },
  "retriable-4xx": { codes: [[409, 409]] },
  "refused-stream": { on: ["refused"] },
  "retriable-status-codes": {},
  cancelled: { grpc: [1] },
  "deadline-exceeded": { grpc: [4] },
  "resource-exhausted": { grpc: [8] },
  internal: { grpc: [13] },
  unavailable: { grpc: [14] },
};

/** What Envoy Gateway tries again after where a policy does not say. */
const TRIGGERS: readonly Trigger[] = [
  "connect-failure",
  "refused-stream",
  "unavailable",
  "cancelled",
  "retriable-status-codes",
];
const STATUS_CODES: readonly number[] = [503];

function readRetry({ numRetries, retryOn, perRetry }: PolicyRetry): Retry {
  const meanings = (retryOn?.triggers ?? TRIGGERS).map((trigger) => ({
    ...MEANINGS[trigger],
    ...(trigger === "retriable-status-codes" && {
      codes: codeRanges(retryOn?.httpStatusCodes ?? STATUS_CODES),
    }),
  }));
  const { baseInterval, maxInterval } = perRetry?.backOff ?? {};
  const backoffBaseMs = parseDuration(baseInterval ?? "") ?? BACKOFF_BASE_MS;
  return {
    attempts: numRetries,
    statusCodes: meanings.flatMap(({ codes = [] }) => codes),
    grpcCodes: meanings.flatMap(({ grpc = [] }) => grpc),
    on: [...new Set(meanings.flatMap(({ on = [] }) => on))].toSorted(),
    backoffBaseMs,
    backoffMaxMs: parseDuration(maxInterval ?? "") ?? backoffBaseMs * BACKOFF_GROWTH,
  };
}

function readConnections(
  timeout: PolicyTimeout | undefined,
  breaker: CircuitBreaker | undefined,
): ConnectionLimits | undefined {
  const { connectionIdleTimeout, maxConnectionDuration } = timeout?.http ?? {};
  const connectTimeoutMs = readTimeout(timeout?.tcp?.connectTimeout);
  const idleTimeoutMs = readTimeout(connectionIdleTimeout);
  const connectionAgeMaxMs = readTimeout(maxConnectionDuration);
  const requestsPerConnectionMax = breaker?.maxRequestsPerConnection;
  const connectionsPerEndpointMax = breaker?.perEndpoint?.maxConnections;
  const limits: ConnectionLimits = {
    ...(connectTimeoutMs !== undefined && { connectTimeoutMs }),
    ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
    ...(connectionAgeMaxMs !== undefined && { connectionAgeMaxMs }),
    ...(requestsPerConnectionMax !== undefined && { requestsPerConnectionMax }),
    ...(connectionsPerEndpointMax !== undefined && { connectionsPerEndpointMax }),
  };
  return Object.keys(limits).length === 0 ? undefined : limits;
}

/** A shorter response hardly gets shorter. */
const MIN_BYTES = 1024;

/** What Envoy compresses where nothing is said, and the newer names of the same. */
const CONTENT_TYPES: readonly string[] = [
  "application/javascript",
  "application/json",
  "application/xhtml+xml",
  "application/xml",
  "image/svg+xml",
  "text/css",
  "text/csv",
  "text/html",
  "text/javascript",
  "text/markdown",
  "text/plain",
  "text/xml",
];

function readCompression(compressors: readonly Compressor[]): Compression {
  const [first] = compressors;
  return {
    encodings: compressors.map(readEncoding),
    minBytes: parseQuantity(first?.minContentLength ?? "") ?? MIN_BYTES,
    contentTypes: first?.contentTypes ?? CONTENT_TYPES,
  };
}

/** Levels where none is named: zlib's own, and Envoy Gateway's. */
const GZIP_LEVEL = 6;
const BROTLI_LEVEL = 3;
const ZSTD_LEVEL = 3;

function readEncoding({ type, gzip, brotli, zstd }: Compressor): Compression["encodings"][number] {
  if (type === "Gzip") return { name: "gzip", level: gzip?.compressionLevel ?? GZIP_LEVEL };
  if (type === "Brotli") return { name: "br", level: brotli?.quality ?? BROTLI_LEVEL };
  return { name: "zstd", level: zstd?.compressionLevel ?? ZSTD_LEVEL };
}
