/**
 * Answers of the gateway itself: errors, refusals, redirects. One place writes them, once per
 * request; how they are framed is the client's (client.ts).
 */
import type { Rejection } from "./admit.ts";
import { compressDirect } from "./compress.ts";
import { preflightLines, responseLines, varyLine, type LinkedCors } from "./cors.ts";
import { errorBody, errorRow, isError, type ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { grpcMessage, grpcStatusOf, isGrpc } from "./grpc.ts";
import { HTTP2 } from "../http2/request.ts";
import type { LinkedDirectResponse, LinkedEdits } from "./snapshot.ts";

/** The methods of the resources that may stand behind the gateway (RFC 9110 §15.5.6). */
const ALLOW = "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";

export interface LocalAnswer {
  readonly status: number;
  /** Whole header lines, each ended by CR LF. */
  readonly headers: string;
  readonly contentType: string;
  readonly body: string;
  /** Lines about the body's coding, which no edits touch; absent where it has none. */
  readonly codingLines?: string;
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

/** A fixed answer that a route asks for instead of a backend. */
export function respondDirect(x: Exchange, direct: LinkedDirectResponse): void {
  x.reason = "direct_response";
  respond(x, compressDirect(x, { ...direct, headers: "" }));
}

/** Tells a browser what it may ask for. */
export function respondPreflight(x: Exchange, cors: LinkedCors): void {
  x.reason = "preflight";
  respond(x, { status: 200, headers: preflightLines(cors, x.head), contentType: "", body: "" });
}

/** Writes a complete answer and ends the exchange. */
export function respond(x: Exchange, answer: LocalAnswer): void {
  if (x.head.version === HTTP2 && isGrpc(x.head)) {
    respondGrpc(x, answer);
    return;
  }
  x.status = answer.status;
  x.responseStarted = true;
  const bytes = Buffer.byteLength(answer.body, "latin1");
  const edits = x.responseEdits;
  let lines = x.plane.wallTime.dateLine(performance.now());
  if (answer.contentType !== "") lines += kept(`content-type: ${answer.contentType}\r\n`, edits);
  // Of a 304 it would be the length that a 200 has, which nobody knows here (RFC 9110 §8.6).
  if (answer.status !== 204 && answer.status !== 304) lines += `content-length: ${bytes}\r\n`;
  lines += kept(answer.headers, edits) + (answer.codingLines ?? "");
  const cors = x.choice.backend?.cors ?? x.rule?.cors ?? null;
  if (cors !== null && x.reason !== "preflight") {
    lines += responseLines(cors, x.head.header("origin")) + varyLine(cors);
  }
  if (edits !== null) lines += edits.append;
  const body = x.head.method === "HEAD" ? "" : answer.body;
  if (body !== "") x.bytesOut = bytes;
  x.client.sendAnswer(x, answer.status, lines, body);
  x.finish();
}

/** Those of `lines`, whole lines, that the edits of the route leave. */
function kept(lines: string, edits: LinkedEdits | null): string {
  if (edits === null || edits.drop.size === 0) return lines;
  const isKept = (line: string): boolean =>
    !edits.drop.has(line.slice(0, line.indexOf(":")).toLowerCase());
  return lines
    .split(/(?<=\r\n)/)
    .filter(isKept)
    .join("");
}

/**
 * An answer that gRPC clients understand: its status is a field of a head without body. What is
 * counted and logged is the status that HTTP has for it.
 */
function respondGrpc(x: Exchange, { status, headers }: LocalAnswer): void {
  x.status = status;
  x.responseStarted = true;
  x.grpcStatus = grpcStatusOf(status, x.reason);
  const { reason } = x;
  const said = isError(reason) ? errorRow(reason).message : reason;
  const lines = `${x.plane.wallTime.dateLine(performance.now())}content-type: application/grpc\r\ngrpc-status: ${x.grpcStatus}\r\ngrpc-message: ${grpcMessage(said)}\r\n`;
  x.client.sendAnswer(x, 200, lines + headers, "");
  x.finish();
}

/** Ends a response that cannot be completed so that the client cannot take it for complete. */
function breakOff(x: Exchange): void {
  x.client.breakOff();
  x.finish();
}
