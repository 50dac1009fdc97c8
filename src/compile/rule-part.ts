/**
 * What a rule of the Program can do beside forwarding: CORS, mirrors, answers of its own, trying
 * again, sessions, compression. All of it is plain data, as in program.ts; a field that is absent
 * is off.
 */
import type { PartKey } from "./program.ts";

/**
 * Cross-origin requests (Gateway API `HTTPCORSFilter`, the Fetch standard's CORS protocol).
 *
 * A preflight is an OPTIONS request with `Origin` and `Access-Control-Request-Method`. The gateway
 * answers it itself, with 200 and all Access-Control headers that are set here (the methods and
 * headers as they are listed, without those that are always allowed), before API keys are asked
 * for: browsers send none with it. An origin that is not allowed gets 200 without these headers.
 * Other requests go their way; where their origin is allowed, their responses get its headers in
 * place of those that the backend sent.
 */
export interface Cors {
  readonly allowOrigins: readonly OriginMatch[];
  /** With credentials no header may say "*": the origin, method and headers asked for stand there. */
  readonly allowCredentials: boolean;
  /** As written; ["*"] for all. */
  readonly allowMethods: readonly string[];
  /** As written; "*" for all. */
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds: number;
}

/**
 * An origin in lower case ("https://shop.example.com:8443"; a port that is the scheme's own is left
 * out, as browsers do), all that lie between a prefix and a suffix ("https://" and ".example.com":
 * at least one character between them), or any.
 */
export type OriginMatch =
  | { readonly type: "Exact"; readonly value: string }
  | { readonly type: "Wildcard"; readonly prefix: string; readonly suffix: string }
  | { readonly type: "Any" };

/**
 * A copy of the request for one endpoint of a split, whose answer is thrown away (Gateway API
 * `HTTPRequestMirrorFilter`). The copy is what the backend gets: all filters are applied to it.
 */
export interface Mirror {
  readonly split: PartKey;
  /** Share of the requests, in [0, 1]. */
  readonly fraction: number;
}

/** An answer without a backend (Envoy Gateway `HTTPDirectResponseFilter`). */
export interface DirectResponse {
  readonly statusCode: number;
  readonly contentType?: string;
  /** At most 4 KB of UTF-8; absent: no body. */
  readonly body?: string;
}

/**
 * When a request is sent again (Gateway API `HTTPRouteRetry`, Envoy Gateway `Retry`). Whoever
 * writes this down says that the rule's requests may be repeated, whatever their method; a body
 * longer than what may be held is not.
 */
export interface Retry {
  /** Tries beyond the first. */
  readonly attempts: number;
  /** Inclusive ranges of status codes of the backend's answer. */
  readonly statusCodes: readonly (readonly [first: number, last: number])[];
  /** Status codes of gRPC, where they stand in the response's head. */
  readonly grpcCodes: readonly number[];
  /**
   * `connect`: no connection came about; `reset`: it ended before the head of the response;
   * `refused`: HTTP/2 REFUSED_STREAM; `timeout`: the time for one attempt was over.
   */
  readonly on: readonly RetryTrigger[];
  /** The wait before try n + 1 lies between this and twice it, doubled n - 1 times. */
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

export type RetryTrigger = "connect" | "refused" | "reset" | "timeout";

/**
 * Requests of one session go to the endpoint that had its first one, whatever the weights of the
 * backendRefs say now, while that endpoint is there and its arm has weight (Gateway API
 * `SessionPersistence`, GEP-1619).
 */
export interface Session {
  readonly type: "Cookie" | "Header";
  /** Of the cookie or header. */
  readonly name: string;
  /**
   * What tokens are keyed with: made of the UID of the route, which is kept over restarts and known to
   * nobody outside, and of the rule, whose sessions mean nothing to another (GEP-1619).
   */
  readonly salt: string;
  /** A session ends that long after its first request; absent: it does not. */
  readonly absoluteTimeoutMs?: number;
  /** A session ends when it was unused that long; absent: it does not. */
  readonly idleTimeoutMs?: number;
  /** "Permanent": the cookie carries Max-Age, of the absolute timeout. */
  readonly lifetime: "Session" | "Permanent";
  /**
   * `Path` of the cookie is the first of these that the request lies under, else "/": where its match
   * says that its paths begin.
   */
  readonly paths: readonly string[];
}

/** Responses that may be compressed for clients that accept it (Envoy Gateway `compression`). */
export interface Compression {
  /** In order of preference where the client has none; `level` is the library's own figure. */
  readonly encodings: readonly { readonly name: "br" | "gzip" | "zstd"; readonly level: number }[];
  /** Shorter responses, as far as their length is known, go as they are. */
  readonly minBytes: number;
  /**
   * Media types in lower case without parameters. text/event-stream is compressed only where it
   * stands here: events are short, and a compressor takes memory for as long as they are waited for.
   */
  readonly contentTypes: readonly string[];
}

/** How connections are used for the requests of one rule, in place of the pool's own figures. */
export interface ConnectionLimits {
  readonly connectTimeoutMs?: number;
  /** A connection that a request of this rule gave back is kept that long. */
  readonly idleTimeoutMs?: number;
  /** A connection older than this is not given another request. */
  readonly connectionAgeMaxMs?: number;
  /** A connection that has served so many is not given another request. */
  readonly requestsPerConnectionMax?: number;
  /** No request of this rule opens another connection of a worker to an endpoint beyond these. */
  readonly connectionsPerEndpointMax?: number;
}
