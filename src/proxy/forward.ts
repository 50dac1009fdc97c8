/**
 * The head that goes upstream: the client's lines as they came, without those that end at this hop,
 * and with what the gateway says about the client. What is added comes after what was nominated away
 * (RFC 9110 §7.6.1), so that no client can take it off again.
 */
import type { RequestHead } from "../http1/request-head.ts";
import { UPGRADE_LINES } from "../http1/websocket.ts";
import { cookieWithout } from "./cookie.ts";
import type { Exchange } from "./exchange.ts";
import { isSafeHeader, rewriteTarget } from "./rewrite.ts";
import type { Trace } from "./trace.ts";

/** What an LLM route changes: another path, another body, a credential. */
export interface Overrides {
  readonly target?: string;
  readonly host?: string;
  /** Length of the body that replaces the client's. */
  readonly contentLength?: number;
  /** Whole lines, each ended by CR LF. May carry a secret: never logged. */
  readonly append?: string;
  /** Lower-case names that are not forwarded. */
  readonly drop?: readonly string[];
}

/** Lines that frame the message or belong to this hop: header edits cannot touch them. */
const FRAMING: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "connection",
  "host",
]);

/**
 * The upstream head of the exchange's chosen backend, with its blank line. Undefined where a value
 * that should be forwarded cannot stand in a header, and where there is no target (`rewriteTarget`).
 */
export function upstreamHead(x: Exchange, overrides: Overrides | null): string | undefined {
  const { head, choice, rule, peer } = x;
  const backend = choice.backend;
  const edits = backend?.requestEdits ?? null;
  const auth = rule?.auth ?? null;
  if (isPlain(x) && overrides === null && edits === null && auth === null) {
    // The client's head goes on in one piece, with the gateway's lines behind it.
    if (x.trace !== null) return tracedHead(x, x.trace);
    return `${head.text.slice(0, head.end)}${peer.ownLines(head)}${x.requestId}\r\n\r\n`;
  }
  const target =
    overrides?.target ??
    (backend === null ? head.target : rewriteTarget(head, backend.pathEdits, auth));
  if (target === undefined) return undefined;
  let text = `${head.method} ${target === "" ? "/" : target} HTTP/1.1\r\n`;
  const host = overrides?.host ?? rewrittenHost(x);
  if (host !== null || head.absolute || head.authority === "") {
    head.dropName("host");
    text += `host: ${host ?? (head.authority === "" ? peer.localAuthority : head.authority)}\r\n`;
  }
  head.dropName("x-request-id");
  if (x.trace !== null) head.dropName("traceparent");
  if (auth !== null) {
    for (const name of auth.stripHeaders) dropHeader(head, name);
  }
  const clientHeader = auth?.auth.forwardClientIdHeader;
  if (clientHeader !== undefined) {
    dropHeader(head, clientHeader.toLowerCase());
    if (!isSafeHeader(clientHeader, x.clientId)) return undefined;
    text += `${clientHeader}: ${x.clientId}\r\n`;
  }
  if (edits !== null) {
    for (const name of edits.drop) if (!FRAMING.has(name)) dropHeader(head, name);
  }
  for (const name of overrides?.drop ?? []) dropHeader(head, name);
  if (auth !== null && auth.stripCookies.length > 0 && head.keeps("cookie")) {
    text += strippedCookies(x, auth.stripCookies);
  }
  if (overrides?.contentLength !== undefined) {
    head.dropName("content-length");
    text += `content-length: ${overrides.contentLength}\r\n`;
  } else {
    text += framing(x);
  }
  if (x.upgrade) text += UPGRADE_LINES;
  text += head.kept();
  if (edits === null) {
    text += `${peer.ownLines(head)}${x.requestId}\r\n`;
    if (x.trace !== null) text += `traceparent: ${x.trace.tell(x.arm ?? x.choice.arm)}\r\n`;
  } else {
    for (const [name, value] of ownLines(x)) {
      if (!edits.drop.has(name)) text += `${name}: ${value}\r\n`;
    }
    if (x.trace !== null && !edits.drop.has("traceparent")) {
      text += `traceparent: ${x.trace.tell(x.arm ?? x.choice.arm)}\r\n`;
    }
    text += edits.append;
  }
  return `${text}${overrides?.append ?? ""}\r\n`;
}

