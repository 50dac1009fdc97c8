/**
 * Lines of the access log as a template says: "%{client} %{method} %{path} %{status}". The names are
 * those of the JSON line; "%%" is a percent sign. Values are escaped as inside a JSON string, so that
 * no request can forge a line or a quote.
 */
import { jsonText } from "./access-log.ts";
import type { Exchange } from "./exchange.ts";
import { endedBy, micros, phaseOf, timersOf } from "./termination.ts";

type Field = (x: Exchange, nowMs: number) => string;

/** What a template can name. Each is also a member of the JSON line. */
const FIELDS: Readonly<Record<string, Field>> = {
  time: (x) => x.plane.wallTime.timestamp(x.startedMs),
  requestId: (x) => x.requestId,
  client: (x) => x.peer.clientAddress,
  clientSubject: (x) => x.peer.clientSubject,
  protocol: (x) => (x.head.version === 10 ? "HTTP/1.0" : x.peer.protocol),
  method: (x) => x.head.method,
  host: (x) => x.head.host,
  path: (x) => x.head.path,
  status: (x) => String(x.status),
  reason: (x) => x.reason,
  endedBy,
  phase: phaseOf,
  durationUs: (x, nowMs) => microsText(nowMs - x.startedMs),
  requestHeadUs: (x) => microsText(x.requestHeadMs),
  waitUs: (x, nowMs) => microsText(timersOf(x, nowMs).wait),
  connectUs: (x, nowMs) => microsText(timersOf(x, nowMs).connect),
  upstreamUs: (x, nowMs) => microsText(timersOf(x, nowMs).upstream),
  bodyUs: (x, nowMs) => microsText(timersOf(x, nowMs).body),
  rule: (x) => (x.rule?.part.type === "rule" ? (x.rule.part.name ?? "") : ""),
  route: (x) => x.rule?.route ?? "",
  arm: (x) => x.arm?.arm.id ?? "",
  endpoint: (x) => JSON.parse(x.endpointText) as string,
  attempts: (x) => String(x.attempts),
  shielded: (x) => String(x.shielded),
  clientId: (x) => x.clientId,
  bytesIn: (x) => String(x.bytesIn),
  bytesOut: (x) => String(x.bytesOut),
  traceId: (x) => x.trace?.traceId ?? "",
  sample: (x) => String(x.plane.accessLines.shareOf(x)),
};

/** Names of fields, in the order of the JSON line. */
export const ACCESS_FIELDS: readonly string[] = Object.keys(FIELDS);

export type AccessTemplate = (x: Exchange, nowMs: number) => string;

const TEMPLATE_CHARS_MAX = 4096;
const PLACE = /%(?:%|\{([^{}]*)\}|)/g;

/** A template's function, or what is wrong with `text`, for a person. */
export function parseAccessTemplate(text: string): AccessTemplate | string {
  if (text.length > TEMPLATE_CHARS_MAX) return `is longer than ${TEMPLATE_CHARS_MAX} characters`;
  if (/[^\t -~]/.test(text)) return "must be one line of printable ASCII";
  const literals: string[] = [""];
  const fields: Field[] = [];
  let at = 0;
  for (const match of text.matchAll(PLACE)) {
    literals[fields.length] += text.slice(at, match.index);
    at = match.index + match[0].length;
    if (match[0] === "%%") {
      literals[fields.length] += "%";
      continue;
    }
    const field = match[1] === undefined ? undefined : fieldNamed(match[1]);
    if (field === undefined) return fault(match[1]);
    fields.push(field);
    literals.push("");
  }
  if (fields.length === 0) return `names no field; fields are ${ACCESS_FIELDS.join(", ")}`;
  literals[fields.length] += text.slice(at);
  return (x, nowMs) => {
    let line = literals[0] as string;
    fields.forEach((field, index) => {
      line += `${escaped(field(x, nowMs))}${literals[index + 1]}`;
    });
    return `${line}\n`;
  };
}

function fieldNamed(name: string): Field | undefined {
  return Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
}

function fault(name: string | undefined): string {
  if (name === undefined) return "has a % that begins neither %{field} nor %%";
  return `%{${name}} is not a field; fields are ${ACCESS_FIELDS.join(", ")}`;
}

/** "-" stands for nothing, as in other servers' logs, so that columns stay columns. */
function escaped(value: string): string {
  return value === "" ? "-" : jsonText(value).slice(1, -1);
}

/** "-" for a phase that was not reached. */
function microsText(milliseconds: number): string {
  return milliseconds < 0 ? "-" : String(micros(milliseconds));
}
