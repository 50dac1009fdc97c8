/**
 * The attempt loop: an arm's endpoint, a connection, the request sent, the answer's beginning. What
 * fails may be tried again in exactly four ways, each only while the client has seen no byte: another
 * endpoint where no connection came about, a fresh connection where a reused one was dead, the stable
 * arm where the canary failed a request that may be repeated (the canary shield), and what the rule
 * asks for (retry.ts). A failure that was hidden so still counts against the arm that failed.
 */
import type { Retry } from "../compile/rule-part.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { isSwitched } from "../http1/websocket.ts";
import { FIELD, OUTCOMES } from "../shared/metrics.ts";
import {
  attemptDeadlineMs,
  limitHead,
  limitSilence,
  resumeUpstream,
  timeoutCode,
} from "./attempt-time.ts";
import { armRow, openArm, otherArm } from "./choose.ts";
import { errorRow, outcomeOf, type ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Endpoint, PoolUse } from "./endpoint.ts";
import { isGrpcFailure, noteGrpcHead, noteGrpcTrailers } from "./grpc.ts";
import type { KnownAnswer } from "./known-head.ts";
import { chooseEndpoint } from "./pool.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import {
  relayBody,
  relayEnd,
  relayFlush,
  relayHead,
  relayInterim,
  relayKnown,
  relaySwitch,
} from "./relay.ts";
import { respondError } from "./respond.ts";
import { backoffMs, RetryTimer, retriesAnswer, retriesFailure } from "./retry.ts";
import type { LinkedArm } from "./snapshot.ts";
import type { Tunnel, TunnelHost } from "./tunnel.ts";
import type { UpstreamEvents, UpstreamStream } from "./upstream-stream.ts";

/** Endpoints that are tried before a request is given up for want of a connection. */
const CONNECT_TRIES_MAX = 3;
const OK = OUTCOMES.indexOf("ok");
const STATUS_5XX = OUTCOMES.indexOf("status5xx");

/** Begins an attempt on `arm`, with `x.upstreamHead` made. */
export function startAttempt(x: Exchange, arm: LinkedArm, fresh: Endpoint | null = null): void {
  x.arm = arm;
  x.dispatchedMs = -1;
  x.upstreamHeadMs = -1;
  if (x.headFor !== null) {
    const head = x.headFor(arm);
    if (head === undefined) {
      respondError(x, "no_backend");
      return;
    }
    x.upstreamHead = head;
  }
  const pool = arm.pool.value;
  if (pool === undefined || pool.part.endpoints.length === 0) {
    giveUp(x, "no_endpoint");
    return;
  }
  if (x.upgrade && pool.part.protocol !== undefined) {
    // A stream of HTTP/2 cannot become something else (RFC 9113 §8.6).
    respondError(x, "upgrade_unsupported");
    return;
  }
  const { part, endpoints } = x.plane.pools.of(pool, x.habits);
  const kept = x.session === null ? undefined : x.session.endpointOf(pool, endpoints);
  const endpoint =
    (fresh?.hasRoom(part) === true ? fresh : undefined) ??
    roomy(x, kept, part) ??
    chooseRoomy(x, endpoints, part);
  if (endpoint === undefined) {
    giveUp(x, "upstream_overflow");
    return;
  }
  x.endpointText = endpoint.text;
  // The time that the client takes for its body is not the arm's.
  const first = x.attemptStartedMs === 0 && x.bytesIn === 0;
  x.attemptStartedMs = first ? x.startedMs : performance.now();
  x.attempts++;
  // Where there may be no other connection, what refused the request may take it after all.
  const isFresh = endpoint === fresh && endpoint.mayOpen(part);
  const idle = isFresh ? undefined : endpoint.takeIdle(part);
  if (idle !== undefined) {
    own(x, idle);
    // Where streams are cheap, a small body comes along: what a turn brought of it is sent with the head.
    if (idle.trails || headOnly(x)) {
      idle.claim();
    } else {
      dispatch(x, idle, x.attemptStartedMs);
    }
    return;
  }
  if (!x.plane.gates.isOpen(arm.gate)) {
    redirectArm(x);
    return;
  }
  const upstream = endpoint.open(part);
  own(x, upstream);
  const connectMs = x.attemptStartedMs + part.connectTimeoutMs;
  x.plane.wheel.schedule(upstream, Math.min(connectMs, attemptDeadlineMs(x)));
}

/** The endpoint of the client's session, where it has not failed and may be given a request. */
function roomy(x: Exchange, kept: Endpoint | undefined, part: PoolUse): Endpoint | undefined {
  if (kept === undefined || x.excluded.includes(kept)) return undefined;
  return kept.hasRoom(part) ? kept : undefined;
}

