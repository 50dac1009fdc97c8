/**
 * What a worker serves: the Program, linked. A linked object is immutable; what can change on its
 * own (a rule, a split, a table) hangs in a Cell, and a new generation is put in place by assigning
 * cells in one synchronous pass, so that no request sees half of it. A request reads a cell once
 * and keeps what it found: one rule for its whole life.
 */
import type { BlockList } from "node:net";
import type { RE2JS } from "re2js";
import type {
  ApiKeyAuth,
  Arm,
  AuthoritiesPart,
  CertificatePart,
  ClientPart,
  Hostname,
  ListenerTls,
  MatchEntry,
  ModelRoutePart,
  PartKey,
  PathEdit,
  PoolPart,
  RateLimit,
  Redirect,
  RulePart,
  SocketPart,
  SplitPart,
} from "../compile/program.ts";
import type { ConnectionLimits, Retry } from "../compile/rule-part.ts";
import type { AddressDetection } from "./client-address.ts";
import type { LinkedCompression } from "./compress.ts";
import type { LinkedCors } from "./cors.ts";
import type { HostTable } from "./host-table.ts";
import type { LinkedSession } from "./session.ts";

export interface Cell<T> {
  /** Undefined while the part is not there: a reference that dangles is answered with 500. */
  value: T | undefined;
}

/** Rises whenever cells of this thread are assigned: what was found through them may be stale. */
let generation = 0;

export function generationOfCells(): number {
  return generation;
}

export function cellsAssigned(): void {
  generation++;
}

/** The root: sockets to listen on. Replaced as a whole when the set of sockets changes. */
export interface Snapshot {
  readonly generation: number;
  readonly sockets: ReadonlyMap<PartKey, Cell<LinkedSocket>>;
}

export interface LinkedSocket {
  readonly part: SocketPart;
  /** Whether its listeners end TLS. */
  readonly secure: boolean;
  /** What holds for connections before their listener is known; null: the defaults. */
  readonly client: Cell<LinkedClient> | null;
  /** The most specific listener that fits a host takes the request, and no other is asked. */
  readonly listeners: HostTable<LinkedListener>;
}

export interface LinkedListener {
  readonly hostname: Hostname;
  readonly table: Cell<LinkedTable>;
  readonly client: Cell<LinkedClient> | null;
  /** Null: plain text. */
  readonly tls: LinkedListenerTls | null;
}

export interface LinkedListenerTls {
  readonly part: ListenerTls;
  readonly certificates: readonly Cell<LinkedCertificate>[];
  /** Who vouches for clients; null where they are not asked for certificates. */
  readonly authorities: Cell<LinkedAuthorities> | null;
}

export interface LinkedCertificate {
  readonly part: CertificatePart;
  /** PEM; null where it has not come: then the certificate is not presented. Never logged. */
  readonly privateKey: string | null;
}

export interface LinkedAuthorities {
  readonly part: AuthoritiesPart;
}

export interface LinkedClient {
  readonly part: ClientPart;
  readonly detection: AddressDetection | null;
}

export interface LinkedTable {
  /** Asked from the most specific host that fits to the least, until one has a match. */
  readonly hosts: HostTable<Cell<PathMatcher>>;
}

/**
 * The matches of one host, keyed so that a lookup costs the depth of the path, not the number of
 * routes.
 */
export interface PathMatcher {
  readonly exact: ReadonlyMap<string, readonly LinkedMatch[]>;
  /** Asked after the exact paths and before the prefixes, in order of precedence. */
  readonly regex: readonly LinkedMatch[];
  /** Prefixes without their trailing slash; "" is "/". */
  readonly prefix: ReadonlyMap<string, readonly LinkedMatch[]>;
  /** Slashes in the deepest prefix: no more of a path than that is ever looked at. */
  readonly prefixDepthMax: number;
  /** Asked where nothing here fits. */
  readonly next: PathMatcher | null;
}

/** The matches of one page; a host's matcher is made of its pages. */
export interface LinkedPage {
  readonly tier: number;
  readonly matches: readonly LinkedMatch[];
}

export interface LinkedMatch {
  readonly entry: MatchEntry;
  readonly pathRegex: RE2JS | null;
  /** Undefined: any method. */
  readonly method: string | undefined;
  readonly headers: readonly LinkedValueMatch[] | null;
  readonly queryParams: readonly LinkedValueMatch[] | null;
  /** Only gRPC calls. */
  readonly grpc: boolean;
  /** An expression did not compile: the match fits nothing. */
  readonly broken: boolean;
  readonly rule: Cell<LinkedRule>;
}

export interface LinkedValueMatch {
  readonly name: string;
  /** Compared for equality where `regex` is null. */
  readonly value: string;
  readonly regex: RE2JS | null;
}

/** Backends of which one answers, each with an interval of [0, 1). */
export interface WeightedSet {
  readonly backends: readonly LinkedBackend[];
  readonly weightSum: number;
  /** Where the interval of each backend ends. */
  readonly ends: readonly number[];
}

/** How the requests of a rule use connections, where that is not as the pool says. */
export interface Habits {
  readonly grpc: boolean;
  readonly limits: ConnectionLimits;
  /** What is presented to backends with TLS; null for nothing. */
  readonly clientCertificate: Cell<LinkedCertificate> | null;
}

