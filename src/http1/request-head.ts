/**
 * Requests' heads, parsed strictly (RFC 9112 §2–§6, RFC 9110 §7.2): the whole header block is
 * validated by one sticky regular expression, then the few names that frame or route a message are
 * looked at. What is ambiguous is refused, never repaired: two servers that repair differently are
 * how requests are smuggled. Nothing here touches a socket.
 */
import { HEADERS_MAX, REQUEST_HEAD_BYTES_MAX, TARGET_BYTES_MAX, type HeadFault } from "./fault.ts";
import { HeaderBlock, isHeaderBlock, nameIs, sliceTrimmed } from "./header-block.ts";
import { hasEscapedSlash, isForbiddenPath, normalPath, type PathReading } from "./path.ts";

/** Method, target and version (RFC 9112 §3); "#" and "\" never stand in a target. */
const REQUEST_LINE = /[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} [!-"$-[\]-~]+ HTTP\/1\.[0-9]\r\n/y;
const OTHER_VERSION = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} [!-~]+ HTTP\/[02-9]\.[0-9]\r\n/;
const AUTHORITY =
  /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~!$&'()*+;=%]{1,255})(?::[0-9]{0,5})?$/;
/** One optional space and digits without leading zeros: an octal reading must not be possible. */
const CONTENT_LENGTH = /^ ?(?:0|[1-9][0-9]{0,15})$/;
const CODINGS_THEN_CHUNKED =
  /^(?:(?:x-)?(?:gzip|compress)|deflate)(?:[ \t]*,[ \t]*(?:(?:x-)?(?:gzip|compress)|deflate))*[ \t]*,[ \t]*chunked$/i;
/** Names that CGI-style servers would read as one that frames the message or that the gateway sets. */
const UNDERSCORE_ALIAS =
  /^(?:content_length|transfer_encoding|x[-_]forwarded[-_][^:]*|x[-_]request[-_]id|content[-_]length|transfer[-_]encoding):/im;

export class RequestHead extends HeaderBlock {
  method = "";
  /** As sent. */
  target = "";
  /** Always begins with "/", except for "*" (OPTIONS). Spelled as path.ts says. */
  path = "";
  /** Whether `path` is spelled in another way than it was sent. */
  respelled = false;
  /** Slashes were unescaped, and the client is to ask for `path` by itself. */
  asksAnew = false;
  /** Without "?"; "" where there is none. */
  query = "";
  /** Host and port as sent, "" for an HTTP/1.0 request without Host. */
  authority = "";
  /** Lower case, without port. */
  host = "";
  /** 10 or 11; a higher minor version is treated as 1.1 (RFC 9110 §2.5). */
  version = 11;
  /** -1 where there is none. */
  contentLength = -1;
  chunked = false;
  keepAlive = true;
  expectsContinue = false;
  /** The value of Upgrade where Connection nominates it, else "". */
  upgrade = "";
  /** The target was in absolute form, so Host has to be rewritten (RFC 9112 §3.2.2). */
  absolute = false;
  /** Whether the request line says HTTP/1.1 and no other minor version. */
  http11 = true;
  /** The target says that it is asked for securely (RFC 9110 §4.2.2), by its absolute form or `:scheme`. */
  asksHttps = false;

  get hasBody(): boolean {
    return this.chunked || this.contentLength > 0;
  }

  get idempotent(): boolean {
    return IDEMPOTENT.has(this.method);
  }
}

const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** What the header lines said, before it is judged as a whole. */
interface Seen {
  hosts: number;
  host: string;
  lengths: number;
  length: string;
  codings: number;
  coding: string;
  connection: string;
  upgrade: string;
  expect: string;
}

/**
 * Parses a request head: `text` begins at the method, and its blank line ends at `end` (so that the
 * four characters before it are CR LF CR LF).
 */
export function parseRequestHead(
  text: string,
  end: number,
  reading?: PathReading,
): RequestHead | HeadFault {
  REQUEST_LINE.lastIndex = 0;
  if (!REQUEST_LINE.test(text)) return requestLineFault(text);
  const headersStart = REQUEST_LINE.lastIndex;
  const blank = end - 2;
  if (!isHeaderBlock(text, headersStart, blank)) return "head_malformed";
  const head = new RequestHead(text, blank);
  const methodEnd = text.indexOf(" ");
  head.method = text.slice(0, methodEnd);
  // " HTTP/1.x" and CRLF are eleven characters.
  head.target = text.slice(methodEnd + 1, headersStart - 11);
  head.version = text.charCodeAt(headersStart - 3) === 0x30 ? 10 : 11;
  head.http11 = text.charCodeAt(headersStart - 3) === 0x31;
  if (head.target.length > TARGET_BYTES_MAX) return "target_too_long";
  const seen: Seen = {
    hosts: 0,
    host: "",
    lengths: 0,
    length: "",
    codings: 0,
    coding: "",
    connection: "",
    upgrade: "",
    expect: "",
  };
  readLines(head, headersStart, seen);
  if (head.count > HEADERS_MAX) return "headers_too_many";
  const underscore = text.indexOf("_", headersStart);
  if (underscore !== -1 && underscore < blank) {
    if (UNDERSCORE_ALIAS.test(text.slice(headersStart, blank)) && hasUnderscoreAlias(head)) {
      return "header_underscore";
    }
  }
  return (
    judgeFraming(head, seen) ??
    judgeConnection(head, seen) ??
    judgeTarget(head, seen) ??
    judgePath(head, reading) ??
    head
  );
}

