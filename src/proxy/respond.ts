/**
 * Answers of the gateway itself: errors, refusals, redirects. One place writes them, once per
 * request, and closes the connection where the rest of the request is not worth reading.
 */
import { STATUS_CODES } from "node:http";
import type { Rejection } from "./admit.ts";
import { errorBody, errorRow, type ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";

/** The methods of the resources that may stand behind the gateway (RFC 9110 §15.5.6). */
const ALLOW = "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";

export interface LocalAnswer {
  readonly status: number;
  /** Whole header lines, each ended by CR LF. */
  readonly headers: string;
  readonly contentType: string;
  readonly body: string;
}

/** Answers with an error of the table; if the response had begun already, breaks it off instead. */
export function respondError(x: Exchange, code: ErrorCode): void {
  if (x.finished) return;
  x.reason = code;
  if (x.responseStarted) {
    breakOff(x);
    return;
  }
  const row = errorRow(code);
  respond(x, {
    status: row.status,
    headers: row.status === 405 ? ALLOW : "",
    contentType: "application/json",
    body: errorBody(code, row.message, x.requestId),
  });
}

export function respondRejection(x: Exchange, rejection: Rejection): void {
  x.reason = rejection.code;
  respond(x, {
    status: rejection.status,
    headers: rejection.headers,
    contentType: "application/json",
    body: errorBody(rejection.code, rejection.message, x.requestId),
  });
}

export function respondRedirect(x: Exchange, status: number, location: string): void {
  x.reason = "redirect";
  respond(x, { status, headers: `location: ${location}\r\n`, contentType: "", body: "" });
}

/** Writes a complete answer and ends the exchange. */
export function respond(x: Exchange, answer: LocalAnswer): void {
  // What is left of the body would have to be read before the next request can be.
  if (!x.bodyEnded || x.plane.draining) x.closeAfter = true;
  x.status = answer.status;
  x.responseStarted = true;
  const bytes = Buffer.byteLength(answer.body, "latin1");
  const edits = x.rule?.responseEdits ?? null;
  let text = `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ""}\r\n`;
  text += x.plane.wallTime.dateLine(performance.now());
  if (answer.contentType !== "") text += `content-type: ${answer.contentType}\r\n`;
  if (answer.status !== 204) text += `content-length: ${bytes}\r\n`;
  text += connectionLine(x) + answer.headers;
  if (edits !== null) text += edits.append;
  text += "\r\n";
  if (x.head.method !== "HEAD") {
    text += answer.body;
    x.bytesOut = bytes;
  }
  x.connection.write(text);
  x.finish();
}

/** HTTP/1.0 clients are told that the connection stays, others that it does not (RFC 9112 §9.3). */
export function connectionLine(x: Exchange): string {
  if (x.closeAfter) return "connection: close\r\n";
  return x.head.version === 10 ? "connection: keep-alive\r\n" : "";
}

/** Ends a response that cannot be completed so that the client cannot take it for complete. */
export function breakOff(x: Exchange): void {
  x.connection.abort(x.untilClose);
  x.finish();
}
