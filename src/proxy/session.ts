/**
 * Sessions (Gateway API `SessionPersistence`, GEP-1619): a client is given a token, in a cookie or a
 * header, that names the endpoint which answered it, and comes back there while that is possible.
 *
 * Nothing is kept for a session. A token is the name of an endpoint, keyed with the salt of its rule, so
 * that nobody can tell an address by it or make one up for an address; where sessions end by time it
 * says when this one began and was last used, with a code that only the gateway can make. What is no
 * such token is as good as none.
 *
 * A session comes before the weights of backendRefs, also before weight 0, and before sticky splits; it
 * does not keep an arm that the split gives no more requests, nor one whose gate is closed.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { PoolPart } from "../compile/program.ts";
import type { Session } from "../compile/rule-part.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { Gates } from "../shared/gates.ts";
import type { Choice } from "./choose.ts";
import { cookieValue } from "./cookie.ts";
import { addressText, type Endpoint } from "./endpoint.ts";
import type { Exchange } from "./exchange.ts";
import type { RequestFields } from "./request-fields.ts";
import { isSafeHeader } from "./rewrite.ts";
import type { LinkedBackend, LinkedPool, LinkedRule } from "./snapshot.ts";

export interface LinkedSession {
  readonly part: Session;
  /** The header of requests that has the token; lower case. */
  readonly header: string;
  /** How much later than last said a session may have been used; 0 where that is not asked. */
  readonly renewMs: number;
  /** Filled by `namesOf`. */
  readonly names: WeakMap<LinkedPool, EndpointNames>;
}

/** The endpoints of one pool, as tokens of one rule name them. */
interface EndpointNames {
  /** Position in the pool by name. */
  readonly positions: ReadonlyMap<string, number>;
  /** Names by the endpoint's text. */
  readonly names: ReadonlyMap<string, string>;
}

/** What a request says of its session, and what becomes of it. */
export class SessionUse {
  readonly session: LinkedSession;
  /** The name of the endpoint that had the session's requests before; "" where there is none. */
  readonly name: string;
  readonly startedMs: number;
  readonly usedMs: number;

  constructor(session: LinkedSession, { name, startedMs, usedMs }: Presented) {
    this.session = session;
    this.name = name;
    this.startedMs = startedMs;
    this.usedMs = usedMs;
  }

  /** The endpoint of the session, where it is one of those of `pool`. */
  endpointOf(pool: LinkedPool, endpoints: readonly Endpoint[]): Endpoint | undefined {
    if (this.name === "") return undefined;
    const position = namesOf(this.session, pool).positions.get(this.name);
    return position === undefined ? undefined : endpoints[position];
  }
}

/** Times are milliseconds since the epoch; 0 where sessions do not end. */
interface Presented {
  readonly name: string;
  readonly startedMs: number;
  readonly usedMs: number;
}

const NOTHING: Presented = { name: "", startedMs: 0, usedMs: 0 };

/** 128 bits in base64url, and 24 bytes: two times of six and a code of twelve. */
const NAME_CHARS = 22;
const NAME_BYTES = 16;
const TIMES_CHARS = 32;
const TIME_BYTES = 6;
const CODE_BYTES = 12;
const TOKEN = /^[\w-]+$/;

/** A session's last use is said anew after this share of its time, and at least once a minute. */
const RENEWALS = 10;
const RENEW_MS_MAX = 60_000;

/** Throws where its names cannot stand in a head. */
export function linkSession(part: Session): LinkedSession {
  if (![part.name, ...part.paths].every((text) => isSafeHeader(part.name, text))) {
    throw new Error("Cannot write the session's name or path");
  }
  return {
    part,
    header: part.type === "Cookie" ? "cookie" : part.name.toLowerCase(),
    renewMs: Math.min((part.idleTimeoutMs ?? 0) / RENEWALS, RENEW_MS_MAX),
    names: new WeakMap(),
  };
}

/**
 * Reads the session of a request, whose token may be missing, forged or too old: then it has none yet.
 * `nowMs` is the time since the epoch.
 */
export function readSession(
  session: LinkedSession,
  head: Pick<RequestFields, "header">,
  nowMs: number,
): SessionUse {
  const value = head.header(session.header);
  const token = session.part.type === "Cookie" ? cookieValue(value, session.part.name) : value;
  const presented = token === undefined ? NOTHING : readToken(session, token);
  return new SessionUse(session, isOver(session, presented, nowMs) ? NOTHING : presented);
}

function readToken({ part }: LinkedSession, token: string): Presented {
  const length = hasTimes(part) ? NAME_CHARS + TIMES_CHARS : NAME_CHARS;
  if (token.length !== length || !TOKEN.test(token)) return NOTHING;
  // A string of its own: a slice of a head would keep the whole head alive.
  const name = Buffer.from(token.slice(0, NAME_CHARS), "latin1").toString("latin1");
  if (length === NAME_CHARS) return { ...NOTHING, name };
  const bytes = Buffer.from(token.slice(NAME_CHARS), "base64url");
  const times = bytes.subarray(0, 2 * TIME_BYTES);
  if (!timingSafeEqual(bytes.subarray(2 * TIME_BYTES), codeOf(part, name, times))) return NOTHING;
  return {
    name,
    startedMs: times.readUIntBE(0, TIME_BYTES),
    usedMs: times.readUIntBE(TIME_BYTES, TIME_BYTES),
  };
}

