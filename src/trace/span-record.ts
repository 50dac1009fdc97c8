/**
 * What a worker keeps of a request that is exported: plain data, which crosses to the trace thread
 * in batches and becomes spans there (spans.ts). Times are milliseconds since the epoch, with their
 * fractions; "" and -1 mean that there is none.
 */

/** One request, from its head to its end: a server span. */
export interface RequestRecord {
  readonly traceId: string;
  readonly spanId: string;
  /** The caller's span. */
  readonly parentId: string;
  /** The caller's `tracestate`, valid. */
  readonly traceState: string;
  readonly startMs: number;
  readonly endMs: number;
  /** "" where the request had no valid head. */
  readonly method: string;
  readonly scheme: "http" | "https";
  /** Host and port that the client asked for. */
  readonly host: string;
  readonly port: number;
  /** Without the query, in which keys travel. */
  readonly path: string;
  /** The path that the rule matches, of which there are few: "/shop/*". */
  readonly pathRule: string;
  /** "1.0", "1.1" or "2". */
  readonly protocol: string;
  /** Who asked, as far as that is known behind other proxies. */
  readonly clientAddress: string;
  /** The other end of the connection. */
  readonly peerAddress: string;
  readonly userAgent: string;
  readonly status: number;
  /** A code of the error table where the request failed, and not by its client's fault. */
  readonly error: string;
  /** Who said the last word, as in the access log: "backend", "client" or "gateway". */
  readonly endedBy: string;
  readonly requestId: string;
  /** "NAMESPACE/NAME" of the route. */
  readonly route: string;
  readonly shielded: boolean;
  readonly attempts: readonly AttemptRecord[];
}

/** One attempt on an arm: a client span. */
export interface AttemptRecord {
  /** What the backend was told as the id of its caller. */
  readonly spanId: string;
  readonly startMs: number;
  /** When there was a connection, and the request was sent. */
  readonly sentMs: number;
  /** When the response's head was there. */
  readonly headMs: number;
  readonly endMs: number;
  /** A host and its port, or the path of a unix socket and -1. */
  readonly address: string;
  readonly port: number;
  readonly scheme: "http" | "https";
  /** "1.1" or "2". */
  readonly protocol: string;
  /** The path that was asked for, without the query. */
  readonly path: string;
  /** -1 where no response came. */
  readonly status: number;
  /** A code of the error table. */
  readonly error: string;
  readonly arm: string;
  readonly version: string;
  readonly role: "stable" | "canary";
}