/** An endpoint that has an idle connection or may be given another one. */
function chooseRoomy(
  x: Exchange,
  endpoints: readonly Endpoint[],
  part: PoolUse,
): Endpoint | undefined {
  for (;;) {
    const endpoint = chooseEndpoint(endpoints, x.excluded, x.plane.random);
    if (endpoint === undefined || endpoint.hasRoom(part)) return endpoint;
    x.excluded = [...x.excluded, endpoint];
  }
}

function own(x: Exchange, upstream: UpstreamStream): void {
  x.upstream = upstream;
  upstream.exchange = x;
  upstream.endpoint.inFlight++;
  if (x.trace !== null) {
    x.trace.attempting = true;
    x.trace.endpoint = upstream.endpoint;
  }
}

/**
 * Sends the request on a connection that is ready. The gate is read here, with nothing between the
 * reading and the writing: an arm that was closed meanwhile gets nothing.
 */
function dispatch(x: Exchange, upstream: UpstreamStream, nowMs: number): void {
  const arm = x.arm as LinkedArm;
  if (!x.plane.gates.isOpen(arm.gate)) {
    upstream.cancel();
    redirectArm(x);
    return;
  }
  x.dispatched = true;
  x.dispatchedMs = nowMs;
  const whole = headOnly(x);
  upstream.sendHead(x, whole);
  if (!whole) sendHeld(x, upstream);
  limitHead(x, upstream, nowMs);
  if (!whole && !upstream.full) x.client.resume();
}

/** Sends what came of the body before there was somebody to send it to. */
function sendHeld(x: Exchange, upstream: UpstreamStream): void {
  const held = x.held ?? [];
  x.held = null;
  for (const slice of held) upstream.sendBody(x, slice);
  const wanted = upstream.trails || (x.rule !== null && x.rule.retry !== null);
  x.kept = wanted && x.heldBytes <= HELD_BYTES_MAX ? held : null;
  if (x.bodyEnded) upstream.sendEnd(x, x.requestTrailers);
  upstream.flush();
}

/** The client takes the response again. */
export function resumeResponse(x: Exchange): void {
  // What waits for the client is zlib; the backend waits for zlib.
  if (x.compressor === null) resumeUpstream(x);
  else x.compressor.resume();
}

/** Whether the head is all there is to send: neither a body nor the end of one. */
function headOnly(x: Exchange): boolean {
  return x.held === null && x.bodyEnded && !x.chunkedUp;
}

/** The arm's gate closed before anything was sent: another arm takes the request. */
function redirectArm(x: Exchange): void {
  const arm = openArm(x.choice, x.plane.gates);
  // Nothing was sent: this was no attempt, and what failed on the way to the arm says nothing of
  // another one. The same arm may come back, for its gate may have been opened again.
  x.attempts--;
  if (x.trace !== null) x.trace.attempting = false;
  if (arm !== x.arm) {
    x.connectFailures = 0;
    x.excluded = [];
  }
  if (arm === null) respondError(x, "no_arm");
  else startAttempt(x, arm);
}

/** Takes a piece of the request's body; false when the client should wait. */
export function forwardBody(x: Exchange, slice: Buffer): boolean {
  x.bytesIn += slice.length;
  if (x.collector !== null) {
    x.collector.slice(x, slice);
    return true;
  }
  if (x.rule !== null && x.bytesIn > x.rule.bodyBytesMax) {
    cancelAttempt(x);
    respondError(x, "body_too_large");
    return true;
  }
  if (x.copies !== null) for (const copy of x.copies) copy.slice(slice);
  const { upstream } = x;
  if (upstream === null || !x.dispatched) {
    x.heldBytes += slice.length;
    // Slices of a byte cost a hundred: they are joined before they are many.
    if (x.held === null || x.held.length === HELD_SLICES_MAX) {
      x.held = x.held === null ? [] : [Buffer.concat(x.held)];
    }
    x.held.push(slice);
    return x.heldBytes < HELD_BYTES_MAX;
  }
  if (x.kept !== null) keep(x, x.kept, slice);
  if (upstream.sendBody(x, slice)) {
    // In a conversation neither side is silent while one of them speaks.
    if (x.responseStarted) limitSilence(x, upstream);
    return true;
  }
  if (!x.responseStarted) limitHead(x, upstream);
  return false;
}

/** Bytes of a body that are kept while there is no connection to write them to. */
const HELD_BYTES_MAX = 64 * 1024;
const HELD_SLICES_MAX = 64;

/** Remembers what is sent of a small body, for a backend that may yet say that it refuses it. */
function keep(x: Exchange, kept: Buffer[], slice: Buffer): void {
  x.heldBytes += slice.length;
  if (x.heldBytes > HELD_BYTES_MAX || kept.length >= HELD_SLICES_MAX) x.kept = null;
  else kept.push(slice);
}

