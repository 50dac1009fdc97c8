/**
 * The data plane of one worker: it listens where the snapshot says, takes connections, and lets them
 * go when told to drain. Several workers listen on one address (SO_REUSEPORT); connections go on
 * while sockets, rules and weights change under them.
 */
import {
  createServer,
  Socket,
  type AddressInfo,
  type Server,
  type SocketConstructorOpts,
} from "node:net";
import type { MessagePort } from "node:worker_threads";
import type { Clock } from "../base/clock.ts";
import { systemRandom, type Random } from "../base/random.ts";
import type { PartKey } from "../compile/program.ts";
import type { PartFailure } from "../process/messages.ts";
import type { Sampler } from "../trace/trace-context.ts";
import type { Gates } from "../shared/gates.ts";
import type { Limits } from "../shared/limits.ts";
import {
  UNMATCHED_ROUTE,
  WORKER_FIELD,
  WORKER_KEY,
  type MetricRecorder,
} from "../shared/metrics.ts";
import { AccessLines, type AccessLinesOptions } from "./access-line.ts";
import type { AccessLog } from "./access-log.ts";
import { ATTEMPT_EVENTS } from "./attempt.ts";
import type { ClientConnection } from "./client.ts";
import { Slots } from "./client-output.ts";
import { Connection } from "./connection.ts";
import { DEFAULT_TIMEOUTS, KEEP_ALIVE_MS, WallTime, type Plane, type Timeouts } from "./plane.ts";
import { Outbox } from "./outbox.ts";
import { Http2Connection } from "./http2-connection.ts";
import { Peer } from "./peer.ts";
import { Pools } from "./pool.ts";
import { ReadBuffer } from "./read-buffer.ts";
import { RequestIds } from "./request-id.ts";
import type { Cell, LinkedSocket, Snapshot } from "./snapshot.ts";
import { readDirectly, type Reader } from "./socket-handle.ts";
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
  /** Whether other workers listen on the same addresses. */
  readonly reusePort?: boolean;
  readonly timeouts?: Partial<Timeouts>;
  /** Whose spans are exported; absent where nothing is traced. */
  readonly sampler?: Sampler | undefined;
  /** Hears of exceptions that a request raised; by default they are process warnings. */
  readonly onBug?: (error: unknown) => void;
}

const EVERY_LINE = { template: null, sample: 1, sampleErrors: 1, random: systemRandom } as const;
const BACKLOG = 4096;
const SWEEP_MS = 250;
/** One buffer for the reads of all client connections. */
const READ_BUFFER_BYTES = 64 * 1024;
/** How long a listener that closes may go on taking what waits in its queue. */
const ACCEPT_DRAIN_TURNS_MAX = 50;

export class DataPlane {
  readonly #plane: Plane;
  readonly #listeners = new Map<PartKey, Listener>();
  readonly #connections = new Set<ClientConnection>();
  readonly #reusePort: boolean;
  readonly #admitted: { onEmpty: (() => void) | undefined } = { onEmpty: undefined };
  readonly #workerRow: number;
  readonly #readBuffer = ReadBuffer.ofSize(READ_BUFFER_BYTES);
  #sweepAtMs = 0;
  #droppedSeen = 0;
  #spansDroppedSeen = 0;
  readonly #spans = new SpanOutlet();
  #drained: Promise<void> | undefined;

  constructor(options: DataPlaneOptions) {
    const { metrics, gates, limits, accessLog, random, clock, sampler } = options;
    const wallTime = new WallTime(clock);
    const onBug = options.onBug ?? warn;
    const wheel = new TimerWheel((nowMs) => this.#tick(nowMs));
    const outbox = new Outbox(onBug);
    this.#reusePort = options.reusePort ?? false;
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
      const failure = await this.#listen(key, served);
      if (failure !== undefined) failures.push({ key, message: failure });
    }
    this.#plane.pools.forgetUnused();
    return failures;
  }

  async #listen(key: PartKey, served: Cell<LinkedSocket>): Promise<string | undefined> {
    const { part } = served.value as LinkedSocket;
    if (part.listeners.some(({ tls }) => tls !== undefined)) return "TLS is not served yet";
    const listener = new Listener(served, (socket) => this.#accept(socket, served));
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
    return this.#connections.size;
  }

