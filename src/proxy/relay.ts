/**
 * What comes back: the response's head and body on their way to the client. The body is framed anew,
 * one read becomes one write, and an upstream that is faster than its client is made to wait.
 */
import type { ResponseHead } from "../http1/response-head.ts";
import { chunkLine, LAST_CHUNK } from "../http1/chunked.ts";
import { connectionLine } from "./respond.ts";
import type { Exchange } from "./exchange.ts";
import type { KnownAnswer } from "./known-head.ts";
import type { ReadBuffer } from "./read-buffer.ts";

/** Response lines that header edits cannot touch. */
const FRAMING: ReadonlySet<string> = new Set(["content-length", "transfer-encoding", "connection"]);

/** Passes an interim response on (RFC 9110 §15.2), to clients that know them. */
export function relayInterim(x: Exchange, head: ResponseHead): void {
  if (x.head.version === 10 || x.responseStarted) return;
  x.connection.write(`HTTP/1.1 ${head.status} ${head.reason}\r\n${head.kept()}\r\n`);
}

/** Sends the final head; `whole` is the entire body, if it came with the head. */
export function relayHead(x: Exchange, head: ResponseHead, whole: string | null): void {
  x.status = head.status;
  x.responseStarted = true;
  // An early answer: what is left of the request is not waited for (RFC 9112 §9.6).
  if (!x.bodyEnded || x.plane.draining) x.closeAfter = true;
  const open = head.framing === "chunked" || head.framing === "close";
  x.chunkedDown = open && x.head.version === 11;
  x.untilClose = open && x.head.version === 10;
  if (x.untilClose) x.closeAfter = true;
  const edits = x.choice.backend?.responseEdits ?? null;
  if (edits !== null) {
    for (const name of edits.drop) if (!FRAMING.has(name)) head.dropName(name);
  }
  const added = addedLines(x, head) + (edits === null ? "" : edits.append);
  // The status line goes on as it came where it is one of HTTP/1.1.
  const kept = head.http11
    ? head.keptFromStart()
    : `HTTP/1.1 ${head.status} ${head.reason}\r\n${head.kept()}`;
  if (x.tap !== null) x.tap.head(head.status, head.header("content-type"));
  if (whole === null) {
    x.connection.cork();
    x.connection.write(`${kept}${added}\r\n`);
  } else {
    x.bytesOut = whole.length;
    // Blank line and body stand behind the header lines in the text, and go on in one piece with
    // them where nothing is changed.
    const end = head.end + 2 + whole.length;
    const same = added === "" && head.http11 && kept.length === head.end;
    x.connection.write(
      same ? head.text.slice(0, end) : kept + added + head.text.slice(head.end, end),
    );
    // An answer that failed may be another arm's to give, and is looked at each time.
    if (added === "" && head.http11 && head.status < 500) x.known?.noteAnswer(head, kept, whole);
  }
}

/** Sends an answer that stands whole in `from`, and whose head came before. */
export function relayKnown(x: Exchange, known: KnownAnswer, from: ReadBuffer): void {
  x.status = known.status;
  x.responseStarted = true;
  x.bytesOut = known.contentLength;
  const start = known.bytes.length;
  x.connection.writeAnswer(known.goes, from.bytes, { start, end: start + known.contentLength });
}

/** What the gateway itself says in the head of a response. */
function addedLines(x: Exchange, head: ResponseHead): string {
  let text = head.hasDate ? "" : x.plane.wallTime.dateLine(performance.now());
  if (head.contentLength !== -1 && !head.keeps("content-length")) {
    text += `content-length: ${head.contentLength}\r\n`;
  }
  if (x.chunkedDown) text += "transfer-encoding: chunked\r\n";
  return text + connectionLine(x);
}

/** Sends bytes of the body. They are copied, for the buffer is the next read's. */
export function relayBody(
  x: Exchange,
  buffer: Buffer,
  range: { start: number; end: number },
): void {
  const { start, end } = range;
  x.bytesOut += end - start;
  if (x.tap !== null) x.tap.bytes(buffer, start, end);
  x.connection.cork();
  if (x.chunkedDown) x.connection.writeBytes(framedChunk(buffer, start, end));
  else x.connection.writeBytes(Buffer.from(buffer.subarray(start, end)));
}

/** After each read: sends what was gathered, and makes the upstream wait if the client does not take it. */
export function relayFlush(x: Exchange): void {
  if (x.connection.uncork()) return;
  x.upstream?.pause();
}

/** The body is complete. */
export function relayEnd(x: Exchange): void {
  if (x.chunkedDown) x.connection.write(LAST_CHUNK);
  x.connection.uncork();
}

/** Bytes as one chunk in one buffer of their own: size, data, CRLF. */
export function framedChunk(buffer: Buffer, start: number, end: number): Buffer {
  const size = chunkLine(end - start);
  const framed = Buffer.allocUnsafe(size.length + end - start + 2);
  framed.write(size, "latin1");
  buffer.copy(framed, size.length, start, end);
  framed.write("\r\n", framed.length - 2, "latin1");
  return framed;
}
