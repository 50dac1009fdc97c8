/**
 * The part of traces that a request's road sees: the trace it belongs to, the span that each attempt
 * tells its backend, and at the end the record of a request that is to be exported. The caller's
 * decision or the ratio is known at the head, that a request fails at its end only, which is why every
 * request has ids. Where nothing is traced a request has no Trace, and its headers pass as they came.
 */
import type { Random } from "../base/random.ts";
import { nameIs, sliceTrimmed } from "../http1/header-block.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { AttemptRecord, RequestRecord } from "../trace/span-record.ts";
import {
  isSampled,
  isTracestate,
  parseTraceparent,
  type Sampler,
  traceFlags,
  type TraceParent,
} from "../trace/trace-context.ts";
import { TraceIds } from "../trace/trace-ids.ts";
import { errorRow, type ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { WallTime } from "./plane.ts";
import type { Endpoint } from "./endpoint.ts";
import type { LinkedArm, LinkedMatch } from "./snapshot.ts";
import type { SpanOutlet } from "./span-outlet.ts";

/** What a record keeps of each text that a stranger wrote, and of attempts. */
const TEXT_CHARACTERS_MAX = 512;
const ATTEMPTS_MAX = 16;

/** What one request knows of its trace. */
export class Trace {
  readonly traceId: string;
  readonly caller: TraceParent | null;
  /** Where the value of the caller's `traceparent` stands in the text of its head; -1: nowhere. */
  readonly callerAt: number;
  readonly callerLength: number;
  /** Told to the backend. */
  sampled: boolean;
  /** The span of the present attempt, or of the next one. */
  attemptId: string;
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

  constructor(called: Called | null, ids: TraceIds, sampler: Sampler) {
    const caller = called === null ? null : called.parent;
    this.caller = caller;
    this.callerAt = called === null ? -1 : called.at;
    this.callerLength = called === null ? 0 : called.length;
    this.traceId = caller === null ? ids.traceId() : caller.traceId;
    this.sampled = isSampled(sampler, this.traceId, caller);
    this.attemptId = ids.spanId();
  }

  /**
   * What the backend behind `arm` is told: the present attempt is its caller. A canary's request is
   * always sampled, and its backend told so.
   */
  tell(arm: LinkedArm | null): string {
    if (arm !== null && arm.arm.role === "canary") this.sampled = true;
    return this.traceparent;
  }

  get traceparent(): string {
    const random = this.caller === null || this.caller.random;
    return `00-${this.traceId}-${this.attemptId}-${traceFlags(this.sampled, random)}`;
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
 * The caller, or null. Its `traceparent` is left where it stands, so that it can be replaced there;
 * one that is not valid is taken out, and so is a `tracestate` that may not be passed on, which it may
 * not without the trace it belongs to (W3C Trace Context §4.3).
 */
function callerOf(head: RequestHead): Called | null {
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

export class Tracer {
  readonly #sampler: Sampler;
  readonly #ids: TraceIds;
  readonly #wallTime: WallTime;
  readonly #outlet: SpanOutlet;

  constructor(options: {
    readonly sampler: Sampler;
    readonly random: Random;
    readonly wallTime: WallTime;
    readonly outlet: SpanOutlet;
  }) {
    this.#sampler = options.sampler;
    this.#ids = new TraceIds(options.random);
    this.#wallTime = options.wallTime;
    this.#outlet = options.outlet;
  }

  /**
   * The trace of a request. Of the trace headers in `head` only valid ones are left to be forwarded;
   * null where it is known that there are none.
   */
  begin(head: RequestHead | null): Trace {
    return new Trace(head === null ? null : callerOf(head), this.#ids, this.#sampler);
  }

  /**
   * The attempt that is on is over before its request: it failed with `code`, or its answer, null, is
   * not the one that is relayed. A further one may follow.
   */
  endAttempt(x: Exchange, code: ErrorCode | null, nowMs: number): void {
    const { trace } = x;
    if (trace === null || !trace.attempting) return;
    trace.attempting = false;
    trace.ended ??= [];
    if (trace.ended.length < ATTEMPTS_MAX) trace.ended.push(this.#attempt(x, trace, code, nowMs));
    const before = trace.traceparent;
    trace.attemptId = this.#ids.spanId();
    trace.status = -1;
    // The head was written for the attempt that is over, whose id nobody else can have guessed.
    x.upstreamHead = x.upstreamHead.replace(before, trace.traceparent);
  }

  /** The end of a request: what is sampled, failed or met a canary becomes spans. */
  finish(x: Exchange, trace: Trace, nowMs: number): void {
    if (!trace.sampled && !trace.failed && x.status < 500) return;
    const attempts = trace.ended ?? [];
    if (trace.attempting) {
      const code = x.reason === "ok" || x.reason === "redirect" ? null : x.reason;
      attempts.push(this.#attempt(x, trace, code, nowMs));
    }
    this.#outlet.add(this.#request(x, trace, attempts, nowMs));
  }

  #request(
    x: Exchange,
    trace: Trace,
    attempts: readonly AttemptRecord[],
    nowMs: number,
  ): RequestRecord {
    const { head, client, rule } = x;
    const { peer } = client;
    const { caller } = trace;
    return {
      traceId: kept(trace.traceId),
      spanId: this.#ids.spanId(),
      parentId: caller === null ? "" : kept(caller.parentId),
      traceState: head.keeps("tracestate") ? kept(head.header("tracestate")) : "",
      startMs: this.#wallTime.epochMs(x.startedMs),
      endMs: this.#wallTime.epochMs(nowMs),
      method: kept(head.method),
      scheme: peer.scheme,
      host: kept(head.host),
      port: portOf(head.authority, peer.scheme),
      path: kept(head.path),
      pathRule: trace.match === null ? "" : pathRule(trace.match),
      protocol: peer.protocol === "HTTP/2.0" ? "2" : head.version === 10 ? "1.0" : "1.1",
      clientAddress: peer.clientAddress,
      peerAddress: peer.clientAddress,
      userAgent: kept(head.header("user-agent")),
      status: x.status,
      error: x.reason === "ok" || x.reason === "redirect" ? "" : failureOf(x.reason),
      requestId: kept(x.requestId),
      route: rule === null ? "" : rule.route,
      shielded: x.shielded,
      attempts,
    };
  }

  #attempt(x: Exchange, trace: Trace, code: ErrorCode | null, nowMs: number): AttemptRecord {
    const { arm, pool } = x.arm as LinkedArm;
    const { status } = trace;
    const endpoint = (trace.endpoint as Endpoint).address;
    const startMs = this.#wallTime.epochMs(x.attemptStartedMs);
    return {
      spanId: trace.attemptId,
      startMs,
      headMs: status === -1 ? -1 : startMs + Math.max(x.upstreamHeadMs, 0),
      endMs: this.#wallTime.epochMs(nowMs),
      address: "unixPath" in endpoint ? endpoint.unixPath : endpoint.host,
      port: "unixPath" in endpoint ? -1 : endpoint.port,
      scheme: pool.value?.part.tls === undefined ? "http" : "https",
      path: x.known === null ? targetPath(x.upstreamHead) : kept(x.head.path),
      status,
      error: code === null ? "" : failureOf(code),
      arm: arm.id,
      version: arm.version,
      role: arm.role,
    };
  }
}

/** `code` where the gateway or a backend failed; what a client did wrong is no error of a span. */
function failureOf(code: ErrorCode): string {
  return errorRow(code).status >= 500 ? code : "";
}

/** A text of its own, for a slice of a head would keep the whole head alive. */
function kept(text: string | undefined): string {
  if (text === undefined || text === "") return "";
  return Buffer.from(text.slice(0, TEXT_CHARACTERS_MAX), "latin1").toString("latin1");
}

/** The path that a match stands for, of which there are as many as routes have. */
function pathRule({ entry: { path } }: LinkedMatch): string {
  if (path.type !== "PathPrefix") return path.value;
  return `${path.value.endsWith("/") ? path.value : `${path.value}/`}*`;
}

function portOf(authority: string, scheme: "http" | "https"): number {
  const port = /:(\d+)$/.exec(authority)?.[1];
  return port === undefined ? (scheme === "http" ? 80 : 443) : Number(port);
}

/** The path in a head's first line, without its query. */
function targetPath(head: string): string {
  const start = head.indexOf(" ") + 1;
  const target = head.slice(start, head.indexOf(" ", start));
  const query = target.indexOf("?");
  return kept(query === -1 ? target : target.slice(0, query));
}
