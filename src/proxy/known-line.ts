/** Lines of the access log as bytes, for requests whose head is known (known-head.ts). */
import {
  armText,
  isPlainTime,
  NO_RULE,
  PLAIN_ATTEMPTS,
  PLAIN_BODY_TIME,
  PLAIN_OUTCOME,
  PLAIN_TIMES,
} from "./access-line.ts";
import { TRACE_DIGITS } from "../trace/trace-ids.ts";
import { jsonText } from "./access-log.ts";
import type { Exchange } from "./exchange.ts";
import { REQUEST_ID_CHARS } from "./request-id.ts";
import type { LinkedArm } from "./snapshot.ts";
import { micros } from "./termination.ts";
import type { Trace } from "./trace.ts";

/** Everything before the request id; the time is put in when it changes, once a millisecond. */
const BEGINNING = Buffer.from(`{"time":"${"0".repeat(24)}","requestId":"`);
const STAMP_AT = 9;
let stamp = "";

/** Between the time that the request and that its backend took. */
const UPSTREAM_US = Buffer.from(PLAIN_TIMES);
const NUMBER_CHARS_MAX = 16;
/** What a line ends with before the number of bytes that the client got, where it sent none. */
const BYTES_OUT = Buffer.from(',"bytesOut":');
const NO_BYTES_IN = `0${BYTES_OUT.toString()}`;
const TRACE_ID = Buffer.from(',"traceId":"');
const TRACE_CHARS = TRACE_ID.length + TRACE_DIGITS + 1;
/** Pairs of arm and endpoint whose pieces are kept. */
const ENDS_MAX = 4;

/** The end of a line, from the route to the last number. */
interface LineEnd {
  readonly arm: LinkedArm;
  readonly endpointText: string;
  readonly bytes: Buffer;
}

/**
 * The pieces of the lines of requests with the same head on one connection. They are put together in
 * the log's own buffer, so that no text is made. A line that says anything out of the ordinary is
 * left to access-line.ts.
 */
export class KnownLine {
  readonly #middle: Buffer;
  readonly #ends: LineEnd[] = [];

  constructor({ peer, head }: Exchange) {
    const request = `${head.method}","host":"${head.host}","path":${jsonText(head.path)}`;
    this.#middle = Buffer.from(`${peer.logged}${request}${PLAIN_OUTCOME}`, "latin1");
  }

  /** Writes the line of `x`; false where it is not a plain one, or the log takes no bytes. */
  write(x: Exchange, nowMs: number): boolean {
    const { plane, arm } = x;
    if (x.status !== 200 || x.reason !== "ok" || arm === null || !isPlainTime(x, nowMs))
      return false;
    if (x.attempts !== 1 || x.shielded || x.clientId !== "") return false;
    const middle = this.#middle;
    const end = this.#endOf(x, arm);
    if (end === null) return false;
    const length = BEGINNING.length + REQUEST_ID_CHARS + middle.length + end.length;
    const variable = UPSTREAM_US.length + 4 * NUMBER_CHARS_MAX + TRACE_CHARS + 2;
    const room = plane.accessLog.room?.(length + variable);
    if (room === undefined || room === null) return false;
    const { bytes } = room;
    let at = room.used;
    const now = plane.wallTime.timestamp(x.startedMs);
    if (now !== stamp) {
      stamp = now;
      BEGINNING.write(stamp, STAMP_AT, "latin1");
    }
    bytes.set(BEGINNING, at);
    at += BEGINNING.length;
    plane.requestIds.put(x.idNumber, bytes, at);
    at += REQUEST_ID_CHARS;
    bytes.set(middle, at);
    const durationUs = micros(nowMs - x.startedMs);
    at = putNumber(durationUs, bytes, at + middle.length);
    bytes.set(UPSTREAM_US, at);
    at = putNumber(durationUs, bytes, at + UPSTREAM_US.length);
    bytes.set(end, at);
    at += end.length;
    if (x.bytesIn !== 0) {
      at = putNumber(x.bytesIn, bytes, at - NO_BYTES_IN.length);
      bytes.set(BYTES_OUT, at);
      at += BYTES_OUT.length;
    }
    at = putNumber(x.bytesOut, bytes, at);
    if (x.trace !== null) at = putTrace(x.trace, bytes, at);
    bytes[at] = 0x7d;
    bytes[at + 1] = 0x0a;
    room.lineTo(at + 2);
    return true;
  }

  #endOf(x: Exchange, arm: LinkedArm): Buffer | null {
    for (const end of this.#ends) {
      if (end.arm === arm && end.endpointText === x.endpointText) return end.bytes;
    }
    if (this.#ends.length === ENDS_MAX) return null;
    const { route, named } = x.rule ?? NO_RULE;
    const text =
      PLAIN_BODY_TIME + named + armText(route, arm.arm.id) + x.endpointText + PLAIN_ATTEMPTS;
    const bytes = Buffer.from(text, "latin1");
    this.#ends.push({ arm, endpointText: x.endpointText, bytes });
    return bytes;
  }
}

/** As in `accessLine`, the id of a trace that begins here; returns where it ends. */
function putTrace(trace: Trace, bytes: Buffer, at: number): number {
  bytes.set(TRACE_ID, at);
  trace.putTraceId(bytes, at + TRACE_ID.length);
  bytes[at + TRACE_CHARS - 1] = 0x22;
  return at + TRACE_CHARS;
}

/** Writes a whole number that is not negative, in decimal digits; returns where it ends. */
function putNumber(value: number, bytes: Uint8Array, at: number): number {
  let end = at + 1;
  for (let limit = 10; value >= limit; limit *= 10) end++;
  let rest = value;
  for (let index = end - 1; index >= at; index--) {
    const tens = Math.floor(rest / 10);
    bytes[index] = 0x30 + (rest - tens * 10);
    rest = tens;
  }
  return end;
}
