/**
 * How long an attempt may take: until its response's head, between two pieces of the body, and in all.
 * One deadline on the wheel (timer-wheel.ts) stands for whichever is nearest.
 */
import type { ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

/**
 * Limits how long the backend may take for its response's head. It cannot answer before it has the
 * request, so the time begins with the request's last byte, or where the backend takes no more of it.
 */
export function limitHead(x: Exchange, upstream: UpstreamStream, nowMs = performance.now()): void {
  const waited = upstream.requestSent || upstream.full;
  const limitMs = x.arm?.pool.value?.part.responseHeadTimeoutMs ?? 60_000;
  const headMs = waited ? nowMs + limitMs : Infinity;
  x.plane.wheel.schedule(upstream, Math.min(headMs, attemptDeadlineMs(x)));
}

/** Limits how long the backend may be silent in its response, unless the client is waited for. */
export function limitSilence(x: Exchange, upstream: UpstreamStream): void {
  const { responseIdleMs } = x.client.peer.timeouts;
  const silentMs = upstream.paused ? Infinity : performance.now() + responseIdleMs;
  x.plane.wheel.schedule(upstream, Math.min(silentMs, attemptDeadlineMs(x)));
}

/** What was waited for takes the response again: the backend goes on. */
export function resumeUpstream(x: Exchange): void {
  const { upstream } = x;
  if (upstream === null) return;
  upstream.resume();
  if (x.responseStarted) limitSilence(x, upstream);
}

/** When the attempt is over time, by the route's timeouts. */
export function attemptDeadlineMs(x: Exchange): number {
  const attemptMs =
    x.backendRequestTimeoutMs === 0 ? Infinity : x.attemptStartedMs + x.backendRequestTimeoutMs;
  return Math.min(x.deadlineMs, attemptMs);
}

/** Which timeout it was. Where it is the client or zlib that is waited for, the arm is not to blame. */
export function timeoutCode(upstream: UpstreamStream, x: Exchange, nowMs: number): ErrorCode {
  if (upstream.paused && x.responseStarted) {
    return x.compressor?.waitsForClient === false ? "compression_timeout" : "client_stalled";
  }
  if (x.dispatched && !x.bodyEnded && !upstream.full) {
    return "request_timed_out";
  }
  if (nowMs >= x.deadlineMs) return "request_timeout";
  if (nowMs >= attemptDeadlineMs(x)) return "attempt_timeout";
  if (x.responseStarted) return "response_stalled";
  return upstream.connecting ? "upstream_connect_timeout" : "upstream_head_timeout";
}
