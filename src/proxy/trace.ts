/** What one request knows of the trace it belongs to, and what its heads say of it. */
import { nameIs, sliceTrimmed } from "../http1/header-block.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { AttemptRecord } from "../trace/span-record.ts";
import {
  isSampled,
  isTracestate,
  parseTraceparent,
  type Sampler,
  traceFlags,
  type TraceParent,
} from "../trace/trace-context.ts";
import { putDigits, SPAN_DIGITS, TRACE_DIGITS, type TraceIds } from "../trace/trace-ids.ts";
import type { Endpoint } from "./endpoint.ts";
import type { LinkedArm, LinkedMatch } from "./snapshot.ts";

/** Where ids and flags stand in a `traceparent`: "00-", trace, "-", span, "-0", flags. */
const TRACE_AT = 3;
const SPAN_AT = TRACE_AT + TRACE_DIGITS + 1;
const FLAGS_AT = SPAN_AT + SPAN_DIGITS + 2;

export class Trace {
  readonly caller: TraceParent | null;
  /** Where the value of the caller's `traceparent` stands in the text of its head; -1: nowhere. */
  readonly callerAt: number;
  readonly callerLength: number;
  /** Told to the backend. */
  sampled: boolean;
  /** An attempt is on, or was when the request ended. */
  attempting = false;
  endpoint: Endpoint | null = null;
  /** Of the present attempt's response; -1 until its head has come. */
  status = -1;
  /** Attempts that ended before the request did. */
  ended: AttemptRecord[] | null = null;
  /** An attempt failed, whatever became of the request. */
  failed = false;
  match: LinkedMatch | null = null;
  /** The trace's own id, where it has no caller. */
  readonly #digits: Buffer;
  readonly #at: number;
  /** The span of the present attempt, or of the next one. */
  #attemptDigits: Buffer;
  #attemptAt: number;

  constructor(called: Called | null, ids: TraceIds, sampler: Sampler) {
    const own = called === null ? TRACE_DIGITS : 0;
    this.caller = called === null ? null : called.parent;
    this.callerAt = called === null ? -1 : called.at;
    this.callerLength = called === null ? 0 : called.length;
    this.#at = ids.take(own + SPAN_DIGITS);
    this.#digits = ids.digits;
    this.#attemptAt = this.#at + own;
    this.#attemptDigits = this.#digits;
    this.sampled = isSampled(sampler, this, this.caller);
  }

  get traceId(): string {
    if (this.caller !== null) return this.caller.traceId;
    return this.#digits.toString("latin1", this.#at, this.#at + TRACE_DIGITS);
  }

  get attemptId(): string {
    const at = this.#attemptAt;
    return this.#attemptDigits.toString("latin1", at, at + SPAN_DIGITS);
  }

  /** The next attempt is another span. */
  renewAttempt(ids: TraceIds): void {
    this.#attemptAt = ids.take(SPAN_DIGITS);
    this.#attemptDigits = ids.digits;
    this.status = -1;
  }

  /**
   * What the backend behind `arm` is told: the present attempt is its caller. A canary's request is
   * always sampled, and its backend told so.
   */
  tell(arm: LinkedArm | null): string {
    this.#sampleCanary(arm);
    return this.traceparent;
  }

  get traceparent(): string {
    return `00-${this.traceId}-${this.attemptId}-${this.#flags}`;
  }

  get #flags(): string {
    return traceFlags(this.sampled, this.caller === null || this.caller.random);
  }

  /** As `tell`, into a `traceparent` that stands at `at` of `bytes`; for traces that begin here. */
  put(arm: LinkedArm | null, bytes: Buffer, at: number): void {
    this.#sampleCanary(arm);
    this.putTraceId(bytes, at + TRACE_AT);
    putDigits(this.#attemptDigits, this.#attemptAt, SPAN_DIGITS, bytes, at + SPAN_AT);
    bytes[at + FLAGS_AT] = this.#flags.charCodeAt(1);
  }

  /** Writes the id of a trace that begins here. */
  putTraceId(bytes: Buffer, at: number): void {
    putDigits(this.#digits, this.#at, TRACE_DIGITS, bytes, at);
  }

  #sampleCanary(arm: LinkedArm | null): void {
    if (arm !== null && arm.arm.role === "canary") this.sampled = true;
  }
}

/** A valid `traceparent`, and where its value stands. */
interface Called {
  readonly parent: TraceParent;
  readonly at: number;
  readonly length: number;
}

const PARENT = "traceparent";
const STATE = "tracestate";

/**
 * The caller that a head names, or null. Its `traceparent` is left where it stands, so that it can be replaced there;
 * one that is not valid is taken out, and so is a `tracestate` that may not be passed on, which it may
 * not without the trace it belongs to (W3C Trace Context §4.3).
 */
export function callerOf(head: RequestHead): Called | null {
  const { lines, text } = head;
  let parents = 0;
  let states = 0;
  let line = 0;
  for (let index = 0; index < lines.length; index += 2) {
    const start = lines[index] as number;
    // Negative where Connection has nominated the line.
    const length = (lines[index + 1] as number) - start;
    if (length === PARENT.length && nameIs(text, start, PARENT)) {
      parents++;
      line = index;
    } else if (length === STATE.length && nameIs(text, start, STATE)) {
      states++;
    }
  }
  if (parents + states === 0) return null;
  const called = parents === 1 ? readCaller(head, line) : null;
  if (called === null && parents > 0) head.dropName(PARENT);
  if (states > 0 && (called === null || !isTracestate(head.header(STATE) ?? ""))) {
    head.dropName(STATE);
  }
  return called;
}

function readCaller(head: RequestHead, line: number): Called | null {
  const { lines, text } = head;
  const colon = lines[line + 1] as number;
  const value = sliceTrimmed(text, colon + 1, head.lineEnd(line));
  const parent = parseTraceparent(value);
  if (parent === null) return null;
  return { parent, at: text.indexOf(value, colon + 1), length: value.length };
}
