/**
 * Sending a request again where its rule asks for it (Gateway API `HTTPRouteRetry`, Envoy Gateway
 * `Retry`): which failures and answers count, and how long is waited. The attempt loop does the rest.
 */
import type { Random } from "../base/random.ts";
import type { Retry, RetryTrigger } from "../compile/rule-part.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Timed } from "./timer-wheel.ts";

const TRIGGERS: Readonly<Partial<Record<ErrorCode, RetryTrigger>>> = {
  upstream_connect_failed: "connect",
  upstream_connect_timeout: "connect",
  upstream_reset: "reset",
  attempt_timeout: "timeout",
  upstream_head_timeout: "timeout",
};

/** Whether a failure is one after which the rule has the request sent again. */
export function retriesFailure(retry: Retry, code: ErrorCode, refused: boolean): boolean {
  const trigger = refused ? "refused" : TRIGGERS[code];
  return trigger !== undefined && retry.on.includes(trigger);
}

/** Whether an answer is one. */
export function retriesAnswer(retry: Retry, response: ResponseHead): boolean {
  const { status } = response;
  if (retry.statusCodes.some(([first, last]) => status >= first && status <= last)) return true;
  if (retry.grpcCodes.length === 0) return false;
  const code = response.header("grpc-status");
  return code !== undefined && retry.grpcCodes.includes(Number(code));
}

/** Milliseconds before the repetition of that number, counted from 0. */
export function backoffMs(
  { backoffBaseMs, backoffMaxMs }: Retry,
  repetition: number,
  random: Random,
): number {
  // From the base to twice the base, doubled each time: never less than what was asked for.
  const grown = backoffBaseMs * 2 ** repetition * (1 + random());
  return Math.max(backoffBaseMs, Math.min(grown, backoffMaxMs));
}

/** Waits on the wheel; whoever ends the request meanwhile need not know of it. */
export class RetryTimer implements Timed {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;
  readonly #exchange: Exchange;
  readonly #again: (x: Exchange, nowMs: number) => void;

  constructor(exchange: Exchange, again: (x: Exchange, nowMs: number) => void) {
    this.#exchange = exchange;
    this.#again = again;
  }

  expire(nowMs: number): void {
    if (!this.#exchange.finished) this.#again(this.#exchange, nowMs);
  }
}