function requestLineFault(text: string): HeadFault {
  return OTHER_VERSION.test(text) ? "version_unsupported" : "head_malformed";
}

/** Notes where each line stands, and the values of the names that frame or route the message. */
function readLines(head: RequestHead, headersStart: number, seen: Seen): void {
  const { text, lines, end } = head;
  let at = headersStart;
  while (at < end) {
    const colon = text.indexOf(":", at);
    const lineEnd = text.indexOf("\r\n", colon);
    lines.push(at, colon);
    if (readLine(head, seen, lineEnd)) lines[lines.length - 1] = -colon;
    at = lineEnd + 2;
  }
}

/**
 * Reads the line that was noted last, where its name matters; returns whether it stays behind at this
 * hop.
 */
function readLine(head: RequestHead, seen: Seen, lineEnd: number): boolean {
  const { text, lines } = head;
  const at = lines[lines.length - 2] as number;
  const colon = lines[lines.length - 1] as number;
  switch (colon - at) {
    case 2:
      return nameIs(text, at, "te");
    case 4:
      if (!nameIs(text, at, "host")) return false;
      seen.hosts++;
      seen.host = sliceTrimmed(text, colon + 1, lineEnd);
      return false;
    case 6:
      if (!nameIs(text, at, "expect")) return false;
      seen.expect += `${seen.expect && ","}${sliceTrimmed(text, colon + 1, lineEnd).toLowerCase()}`;
      return true;
    case 7:
      if (nameIs(text, at, "upgrade")) {
        seen.upgrade = sliceTrimmed(text, colon + 1, lineEnd);
        return true;
      }
      return nameIs(text, at, "trailer");
    case 9:
      return nameIs(text, at, "forwarded");
    case 10:
      if (nameIs(text, at, "keep-alive")) return true;
      if (!nameIs(text, at, "connection")) return false;
      seen.connection += `${text.slice(colon + 1, lineEnd)},`;
      return true;
    case 14:
      if (nameIs(text, at, "http2-settings")) return true;
      if (!nameIs(text, at, "content-length")) break;
      seen.lengths++;
      seen.length = text.slice(colon + 1, lineEnd);
      return false;
    case 17:
      if (!nameIs(text, at, "transfer-encoding")) break;
      seen.codings++;
      seen.coding = sliceTrimmed(text, colon + 1, lineEnd);
      return true;
    case 16:
      if (nameIs(text, at, "proxy-connection")) return true;
      break;
    case 18:
      if (nameIs(text, at, "proxy-authenticate")) return true;
      break;
    case 19:
      if (nameIs(text, at, "proxy-authorization")) return true;
      break;
  }
  // Whatever a client says about whom it forwards for is overwritten with what was seen.
  return colon - at > 12 && nameIs(text, at, "x-forwarded-");
}

function hasUnderscoreAlias(head: RequestHead): boolean {
  const { lines, text } = head;
  for (let index = 0; index < lines.length; index += 2) {
    const name = text.slice(lines[index], Math.abs(lines[index + 1] as number));
    if (name.includes("_") && UNDERSCORE_ALIAS.test(`${name}:`)) return true;
  }
  return false;
}

/** RFC 9112 §6: exactly one reading of where the message ends. */
function judgeFraming(head: RequestHead, seen: Seen): HeadFault | undefined {
  if (seen.codings > 0) {
    if (seen.lengths > 0 || seen.codings > 1 || head.version === 10) return "framing_invalid";
    if (seen.coding.length !== 7 || seen.coding.toLowerCase() !== "chunked") {
      return CODINGS_THEN_CHUNKED.test(seen.coding) ? "coding_unsupported" : "framing_invalid";
    }
    head.chunked = true;
  } else if (seen.lengths > 0) {
    if (seen.lengths > 1 || !CONTENT_LENGTH.test(seen.length)) return "framing_invalid";
    head.contentLength = Number(seen.length);
    if (!Number.isSafeInteger(head.contentLength)) return "framing_invalid";
  }
  return undefined;
}

function judgeConnection(head: RequestHead, seen: Seen): HeadFault | undefined {
  head.keepAlive = head.version === 11;
  if (seen.connection !== "") {
    const tokens = seen.connection
      .toLowerCase()
      .split(",")
      .map((token) => token.trim());
    if (tokens.includes("close")) head.keepAlive = false;
    else if (tokens.includes("keep-alive")) head.keepAlive = true;
    // Upgrade without being nominated, or from HTTP/1.0, is ignored (RFC 9110 §7.8).
    if (tokens.includes("upgrade") && head.version === 11) head.upgrade = seen.upgrade;
    head.dropNominated(seen.connection);
  }
  if (seen.expect !== "" && head.version === 11) {
    if (seen.expect !== "100-continue") return "expectation_unsupported";
    head.expectsContinue = true;
  }
  return undefined;
}

