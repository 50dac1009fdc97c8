/**
 * What becomes of an accepted connection: counted, given its limits, and handed to who speaks its
 * protocol, at once where it is plain HTTP, after its arrival (arrival.ts) where something stands
 * before that. Everything about the client that holds for the whole connection is settled here.
 */
import { Socket, type SocketConstructorOpts } from "node:net";
import type { ClientPart } from "../compile/program.ts";
import { ConnectionCounts, allocateConnectionCounts } from "../shared/connections.ts";
import { WORKER_FIELD, WORKER_KEY } from "../shared/metrics.ts";
import { TICKETS_BYTES, TicketSecret } from "../shared/tickets.ts";
import { Arrival, type ArrivalDeps, type ArrivalFailure, type Arrived } from "./arrival.ts";
import type { ClientConnection } from "./client.ts";
import { Connection } from "./connection.ts";
import { Http2Connection } from "./http2-connection.ts";
import { Peer } from "./peer.ts";
import { KEEP_ALIVE_MS, type Plane, type Timeouts } from "./plane.ts";
import { ReadBuffer } from "./read-buffer.ts";
import type { Refusals } from "./refusal.ts";
import type { Cell, LinkedClient, LinkedSocket } from "./snapshot.ts";
import { readDirectly, type Reader, readInto } from "./socket-handle.ts";
import { isUnix, socketEnds } from "./socket-ends.ts";
import { TlsContexts } from "./tls.ts";

/** One buffer for the reads of all plain client connections. */
const READ_BUFFER_BYTES = 64 * 1024;
/** Connections beyond a port's limit that are held for a while before they are closed. */
const HELD_MAX = 1024;
/** What node:net has the kernel do where a policy says nothing. */
const KEEP_ALIVE_INTERVAL_MS = 1000;
const KEEP_ALIVE_PROBES = 10;

export interface AcceptorOptions {
  readonly refusals: Refusals;
  readonly tickets: TicketSecret | undefined;
  readonly counts: ConnectionCounts | undefined;
}

export class Acceptor {
  /** Called when the last connection has gone. */
  onEmpty: (() => void) | undefined;
  readonly #plane: Plane;
  readonly #counts: ConnectionCounts;
  readonly #arrivals: ArrivalDeps;
  readonly #arriving = new Map<Arrival, Accepted>();
  readonly #connections = new Set<ClientConnection>();
  readonly #ports = new WeakMap<Cell<LinkedSocket>, number>();
  readonly #timeouts = new WeakMap<LinkedClient, Timeouts>();
  readonly #readBuffer = ReadBuffer.ofSize(READ_BUFFER_BYTES);
  readonly #refusals: Refusals;
  readonly #row: number;
  #held = 0;
  /** Connections have been told that the worker stops; those that become something else are told again. */
  #leaving = false;

