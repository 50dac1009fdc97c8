/**
 * What all requests of one worker share: shared memory, pools, timers, the log, chance. Made once by
 * the DataPlane; nothing in here is per request.
 */
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Gates } from "../shared/gates.ts";
import type { Limits } from "../shared/limits.ts";
import type { MetricRecorder } from "../shared/metrics.ts";
import type { AccessLines } from "./access-line.ts";
import type { AccessLog } from "./access-log.ts";
import type { AdmitDeps } from "./admit.ts";
import type { Slots } from "./client-output.ts";
import type { Compressors } from "./compressor.ts";
import type { Outbox } from "./outbox.ts";
import type { Pools } from "./pool.ts";
import type { RequestIds } from "./request-id.ts";
import type { TimerWheel } from "./timer-wheel.ts";
import type { Tracer } from "./tracer.ts";

export interface Plane {
  readonly metrics: MetricRecorder;
  readonly gates: Gates;
  readonly limits: Limits;
  readonly admitDeps: AdmitDeps;
  readonly accessLog: AccessLog;
  readonly accessLines: AccessLines;
  /** The metrics row of answers to requests that match no route. */
  readonly unmatchedRow: number;
  readonly random: Random;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly pools: Pools;
  readonly outbox: Outbox;
  readonly slots: Slots;
  readonly compressors: Compressors;
  readonly requestIds: RequestIds;
  readonly wallTime: WallTime;
  /** Null where nothing is traced. */
  readonly tracer: Tracer | null;
  readonly timeouts: Timeouts;
  /** Hears of a bug: an exception that one request raised. The worker goes on. */
  readonly onBug: (error: unknown) => void;
  /** Set once the worker no longer takes requests: every answer closes its connection. */
  draining: boolean;
}

/** How long clients and backends may take, milliseconds. */
export interface Timeouts {
  /** From a connection's first byte to where its first request may begin: PROXY protocol, TLS. */
  readonly arrivalMs: number;
  /** From a request's first byte to its last. */
  readonly requestReceivedMs: number;
  /** From a request's first byte to the end of its head. */
  readonly requestHeadMs: number;
  /** Between two pieces of a request's body. */
  readonly requestIdleMs: number;
  /** Between two requests of one connection. */
  readonly clientIdleMs: number;
  /** For a client to take what was written to it. */
  readonly clientStallMs: number;
  /** For a client to close after an answer that closes. */
  readonly lingerMs: number;
  /** For a backend between two pieces of its response's body. */
  readonly responseIdleMs: number;
  /** For a mirror's answer, from its beginning and the request's end to its own end. */
  readonly mirrorAnswerMs: number;
  /** For a tunnel in which nothing passes. */
  readonly tunnelIdleMs: number;
  /** The same once one end has said its last byte. */
  readonly tunnelHalfClosedMs: number;
}

/** Silence after which the kernel asks a peer, on either side, whether it is still there. */
export const KEEP_ALIVE_MS = 60_000;

export const DEFAULT_TIMEOUTS: Timeouts = {
  arrivalMs: 10_000,
  requestReceivedMs: Infinity,
  requestHeadMs: 10_000,
  requestIdleMs: 30_000,
  clientIdleMs: 75_000,
  clientStallMs: 60_000,
  lingerMs: 5000,
  responseIdleMs: 300_000,
  mirrorAnswerMs: 10_000,
  // A peer that is gone is found by TCP (KEEP_ALIVE_MS), and one that is there may be silent for long.
  tunnelIdleMs: 3_600_000,
  tunnelHalfClosedMs: 10_000,
};

/** How long the next piece of a request's body is waited for, if the whole is not due before. */
export function bodyWaitMs(
  { requestIdleMs, requestReceivedMs }: Timeouts,
  request: { readonly startedMs: number } | null,
  nowMs = performance.now(),
): number {
  if (requestReceivedMs === Infinity || request === null) return requestIdleMs;
  return Math.min(requestIdleMs, request.startedMs + requestReceivedMs - nowMs);
}

/**
 * Wall time from the monotonic clock, so that a request reads one clock only. The offset between the
 * two is read again at every tick of the wheel, which is how a change of the wall clock gets in.
 */
export class WallTime {
  readonly #clock: Clock;
  #offsetMs = 0;
  #second = -1;
  #stampMs = -1;
  #stamp = "";
  #secondText = "";
  #date = "";
  #dateSecond = -1;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.refresh(performance.now());
  }

  refresh(nowMs: number): void {
    this.#offsetMs = this.#clock.now() - nowMs;
  }

  /** Milliseconds since the epoch of a moment on performance.now()'s scale. */
  epochMs(nowMs: number): number {
    return this.#offsetMs + nowMs;
  }

  /** RFC 3339 with milliseconds of a moment on performance.now()'s scale. */
  timestamp(nowMs: number): string {
    const epochMs = Math.floor(this.#offsetMs + nowMs);
    if (epochMs === this.#stampMs) return this.#stamp;
    const second = Math.floor(epochMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
    }
    const millis = epochMs - second * 1000;
    this.#stampMs = epochMs;
    this.#stamp = `${this.#secondText}${millis < 10 ? "00" : millis < 100 ? "0" : ""}${millis}Z`;
    return this.#stamp;
  }

  /** A Date header line (RFC 9110 §6.6.1). */
  dateLine(nowMs: number): string {
    const second = Math.floor((this.#offsetMs + nowMs) / 1000);
    if (second !== this.#dateSecond) {
      this.#dateSecond = second;
      this.#date = `date: ${new Date(second * 1000).toUTCString()}\r\n`;
    }
    return this.#date;
  }
}
