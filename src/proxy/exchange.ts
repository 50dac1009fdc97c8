/**
 * One request and all that becomes of it, from its parsed head to its line in the log. A record:
 * what happens to it stands in handle.ts, attempt.ts, relay.ts and respond.ts. `finish` is reached
 * exactly once, however the request ends.
 */
import type { RequestHead } from "../http1/request-head.ts";
import { FIELD } from "../shared/metrics.ts";
import { Choice } from "./choose.ts";
import type { Client } from "./client.ts";
import type { BodyCompressor } from "./compressor.ts";
import type { Reason } from "./error.ts";
import type { KnownHead } from "./known-head.ts";
import type { Peer } from "./peer.ts";
import type { Plane } from "./plane.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Habits, LinkedArm, LinkedEdits, LinkedRule } from "./snapshot.ts";
import type { SessionUse } from "./session.ts";
import type { EndedBy } from "./termination.ts";
import type { Trace } from "./trace.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

const NO_ENDPOINTS: readonly Endpoint[] = [];

export class Exchange {
  readonly client: Client;
  readonly plane: Plane;
  /** Who asks: the connection's peer, or a client that this one speaks for. */
  peer: Peer;
  readonly head: RequestHead;
  /** When the request's head had come. */
  readonly startedMs: number;
  /** How long the head took from its first byte; 0 where it came in one read. */
  requestHeadMs = 0;
  /** The client's own id, or "" where one is made from `idNumber`. */
  presentedAs = "";
  readonly idNumber: number;
  /** The client sent a request id of its own, which is kept or replaced. */
  presentedId = false;
  /** What is known of a head that came before, or null. */
  readonly known: KnownHead | null;
  /** Null where nothing is traced. */
  readonly trace: Trace | null;
  /** The one rule that the request keeps for its whole life. */
  rule: LinkedRule | null = null;
  readonly choice = new Choice();
  /** Null where the rule has no sessions. */
  session: SessionUse | null = null;
  clientId = "";
  /** When the request as a whole is over time. */
  deadlineMs = Infinity;
  requestTimeoutMs = 0;
  backendRequestTimeoutMs = 0;

  // The attempt.
  arm: LinkedArm | null = null;
  upstream: UpstreamStream | null = null;
  /** The head that goes upstream, made once; the same for every attempt. */
  upstreamHead = "";
  /** Makes the head anew for each arm, where arms need heads of their own; undefined: none can be made. */
  headFor: ((arm: LinkedArm) => string | undefined) | null = null;
  attempts = 0;
  attemptStartedMs = 0;
  connectFailures = 0;
  /** How often it was sent again because its rule asks for that. */
  retries = 0;
  /** The one fresh try after a reused connection turned out to be dead has been made. */
  retriedFresh = false;
  shielded = false;
  excluded: readonly Endpoint[] = NO_ENDPOINTS;
  /** The endpoint of the last attempt, as JSON. */
  endpointText = '""';
  /** When the last attempt was given a connection; -1 before. */
  dispatchedMs = -1;
  /** From the start of the last attempt to its response's head; -1 before. */
  upstreamHeadMs = -1;

  /** The gRPC status of the present response, -1 where there is none (yet). */
  grpcStatus = -1;

  // The request's body.
  /** What was sent of it to a backend that may still refuse it; null where that is not kept. */
  kept: Buffer[] | null = null;
  /** What came before there was a connection to write it to. */
  held: Buffer[] | null = null;
  heldBytes = 0;
  bodyEnded: boolean;
  /** What came after the body, as whole lines; HTTP/1 drops them. */
  requestTrailers = "";
  /** The length of what goes upstream is not known: HTTP/1 sends it in chunks. */
  chunkedUp = false;
  dispatched = false;
  bytesIn = 0;
  /** Copies that go to mirrors; null for none. */
  copies: readonly RequestCopy[] | null = null;
  /** Takes the body instead of the upstream: a driver that needs all of it first. */
  collector: BodyCollector | null = null;

  // The response.
  status = 0;
  /** Machine-readable. */
  reason: Reason = "ok";
  responseStarted = false;
  /** The answer stands in the metrics already. */
  #counted = false;
  /** The client asks for a WebSocket, and may have one here. */
  upgrade = false;
  /** Who ended the tunnel that the exchange became; "" where it became none. */
  tunnelEndedBy: EndedBy | "" = "";
  bytesOut = 0;
  /** Sees every byte of the response's body as it passes. */
  tap: ResponseTap | null = null;
  /** Has the response's body on its way to the client; null for most. */
  compressor: BodyCompressor | null = null;
  finished = false;

  constructor(
    client: Client,
    head: RequestHead,
    { startedMs, known }: { startedMs: number; known: KnownHead | null },
  ) {
    this.client = client;
    this.plane = client.plane;
    this.peer = client.peer;
    this.head = head;
    this.startedMs = startedMs;
    this.known = known;
    this.idNumber = client.plane.requestIds.next();
    this.bodyEnded = !head.hasBody;
    const { tracer } = this.plane;
    // A head that is known names no caller.
    this.trace = tracer === null ? null : tracer.begin(known === null ? head : null);
  }

  get requestId(): string {
    return this.presentedAs === "" ? this.plane.requestIds.text(this.idNumber) : this.presentedAs;
  }

  /** Whether sending the request twice does no harm, and whether it can be sent twice at all. */
  get repeatable(): boolean {
    return !this.head.hasBody && this.head.idempotent;
  }

  /** How its rule uses connections. */
  get habits(): Habits | null {
    return this.rule === null ? null : this.rule.habits;
  }

  /** What is done to the response's head: by the rule and the chosen backend, or the rule alone. */
  get responseEdits(): LinkedEdits | null {
    const { rule, choice } = this;
    if (choice.backend !== null) return choice.backend.responseEdits;
    return rule === null ? null : rule.responseEdits;
  }

  /** Counts the answer to the client, once. A tunnel's is counted at its beginning. */
  countAnswer(): void {
    if (this.#counted) return;
    this.#counted = true;
    const { rule, plane, status } = this;
    const row = rule === null ? plane.unmatchedRow : rule.row;
    if (status === 499) plane.metrics.add(row, FIELD.clientGone, 1);
    else plane.metrics.add(row, FIELD.response1xx + Math.floor(status / 100) - 1, 1);
  }

  /** The end of every request: counts it, logs it, gives the connection back. */
  finish(nowMs = performance.now()): void {
    if (this.finished) return;
    this.finished = true;
    this.tap?.finish(nowMs);
    if (this.compressor !== null) this.compressor.close();
    if (this.copies !== null && !this.bodyEnded) for (const copy of this.copies) copy.abandon();
    this.countAnswer();
    const { plane } = this;
    if (this.trace !== null) plane.tracer?.finish(this, this.trace, nowMs);
    plane.accessLines.finished(this, nowMs);
    this.client.exchangeDone(this, nowMs);
  }
}

/** A copy of a request, which gets what comes of its body. */
export interface RequestCopy {
  slice(bytes: Buffer): void;
  end(trailers: string): void;
  /** The rest of the body will not come. */
  abandon(): void;
}

/** Receives a request's body in place of the upstream. */
export interface BodyCollector {
  slice(exchange: Exchange, bytes: Buffer): void;
  end(exchange: Exchange): void;
}

/** Sees a response pass, without changing it. */
export interface ResponseTap {
  head(status: number, contentType: string | undefined): void;
  /** Bytes of `buffer` from `start` to `end`, valid during the call. */
  bytes(buffer: Buffer, start: number, end: number): void;
  finish(nowMs: number): void;
}
