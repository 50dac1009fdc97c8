/**
 * The data plane of one worker: it listens where the snapshot says, takes connections, and lets them
 * go when told to drain. Several workers listen on one address (SO_REUSEPORT); connections go on
 * while sockets, rules and weights change under them.
 */
import type { MessagePort } from "node:worker_threads";
import type { Clock } from "../base/clock.ts";
import { systemRandom, type Random } from "../base/random.ts";
import { unixPath } from "../compile/address.ts";
import type { PartKey } from "../compile/program.ts";
import type { PartFailure } from "../process/messages.ts";
import type { Sampler } from "../trace/trace-context.ts";
import type { Gates } from "../shared/gates.ts";
import type { ConnectionCounts } from "../shared/connections.ts";
import type { Limits } from "../shared/limits.ts";
import {
  UNMATCHED_ROUTE,
  WORKER_FIELD,
  WORKER_KEY,
  type MetricRecorder,
} from "../shared/metrics.ts";
import type { TicketSecret } from "../shared/tickets.ts";
import { AccessLines, type AccessLinesOptions } from "./access-line.ts";
import type { AccessLog } from "./access-log.ts";
import { ATTEMPT_EVENTS } from "./attempt.ts";
import { Slots } from "./client-output.ts";
import { Acceptor } from "./accept.ts";
import { Compressors } from "./compressor.ts";
import { Listener } from "./listener.ts";
import { DEFAULT_TIMEOUTS, WallTime, type Plane, type Timeouts } from "./plane.ts";
import { Outbox } from "./outbox.ts";
import { Pools } from "./pool.ts";
import { Refusals } from "./refusal.ts";
import { RequestIds } from "./request-id.ts";
import type { Cell, LinkedSocket, Snapshot } from "./snapshot.ts";
import { SpanOutlet } from "./span-outlet.ts";
import { TimerWheel } from "./timer-wheel.ts";
import { Tracer } from "./tracer.ts";

export interface DataPlaneOptions {
  readonly metrics: MetricRecorder;
  readonly gates: Gates;
  readonly limits: Limits;
  readonly accessLog: AccessLog;
  /** What stands in it; by default every request, as JSON. */
  readonly accessLines?: Omit<AccessLinesOptions, "log">;
  /** Draws arms and endpoints. */
  readonly random: Random;
  readonly clock: Clock;
  /** Absent: sessions of TLS are resumed by this worker alone. */
  readonly tickets?: TicketSecret;
  /** Absent: connections are counted by this worker alone. */
  readonly connections?: ConnectionCounts;
  /** Whether other workers listen on the same addresses. */
  readonly reusePort?: boolean;
  /** Whether Unix sockets are this worker's; by default they are. One worker has them all. */
  readonly unixSockets?: boolean;
  readonly timeouts?: Partial<Timeouts>;
  /** Whose spans are exported; absent where nothing is traced. */
  readonly sampler?: Sampler | undefined;
  /** Writes a line of the log about connections that are refused; by default nobody does. */
  readonly onRefused?: (message: string) => void;
  /** Hears of exceptions that a request raised; by default they are process warnings. */
  readonly onBug?: (error: unknown) => void;
}

const EVERY_LINE = { template: null, sample: 1, sampleErrors: 1, random: systemRandom } as const;
const SWEEP_MS = 250;

export class DataPlane {
  readonly #plane: Plane;
  readonly #listeners = new Map<PartKey, Listener>();
  readonly #acceptor: Acceptor;
  readonly #refusals: Refusals;
  readonly #reusePort: boolean;
  readonly #unixSockets: boolean;
  readonly #workerRow: number;
  #sweepAtMs = 0;
  #droppedSeen = 0;
  #spansDroppedSeen = 0;
  readonly #spans = new SpanOutlet();
  #drained: Promise<void> | undefined;

  constructor(options: DataPlaneOptions) {
    const { metrics, gates, limits, accessLog, random, clock, sampler } = options;
    const wallTime = new WallTime(clock);
    const onBug = options.onBug ?? warn;
    const wheel = new TimerWheel((nowMs) => this.#tick(nowMs), onBug);
    const outbox = new Outbox(onBug);
    this.#reusePort = options.reusePort ?? false;
    this.#unixSockets = options.unixSockets ?? true;
    this.#workerRow = metrics.row(WORKER_KEY.route, WORKER_KEY.armId);
    this.#plane = {
      metrics,
      gates,
      limits,
      admitDeps: { limits, metrics, nowNs: () => process.hrtime.bigint(), clientId: "" },
      accessLog,
      accessLines: new AccessLines({ log: accessLog, ...(options.accessLines ?? EVERY_LINE) }),
      unmatchedRow: metrics.row(UNMATCHED_ROUTE, ""),
      random,
      clock,
      wheel,
      pools: new Pools({ events: ATTEMPT_EVENTS, wheel, outbox }),
      outbox,
      slots: new Slots(),
      compressors: new Compressors(),
      // Ids need to differ between workers even where the splits are drawn from a seed.
      requestIds: new RequestIds(systemRandom),
      wallTime,
      tracer:
        sampler === undefined
          ? null
          : new Tracer({ sampler, random: systemRandom, wallTime, outlet: this.#spans }),
      timeouts: { ...DEFAULT_TIMEOUTS, ...options.timeouts },
      onBug,
      draining: false,
    };
    this.#refusals = new Refusals({ metrics, tell: options.onRefused ?? (() => {}) });
    this.#acceptor = new Acceptor(this.#plane, {
      refusals: this.#refusals,
      tickets: options.tickets,
      counts: options.connections,
    });
    wheel.start();
  }

