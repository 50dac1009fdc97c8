/**
 * Answers onto one HTTP/1.1 connection: status lines, the framing of bodies (RFC 9112 §6), whether the
 * connection stays, and what leaves together. Who reads the requests stands in connection.ts.
 */
import { STATUS_CODES } from "node:http";
import { LAST_CHUNK, framedChunk } from "../http1/chunked.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { ClientOutput } from "./client-output.ts";
import type { Exchange } from "./exchange.ts";

export class AnswerWriter {
  /** The connection ends after the present answer. */
  closeAfter = false;
  /** Only the end of the connection says that the response is complete (an HTTP/1.0 client). */
  untilClose = false;
  readonly output: ClientOutput;
  #chunked = false;

  constructor(output: ClientOutput) {
    this.output = output;
  }

  interim(head: ResponseHead, added: string): void {
    this.output.write(`HTTP/1.1 ${head.status} ${head.reason}\r\n${head.kept()}${added}\r\n`);
  }

  /** See Client.sendHead. */
  head(x: Exchange, head: ResponseHead, added: string, whole: string | null): void {
    const open = head.framing === "chunked" || head.framing === "close";
    this.#chunked = open && x.head.version === 11;
    this.untilClose = open && x.head.version === 10;
    if (this.untilClose) this.closeAfter = true;
    let own = added;
    // An HTTP/2 stream ends without saying how long it was.
    if (head.framing === "none" && head.contentLength === -1 && mayHaveBody(x, head.status)) {
      own += "content-length: 0\r\n";
    }
    if (this.#chunked) own += "transfer-encoding: chunked\r\n";
    own += this.#connectionLine(x);
    // The status line goes on as it came where it is one of HTTP/1.1.
    const kept = head.http11
      ? head.keptFromStart()
      : `HTTP/1.1 ${head.status} ${head.reason}\r\n${head.kept()}`;
    if (whole === null) {
      this.output.cork();
      this.output.write(`${kept}${own}\r\n`);
      return;
    }
    // Blank line and body stand behind the header lines in the text, and go on in one piece with
    // them where nothing is changed.
    const end = head.end + 2 + whole.length;
    const same = own === "" && head.http11 && kept.length === head.end;
    this.output.write(same ? head.text.slice(0, end) : kept + own + head.text.slice(head.end, end));
    // An answer that failed may be another arm's to give, and is looked at each time.
    if (own === "" && head.http11 && head.status < 500) x.known?.noteAnswer(head, kept, whole);
  }

  /** See Client.sendAnswer. */
  answer(x: Exchange, status: number, lines: string, body: string): void {
    const statusLine = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
    this.output.write(`${statusLine}${lines}${this.#connectionLine(x)}\r\n${body}`);
  }

  /** HTTP/1.0 clients are told that the connection stays, others that it does not (RFC 9112 §9.3). */
  #connectionLine(x: Exchange): string {
    if (this.closeAfter) return "connection: close\r\n";
    return x.head.version === 10 ? "connection: keep-alive\r\n" : "";
  }

  body(buffer: Buffer, start: number, end: number): void {
    this.output.cork();
    this.output.writeBytes(
      this.#chunked ? framedChunk(buffer, start, end) : Buffer.from(buffer.subarray(start, end)),
    );
  }

  end(): void {
    if (this.#chunked) this.output.write(LAST_CHUNK);
    this.#chunked = false;
    this.output.uncork();
  }
}

/** Whether a response says how long its body is, be it empty (RFC 9112 §6.3). */
function mayHaveBody(x: Exchange, status: number): boolean {
  return status !== 204 && status !== 304 && x.head.method !== "HEAD";
}
