/**
 * What comes back: the response's head and body on their way to the client. One read becomes one
 * write, and an upstream that is faster than its client is made to wait.
 */
import type { ResponseHead } from "../http1/response-head.ts";
import { UPGRADE_LINES } from "../http1/websocket.ts";
import { codedTrailers, compressAnswer } from "./compress.ts";
import { CORS_RESPONSE_NAMES, responseLines, varyLine, type LinkedCors } from "./cors.ts";
import type { Exchange } from "./exchange.ts";
import type { KnownAnswer } from "./known-head.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import { sessionLine } from "./session.ts";
import type { LinkedEdits } from "./snapshot.ts";

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
  const edits = editHead(x, head);
  if (x.rule === null || x.rule.compression === null) {
    sendHead(x, head, edits === null ? "" : edits.append, whole);
    return;
  }
  const coded = compressAnswer(x, head, { compression: x.rule.compression, edits, whole });
  sendHead(x, coded.head, coded.edited, coded.whole);
  // What is too long to be compressed on the spot came whole all the same.
  if (x.compressor !== null && whole !== null) {
    const bytes = Buffer.from(whole, "latin1");
    x.compressor.take(bytes, 0, bytes.length);
  }
}

function sendHead(x: Exchange, head: ResponseHead, edited: string, whole: string | null): void {
  const cors = x.choice.backend?.cors ?? null;
  const said = cors === null ? "" : corsLines(x, head, cors);
  const kept = x.session === null ? "" : sessionLine(x, x.session, head);
  const added = addedLines(x, head) + said + edited + kept;
  if (x.tap !== null) x.tap.head(head.status, head.header("content-type"));
  if (whole !== null) x.bytesOut = whole.length;
  x.client.sendHead(x, head, added, whole);
}

/** Tells the client that its connection is a WebSocket from now on. */
export function relaySwitch(x: Exchange, head: ResponseHead): void {
  x.status = head.status;
  x.responseStarted = true;
  const edits = editHead(x, head);
  const kept = x.session === null ? "" : sessionLine(x, x.session, head);
  x.client.sendInterim(x, head, UPGRADE_LINES + (edits === null ? "" : edits.append) + kept);
}

/** Takes out of a head what the route's edits drop; returns them, whose lines are still to be added. */
function editHead(x: Exchange, head: ResponseHead): LinkedEdits | null {
  const edits = x.responseEdits;
  if (edits !== null) {
    for (const name of edits.drop) if (!FRAMING.has(name)) head.dropName(name);
  }
  return edits;
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
  x.client.sendKnown(known, from);
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
  if (x.tap !== null) x.tap.bytes(buffer, start, end);
  if (x.compressor !== null) {
    x.compressor.take(buffer, start, end);
    return;
  }
  x.bytesOut += end - start;
  x.client.sendBody(buffer, start, end);
}

/** After each read: sends what was gathered, and makes the upstream wait if the client does not take it. */
export function relayFlush(x: Exchange): void {
  const taken = x.compressor === null ? x.client.flush() : x.compressor.flush();
  if (!taken) x.upstream?.pause();
}

/** The body is complete: the exchange is over once all of it has been sent. */
export function relayEnd(x: Exchange, trailers: string, nowMs: number): void {
  if (x.compressor !== null) {
    x.compressor.end(codedTrailers(trailers));
    return;
  }
  x.client.sendEnd(trailers);
  x.finish(nowMs);
}
