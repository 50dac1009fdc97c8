/**
 * The part of traces that a request's road sees: the trace it belongs to, the span that each attempt
 * tells its backend, and at the end the record of a request that is to be exported. The caller's
 * decision or the ratio is known at the head, that a request fails at its end only, which is why every
 * request has ids. Where nothing is traced a request has no Trace, and its headers pass as they came.
 */
import type { Random } from "../base/random.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { AttemptRecord, RequestRecord } from "../trace/span-record.ts";
import type { Sampler } from "../trace/trace-context.ts";
import { SPAN_DIGITS, TraceIds } from "../trace/trace-ids.ts";
import { errorRow, isError, type ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { WallTime } from "./plane.ts";
import type { Endpoint } from "./endpoint.ts";
import type { LinkedArm, LinkedMatch } from "./snapshot.ts";
import type { SpanOutlet } from "./span-outlet.ts";
import { endedBy } from "./termination.ts";
import { callerOf, Trace } from "./trace.ts";

/** What a record keeps of each text that a stranger wrote, and of attempts. */
const TEXT_CHARACTERS_MAX = 512;
const ATTEMPTS_MAX = 16;

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
    trace.renewAttempt(this.#ids);
    // The head was written for the attempt that is over, whose id nobody else can have guessed.
    x.upstreamHead = x.upstreamHead.replace(before, trace.traceparent);
  }

  /** The end of a request: what is sampled, failed or met a canary becomes spans. */
  finish(x: Exchange, trace: Trace, nowMs: number): void {
    if (!trace.sampled && !trace.failed && x.status < 500) return;
    const attempts = trace.ended ?? [];
    if (trace.attempting) {
      const code = isError(x.reason) ? x.reason : null;
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
    const { peer } = x;
    const { caller } = trace;
    return {
      traceId: kept(trace.traceId),
      spanId: this.#spanId(),
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
      peerAddress: client.peer.clientAddress,
      userAgent: kept(head.header("user-agent")),
      status: x.status,
      error: isError(x.reason) ? failureOf(x.reason) : "",
      endedBy: endedBy(x),
      requestId: kept(x.requestId),
      route: rule === null ? "" : rule.route,
      shielded: x.shielded,
      attempts,
    };
  }

  #spanId(): string {
    const at = this.#ids.take(SPAN_DIGITS);
    return this.#ids.digits.toString("latin1", at, at + SPAN_DIGITS);
  }

  #attempt(x: Exchange, trace: Trace, code: ErrorCode | null, nowMs: number): AttemptRecord {
    const { arm, pool } = x.arm as LinkedArm;
    const { status } = trace;
    const endpoint = (trace.endpoint as Endpoint).address;
    const part = pool.value?.part;
    const startMs = this.#wallTime.epochMs(x.attemptStartedMs);
    const endMs = this.#wallTime.epochMs(nowMs);
    // A head that came with the end of its response is rounded like it: none comes after its end.
    const headMs = this.#wallTime.epochMs(x.attemptStartedMs + Math.max(x.upstreamHeadMs, 0));
    return {
      spanId: trace.attemptId,
      startMs,
      sentMs: x.dispatchedMs === -1 ? -1 : this.#wallTime.epochMs(x.dispatchedMs),
      headMs: status === -1 ? -1 : Math.min(headMs, endMs),
      endMs,
      address: "unixPath" in endpoint ? endpoint.unixPath : endpoint.host,
      port: "unixPath" in endpoint ? -1 : endpoint.port,
      scheme: part?.tls === undefined ? "http" : "https",
      protocol: part?.protocol === undefined ? "1.1" : "2",
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