export interface LinkedRule extends WeightedSet {
  /** "rule" for HTTP, "models" for an LLM route, which reads the body before it chooses. */
  readonly part: RulePart | ModelRoutePart;
  readonly route: string;
  /** The rule's own name, as it stands in a line of the log; "" where it has none. */
  readonly named: string;
  /** The metrics row of the route as a whole. */
  readonly row: number;
  /** Filled by `armRow` (choose.ts): the rows of this route's arms. */
  readonly armRows: Map<LinkedArm, number>;
  readonly auth: LinkedAuth | null;
  readonly limits: readonly LinkedLimit[] | null;
  /** Answers the request by itself. */
  readonly redirect: Redirect | null;
  /** As `redirect`; the body's bytes are written as they are. */
  readonly directResponse: LinkedDirectResponse | null;
  readonly cors: LinkedCors | null;
  /** Whether requests may become WebSockets. */
  readonly websocket: boolean;
  /** Longer bodies are refused; Infinity: no limit. */
  readonly bodyBytesMax: number;
  /** Of the rule alone, for answers that no backend gives. */
  readonly responseEdits: LinkedEdits | null;
  /** How clients come back to the same endpoint; null for most rules. */
  readonly session: LinkedSession | null;
  /** When requests are sent again beyond what is always safe; null for most rules. */
  readonly retry: Retry | null;
  /** Null for most rules. */
  readonly compression: LinkedCompression | null;
  /** Null for most rules. */
  readonly habits: Habits | null;
  /** 0: no limit. */
  readonly requestTimeoutMs: number;
  /** 0: no limit. */
  readonly backendRequestTimeoutMs: number;
  /** Null for HTTP; an LLM route has its choices per model here and none in `backends`. */
  readonly models: readonly LinkedModelRule[] | null;
}

export interface LinkedDirectResponse {
  readonly status: number;
  /** "" for none. */
  readonly contentType: string;
  /** One character a byte. */
  readonly body: string;
}

export interface LinkedModelRule extends WeightedSet {
  /** Any of them fits; empty fits every model. */
  readonly models: readonly LinkedValueMatch[];
  readonly requestTimeoutMs: number;
  readonly backendRequestTimeoutMs: number;
}

/**
 * One backendRef with the filters of its rule and then its own, already merged. Whatever changes a head
 * or answers in a backend's place, here or in a rule, has to be named in `changesNothing` (known-head.ts).
 */
export interface LinkedBackend {
  readonly weight: number;
  /** Null where the reference is invalid: its share is answered with 500. */
  readonly split: Cell<LinkedSplit> | null;
  readonly requestEdits: LinkedEdits | null;
  readonly responseEdits: LinkedEdits | null;
  /** The Host that the upstream sees, or null for the client's. */
  readonly rewriteHost: string | null;
  /** The header of the request that the Host is taken from; lower case. */
  readonly rewriteHostFrom: string | null;
  /** Applied one after the other; see rewriteTarget (rewrite.ts). */
  readonly pathEdits: readonly PathEdit[];
  /** A redirect or an answer that stands on this backendRef alone. */
  readonly redirect: Redirect | null;
  readonly directResponse: LinkedDirectResponse | null;
  /** Those of the rule, then those of the backendRef; null for none. */
  readonly mirrors: readonly LinkedMirror[] | null;
  /** That of the backendRef, or else of its rule. */
  readonly cors: LinkedCors | null;
  readonly modelNameOverride: string | null;
}

export interface LinkedMirror {
  /** In (0, 1]. */
  readonly fraction: number;
  readonly split: Cell<LinkedSplit>;
}

/** Header edits as a head is written: drop these lines, then append this text. */
export interface LinkedEdits {
  /** Lower case. */
  readonly drop: ReadonlySet<string>;
  /** Whole lines, each ended by CR LF; "" for none. */
  readonly append: string;
  readonly appended: readonly (readonly [name: string, value: string])[];
}

export interface LinkedSplit {
  readonly part: SplitPart;
  readonly arms: readonly LinkedArm[];
  /** Where the interval of each arm ends in [0, 1). */
  readonly ends: readonly number[];
}

export interface LinkedArm {
  readonly arm: Arm;
  readonly gate: number;
  readonly pool: Cell<LinkedPool>;
  /** What the provider wants added; null where none is wanted, or where its value is missing. */
  readonly credential: LinkedCredential | null;
  /** The provider wants a credential that is not there: the request is answered with 500. */
  readonly credentialMissing: boolean;
}

/** A header that carries a secret: never logged. */
export interface LinkedCredential {
  readonly name: string;
  readonly value: string;
}

export interface LinkedPool {
  readonly part: PoolPart;
}

export interface LinkedAuth {
  /** Looks up the lower-case SHA-256 of a presented key; returns the client id. */
  readonly clientOf: (digest: string) => string | undefined;
  readonly auth: ApiKeyAuth;
  /** What must not reach the upstream (`sanitize`); empty lists where it may. */
  readonly stripHeaders: ReadonlySet<string>;
  readonly stripParams: readonly string[];
  readonly stripCookies: readonly string[];
}

export interface LinkedLimit {
  readonly limit: RateLimit;
  readonly intervalNs: bigint;
  /** The bucket where no selector is Distinct. */
  readonly bucket: bigint;
  /** Whether each client or value has a bucket of its own. */
  readonly distinct: boolean;
  readonly headers: readonly LinkedLimitHeader[];
  /** Null: any address. */
  readonly sources: BlockList | null;
  readonly distinctSource: boolean;
}

export interface LinkedLimitHeader {
  readonly name: string;
  readonly type: "Exact" | "RegularExpression" | "Distinct";
  readonly value: string;
  readonly regex: RE2JS | null;
  readonly invert: boolean;
}
