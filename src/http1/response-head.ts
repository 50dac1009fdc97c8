/**
 * Upstreams' response heads, parsed strictly (RFC 9112 §4–§6). A head that could be framed in two
 * ways is refused, so that no leftover of one answer is ever taken for the next one's beginning.
 */
import { HeaderBlock, isHeaderBlock, nameIs, sliceTrimmed } from "./header-block.ts";

const STATUS_LINE = /HTTP\/1\.[01] [1-5][0-9][0-9](?: [\t\x20-\x7e\x80-\xff]*)?\r\n/y;
const CONTENT_LENGTH = /^[0-9]{1,16}$/;

/** How long the body is: none, `contentLength` bytes, chunked, or until the connection ends. */
export type ResponseFraming = "none" | "length" | "chunked" | "close";

export class ResponseHead extends HeaderBlock {
  status = 0;
  /** As sent, possibly empty. */
  reason = "";
  /** Set where Content-Length was given, even if there is no body (HEAD, 304); else -1. */
  contentLength = -1;
  framing: ResponseFraming = "none";
  /** Whether the upstream will keep the connection after this response. */
  keepAlive = true;
  hasDate = false;
  /** Whether the status line may be passed on as it stands. */
  http11 = true;
  /** Several responses have this head, so that nobody may change it. */
  shared = false;

  /**
   * The same head before another body, without its Content-Length: before `whole`, one character a
   * byte, or where that is null before a body whose length nobody knows yet.
   */
  before(whole: string | null): ResponseHead {
    const text = whole === null ? this.text : `${this.text.slice(0, this.end)}\r\n${whole}`;
    const head = new ResponseHead(text, this.end);
    for (const position of this.lines) head.lines.push(position);
    head.dropName("content-length");
    head.status = this.status;
    head.reason = this.reason;
    head.hasDate = this.hasDate;
    head.http11 = this.http11;
    head.contentLength = whole === null ? -1 : whole.length;
    head.framing = whole === null ? "chunked" : "length";
    return head;
  }
}

/**
 * Parses a response head that ends with its blank line at `end`. `method` is the request's, for an
 * answer to HEAD has no body. Undefined: the head is refused.
 */
export function parseResponseHead(
  text: string,
  end: number,
  method: string,
): ResponseHead | undefined {
  STATUS_LINE.lastIndex = 0;
  if (!STATUS_LINE.test(text)) return undefined;
  const headersStart = STATUS_LINE.lastIndex;
  if (!isHeaderBlock(text, headersStart, end - 2)) return undefined;
  const head = new ResponseHead(text, end - 2);
  head.status =
    (text.charCodeAt(9) - 48) * 100 + (text.charCodeAt(10) - 48) * 10 + text.charCodeAt(11) - 48;
  head.reason = text.slice(13, Math.max(13, headersStart - 2));
  const http10 = text.charCodeAt(7) === 0x30;
  // A status line without reason lacks the space that has to stand there (RFC 9112 §4).
  head.http11 = !http10 && headersStart > 14;
  const seen: Seen = { lengths: 0, codings: 0, connection: "" };
  if (!readLines(head, headersStart, seen)) return undefined;
  const connection = seen.connection;
  head.keepAlive = !http10;
  if (connection !== "") {
    const tokens = connection
      .toLowerCase()
      .split(",")
      .map((token) => token.trim());
    head.keepAlive = http10 ? tokens.includes("keep-alive") : !tokens.includes("close");
    head.dropNominated(connection);
  }
  return frame(head, seen, { method, http10 }) ? head : undefined;
}

interface Seen {
  lengths: number;
  codings: number;
  connection: string;
}

/** Where each line stands; false where a framing header is malformed. */
function readLines(head: ResponseHead, headersStart: number, seen: Seen): boolean {
  const { text, lines, end } = head;
  let at = headersStart;
  while (at < end) {
    const colon = text.indexOf(":", at);
    const lineEnd = text.indexOf("\r\n", colon);
    lines.push(at, colon);
    const verdict = readLine(head, seen, lineEnd);
    if (verdict === "refuse") return false;
    if (verdict === "drop") lines[lines.length - 1] = -colon;
    at = lineEnd + 2;
  }
  return true;
}

/** Reads the line that was noted last, where its name matters. */
function readLine(head: ResponseHead, seen: Seen, lineEnd: number): "keep" | "drop" | "refuse" {
  const { text, lines } = head;
  const at = lines[lines.length - 2] as number;
  const colon = lines[lines.length - 1] as number;
  switch (colon - at) {
    case 2:
      return nameIs(text, at, "te") ? "drop" : "keep";
    case 4:
      if (nameIs(text, at, "date")) head.hasDate = true;
      return "keep";
    case 7:
      return nameIs(text, at, "upgrade") || nameIs(text, at, "trailer") ? "drop" : "keep";
    case 10:
      if (nameIs(text, at, "keep-alive")) return "drop";
      if (!nameIs(text, at, "connection")) return "keep";
      seen.connection += `${text.slice(colon + 1, lineEnd)},`;
      return "drop";
    case 14: {
      if (!nameIs(text, at, "content-length")) return "keep";
      const value = sliceTrimmed(text, colon + 1, lineEnd);
      if (seen.lengths++ > 0 || !CONTENT_LENGTH.test(value)) return "refuse";
      head.contentLength = Number(value);
      if (!Number.isSafeInteger(head.contentLength)) return "refuse";
      // Forwarded as it stands only in the one canonical form; else it is written anew.
      return value === String(head.contentLength) ? "keep" : "drop";
    }
    case 16:
      return nameIs(text, at, "proxy-connection") ? "drop" : "keep";
    case 17: {
      if (!nameIs(text, at, "transfer-encoding")) return "keep";
      const coding = sliceTrimmed(text, colon + 1, lineEnd).toLowerCase();
      return seen.codings++ > 0 || coding !== "chunked" ? "refuse" : "drop";
    }
    default:
      return "keep";
  }
}

/** RFC 9112 §6.3, in its order; false where two readings are possible. */
function frame(
  head: ResponseHead,
  seen: Seen,
  { method, http10 }: { method: string; http10: boolean },
): boolean {
  const { status } = head;
  if (status < 200 || status === 204) {
    head.dropName("content-length");
    head.contentLength = -1;
    return true;
  }
  if (seen.codings > 0 && (seen.lengths > 0 || http10)) return false;
  if (method === "HEAD" || status === 304) return true;
  if (seen.codings > 0) {
    head.framing = "chunked";
  } else if (head.contentLength === -1) {
    head.framing = "close";
    head.keepAlive = false;
  } else if (head.contentLength > 0) {
    head.framing = "length";
  }
  return true;
}