  /**
   * Opens the sockets that `snapshot` adds and closes those that it no longer has. Resolves when every
   * address is bound or has failed; a socket that fails leaves the others alone, and is tried again
   * with the next snapshot.
   */
  async apply(snapshot: Snapshot): Promise<PartFailure[]> {
    for (const [key, listener] of this.#listeners) {
      if (snapshot.sockets.get(key) === listener.served) continue;
      this.#listeners.delete(key);
      await listener.close();
    }
    const failures: PartFailure[] = [];
    for (const [key, served] of snapshot.sockets) {
      if (this.#listeners.has(key) || served.value === undefined) continue;
      if (this.#drained !== undefined) continue;
      if (!this.#unixSockets && unixPath(served.value.part.address) !== undefined) continue;
      const failure = await this.#listen(key, served);
      if (failure !== undefined) failures.push({ key, message: failure });
    }
    this.#plane.pools.forgetUnused();
    return failures;
  }

  async #listen(key: PartKey, served: Cell<LinkedSocket>): Promise<string | undefined> {
    const { part } = served.value as LinkedSocket;
    const listener = new Listener(served, (socket) => this.#acceptor.accept(socket, served));
    this.#listeners.set(key, listener);
    const failure = await listener.listen({
      host: part.address,
      port: part.port,
      reusePort: this.#reusePort,
    });
    if (failure !== undefined) this.#listeners.delete(key);
    return failure;
  }

  /** The port that a socket part is bound to, for parts that ask for port 0. */
  port(key: PartKey): number | undefined {
    return this.#listeners.get(key)?.port;
  }

  /** From now on spans go to the trace thread behind `port`. */
  exportSpansTo(port: MessagePort): void {
    this.#spans.attach(port);
  }

  /** Open client connections. */
  get connections(): number {
    return this.#acceptor.connections;
  }

  #tick(nowMs: number): void {
    this.#plane.wallTime.refresh(nowMs);
    if (nowMs < this.#sweepAtMs) return;
    this.#sweepAtMs = nowMs + SWEEP_MS;
    const { dropped } = this.#plane.accessLog;
    if (dropped > this.#droppedSeen) {
      const more = dropped - this.#droppedSeen;
      this.#plane.metrics.add(this.#workerRow, WORKER_FIELD.accessLogDropped, more);
      this.#droppedSeen = dropped;
    }
    this.#sendSpans();
    this.#refusals.sweep(nowMs);
    this.#plane.pools.sweep(nowMs);
  }

  #sendSpans(): void {
    this.#spans.flush();
    const { dropped } = this.#spans;
    if (dropped === this.#spansDroppedSeen) return;
    const more = dropped - this.#spansDroppedSeen;
    this.#plane.metrics.add(this.#workerRow, WORKER_FIELD.spansDropped, more);
    this.#spansDroppedSeen = dropped;
  }

  /** The process will stop soon: all is served as before, but every answer closes its connection. */
  announceDrain(): void {
    this.#plane.draining = true;
  }

  /**
   * Stops: no new connection is taken, idle ones are closed, requests in flight are finished and
   * their connections closed; what is left after `limitMs` is cut. Resolves when nothing is left.
   */
  drain(limitMs: number): Promise<void> {
    this.#drained ??= this.#drain(limitMs);
    return this.#drained;
  }

  async #drain(limitMs: number): Promise<void> {
    const plane = this.#plane;
    const listeners = [...this.#listeners.values()];
    this.#listeners.clear();
    await Promise.all(listeners.map((listener) => listener.close()));
    plane.draining = true;
    this.#acceptor.closeIdle();
    if (this.#acceptor.connections > 0) await this.#emptied(limitMs);
    this.#acceptor.cut();
    this.#refusals.sweep(Infinity);
    plane.pools.closeIdle();
    plane.wheel.stop();
    this.#spans.close();
    await plane.accessLog.close();
  }

  #emptied(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#plane.clock.after(limitMs, resolve);
      this.#acceptor.onEmpty = () => {
        cancel();
        resolve();
      };
    });
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? (error.stack ?? error.message) : String(error));
}