/** A host with or without a port: what else a header holds is no Host. */
const AUTHORITY = /^(?:[\w.\-~%]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::\d{1,5})?$/;

function rewrittenHost({ choice, head }: Exchange): string | null {
  const { backend } = choice;
  if (backend === null) return null;
  if (backend.rewriteHostFrom === null) return backend.rewriteHost;
  const value = head.header(backend.rewriteHostFrom);
  return value !== undefined && AUTHORITY.test(value) ? value : null;
}

/**
 * Drops a header that the gateway writes or that must not go on, and every line that CGI-style
 * servers would read as it: they make one variable of "x-user" and "x_user".
 */
function dropHeader(head: RequestHead, lowerName: string): void {
  head.dropName(lowerName);
  if (!head.text.includes("_") && !lowerName.includes("_")) return;
  const { lines, text } = head;
  const folded = lowerName.replaceAll("_", "-");
  for (let index = 0; index < lines.length; index += 2) {
    const start = lines[index] as number;
    const colon = Math.abs(lines[index + 1] as number);
    if (colon - start !== folded.length) continue;
    if (text.slice(start, colon).toLowerCase().replaceAll("_", "-") === folded) head.drop(index);
  }
}

/** Whether request line and header lines can go upstream exactly as they came. */
function isPlain({ head, choice, presentedId }: Exchange): boolean {
  const { backend } = choice;
  return (
    head.http11 &&
    !head.absolute &&
    !head.respelled &&
    !head.chunked &&
    head.authority !== "" &&
    !presentedId &&
    backend !== null &&
    backend.rewriteHost === null &&
    backend.rewriteHostFrom === null &&
    backend.pathEdits.length === 0 &&
    head.untouched
  );
}

/** A chunked body that has come whole goes on with its length; else it is chunked anew. */
function framing(x: Exchange): string {
  if (!x.head.chunked) return "";
  if (x.bodyEnded) return `content-length: ${x.heldBytes}\r\n`;
  x.chunkedUp = true;
  return "transfer-encoding: chunked\r\n";
}

/** As the plain head, with the attempt in its caller's place, or in a line of its own. */
function tracedHead(x: Exchange, trace: Trace): string {
  const { text, end } = x.head;
  const own = `${x.peer.ownLines(x.head)}${x.requestId}\r\n`;
  const parent = trace.tell(x.choice.arm);
  const at = trace.callerAt;
  if (at === -1) return `${text.slice(0, end)}${own}traceparent: ${parent}\r\n\r\n`;
  return `${text.slice(0, at)}${parent}${text.slice(at + trace.callerLength, end)}${own}\r\n`;
}

function ownLines(x: Exchange): readonly (readonly [string, string])[] {
  const { peer } = x;
  const { authority } = x.head;
  const clientCert = peer.clientCert?.value(x.head) ?? "";
  const certLines = clientCert === "" ? [] : ([["x-forwarded-client-cert", clientCert]] as const);
  return [
    ...certLines,
    ...(peer.hasAddress ? ([["x-forwarded-for", peer.clientAddress]] as const) : []),
    ["x-forwarded-proto", peer.scheme],
    ["x-forwarded-port", String(peer.localPort)],
    ...(authority === "" ? [] : ([["x-forwarded-host", authority]] as const)),
    ["x-request-id", x.requestId],
  ];
}

function strippedCookies(x: Exchange, names: readonly string[]): string {
  const cookies = x.head.header("cookie");
  if (cookies === undefined) return "";
  x.head.dropName("cookie");
  const left = cookieWithout(cookies, names);
  return left === "" ? "" : `cookie: ${left}\r\n`;
}
