/**
 * How an exchange ended, for the access log: who ended it, in which phase, and how long each phase took.
 * HAProxy's termination states and timers are the model; here they have words.
 */
import { errorRow, isError } from "./error.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Who said the last word. `backend`: its answer was complete, or it failed; `client`: it left, or did
 * not send or read in time; `gateway`: it answered by itself.
 */
export type EndedBy = "backend" | "client" | "gateway";

/** Phases in their order; each has the timer of its name, but that a tunnel is timed as a body. */
export type Phase = "requestHead" | "wait" | "connect" | "upstream" | "body" | "tunnel" | "done";

export function endedBy(x: Exchange): EndedBy {
  const { reason, status, tunnelEndedBy } = x;
  if (tunnelEndedBy !== "") return tunnelEndedBy;
  if (reason === "ok") return x.attempts === 0 ? "gateway" : "backend";
  if (!isError(reason)) return "gateway";
  if (status === 499 || reason === "request_timed_out") return "client";
  return errorRow(reason).origin === "upstream" ? "backend" : "gateway";
}

/** The phase in which the exchange ended; `done` where a backend's answer was passed on whole. */
export function phaseOf(x: Exchange): Phase {
  if (x.head.method === "") return "requestHead";
  if (x.attempts === 0) return "wait";
  if (x.tunnelEndedBy !== "") return "tunnel";
  if (x.reason === "ok") return "done";
  if (x.upstreamHeadMs >= 0) return "body";
  return x.dispatchedMs === -1 ? "connect" : "upstream";
}

/** Milliseconds; -1 for a phase that was not reached. All but `requestHead` add up to the duration. */
export interface Timers {
  /** From the request's first byte to the end of its head; 0 where both came in one read. */
  readonly requestHead: number;
  /** Until the last attempt began: rules, a body that had to be read first, attempts that failed. */
  readonly wait: number;
  /** Until the last attempt had a connection. */
  readonly connect: number;
  /** Until the last attempt's response head had come. */
  readonly upstream: number;
  /** Until the end. */
  readonly body: number;
}

/** The timers of an exchange that ends at `nowMs`. */
export function timersOf(x: Exchange, nowMs: number): Timers {
  const { attemptStartedMs, dispatchedMs, upstreamHeadMs, startedMs } = x;
  const attempted = x.attempts > 0;
  const dispatched = attempted && dispatchedMs !== -1;
  const answered = dispatched && upstreamHeadMs >= 0;
  const headAtMs = attemptStartedMs + upstreamHeadMs;
  return {
    requestHead: x.requestHeadMs,
    wait: attempted ? attemptStartedMs - startedMs : -1,
    connect: dispatched ? dispatchedMs - attemptStartedMs : -1,
    upstream: answered ? headAtMs - dispatchedMs : -1,
    body: answered ? nowMs - headAtMs : -1,
  };
}

/** Whole microseconds as a log has them: no less than 0. */
export function micros(milliseconds: number): number {
  return Math.max(Math.round(milliseconds * 1000), 0);
}