/** The request's body is complete. */
export function forwardEnd(x: Exchange): void {
  if (x.copies !== null) for (const copy of x.copies) copy.end(x.requestTrailers);
  if (x.collector !== null) x.collector.end(x);
  else if (x.dispatched && x.upstream !== null) {
    x.upstream.sendEnd(x, x.requestTrailers);
    if (!x.responseStarted) limitHead(x, x.upstream);
  }
}

/** Ends the attempt because the request is over; it counts for nobody. */
export function cancelAttempt(x: Exchange): void {
  x.upstream?.cancel();
  x.upstream = null;
}

/** Counts the attempt that just ended against its arm. */
function count(x: Exchange, outcome: number, nowMs = performance.now()): void {
  if (x.rule === null || x.arm === null) return;
  if (outcome !== OK && x.trace !== null) x.trace.failed = true;
  const row = armRow(x.rule, x.arm, x.plane.metrics);
  x.plane.metrics.attempt(row, outcome, nowMs - x.attemptStartedMs);
}

/** Who answers instead of a canary that failed, or null. */
function shieldArm(x: Exchange): LinkedArm | null {
  const { split } = x.choice;
  if (split === null || x.arm === null || x.arm.arm.role !== "canary" || x.shielded) return null;
  if (x.responseStarted || performance.now() >= x.deadlineMs) return null;
  return otherArm(split, x.arm, x.plane.gates);
}

function shield(x: Exchange, arm: LinkedArm): void {
  x.shielded = true;
  x.excluded = [];
  x.connectFailures = 0;
  if (x.rule !== null) x.plane.metrics.add(x.rule.row, FIELD.shielded, 1);
  startAttempt(x, arm);
}

/** No attempt could be made on the arm: nothing is counted against it. */
function giveUp(x: Exchange, code: ErrorCode): void {
  const arm = shieldArm(x);
  // Nothing was sent, so any request may go to the other arm.
  if (arm !== null) shield(x, arm);
  else respondError(x, code);
}

function failed(upstream: UpstreamStream, x: Exchange, code: ErrorCode): void {
  x.upstream = null;
  x.plane.tracer?.endAttempt(x, code, performance.now());
  if (!x.retriedFresh && !x.responseStarted && mayBeSentAnew(upstream, x, code)) {
    // The upstream closed an idle connection just when it was used again: that says nothing of it.
    x.retriedFresh = true;
    if (x.dispatched) x.held = x.kept;
    x.kept = null;
    x.dispatched = false;
    startAttempt(x, x.arm as LinkedArm, upstream.endpoint);
    return;
  }
  const outcome = outcomeOf(code);
  if (outcome !== -1) count(x, outcome);
  if (x.responseStarted) {
    if (code === "client_stalled") x.status = 499;
    respondError(x, code);
    return;
  }
  const { retry } = errorRow(code);
  if (retry === "next" && performance.now() < attemptDeadlineMs(x)) {
    x.connectFailures++;
    x.excluded = [...x.excluded, upstream.endpoint];
    if (x.connectFailures < CONNECT_TRIES_MAX && hasOther(x)) {
      startAttempt(x, x.arm as LinkedArm);
      return;
    }
  }
  const anew = retry === "next" && !x.dispatched;
  const arm = retry !== "never" && (anew || x.repeatable) ? shieldArm(x) : null;
  if (arm !== null) {
    shield(x, arm);
    return;
  }
  const asked = retryOf(x);
  if (asked !== null && retriesFailure(asked, code, upstream.refused)) {
    tryAgain(x, asked, upstream.endpoint);
    return;
  }
  respondError(x, code);
}

/** The rule's retries where there are any left, and the request can be sent again. */
function retryOf(x: Exchange): Retry | null {
  const retry = x.rule?.retry ?? null;
  if (retry === null || x.retries >= retry.attempts || x.responseStarted) return null;
  // What was sent of a body has to be there still.
  return !x.head.hasBody || !x.dispatched || x.kept !== null ? retry : null;
}

/** Sends the request again after a pause, to another endpoint where there is one. */
function tryAgain(x: Exchange, retry: Retry, endpoint: Endpoint): void {
  const waitMs = backoffMs(retry, x.retries, x.plane.random);
  x.retries++;
  if (x.dispatched) x.held = x.kept;
  x.kept = null;
  x.dispatched = false;
  x.retriedFresh = false;
  x.connectFailures = 0;
  x.grpcStatus = -1;
  x.excluded = [endpoint];
  if (!hasOther(x)) x.excluded = [];
  const timer = new RetryTimer(x, (again, nowMs) => {
    if (nowMs >= again.deadlineMs) respondError(again, "request_timeout");
    else startAttempt(again, again.arm as LinkedArm);
  });
  x.plane.wheel.schedule(timer, Math.min(performance.now() + waitMs, x.deadlineMs));
}

