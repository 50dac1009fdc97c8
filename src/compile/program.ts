/**
 * The Program: all that the data plane needs to know, as plain keyed parts.
 *
 * A part is immutable, JSON-able and at most 64 KB; a list that users can grow without bound is
 * paged into parts of its own. Parts name one another by key. A changed part has a new content hash
 * under the same key, and only changed parts travel to the workers. Nothing in here depends on how
 * many workers there are, on slots of shared memory or on the time of day, so a Program can be
 * compared with a golden file.
 */
import type {
  Compression,
  ConnectionLimits,
  Cors,
  DirectResponse,
  Mirror,
  Retry,
  Session,
} from "./rule-part.ts";

export type Part =
  | SocketPart
  | CertificatePart
  | AuthoritiesPart
  | ClientPart
  | TablePart
  | PagePart
  | RulePart
  | SplitPart
  | PoolPart
  | KeySetPart
  | KeyPagePart
  | ModelRoutePart;

export type PartKey = string;

/** All parts by key. */
export type Program = ReadonlyMap<PartKey, Part>;

/** One listening address. Listeners of several Gateways share it. Key: "socket/ADDRESS:PORT". */
export interface SocketPart {
  readonly type: "socket";
  readonly key: PartKey;
  /** An IP address, "::" for every address of both families; or "unix:" and a path. */
  readonly address: string;
  /** Of a Unix socket: the one that its listeners are said to be on. */
  readonly port: number;
  /** What holds for a connection before its listener is known; a ClientPart. */
  readonly client?: PartKey;
  /** Most specific hostname first; the first that fits isolates the request (GEP-3567). */
  readonly listeners: readonly SocketListener[];
}

/** Either all listeners of a socket have `tls` or none has. */
export interface SocketListener {
  readonly hostname: Hostname;
  readonly table: PartKey;
  /** A ClientPart. */
  readonly client?: PartKey;
  /** TLS ends here; the listener is chosen by SNI. */
  readonly tls?: ListenerTls;
}

export interface ListenerTls {
  /** CertificateParts; a client gets the first whose kind of key it can take. */
  readonly certificates: readonly PartKey[];
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /** OpenSSL's names of ciphers of TLS 1.2, the preferred one first. */
  readonly ciphers: readonly string[];
  readonly alpnProtocols: readonly ("h2" | "http/1.1")[];
  readonly clientValidation?: {
    /** An AuthoritiesPart. */
    readonly authorities: PartKey;
    /**
     * "required": a valid certificate; "optional": none or a valid one; "insecure": any or none,
     * for backends that decide by themselves (Gateway API `AllowInsecureFallback`).
     */
    readonly mode: "required" | "optional" | "insecure";
  };
}

export type TlsVersion = "TLSv1.2" | "TLSv1.3";

/**
 * A certificate chain, without its private key, which travels beside the parts as credentials do.
 * Key: "certificate/Secret/NAMESPACE/NAME" or "certificate/file/" and both
 * paths as JSON.
 */
export interface CertificatePart {
  readonly type: "certificate";
  readonly key: PartKey;
  /** PEM, the certificate itself first. */
  readonly chain: string;
  readonly privateKey: { readonly ref: string; readonly digest: string };
}

/** Who vouches for certificates of clients. Key: "authorities/DIGEST". */
export interface AuthoritiesPart {
  readonly type: "authorities";
  readonly key: PartKey;
  /** PEM. */
  readonly pem: string;
}