function hasTimes({ absoluteTimeoutMs, idleTimeoutMs }: Session): boolean {
  return absoluteTimeoutMs !== undefined || idleTimeoutMs !== undefined;
}

function isOver(
  { part: { absoluteTimeoutMs, idleTimeoutMs }, renewMs }: LinkedSession,
  { startedMs, usedMs }: Presented,
  nowMs: number,
): boolean {
  if (absoluteTimeoutMs !== undefined && nowMs - startedMs >= absoluteTimeoutMs) return true;
  // It may have been used since, without being told so: none ends before its time.
  return idleTimeoutMs !== undefined && nowMs - usedMs >= idleTimeoutMs + renewMs;
}

function codeOf(part: Session, name: string, times: Uint8Array): Buffer {
  const code = createHmac("sha256", part.salt).update(`times\n${name}\n`).update(times).digest();
  return code.subarray(0, CODE_BYTES);
}

function tokenOf(part: Session, { name, startedMs, usedMs }: Presented): string {
  if (!hasTimes(part)) return name;
  const times = Buffer.alloc(2 * TIME_BYTES);
  times.writeUIntBE(startedMs, 0, TIME_BYTES);
  times.writeUIntBE(usedMs, TIME_BYTES, TIME_BYTES);
  return name + Buffer.concat([times, codeOf(part, name, times)]).toString("base64url");
}

/** Made once for each rule and pool, for an endpoint costs a hash. */
function namesOf({ part, names }: LinkedSession, pool: LinkedPool): EndpointNames {
  let found = names.get(pool);
  if (found === undefined) {
    const texts = pool.part.endpoints.map(addressText);
    const all = texts.map((text) => endpointName(part, pool.part, text));
    found = {
      positions: new Map(all.map((name, index) => [name, index])),
      names: new Map(all.map((name, index) => [texts[index] as string, name])),
    };
    names.set(pool, found);
  }
  return found;
}

/** The key of a pool has its backend and its arm. */
function endpointName({ salt }: Session, { key }: PoolPart, text: string): string {
  const name = createHmac("sha256", salt).update(`endpoint\n${key}\n${text}`).digest();
  return name.subarray(0, NAME_BYTES).toString("base64url");
}

/**
 * Chooses backend and arm of the session's endpoint into `choice`; false where it has none, or where
 * that one takes no requests any more: then the rule's weights choose.
 */
export function chooseBySession(
  choice: Choice,
  { session, name }: SessionUse,
  { backends, gates }: Pick<LinkedRule, "backends"> & { readonly gates: Gates },
): boolean {
  if (name === "") return false;
  for (const backend of backends) if (chooseIn(backend)) return true;
  return false;

  function chooseIn(backend: LinkedBackend): boolean {
    const split = backend.split?.value;
    for (const arm of split?.arms ?? []) {
      const pool = arm.pool.value;
      if (arm.arm.weightBp === 0 || pool === undefined || !gates.isOpen(arm.gate)) continue;
      if (!namesOf(session, pool).positions.has(name)) continue;
      choice.backend = backend;
      choice.split = split ?? null;
      choice.arm = arm;
      return true;
    }
    return false;
  }
}

/**
 * The line that tells the client of its session, for a response's `head`; "" where it knows: the session
 * is not new, has not moved, and was said to be in use not long ago.
 */
export function sessionLine(x: Exchange, use: SessionUse, head: ResponseHead): string {
  const { session } = use;
  const { part } = session;
  const pool = x.arm?.pool.value;
  const name = pool === undefined ? undefined : namesOf(session, pool).names.get(x.endpointText);
  if (name === undefined) return "";
  // What the backend has to say under that name would be taken for a token.
  if (part.type === "Header") head.dropName(session.header);
  const nowMs = Math.floor(x.plane.wallTime.epochMs(performance.now()));
  const stays = name === use.name;
  const renews = part.idleTimeoutMs !== undefined && nowMs - use.usedMs >= session.renewMs;
  if (stays && !renews) return "";
  const startedMs = stays ? use.startedMs : nowMs;
  const token = tokenOf(part, { name, startedMs, usedMs: nowMs });
  if (part.type === "Header") return `${part.name}: ${token}\r\n`;
  const secure = x.peer.scheme === "https" ? "; Secure" : "";
  return `set-cookie: ${part.name}=${token}; Path=${cookiePath(part, x.head.path)}${maxAge(part, nowMs - startedMs)}; HttpOnly; SameSite=Lax${secure}\r\n`;
}

/** Where the client says its token again: as browsers compare paths (RFC 6265 §5.1.4). */
function cookiePath({ paths }: Session, path: string): string {
  for (const one of paths) {
    if (!path.startsWith(one)) continue;
    if (path.length === one.length || one.endsWith("/") || path[one.length] === "/") return one;
  }
  return "/";
}

/** `agedMs`: how old the session is. */
function maxAge({ lifetime, absoluteTimeoutMs }: Session, agedMs: number): string {
  if (lifetime !== "Permanent" || absoluteTimeoutMs === undefined) return "";
  return `; Max-Age=${Math.ceil((absoluteTimeoutMs - agedMs) / 1000)}`;
}
