/**
 * From a request's head to the rule that answers it: listener, host, path, and then what else a
 * match asks for. The order is Gateway API's: a more specific host before every other criterion, an
 * exact path before expressions before prefixes, a longer prefix before a shorter one; where all
 * matches of a path refuse the request, the next best path and then the next best host are asked.
 *
 * Spellings of a path make no difference (http1/path.ts), and what is forwarded is spelled as what was
 * matched. Whether an upstream splits a path at an encoded slash cannot be known: such a path is
 * served only where that makes no difference to its rule.
 */
import { comparedPath, otherReading, type PathReading } from "../http1/path.ts";
import type { Secure } from "./arrival.ts";
import { isGrpc } from "./grpc.ts";
import { parseQuery } from "./query.ts";
import type { RequestFields } from "./request-fields.ts";
import type {
  Cell,
  LinkedMatch,
  LinkedRule,
  LinkedSocket,
  LinkedTable,
  LinkedValueMatch,
  PathMatcher,
} from "./snapshot.ts";

export interface Matched {
  readonly rule: LinkedRule;
  readonly match: LinkedMatch;
}

/** The rule for a request, or undefined: 404 (Gateway API `HTTPRouteRule.matches`). */
export function matchRule(socket: LinkedSocket, head: RequestFields): Matched | undefined {
  const table = socket.listeners.find(head.host)?.table.value;
  if (table === undefined || head.path.charCodeAt(0) !== SLASH) return undefined;
  const match = matchTable(
    table,
    head.path.includes("%") ? withPath(head, comparedPath(head.path)) : head,
  );
  const rule = match?.rule.value;
  return match === undefined || rule === undefined ? undefined : { rule, match };
}

/**
 * Whether a connection that asked for the listener of `hostname` by SNI carries a request for another
 * one of the same port, whose certificates and clients it need not have: 421 (GEP-3567).
 */
export function isMisdirected(
  socket: LinkedSocket | undefined,
  hostname: string,
  host: string,
): boolean {
  const listener = socket?.listeners.find(host);
  return listener !== undefined && listener.hostname !== hostname;
}

/**
 * Whether the listener of `host` takes others for its clients than it, or who stood in its place, did
 * when the connection began: a change of the Program must not leave anybody in.
 */
export function isOutdated(socket: LinkedSocket, secure: Secure | null, host: string): boolean {
  if (secure === null) return socket.secure;
  const wanted = socket.listeners.find(host)?.tls?.part.clientValidation;
  if (wanted === undefined) return false;
  if (secure.clientCertificate === undefined) return wanted.mode === "required";
  return secure.listener.tls?.part.clientValidation?.authorities !== wanted.authorities;
}

/**
 * Whether the path would belong to another rule for a server that decodes encoded slashes, or makes one
 * of many where `reading` lets them stay.
 */
export function isAmbiguous(
  socket: LinkedSocket,
  head: RequestFields,
  matched: Matched,
  reading?: PathReading,
): boolean {
  const { path } = head;
  if (!path.includes("%") && (reading === undefined || !path.includes("//"))) return false;
  const other = otherReading(path, reading);
  return other !== path && matchRule(socket, withPath(head, other))?.rule !== matched.rule;
}

function withPath(head: RequestFields, path: string): RequestFields {
  const { method, query, host } = head;
  return { method, path, query, host, header: (lowerName) => head.header(lowerName) };
}

const SLASH = 0x2f;

function matchTable(table: LinkedTable, head: RequestFields): LinkedMatch | undefined {
  return table.hosts.first(head.host, matchHost, head);
}

function matchHost(cell: Cell<PathMatcher>, head: RequestFields): LinkedMatch | undefined {
  for (let matcher = cell.value ?? null; matcher !== null; matcher = matcher.next) {
    const match = matchTier(matcher, head);
    if (match !== undefined) return match;
  }
  return undefined;
}

function matchTier(matcher: PathMatcher, head: RequestFields): LinkedMatch | undefined {
  const exact = matcher.exact.size === 0 ? undefined : matcher.exact.get(head.path);
  if (exact !== undefined) {
    const match = firstFitting(exact, head);
    if (match !== undefined) return match;
  }
  for (const match of matcher.regex) {
    if (match.pathRegex !== null && match.pathRegex.testExact(head.path) && fits(match, head)) {
      return match;
    }
  }
  return matcher.prefix.size === 0 ? undefined : matchPrefix(matcher, head);
}

/** Tries the path's prefixes from the longest that any route has down to "/". */
function matchPrefix(matcher: PathMatcher, head: RequestFields): LinkedMatch | undefined {
  let end = prefixEnd(head.path, matcher.prefixDepthMax);
  for (;;) {
    const matches = matcher.prefix.get(head.path.slice(0, end));
    if (matches !== undefined) {
      const match = firstFitting(matches, head);
      if (match !== undefined) return match;
    }
    if (end <= 0) return undefined;
    end = head.path.lastIndexOf("/", end - 1);
  }
}

/** Where the first `depth` elements of a path end: a path of ten thousand slashes costs no more. */
function prefixEnd(path: string, depth: number): number {
  let end = 0;
  for (let count = 0; count < depth; count++) {
    const next = path.indexOf("/", end + 1);
    if (next === -1) return path.length;
    end = next;
  }
  return end;
}

function firstFitting(
  matches: readonly LinkedMatch[],
  head: RequestFields,
): LinkedMatch | undefined {
  for (const match of matches) if (fits(match, head)) return match;
  return undefined;
}

function fits(match: LinkedMatch, head: RequestFields): boolean {
  if (match.broken) return false;
  if (match.method !== undefined && match.method !== head.method) return false;
  if (match.grpc && !isGrpc(head)) return false;
  if (match.headers !== null) {
    for (const wanted of match.headers) {
      const value = head.header(wanted.name);
      if (value === undefined || !valueFits(wanted, value)) return false;
    }
  }
  return match.queryParams === null || queryFits(match.queryParams, head.query);
}

function queryFits(wanted: readonly LinkedValueMatch[], query: string): boolean {
  if (query === "") return false;
  const values = firstValues(query);
  for (const param of wanted) {
    const value = values.get(param.name);
    if (value === undefined || !valueFits(param, value)) return false;
  }
  return true;
}

/** An expression must fit the whole value, as in Envoy. */
export function valueFits(wanted: LinkedValueMatch, value: string): boolean {
  return wanted.regex === null ? value === wanted.value : wanted.regex.testExact(value);
}

/** The last query that was parsed, for many matches ask about the same one. */
let parsedQuery = "";
let parsedValues: ReadonlyMap<string, string> = new Map();
/** Longer queries are not remembered, so that the memory of one request stays small. */
const REMEMBERED_CHARACTERS_MAX = 1024;

function firstValues(query: string): ReadonlyMap<string, string> {
  if (query === parsedQuery) return parsedValues;
  if (query.length > REMEMBERED_CHARACTERS_MAX) return parseQuery(query);
  // A slice of the head would keep the whole head alive; a copy does not.
  parsedQuery = Buffer.from(query, "latin1").toString("latin1");
  parsedValues = parseQuery(parsedQuery);
  return parsedValues;
}