/** How clients may speak to a socket or a listener: a ClientTrafficPolicy. Key: "client/NAMESPACE/NAME". */
export interface ClientPart {
  readonly type: "client";
  readonly key: PartKey;
  readonly proxyProtocol?: "required" | "optional";
  /** Over all workers. */
  readonly connectionLimit?: { readonly value: number; readonly closeDelayMs: number };
  readonly tcpKeepalive?: {
    readonly probes?: number;
    readonly idleMs?: number;
    readonly intervalMs?: number;
  };
  readonly timeouts?: {
    readonly requestReceivedMs?: number;
    readonly idleMs?: number;
    readonly streamIdleMs?: number;
  };
  readonly forwardedClientCert?: {
    readonly mode:
      | "Sanitize"
      | "ForwardOnly"
      | "AppendForward"
      | "SanitizeSet"
      | "AlwaysForwardOnly";
    readonly details: readonly ("Subject" | "Cert" | "Chain" | "DNS" | "URI")[];
  };
  readonly http2?: {
    readonly maxConcurrentStreams?: number;
    readonly initialStreamWindowBytes?: number;
    readonly initialConnectionWindowBytes?: number;
  };
  /** Where the client's address is found; absent: that of the connection. */
  readonly clientIpDetection?:
    | { readonly type: "hops"; readonly trustedHops: number }
    | { readonly type: "cidrs"; readonly trusted: readonly string[] }
    | { readonly type: "header"; readonly name: string; readonly failClosed: boolean };
  /** http1/path.ts has what it means. */
  readonly path?: {
    /** Absent: kept, and refused where it would lead around a rule. */
    readonly escapedSlashes?:
      | "KeepUnchanged"
      | "RejectRequest"
      | "UnescapeAndForward"
      | "UnescapeAndRedirect";
    readonly keepsRepeatedSlashes?: true;
  };
}

/** "" is any host, "*.example.com" any of one or more labels before the suffix; lower case. */
export type Hostname = string;

/** The hosts that routes claim on one listener. Key: "table/ADDRESS:PORT/HOSTNAME". */
export interface TablePart {
  readonly type: "table";
  readonly key: PartKey;
  /** Most specific first: Gateway API ranks a longer matching hostname above every other rule. */
  readonly hosts: readonly { readonly hostname: Hostname; readonly pages: readonly PartKey[] }[];
}

/**
 * Some of the matches of one host. All matches of one exact or prefix path stand in one page, in
 * order of precedence; all regular expressions of a host stand together in order of precedence.
 */
export interface PagePart {
  readonly type: "page";
  readonly key: PartKey;
  /** Pages of one host with a higher tier are asked only where those of a lower have no match. */
  readonly tier?: number;
  readonly entries: readonly MatchEntry[];
}

export interface MatchEntry {
  readonly path: {
    readonly type: "Exact" | "PathPrefix" | "RegularExpression";
    readonly value: string;
  };
  readonly method?: string;
  readonly headers?: readonly ValueMatch[];
  readonly queryParams?: readonly ValueMatch[];
  /** Only gRPC calls: content-type application/grpc, alone or before "+" or ";". */
  readonly grpc?: true;
  /** A RulePart or a ModelRoutePart. */
  readonly rule: PartKey;
}

/** Header names are in lower case, query parameter names as given. */
export interface ValueMatch {
  readonly name: string;
  readonly type: "Exact" | "RegularExpression";
  readonly value: string;
}

/** What happens to a request that matched. Key: "rule/KIND/NAMESPACE/NAME/INDEX". */
export interface RulePart {
  readonly type: "rule";
  readonly key: PartKey;
  /** "NAMESPACE/NAME" of the route: the label of metrics and access log. */
  readonly route: string;
  /** The rule's own name in its route, for the access log. */
  readonly name?: string;
  /**
   * A rule of a GRPCRoute: what the gateway answers itself is a gRPC status (14 UNAVAILABLE where a
   * backendRef is invalid or nobody answers), never a status of HTTP.
   */
  readonly grpc?: true;
  readonly auth?: ApiKeyAuth;
  readonly limits?: readonly RateLimit[];
  readonly filters: Filters;
  readonly backends: readonly WeightedBackend[];
  /** Where the sticky key of the split is found; absent: each request draws anew. */
  readonly splitHash?: SplitHash;
  /** What the gateway presents to backends with TLS; a CertificatePart. */
  readonly clientCertificate?: PartKey;
  /** From the request's head to the response's end, over all attempts; absent: no limit. */
  readonly requestTimeoutMs?: number;
  /** One attempt. */
  readonly backendRequestTimeoutMs?: number;
  /** Absent: only what is safe is tried again, for want of a connection. */
  readonly retry?: Retry;
  readonly session?: Session;
  readonly compression?: Compression;
  /** Longer request bodies are answered with 413; absent: no limit. */
  readonly requestBodyBytesMax?: number;
  readonly connections?: ConnectionLimits;
  /** false: requests to upgrade to WebSocket go as plain requests; absent: they may upgrade. */
  readonly websocket?: false;
}