/** Whether the request reached nobody, and all of it is still there to be sent. */
function mayBeSentAnew(upstream: UpstreamStream, x: Exchange, code: ErrorCode): boolean {
  if (code !== "upstream_reset") return false;
  if (upstream.refused) return !x.head.hasBody || !x.dispatched || x.kept !== null;
  if (!upstream.reused || upstream.answered) return false;
  return x.repeatable || (x.bodyEnded && x.held === null && !upstream.requestSent);
}

function hasOther(x: Exchange): boolean {
  const pool = x.arm?.pool.value;
  if (pool === undefined) return false;
  const { endpoints } = x.plane.pools.of(pool, x.habits);
  return endpoints.some((endpoint) => !x.excluded.includes(endpoint));
}

function answered(upstream: UpstreamStream, response: ResponseHead, whole: string | null): void {
  const x = upstream.exchange as Exchange;
  if (response.status < 200) {
    // While stable may still answer, nothing of the canary's may reach the client; 100 answers an
    // expectation that was not forwarded.
    if (response.status !== 100 && shieldArmFor(x) === null) relayInterim(x, response);
    return;
  }
  x.upstreamHeadMs = upstream.headMs - x.attemptStartedMs;
  if (x.trace !== null) x.trace.status = response.status;
  if (upstream.trails) noteGrpcHead(x, response);
  if (response.status >= 500) {
    const arm = shieldArmFor(x);
    if (arm !== null) {
      x.upstream = null;
      x.plane.tracer?.endAttempt(x, null, performance.now());
      count(x, STATUS_5XX);
      upstream.discard();
      shield(x, arm);
      return;
    }
  }
  const asked = retryOf(x);
  if (asked !== null && retriesAnswer(asked, response)) {
    x.upstream = null;
    x.plane.tracer?.endAttempt(x, null, performance.now());
    count(x, response.status >= 500 || isGrpcFailure(x.grpcStatus) ? STATUS_5XX : OK);
    upstream.discard();
    tryAgain(x, asked, upstream.endpoint);
    return;
  }
  x.kept = null;
  if (whole === null) limitSilence(x, upstream);
  relayHead(x, response, whole);
}

/**
 * The backend switches protocols. Where that was asked for, both connections become a tunnel, which
 * is no attempt any more: what comes of it is not the arm's, and no gate or weight ends it.
 */
function switched(x: Exchange, head: ResponseHead, host: TunnelHost): Tunnel | null {
  if (!x.upgrade || !isSwitched(x.head, head)) return null;
  const nowMs = performance.now();
  x.upstreamHeadMs = nowMs - x.attemptStartedMs;
  if (x.trace !== null) x.trace.status = head.status;
  count(x, OK, nowMs);
  x.upstream = null;
  relaySwitch(x, head);
  x.countAnswer();
  return x.client.openTunnel?.(x, host) ?? null;
}

/** An answer whose head came before, and which is no failure, stands in `from`. */
function answeredAgain(
  upstream: UpstreamStream,
  x: Exchange,
  { known, from }: { known: KnownAnswer; from: ReadBuffer },
): void {
  x.upstreamHeadMs = upstream.headMs - x.attemptStartedMs;
  if (x.trace !== null) x.trace.status = known.status;
  relayKnown(x, known, from);
}

function shieldArmFor(x: Exchange): LinkedArm | null {
  return x.repeatable ? shieldArm(x) : null;
}

function ended(x: Exchange, trailers: string, nowMs: number): void {
  x.upstream = null;
  if (trailers !== "") noteGrpcTrailers(x, trailers);
  count(x, x.status >= 500 || isGrpcFailure(x.grpcStatus) ? STATUS_5XX : OK, nowMs);
  relayEnd(x, trailers, nowMs);
}

/** What every upstream connection of a worker reports to. */
export const ATTEMPT_EVENTS: UpstreamEvents = {
  ready(upstream, x) {
    // A connection that was idle is given its request in the turn in which the attempt began.
    dispatch(x, upstream, upstream.reused ? x.attemptStartedMs : performance.now());
  },
  head: answered,
  known: answeredAgain,
  switched,
  body: relayBody,
  readDone(upstream, x) {
    relayFlush(x);
    if (x.responseStarted && x.upstream !== null) limitSilence(x, upstream);
  },
  ended,
  failed,
  drained(x) {
    x.client.resume();
    if (x.upstream !== null && x.dispatched && !x.responseStarted) limitHead(x, x.upstream);
  },
  timeoutCode,
};
