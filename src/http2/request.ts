/**
 * Requests of HTTP/2: the fields of one as the RequestHead that the strict parser makes of them, and
 * the head that goes upstream as fields again (RFC 9113 §8.3.1).
 */
import { REQUEST_HEAD_BYTES_MAX, type HeadFault } from "../http1/fault.ts";
import type { PathReading } from "../http1/path.ts";
import { parseRequestHead, type RequestHead } from "../http1/request-head.ts";
import { appendLines, isConnectionSpecific } from "./fields.ts";

/** RequestHead.version of a request that came by HTTP/2. */
export const HTTP2 = 20;

/** The fields that have a meaning of their own, and the others as lines. */
interface Parts {
  method: string;
  path: string;
  scheme: string;
  authority: string;
  hosts: number;
  host: string;
  cookie: string;
  lines: string;
  count: number;
  fault: boolean;
}

/**
 * The head of a request with these fields. `ended`: no body follows. A head without length whose body
 * follows says `chunked`, which stands for a length that is not known.
 */
export function parseRequestFields(
  fields: readonly string[],
  ended: boolean,
  reading?: PathReading,
): RequestHead | HeadFault {
  const parts = collect(fields);
  if (parts.fault) return "head_malformed";
  const { method, authority, hosts, host, cookie, lines } = parts;
  // A client that sends both says the same in both (RFC 9113 §8.3.1).
  const differs = authority !== "" && host.toLowerCase() !== authority.toLowerCase();
  if (hosts > 1 || (hosts === 1 && differs)) return "host_invalid";
  const target = method === "CONNECT" ? authority : parts.path;
  if (method !== "CONNECT") {
    if (target.charCodeAt(0) !== 0x2f && target !== "*") return "target_invalid";
    if (parts.scheme !== "http" && parts.scheme !== "https") return "target_invalid";
  }
  const named = authority === "" ? host : authority;
  let text = `${method} ${target} HTTP/1.1\r\n`;
  if (named !== "") text += `host: ${named}\r\n`;
  if (cookie !== "") text += `cookie: ${cookie}\r\n`;
  text += `${lines}\r\n`;
  if (text.length > REQUEST_HEAD_BYTES_MAX) return "head_too_large";
  const head = parseRequestHead(text, text.length, reading);
  if (typeof head === "string") return head;
  // One line for each field: no name and no value has made a line of its own.
  const expected = parts.count + (named === "" ? 0 : 1) + (cookie === "" ? 0 : 1);
  if (head.count !== expected || head.chunked || head.method !== method) return "head_malformed";
  if (ended && head.contentLength > 0) return "framing_invalid";
  head.version = HTTP2;
  head.chunked = !ended && head.contentLength === -1;
  return head;
}

function collect(fields: readonly string[]): Parts {
  const parts: Parts = {
    method: "",
    path: "",
    scheme: "",
    authority: "",
    hosts: 0,
    host: "",
    cookie: "",
    lines: "",
    count: 0,
    fault: false,
  };
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    if (name.charCodeAt(0) === 0x3a) {
      if (!takePseudo(parts, name, value)) parts.fault = true;
    } else if (name === "host") {
      parts.hosts++;
      parts.host = value;
    } else if (name === "cookie") {
      // What was cut up to be compressed is put together again (RFC 9113 §8.2.3).
      parts.cookie += parts.cookie === "" ? value : `; ${value}`;
    } else if (isConnectionSpecific(name) && !(name === "te" && value === "trailers")) {
      parts.fault = true;
    } else {
      parts.lines += `${name}: ${value}\r\n`;
      parts.count++;
    }
  }
  return parts;
}

/** Takes a pseudo-header; false where it is unknown, comes twice or too late. */
function takePseudo(parts: Parts, name: string, value: string): boolean {
  if (parts.count > 0 || parts.hosts > 0) return false;
  switch (name) {
    case ":method":
      if (parts.method !== "") return false;
      parts.method = value;
      return true;
    case ":path":
      if (parts.path !== "") return false;
      parts.path = value;
      return true;
    case ":scheme":
      if (parts.scheme !== "") return false;
      parts.scheme = value.toLowerCase();
      return true;
    case ":authority":
      if (parts.authority !== "") return false;
      parts.authority = value;
      return true;
    default:
      return false;
  }
}

/**
 * The fields of a head that goes upstream, `text` as forward.ts writes it. `trailers`: the client said
 * that it takes them.
 */
export function requestFields(
  text: string,
  { scheme, trailers }: { scheme: "http" | "https"; trailers: boolean },
): string[] {
  const lineEnd = text.indexOf("\r\n");
  const methodEnd = text.indexOf(" ");
  const hostless: string[] = [];
  appendLines(text, lineEnd + 2, hostless);
  const fields = [
    ":method",
    text.slice(0, methodEnd),
    ":scheme",
    scheme,
    ":authority",
    "",
    ":path",
    // " HTTP/1.1" is nine characters.
    text.slice(methodEnd + 1, lineEnd - 9),
  ];
  for (let index = 0; index < hostless.length; index += 2) {
    const name = hostless[index] as string;
    const value = hostless[index + 1] as string;
    if (name === "host") fields[5] = value;
    else fields.push(name, value);
  }
  if (trailers) fields.push("te", "trailers");
  return fields;
}