  constructor(plane: Plane, { refusals, tickets, counts }: AcceptorOptions) {
    this.#plane = plane;
    this.#refusals = refusals;
    this.#row = plane.metrics.row(WORKER_KEY.route, WORKER_KEY.armId);
    this.#counts = counts ?? new ConnectionCounts(allocateConnectionCounts(1), 0);
    this.#arrivals = {
      wheel: plane.wheel,
      contexts: new TlsContexts(tickets ?? new TicketSecret(new SharedArrayBuffer(TICKETS_BYTES))),
      events: {
        arrived: (arrival, socket, about, first) => {
          const accepted = this.#arriving.get(arrival) as Accepted;
          this.#arriving.delete(arrival);
          this.#begin(accepted, socket, { about, first });
        },
        lost: (arrival, failure) => this.#lost(arrival, failure),
      },
      timeoutMs: plane.timeouts.arrivalMs,
      onBug: plane.onBug,
    };
  }

  /** Connections that are open, whether or not it is known yet what they speak. */
  get connections(): number {
    return this.#connections.size + this.#arriving.size;
  }

  /** Takes a connection that is paused. */
  accept(socket: Socket, served: Cell<LinkedSocket>): void {
    // A client that has left already has no address any more.
    if (socket.remoteAddress === undefined && !isUnix(served)) {
      socket.destroy();
      return;
    }
    this.#plane.metrics.add(this.#row, WORKER_FIELD.connections, 1);
    const client = served.value?.client?.value?.part;
    const port = this.#portOf(served);
    const limit = client?.connectionLimit;
    if (this.#counts.add(port) > (limit?.value ?? Infinity)) {
      this.#counts.remove(port);
      this.#refuse(socket, served, limit?.closeDelayMs ?? 0);
      return;
    }
    if (client?.tcpKeepalive !== undefined) keepAlive(socket, client.tcpKeepalive);
    const accepted = { served, port };
    if (served.value?.secure === true || client?.proxyProtocol !== undefined) {
      this.#arriving.set(new Arrival(socket, served, this.#arrivals), accepted);
    } else {
      this.#begin(accepted, socket, { about: plainlyArrived(socket, served), first: null });
    }
  }

  #begin(accepted: Accepted, socket: Socket, begun: Begun): void {
    const wrapped =
      begun.about.secure === null
        ? withSharedBuffer(socket, this.#readBuffer)
        : decrypting(socket, this.#readBuffer);
    try {
      this.#serve(accepted, wrapped, begun);
    } catch (error) {
      this.#drop(accepted, wrapped, error);
    }
  }

  /** A bug in what is made of a connection, its certificate, its policy costs that one, and no other. */
  #drop(accepted: Accepted, { socket }: Wrapped, error: unknown): void {
    this.#plane.onBug(error);
    socket.on("error", () => {});
    socket.destroy();
    this.#release(accepted);
    this.#tellEmpty();
  }

  /** The connection is not counted any more, however often that is said. */
  #release(accepted: Accepted): void {
    this.#counts.remove(accepted.port);
    accepted.port = -1;
  }

  #serve(accepted: Accepted, wrapped: Wrapped, { about, first }: Begun): void {
    const { served } = accepted;
    const client = (about.secure?.listener ?? served.value)?.client ?? null;
    const settings = client?.value;
    const of = {
      ...about,
      settings: settings?.part,
      client,
      timeouts: settings === undefined ? this.#plane.timeouts : this.#timeoutsOf(settings),
    };
    const onClosed = (connection: ClientConnection): void => {
      this.#release(accepted);
      this.#connections.delete(connection);
      this.#tellEmpty();
    };
    const isPlain = about.secure === null;
    const beginHttp2 = (early: Buffer | null): void => {
      const peer = new Peer({ ...of, protocol: "HTTP/2.0" });
      const connection = new Http2Connection(wrapped.socket, this.#plane, {
        peer,
        served,
        onClosed,
      });
      this.#connections.add(connection);
      wrapped.connect(connection);
      if (early !== null) connection.read(ReadBuffer.over(early), early.length);
      if (this.#leaving) connection.closeIdle();
    };
    if (about.secure?.http2 === true) {
      beginHttp2(first);
      return;
    }
    const connection = new Connection(wrapped.socket, this.#plane, {
      peer: new Peer({ ...of, protocol: "HTTP/1.1" }),
      served,
      onClosed,
      onTunnel: (before, tunnel) => {
        this.#connections.delete(before);
        this.#connections.add(tunnel);
        wrapped.connect(tunnel.client);
        if (this.#leaving) tunnel.closeIdle();
      },
      // Over TLS it is agreed beforehand who speaks what.
      ...(isPlain && {
        onHttp2: (before, bytes) => {
          this.#connections.delete(before);
          try {
            beginHttp2(bytes);
          } catch (error) {
            this.#drop(accepted, wrapped, error);
          }
        },
      }),
    });
    this.#connections.add(connection);
    wrapped.connect(connection);
    if (first !== null && first.length > 0) connection.read(ReadBuffer.over(first), first.length);
  }

  #lost(arrival: Arrival, failure: ArrivalFailure): void {
    const accepted = this.#arriving.get(arrival);
    this.#arriving.delete(arrival);
    if (accepted !== undefined) this.#release(accepted);
    if (failure !== "closed" && accepted !== undefined) {
      const place = accepted.served.value?.part.key ?? "";
      this.#refusals.note(failure, { place, client: arrival.clientAddress });
    }
    this.#tellEmpty();
  }

  #tellEmpty(): void {
    if (this.connections === 0) this.onEmpty?.();
  }

  /** Closes a connection beyond the limit, after a while if the policy wants clients to wait. */
  #refuse(socket: Socket, served: Cell<LinkedSocket>, delayMs: number): void {
    const { clientAddress } = socketEnds(socket, served);
    this.#refusals.note("limit", { place: served.value?.part.key ?? "", client: clientAddress });
    if (delayMs === 0 || this.#held >= HELD_MAX) {
      socket.destroy();
      return;
    }
    this.#held++;
    const cancel = this.#plane.clock.after(delayMs, () => socket.destroy());
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#held--;
      cancel();
    });
  }

  #portOf(served: Cell<LinkedSocket>): number {
    let port = this.#ports.get(served);
    if (port === undefined) {
      port = this.#counts.portOf(served.value?.part.key ?? "");
      this.#ports.set(served, port);
    }
    return port;
  }

  #timeoutsOf(client: LinkedClient): Timeouts {
    const known = this.#timeouts.get(client);
    if (known !== undefined) return known;
    const { requestReceivedMs, idleMs, streamIdleMs } = client.part.timeouts ?? {};
    const timeouts = {
      ...this.#plane.timeouts,
      ...(requestReceivedMs !== undefined && {
        requestReceivedMs,
        requestHeadMs: Math.min(requestReceivedMs, this.#plane.timeouts.requestHeadMs),
      }),
      ...(idleMs !== undefined && { clientIdleMs: idleMs }),
      ...(streamIdleMs !== undefined && {
        requestIdleMs: streamIdleMs,
        responseIdleMs: streamIdleMs,
      }),
    };
    this.#timeouts.set(client, timeouts);
    return timeouts;
  }

  /** Nobody is asked to wait for another request: what has asked for nothing is closed. */
  closeIdle(): void {
    this.#leaving = true;
    for (const arrival of this.#arriving.keys()) arrival.cut();
    for (const connection of this.#connections) connection.closeIdle();
  }

  /** Ends what is left. */
  cut(): void {
    for (const arrival of this.#arriving.keys()) arrival.cut();
    for (const connection of this.#connections) connection.cut();
  }
}

interface Accepted {
  readonly served: Cell<LinkedSocket>;
  /** The number under which its port's connections are counted; -1: it is not counted. */
  port: number;
}

/** What is known of a connection that begins, and what was read of it. */
interface Begun {
  readonly about: Arrived;
  readonly first: Buffer | null;
}

function plainlyArrived(socket: Socket, served: Cell<LinkedSocket>): Arrived {
  return { ...socketEnds(socket, served), secure: null };
}

function keepAlive(socket: Socket, policy: NonNullable<ClientPart["tcpKeepalive"]>): void {
  socket.setKeepAlive(
    true,
    policy.idleMs ?? KEEP_ALIVE_MS,
    policy.intervalMs ?? KEEP_ALIVE_INTERVAL_MS,
    policy.probes ?? KEEP_ALIVE_PROBES,
  );
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
  if (handle === undefined || handle === null || !("useUserBuffer" in handle)) {
    return asItIs(accepted);
  }
  let target: Reader | undefined;
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
      target = reader;
      readDirectly(socket, shared, reader);
    },
  };
}

/** A socket of TLS, whose clear text is put into the buffer shared by all. */
function decrypting(socket: Socket, shared: ReadBuffer): Wrapped {
  let target: Reader | undefined;
  return {
    socket,
    connect(reader) {
      if (target !== undefined) {
        target = reader;
        return;
      }
      target = reader;
      // What came with the end of the handshake.
      const early = socket.read() as Buffer | null;
      const shares = readInto(socket, shared, (length) => {
        target?.read(shared, length);
        return true;
      });
      if (!shares) {
        socket.on("data", (bytes: Buffer) => target?.read(ReadBuffer.over(bytes), bytes.length));
      }
      if (early !== null) target.read(ReadBuffer.over(early), early.length);
      socket.resume();
    },
  };
}

/** A socket that is read as node:net has it. */
function asItIs(socket: Socket): Wrapped {
  let target: Reader | undefined;
  return {
    socket,
    connect(reader) {
      if (target === undefined) {
        socket.on("data", (bytes: Buffer) => target?.read(ReadBuffer.over(bytes), bytes.length));
        socket.resume();
      }
      target = reader;
    },
  };
}
