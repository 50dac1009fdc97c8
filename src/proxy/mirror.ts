/**
 * Copies of requests for other backends (Gateway API `HTTPRequestMirrorFilter`). A copy is an exchange
 * of its own whose client is nobody: its answer is read and thrown away, nothing of it is logged or
 * counted for an arm, and whatever becomes of it the request itself does not wait. A backend that does
 * not keep up with a body loses its copy; how many were lost is counted for the route.
 */
import { FIELD } from "../shared/metrics.ts";
import { forwardBody, forwardEnd, startAttempt } from "./attempt.ts";
import { chooseArm } from "./choose.ts";
import type { Client } from "./client.ts";
import { Exchange, type RequestCopy } from "./exchange.ts";
import type { Peer } from "./peer.ts";
import type { Plane } from "./plane.ts";
import type { Habits, LinkedMirror } from "./snapshot.ts";

/** How far a copy may be behind with its body. */
const BEHIND_BYTES_MAX = 1024 * 1024;

/** Sends the copies that are drawn; null where there are none. Call before the request's own attempt. */
export function startCopies(
  x: Exchange,
  mirrors: readonly LinkedMirror[],
): readonly RequestCopy[] | null {
  const copies: RequestCopy[] = [];
  const { random, gates, metrics } = x.plane;
  const row = x.rule === null ? x.plane.unmatchedRow : x.rule.row;
  for (const { fraction, split } of mirrors) {
    if (fraction < 1 && random() >= fraction) continue;
    const target = split.value;
    const arm = target === undefined ? null : chooseArm(target, random(), gates);
    if (arm === null) {
      metrics.add(row, FIELD.mirrorFailed, 1);
      continue;
    }
    const copy = new Copy(x, row);
    startAttempt(copy, arm);
    if (!copy.finished) copies.push(copy);
  }
  return copies.length === 0 ? null : copies;
}

class Copy extends Exchange implements RequestCopy {
  readonly #habits: Habits | null;
  /** Of the route, in the metrics. */
  readonly #row: number;
  #behindBytes = 0;
  #givenUp = false;

  constructor(original: Exchange, row: number) {
    const client = new Nobody(original, () => {
      this.#behindBytes = 0;
    });
    super(client, original.head, { startedMs: original.startedMs, known: null });
    this.#habits = original.habits;
    this.#row = row;
    this.upstreamHead = original.upstreamHead;
    this.deadlineMs = original.deadlineMs;
    this.backendRequestTimeoutMs = original.backendRequestTimeoutMs;
    this.bodyEnded = original.bodyEnded;
    this.chunkedUp = original.chunkedUp;
    this.requestTrailers = original.requestTrailers;
    this.held = original.held === null ? null : [...original.held];
    this.heldBytes = original.heldBytes;
  }

  override get habits(): Habits | null {
    return this.#habits;
  }

  slice(bytes: Buffer): void {
    if (this.finished || forwardBody(this, bytes)) return;
    this.#behindBytes += bytes.length;
    if (this.#behindBytes > BEHIND_BYTES_MAX) this.abandon();
  }

  end(trailers: string): void {
    if (this.finished) return;
    this.bodyEnded = true;
    this.requestTrailers = trailers;
    forwardEnd(this);
    if (this.responseStarted) limitAnswer(this);
  }

  abandon(): void {
    if (this.finished) return;
    this.#givenUp = true;
    this.upstream?.cancel();
    this.upstream = null;
    this.finish();
  }

  override countAnswer(): void {}

  override finish(): void {
    if (this.finished) return;
    this.finished = true;
    this.plane.metrics.add(this.#row, this.#outcome(), 1);
    this.held = null;
    this.kept = null;
  }

  #outcome(): number {
    if (this.#givenUp) return FIELD.mirrorDropped;
    return this.upstreamHeadMs === -1 ? FIELD.mirrorFailed : FIELD.mirrorDelivered;
  }
}

/** Nobody reads the answer, so that nobody would ever leave one that does not end. */
function limitAnswer(x: Exchange): void {
  if (!x.bodyEnded || x.upstream === null) return;
  const { wheel, timeouts } = x.plane;
  x.deadlineMs = Math.min(x.deadlineMs, performance.now() + timeouts.mirrorAnswerMs);
  wheel.schedule(x.upstream, x.deadlineMs);
}

/** Takes whatever is said to it. */
class Nobody implements Client {
  readonly plane: Plane;
  readonly peer: Peer;
  readonly #resumed: () => void;

  constructor({ plane, peer }: Exchange, resumed: () => void) {
    this.plane = plane;
    this.peer = peer;
    this.#resumed = resumed;
  }

  resume(): void {
    this.#resumed();
  }

  flush(): boolean {
    return true;
  }

  sendContinue(): void {}
  sendInterim(): void {}

  sendHead(x: Exchange): void {
    limitAnswer(x);
  }

  sendKnown(): void {}
  sendAnswer(): void {}
  sendBody(): void {}
  sendEnd(): void {}
  breakOff(): void {}
  fail(): void {}
  exchangeDone(): void {}
}