  #accept(socket: Socket, served: Cell<LinkedSocket>): void {
    if (socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    const onClosed = (connection: ClientConnection): void => {
      this.#connections.delete(connection);
      if (this.#connections.size === 0) this.#admitted.onEmpty?.();
    };
    this.#plane.metrics.add(this.#workerRow, WORKER_FIELD.connections, 1);
    const about = {
      scheme: "http",
      clientAddress: socket.remoteAddress,
      localAddress: socket.localAddress ?? "",
      localPort: socket.localPort ?? 0,
    } as const;
    const wrapped = withSharedBuffer(socket, this.#readBuffer);
    const connection = new Connection(wrapped.socket, this.#plane, {
      peer: new Peer({ ...about, protocol: "HTTP/1.1" }),
      served,
      onClosed,
      onTunnel: (before, tunnel) => {
        this.#connections.delete(before);
        this.#connections.add(tunnel);
        wrapped.connect(tunnel.client);
      },
      onHttp2: (before, first) => {
        this.#connections.delete(before);
        const peer = new Peer({ ...about, protocol: "HTTP/2.0" });
        const taken = takeOver(wrapped.socket, first);
        this.#connections.add(new Http2Connection(taken, this.#plane, { peer, served, onClosed }));
      },
    });
    wrapped.connect(connection);
    this.#connections.add(connection);
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
    for (const connection of this.#connections) connection.closeIdle();
    if (this.#connections.size > 0) await this.#emptied(limitMs);
    for (const connection of this.#connections) connection.cut();
    plane.pools.closeIdle();
    plane.wheel.stop();
    this.#spans.close();
    await plane.accessLog.close();
  }

  #emptied(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#plane.clock.after(limitMs, resolve);
      this.#admitted.onEmpty = () => {
        cancel();
        resolve();
      };
    });
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? (error.stack ?? error.message) : String(error));
}

interface Wrapped {
  readonly socket: Socket;
  /** Gives what is read to `reader`, in place of the one before. */
  connect(reader: Reader): void;
}

/**
 * An accepted socket that reads into a buffer shared by all, which saves an allocation per read.
 * node:net offers that to outgoing sockets only, so the accepted one's handle is put into a socket of
 * our own; where there is no such handle the socket is used as it is.
 */
function withSharedBuffer(accepted: Socket, shared: ReadBuffer): Wrapped {
  const handle = Reflect.get(accepted, "_handle") as SocketConstructorOpts["handle"] | null;
  let target: Reader | undefined;
  const connect = (reader: Reader): void => {
    target = reader;
  };
  if (handle === undefined || handle === null || !("useUserBuffer" in handle)) {
    accepted.on("data", (bytes: Buffer) => target?.read(ReadBuffer.over(bytes), bytes.length));
    accepted.resume();
    return { socket: accepted, connect };
  }
  Reflect.set(accepted, "_handle", null);
  accepted.destroy();
  const onread = {
    buffer: shared.bytes,
    callback(length: number): boolean {
      target?.read(shared, length);
      return true;
    },
  };
  const socket = new Socket({ handle, allowHalfOpen: true, onread });
  return {
    socket,
    connect(reader) {
      connect(reader);
      readDirectly(socket, shared, reader);
    },
  };
}

/**
 * The connection of `socket` in a socket without shared buffer, which gives `first` to who reads it
 * before anything that comes later. `socket` is done.
 */
function takeOver(socket: Socket, first: Buffer): Socket {
  const handle = Reflect.get(socket, "_handle") as SocketConstructorOpts["handle"];
  Reflect.set(socket, "_handle", null);
  socket.destroy();
  const taken = new Socket({ handle, allowHalfOpen: true });
  taken.unshift(first);
  return taken;
}

/** One listening socket. */
class Listener {
  readonly served: Cell<LinkedSocket>;
  readonly #server: Server;
  #accepted = 0;

  constructor(served: Cell<LinkedSocket>, accept: (socket: Socket) => void) {
    this.served = served;
    this.#server = createServer(
      {
        allowHalfOpen: true,
        noDelay: true,
        pauseOnConnect: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_MS,
      },
      (socket) => {
        this.#accepted++;
        accept(socket);
      },
    );
  }

  get port(): number | undefined {
    return (this.#server.address() as AddressInfo | null)?.port;
  }

  /** Resolves with why the address could not be bound, or undefined. */
  listen(where: { host: string; port: number; reusePort: boolean }): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        resolve(`Cannot listen on ${where.host}:${where.port}: ${error.code ?? error.message}`);
      });
      this.#server.listen({ ...where, backlog: BACKLOG }, () => {
        // Failing to accept one connection (EMFILE) must not end the worker.
        this.#server.on("error", () => {});
        resolve(undefined);
      });
    });
  }

  /**
   * Closes after taking what already waits: closing one of several listeners on a port resets the
   * connections in its queue. A turn of the event loop without a new one is taken for an empty queue.
   */
  async close(): Promise<void> {
    for (let turn = 0; turn < ACCEPT_DRAIN_TURNS_MAX; turn++) {
      const before = this.#accepted;
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      if (turn > 1 && this.#accepted === before) break;
    }
    this.#server.close();
  }
}
