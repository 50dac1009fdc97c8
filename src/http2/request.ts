/**
 * Requests of HTTP/2: what a header block says as the RequestHead that the strict parser makes of it, so
 * that what is forwarded is what that one lets pass, whatever protocol it came by (RFC 9113 §10.3); and the
 * head that goes upstream as a header block again (§8.3.1).
 */
import { REQUEST_HEAD_BYTES_MAX, type HeadFault } from "../http1/fault.ts";
import type { PathReading } from "../http1/path.ts";
import { parseRequestHead, type RequestHead } from "../http1/request-head.ts";
import { isConnectionSpecific } from "./field.ts";
import type { FieldList } from "./field-list.ts";
import type { HpackEncoder } from "./hpack-encoder.ts";

/** RequestHead.version of a request that came by HTTP/2. */
export const HTTP2 = 20;

/** What is wrong with a request's fields, undefined where that is nothing. */
export function requestFault(list: FieldList): HeadFault | undefined {
  if (list.excess === "bytes") return "head_too_large";
  if (list.excess === "fields") return "headers_too_many";
  const { method, path, scheme, authority, host, hosts } = list;
  if (list.fault || list.status !== "" || method === "") return "head_malformed";
  if (method === "CONNECT") {
    if (path !== "" || scheme !== "" || authority === "") return "head_malformed";
  } else if (path === "" || scheme === "") {
    return "head_malformed";
  }
  // A client that sends both says the same in both.
  const differs = authority !== "" && host.toLowerCase() !== authority.toLowerCase();
  if (hosts > 1 || (hosts === 1 && differs)) return "host_invalid";
  if (method === "CONNECT") return undefined;
  if (path.charCodeAt(0) !== 0x2f && path !== "*") return "target_invalid";
  return SCHEME.test(scheme) ? undefined : "target_invalid";
}

const SCHEME = /^https?$/i;

/** The head as HTTP/1 writes it. `requestFault` has found nothing. */
export function requestText({ method, path, authority, host, cookie, lines }: FieldList): string {
  const target = method === "CONNECT" ? authority : path;
  const named = authority === "" ? host : authority;
  const hostLine = named === "" ? "" : `host: ${named}\r\n`;
  const cookieLine = cookie === "" ? "" : `cookie: ${cookie}\r\n`;
  return `${method} ${target} HTTP/1.1\r\n${hostLine}${cookieLine}${lines}\r\n`;
}

function requestLines({ authority, host, cookie, count }: FieldList): number {
  return count + (authority === "" && host === "" ? 0 : 1) + (cookie === "" ? 0 : 1);
}

/** What `requestText` does not say, or what must be so where nothing was made up. */
export interface RequestAbout {
  readonly method: string;
  /** Lines that the text means to have. */
  readonly lines: number;
  /** `:scheme` is "https". */
  readonly https: boolean;
}

export function aboutOf(list: FieldList): RequestAbout {
  return { method: list.method, lines: requestLines(list), https: /^https$/i.test(list.scheme) };
}

/**
 * The head in `text`. `ended`: no body follows. A head without length whose body follows says `chunked`,
 * which stands for a length that is not known.
 */
export function parseRequestText(
  text: string,
  { method, lines, https }: RequestAbout,
  { ended, reading }: { ended: boolean; reading?: PathReading | undefined },
): RequestHead | HeadFault {
  if (text.length > REQUEST_HEAD_BYTES_MAX) return "head_too_large";
  const head = parseRequestHead(text, text.length, reading);
  if (typeof head === "string") return head;
  // One line for each field: no name and no value has made a line of its own.
  if (head.count !== lines || head.chunked || head.method !== method) return "head_malformed";
  if (ended && head.contentLength > 0) return "framing_invalid";
  head.version = HTTP2;
  head.asksHttps = https;
  head.chunked = !ended && head.contentLength === -1;
  return head;
}

const HOST_LINE = /\r\nhost:[ \t]*([^\r]*?)[ \t]*\r\n/i;

/** Room that the block of a head takes (Session.beginBlock). */
export function requestBlockBytes(text: string): number {
  return 3 * text.length + 128;
}

/**
 * Writes the fields of a head that goes upstream, `text` as forward.ts writes it; the block is begun, and
 * not ended. `trailers`: the client said that it takes them.
 */
export function writeRequest(
  encoder: HpackEncoder,
  text: string,
  { scheme, trailers }: { scheme: "http" | "https"; trailers: boolean },
): void {
  const lineEnd = text.indexOf("\r\n");
  const methodEnd = text.indexOf(" ");
  encoder.field(":method", text.slice(0, methodEnd));
  encoder.field(":scheme", scheme);
  encoder.field(":authority", HOST_LINE.exec(text)?.[1] ?? "");
  // " HTTP/1.1" is nine characters.
  encoder.field(":path", text.slice(methodEnd + 1, lineEnd - 9));
  writeLines(encoder, text, lineEnd + 2);
  if (trailers) encoder.field("te", "trailers");
}

/** Writes whole lines of HTTP/1 from `start` on, without the host and what belongs to a connection. */
export function writeLines(encoder: HpackEncoder, lines: string, start: number): void {
  let at = start;
  while (at < lines.length) {
    const end = lines.indexOf("\r\n", at);
    if (end <= at) return;
    const colon = lines.indexOf(":", at);
    if (!staysBehind(lines, at, colon)) encoder.line(lines.slice(at, end));
    at = end + 2;
  }
}

/** Whether the name from `start` to `end` is none that a message of HTTP/2 carries. */
export function staysBehind(text: string, start: number, end: number): boolean {
  switch (end - start) {
    case 2:
    case 4:
    case 7:
    case 10:
    case 14:
    case 16:
    case 17: {
      const name = text.slice(start, end).toLowerCase();
      return name === "host" || name === "te" || isConnectionSpecific(name);
    }
    default:
      return false;
  }
}