/**
 * Applied in this order: CORS, direct response or redirect, mirrors, rewrite, headers. The filters
 * of a backendRef come after those of its rule.
 */
export interface Filters {
  readonly requestHeaders?: HeaderEdits;
  readonly responseHeaders?: HeaderEdits;
  readonly rewrite?: UrlRewrite;
  readonly redirect?: Redirect;
  readonly cors?: Cors;
  readonly mirrors?: readonly Mirror[];
  readonly directResponse?: DirectResponse;
}

/** Applied in the order remove, set, add. Names in lower case for removal, as written otherwise. */
export interface HeaderEdits {
  readonly set?: readonly (readonly [name: string, value: string])[];
  readonly add?: readonly (readonly [name: string, value: string])[];
  readonly remove?: readonly string[];
}

export interface UrlRewrite {
  readonly hostname?: string;
  /** The Host is the value of this header of the request (lower case), if it has one that is a host. */
  readonly hostnameHeader?: string;
  readonly path?: PathEdit;
}

/**
 * ReplaceRegexMatch: every match of an RE2 expression in the path (without query) becomes the
 * substitution, in which "\1" to "\9" are groups and "\0" is the whole match.
 */
export type PathEdit =
  | { readonly type: "ReplaceFullPath"; readonly value: string }
  | { readonly type: "ReplacePrefixMatch"; readonly prefix: string; readonly value: string }
  | { readonly type: "ReplaceRegexMatch"; readonly pattern: string; readonly value: string };

export interface Redirect {
  readonly scheme?: "http" | "https";
  readonly hostname?: string;
  readonly port?: number;
  readonly path?: PathEdit;
  readonly statusCode: 301 | 302 | 303 | 307 | 308;
}

/** One backendRef: a share of the rule's requests. */
export interface WeightedBackend {
  readonly weight: number;
  /** A SplitPart; absent where the reference is invalid and its share is answered with 500. */
  readonly split?: PartKey;
  /** Filters of the backendRef itself, applied after the rule's. */
  readonly filters?: Filters;
}

export type SplitHash =
  | { readonly type: "header" | "cookie"; readonly name: string }
  | { readonly type: "sourceIP" };

/**
 * Who answers for one backend, and in which proportion. Key: "split/KIND/NAMESPACE/NAME" (a Service
 * adds ":PORT"). This is the part that a change of weight sends.
 */
export interface SplitPart {
  readonly type: "split";
  readonly key: PartKey;
  /** The UID of the Rollout, so that a sticky key stands at the same place on every gateway. */
  readonly salt: string;
  /** Canary first: it owns the interval [0, weight). Weights sum to 10,000. */
  readonly arms: readonly Arm[];
}

export interface Arm {
  /** "KIND/NAMESPACE/NAME@REVISION": what metrics and gates are keyed by. */
  readonly id: string;
  /** For people: the version label, or the revision where there is none. */
  readonly version: string;
  readonly role: "stable" | "canary";
  /** Basis points. */
  readonly weightBp: number;
  /** A PoolPart. */
  readonly pool: PartKey;
  /** Set where the arm is an LLM provider. */
  readonly provider?: Provider;
}

/** How requests to one LLM provider are written. */
export interface Provider {
  readonly schema: "OpenAI";
  /** Path prefix of the provider's API, "/v1" unless the schema says otherwise. */
  readonly prefix: string;
  readonly credential?: Credential;
}

