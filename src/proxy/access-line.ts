/**
 * What becomes of a finished exchange in the access log: whether it is logged, and its line. The query
 * is left out, for keys travel in it; times are whole microseconds, sizes are bytes of bodies.
 */
import type { Random } from "../base/random.ts";
import { type AccessLog, jsonText, NO_ACCESS_LOG } from "./access-log.ts";
import type { AccessTemplate } from "./access-template.ts";
import { errorRow, isError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Trace } from "./trace.ts";
import { endedBy, micros, phaseOf, timersOf } from "./termination.ts";

export interface AccessLinesOptions {
  readonly log: AccessLog;
  /** Null: JSON. */
  readonly template: AccessTemplate | null;
  /** The share that is logged of requests that went well, and of those that failed; (0, 1]. */
  readonly sample: number;
  readonly sampleErrors: number;
  readonly random: Random;
}

export class AccessLines {
  readonly #log: AccessLog;
  readonly #template: AccessTemplate | null;
  readonly #sample: number;
  readonly #sampleErrors: number;
  readonly #random: Random;
  readonly #off: boolean;
  /** Every request is logged, as JSON. */
  readonly #plain: boolean;

  constructor({ log, template, sample, sampleErrors, random }: AccessLinesOptions) {
    this.#log = log;
    this.#template = template;
    this.#sample = sample;
    this.#sampleErrors = sampleErrors;
    this.#random = random;
    this.#off = log === NO_ACCESS_LOG;
    this.#plain = template === null && sample === 1 && sampleErrors === 1;
  }

  /** Logs the exchange, which ends at `nowMs`, if it is drawn. */
  finished(x: Exchange, nowMs: number): void {
    if (this.#off) return;
    if (this.#plain) {
      if (x.known !== null && x.known.line.write(x, nowMs)) return;
      this.#log.line(`${jsonLine(x, nowMs)}}\n`);
      return;
    }
    const share = this.shareOf(x);
    if (share < 1 && this.#random() >= share) return;
    if (this.#template !== null) this.#log.line(this.#template(x, nowMs));
    else this.#log.line(`${jsonLine(x, nowMs)},"sample":${share}}\n`);
  }

  /** How many of the requests like this one are logged: each line stands for 1 / share requests. */
  shareOf({ status, shielded, reason }: Exchange): number {
    // An answer that broke off has failed, though its status was sent already.
    const failed = status >= 499 || (isError(reason) && errorRow(reason).status >= 499);
    return failed || shielded ? this.#sampleErrors : this.#sample;
  }
}

export const NO_RULE = { route: "", named: "" } as const;

/** The line without its end. */
function jsonLine(x: Exchange, nowMs: number): string {
  const { head, plane, peer, arm } = x;
  const { route, named } = x.rule ?? NO_RULE;
  const { logged } = peer;
  const loggedClient = head.version === 10 ? logged.replace("HTTP/1.1", "HTTP/1.0") : logged;
  // A valid host has no character that JSON escapes. What few values take is looked up.
  return `{"time":"${plane.wallTime.timestamp(x.startedMs)}","requestId":"${x.requestId}${loggedClient}${head.method}","host":"${head.host}","path":${jsonText(head.path)}${outcomeText(x)}${timesText(x, nowMs)}${named}${armText(route, arm === null ? "" : arm.arm.id)}${x.endpointText}${attemptsText(x)}${x.bytesOut}${x.trace === null ? "" : traceText(x.trace)}`;
}

function traceText({ traceId }: Trace): string {
  return `,"traceId":"${traceId}"`;
}

function outcomeText(x: Exchange): string {
  const { status, reason } = x;
  if (status === 200 && reason === "ok" && x.attempts > 0) return PLAIN_OUTCOME;
  return `,"status":${status},"reason":"${reason}","endedBy":"${endedBy(x)}","phase":"${phaseOf(x)}","durationUs":`;
}

/** Duration and timers. Most exchanges are one wait for an answer that came in one piece. */
function timesText(x: Exchange, nowMs: number): string {
  const durationUs = micros(nowMs - x.startedMs);
  if (isPlainTime(x, nowMs)) return `${durationUs}${PLAIN_TIMES}${durationUs}${PLAIN_BODY_TIME}`;
  const { requestHead, wait, connect, upstream, body } = timersOf(x, nowMs);
  return `${durationUs},"requestHeadUs":${microsText(requestHead)},"waitUs":${microsText(wait)},"connectUs":${microsText(connect)},"upstreamUs":${microsText(upstream)},"bodyUs":${microsText(body)}`;
}

/** Whether the time was all spent waiting for an answer that came in one piece. */
export function isPlainTime(x: Exchange, nowMs: number): boolean {
  return (
    x.upstreamHeadMs === nowMs - x.attemptStartedMs &&
    x.dispatchedMs === x.startedMs &&
    x.requestHeadMs === 0
  );
}

function microsText(milliseconds: number): string {
  return milliseconds < 0 ? "null" : String(micros(milliseconds));
}

function attemptsText({ attempts, shielded, clientId, bytesIn }: Exchange): string {
  if (attempts === 1 && !shielded && clientId === "" && bytesIn === 0) return PLAIN_ATTEMPTS;
  return `,"attempts":${attempts},"shielded":${shielded},"clientId":${jsonText(clientId)},"bytesIn":${bytesIn},"bytesOut":`;
}

/** Most lines say the same here, and each piece less is a piece less to be joined. */
export const PLAIN_OUTCOME =
  ',"status":200,"reason":"ok","endedBy":"backend","phase":"done","durationUs":';
export const PLAIN_TIMES = ',"requestHeadUs":0,"waitUs":0,"connectUs":0,"upstreamUs":';
export const PLAIN_BODY_TIME = ',"bodyUs":0';
export const PLAIN_ATTEMPTS =
  ',"attempts":1,"shielded":false,"clientId":"","bytesIn":0,"bytesOut":';

/** Route and arm as they stand in a line, by route and then by arm. */
const armTexts = new Map<string, Map<string, string>>();
const ARM_TEXTS_MAX = 1024;

export function armText(route: string, armId: string): string {
  const known = armTexts.get(route)?.get(armId);
  if (known !== undefined) return known;
  const text = `,"route":${jsonText(route)},"arm":${jsonText(armId)},"endpoint":`;
  if (armTexts.size >= ARM_TEXTS_MAX) armTexts.clear();
  let ofRoute = armTexts.get(route);
  if (ofRoute === undefined || ofRoute.size >= ARM_TEXTS_MAX) {
    ofRoute = new Map();
    armTexts.set(route, ofRoute);
  }
  ofRoute.set(armId, text);
  return text;
}
