/**
 * What comes back: the response's head and body on their way to the client. One read becomes one
 * write, and an upstream that is faster than its client is made to wait.
 */
import type { ResponseHead } from "../http1/response-head.ts";
import { UPGRADE_LINES } from "../http1/websocket.ts";
import { CORS_RESPONSE_NAMES, responseLines, varyLine, type LinkedCors } from "./cors.ts";
import type { Exchange } from "./exchange.ts";
import type { KnownAnswer } from "./known-head.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import { sessionLine } from "./session.ts";

/** Response lines that header edits cannot touch. */
const FRAMING: ReadonlySet<string> = new Set(["content-length", "transfer-encoding", "connection"]);

/** Passes an interim response on (RFC 9110 §15.2). */
export function relayInterim(x: Exchange, head: ResponseHead): void {
  if (!x.responseStarted) x.client.sendInterim(x, head, "");
}

/** Sends the final head; `whole` is the entire body, if it came with the head. */
export function relayHead(x: Exchange, head: ResponseHead, whole: string | null): void {
  x.status = head.status;
  x.responseStarted = true;
  const edits = x.choice.backend?.responseEdits ?? null;
  if (edits !== null) {
    for (const name of edits.drop) if (!FRAMING.has(name)) head.dropName(name);
  }
  const cors = x.choice.backend?.cors ?? null;
  const said = cors === null ? "" : corsLines(x, head, cors);
  const kept = x.session === null ? "" : sessionLine(x, x.session, head);
  const added = addedLines(x, head) + said + (edits === null ? "" : edits.append) + kept;
  if (x.tap !== null) x.tap.head(head.status, head.header("content-type"));
  if (whole !== null) x.bytesOut = whole.length;
  x.client.sendHead(x, head, added, whole);
}

/** Tells the client that its connection is a WebSocket from now on. */
export function relaySwitch(x: Exchange, head: ResponseHead): void {
  x.status = head.status;
  x.responseStarted = true;
  const edits = x.choice.backend?.responseEdits ?? null;
  if (edits !== null) {
    for (const name of edits.drop) if (!FRAMING.has(name)) head.dropName(name);
  }
  const kept = x.session === null ? "" : sessionLine(x, x.session, head);
  x.client.sendInterim(x, head, UPGRADE_LINES + (edits === null ? "" : edits.append) + kept);
}

/** What the gateway says to pages of other origins, in place of what the backend said. */
function corsLines(x: Exchange, head: ResponseHead, cors: LinkedCors): string {
  const lines = responseLines(cors, x.head.header("origin"));
  if (lines !== "") for (const name of CORS_RESPONSE_NAMES) head.dropName(name);
  return lines + varyLine(cors);
}

/** Sends an answer that stands whole in `from`, and whose head came before. */
export function relayKnown(x: Exchange, known: KnownAnswer, from: ReadBuffer): void {
  x.status = known.status;
  x.responseStarted = true;
  x.bytesOut = known.contentLength;
  x.known?.sendAnswer(known, from);
}

/** What the gateway itself says in the head of a response. */
function addedLines(x: Exchange, head: ResponseHead): string {
  const text = head.hasDate ? "" : x.plane.wallTime.dateLine(performance.now());
  if (head.contentLength === -1 || head.keeps("content-length")) return text;
  return `${text}content-length: ${head.contentLength}\r\n`;
}

/** Sends bytes of the body. */
export function relayBody(
  x: Exchange,
  buffer: Buffer,
  range: { start: number; end: number },
): void {
  const { start, end } = range;
  x.bytesOut += end - start;
  if (x.tap !== null) x.tap.bytes(buffer, start, end);
  x.client.sendBody(buffer, start, end);
}

/** After each read: sends what was gathered, and makes the upstream wait if the client does not take it. */
export function relayFlush(x: Exchange): void {
  if (x.client.flush()) return;
  x.upstream?.pause();
}

/** The body is complete. */
export function relayEnd(x: Exchange, trailers: string): void {
  x.client.sendEnd(trailers);
}
