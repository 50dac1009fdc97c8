/**
 * From a record to spans, in the words of OpenTelemetry's stable semantic conventions for HTTP
 * (semantic-conventions/docs/http/http-spans.md) and, for what they have no word for, `sluice.*`.
 * A server span for the request, and beneath it a client span for each attempt, so that a retry or a
 * canary whose failure stable hid can be seen. Pure.
 */
import type { AttemptRecord, RequestRecord } from "./span-record.ts";

export interface SpanDraft {
  readonly kind: "server" | "client";
  readonly name: string;
  readonly spanId: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly events: readonly { readonly name: string; readonly timeMs: number }[];
  /** What went wrong, or "" where nothing did. */
  readonly failure: string;
}

/** Methods that may be values of `http.request.method`; others are `_OTHER`. */
const METHODS: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "CONNECT",
  "OPTIONS",
  "TRACE",
  "PATCH",
  "QUERY",
]);

/** The server span of a request. */
export function requestSpan(record: RequestRecord): SpanDraft {
  const { method, pathRule, status } = record;
  const known = METHODS.has(method);
  const attributes = present({
    ...methodAttributes(method),
    "url.scheme": record.scheme,
    "url.path": record.path,
    "http.route": pathRule,
    "http.response.status_code": status,
    "error.type": errorType(record.error, status, 500),
    "network.protocol.version": record.protocol,
    "server.address": record.host,
    "server.port": record.host === "" ? -1 : record.port,
    "client.address": record.clientAddress,
    "network.peer.address": record.peerAddress,
    "user_agent.original": record.userAgent,
    "sluice.request_id": record.requestId,
    "sluice.ended_by": record.endedBy,
    "sluice.route": record.route,
    ...armAttributes(record.attempts.at(-1)),
  });
  if (record.shielded) attributes["sluice.shielded"] = true;
  const name = known ? method : "HTTP";
  return {
    kind: "server",
    name: pathRule === "" ? name : `${name} ${pathRule}`,
    spanId: record.spanId,
    startMs: record.startMs,
    endMs: record.endMs,
    attributes,
    events: [],
    failure: record.error === "" && status >= 500 ? String(status) : record.error,
  };
}

/** The client span of the attempt at `index`. */
export function attemptSpan(record: RequestRecord, index: number): SpanDraft {
  const attempt = record.attempts[index] as AttemptRecord;
  const { address, port, status, error } = attempt;
  const unix = port === -1;
  const attributes = present({
    ...methodAttributes(record.method),
    "url.full": unix ? "" : `${attempt.scheme}://${hostText(address)}:${port}${attempt.path}`,
    "url.path": unix ? attempt.path : "",
    "server.address": address,
    "server.port": port,
    "network.transport": unix ? "unix" : "",
    "network.protocol.version": attempt.protocol,
    "http.response.status_code": status,
    "error.type": errorType(error, status, 400),
    "http.request.resend_count": index === 0 ? -1 : index,
    ...armAttributes(attempt),
  });
  return {
    kind: "client",
    name: METHODS.has(record.method) ? record.method : "HTTP",
    spanId: attempt.spanId,
    startMs: attempt.startMs,
    endMs: attempt.endMs,
    attributes,
    events: [
      { name: "request.sent", timeMs: attempt.sentMs },
      { name: "response.head", timeMs: attempt.headMs },
    ].filter(({ timeMs }) => timeMs !== -1),
    failure: error === "" && status >= 400 ? String(status) : error,
  };
}

function methodAttributes(method: string): Record<string, string> {
  if (METHODS.has(method)) return { "http.request.method": method };
  return { "http.request.method": "_OTHER", "http.request.method_original": method };
}

function armAttributes(attempt: AttemptRecord | undefined): Record<string, string> {
  if (attempt === undefined) return {};
  const { arm, version, role } = attempt;
  return { "sluice.arm": arm, "sluice.revision": version, "sluice.role": role };
}

/** A code of the error table, else the status where it is an error for who reports it, else "". */
function errorType(error: string, status: number, errorsFrom: number): string {
  return error === "" && status >= errorsFrom ? String(status) : error;
}

function hostText(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** Leaves out what there is none of. */
function present(
  attributes: Readonly<Record<string, string | number>>,
): Record<string, string | number | boolean> {
  const found: Record<string, string | number | boolean> = {};
  for (const name of Object.keys(attributes)) {
    const value = attributes[name];
    if (value !== undefined && value !== "" && value !== -1) found[name] = value;
  }
  return found;
}