/**
 * A credential that is added to upstream requests. Its value never stands in a Program: workers get
 * it beside the parts under `ref`, and `digest` makes the part change when the value does.
 */
export interface Credential {
  readonly header: string;
  /** Before the value: "Bearer ". */
  readonly prefix: string;
  /** "Secret/NAMESPACE/NAME/KEY". */
  readonly ref: string;
  readonly digest: string;
}

/** The endpoints of one arm. Key: "pool/" and the arm's id. */
export interface PoolPart {
  readonly type: "pool";
  readonly key: PartKey;
  /** Empty: requests are answered with 503. */
  readonly endpoints: readonly EndpointAddress[];
  /** Absent: plain text. */
  readonly tls?: PoolTls;
  /** HTTP/2 in plain text with prior knowledge, or over TLS; absent: HTTP/1.1. */
  readonly protocol?: "h2c" | "h2";
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly responseHeadTimeoutMs: number;
  readonly connectionsPerEndpointMax: number;
}

/** Whom a gateway takes for a backend. */
export interface PoolTls {
  /** What is asked for by SNI, and verified unless `subjectAltNames` are. */
  readonly serverName: string;
  /** PEM; absent: the authorities of the host. */
  readonly caCertificates?: string;
  /** Of which the backend's certificate must have one (Gateway API BackendTLSPolicy). */
  readonly subjectAltNames?: readonly { readonly type: "DNS" | "URI"; readonly value: string }[];
}

export type EndpointAddress =
  | { readonly host: string; readonly port: number }
  | { readonly unixPath: string };

export interface ApiKeyAuth {
  readonly keys: PartKey;
  readonly extractFrom: readonly {
    readonly headers?: readonly string[];
    readonly params?: readonly string[];
    readonly cookies?: readonly string[];
  }[];
  /** The header that tells the upstream who called. */
  readonly forwardClientIdHeader?: string;
  /** Whether the key is removed before the request goes upstream. */
  readonly sanitize: boolean;
}

/** Who may call: digests only. Key: "keys/NAMESPACE/POLICY". */
export interface KeySetPart {
  readonly type: "keys";
  readonly key: PartKey;
  readonly pages: readonly PartKey[];
}

/** Keys whose digest begins alike. */
export interface KeyPagePart {
  readonly type: "keyPage";
  readonly key: PartKey;
  /** SHA-256 in lower-case hexadecimal → client id. */
  readonly clients: Readonly<Record<string, string>>;
}

/** A bucket that refills evenly (GCRA). Its cells live in shared memory under (key, selected values). */
export interface RateLimit {
  readonly key: string;
  readonly requests: number;
  readonly periodMs: number;
  readonly burst: number;
  /** All must hold for the rule to count the request. */
  readonly headers?: readonly {
    readonly name: string;
    /** Distinct: each value has a bucket of its own. */
    readonly type: "Exact" | "RegularExpression" | "Distinct";
    readonly value?: string;
    readonly invert?: boolean;
  }[];
  readonly sourceCidr?: { readonly value: string; readonly type: "Exact" | "Distinct" };
}

/** The LLM paths of one AIGatewayRoute. Key: "models/NAMESPACE/NAME". */
export interface ModelRoutePart {
  readonly type: "models";
  readonly key: PartKey;
  readonly route: string;
  readonly auth?: ApiKeyAuth;
  readonly limits?: readonly RateLimit[];
  /** The first rule whose matches fit the body's model answers; the first match of a rule that fits. */
  readonly rules: readonly {
    readonly models: readonly ValueMatch[];
    readonly backends: readonly (WeightedBackend & { readonly modelNameOverride?: string })[];
    readonly requestTimeoutMs?: number;
    readonly backendRequestTimeoutMs?: number;
  }[];
  readonly splitHash?: SplitHash;
  /** As RulePart's. */
  readonly clientCertificate?: PartKey;
  /** What /v1/models lists. */
  readonly modelsListed: readonly string[];
  readonly bodyBytesMax: number;
}