/** RFC 9112 §3.2: which host and which resource. */
function judgeTarget(head: RequestHead, seen: Seen): HeadFault | undefined {
  if (seen.hosts > 1 || (seen.hosts === 0 && head.version === 11)) return "host_invalid";
  if (seen.hosts === 1 && !AUTHORITY.test(seen.host)) return "host_invalid";
  head.authority = seen.host;
  const { target } = head;
  if (target.charCodeAt(0) === 0x2f) {
    splitTarget(head, target);
  } else if (target === "*") {
    if (head.method !== "OPTIONS") return "target_invalid";
    head.path = target;
  } else if (head.method === "CONNECT") {
    // Answered with 501 whatever it names; only its grammar is checked (RFC 9112 §3.2.3).
    if (!AUTHORITY.test(target)) return "target_invalid";
    head.path = "/";
  } else {
    const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(target);
    if (absolute === null || !AUTHORITY.test(absolute[1] as string)) return "target_invalid";
    head.absolute = true;
    // The letter after "http": nothing but "https" has an "s" there.
    head.asksHttps = (target.charCodeAt(4) | 0x20) === 0x73;
    head.authority = absolute[1] as string;
    const rest = absolute[2] as string;
    // Without path and query OPTIONS asks about the server itself (RFC 9112 §3.2.4).
    if (rest === "" && head.method === "OPTIONS") head.path = "*";
    else splitTarget(head, rest.charCodeAt(0) === 0x2f ? rest : `/${rest}`);
  }
  head.host = hostOf(head.authority);
  return undefined;
}

function splitTarget(head: RequestHead, target: string): void {
  const mark = target.indexOf("?");
  head.path = mark === -1 ? target : target.slice(0, mark);
  head.query = mark === -1 ? "" : target.slice(mark + 1);
}

function judgePath(head: RequestHead, reading: PathReading | undefined): HeadFault | undefined {
  const { path } = head;
  if (isForbiddenPath(path)) return "target_invalid";
  if (path.includes("%") || path.includes("//")) {
    const escapedSlashes = reading?.escapedSlashes;
    if (escapedSlashes === "RejectRequest" && hasEscapedSlash(path)) return "target_invalid";
    head.path = normalPath(path, reading);
    head.respelled = head.path !== path;
    head.asksAnew = escapedSlashes === "UnescapeAndRedirect" && hasEscapedSlash(path);
  }
  return undefined;
}

/**
 * In lower case, without the port and without the dot at the end that a full name may have (RFC 1034
 * section 3.1): with it, a host would be another one than the one whose rules hold for it.
 */
function hostOf(authority: string): string {
  const colon = authority.lastIndexOf(":");
  let end = colon > authority.lastIndexOf("]") ? colon : authority.length;
  if (end > 1 && authority.charCodeAt(end - 1) === 0x2e) end--;
  return (end === authority.length ? authority : authority.slice(0, end)).toLowerCase();
}

/** Beginnings of heads up to this size are judged at every read, longer ones at line ends. */
const JUDGED_CHARS = 1024;
/** What a head that has not ended yet can already be refused for. */
const PARTIAL_LINE =
  /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: (?:[!-"$-[\]-~]+(?: (?:H(?:T(?:T(?:P(?:\/(?:[0-9](?:\.(?:[0-9]\r?)?)?)?)?)?)?)?)?)?)?)?$/;
/** A line feed that no CR precedes, or a CR that something else follows (RFC 9112 §2.2). */
const BARE_LINE_END = /(?:^|[^\r])\n|\r[^\n]/;
const PARTIAL_HEADER = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?::[\t\x20-\x7e\x80-\xff]*)?\r?|\r)?$/;

/** What lines that have not come yet may change: Host may be among them, or what is worse than this. */
const UNSETTLED: readonly HeadFault[] = [
  "host_invalid",
  "coding_unsupported",
  "expectation_unsupported",
];

/**
 * Judges a head of which only the beginning has come, so that a wrong one is refused at once and
 * not after the time for heads is over. Undefined: nothing is wrong yet.
 */
export function judgePartialHead(text: string): HeadFault | undefined {
  if (text.length >= REQUEST_HEAD_BYTES_MAX) {
    return text.includes("\r\n") ? "head_too_large" : "target_too_long";
  }
  if (text === "" || (text.length > JUDGED_CHARS && !text.endsWith("\n"))) return undefined;
  if (BARE_LINE_END.test(text)) return "head_malformed";
  const lineEnd = text.indexOf("\r\n");
  if (lineEnd === -1) {
    if (text.length > TARGET_BYTES_MAX) return "target_too_long";
    return PARTIAL_LINE.test(text) ? undefined : "head_malformed";
  }
  const last = text.lastIndexOf("\r\n") + 2;
  if (!PARTIAL_HEADER.test(text.slice(last))) return "head_malformed";
  const head = parseRequestHead(`${text.slice(0, last)}\r\n`, last + 2);
  return typeof head === "string" && !UNSETTLED.includes(head) ? head : undefined;
}
