/**
 * What a WebSocket becomes once its handshake was answered: two ends that pass each other's bytes on
 * as they come, each waiting for the other where that reads slowly, and each told of the other's end.
 * Nothing in the bytes is changed; where frames end is followed, so that a worker that stops can say
 * so to both ends (RFC 6455 §7.4.1, 1001) between two frames.
 */
import type { Socket } from "node:net";
import { closeFrame, FrameTracker, GOING_AWAY } from "../http1/websocket-frames.ts";
import type { ClientConnection, ConnectionOptions } from "./client.ts";
import type { ErrorCode } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Plane } from "./plane.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import type { Reader } from "./socket-handle.ts";
import type { EndedBy } from "./termination.ts";
import { breakConnection } from "./socket-handle.ts";
import type { Timed } from "./timer-wheel.ts";
import { TunnelWriter } from "./tunnel-writer.ts";

/** A connection of which nothing but its socket is left. */
export interface TunnelHost {
  readonly socket: Socket;
  /** Whether the socket's handle is the kernel's: not for TLS. */
  readonly direct: boolean;
  /** The tunnel is over, and the socket closed. */
  readonly onDone?: () => void;
}

export interface TunnelOptions {
  readonly client: TunnelHost;
  readonly upstream: TunnelHost;
  /** What the client sent before it was answered. */
  readonly early: Buffer | null;
  readonly onClosed: ConnectionOptions["onClosed"];
}

/** How often a tunnel looks whether anything has passed, in each time that it may be silent. */
const LOOKS = 4;

export class Tunnel implements Timed, ClientConnection {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly client: TunnelEnd;
  readonly upstream: TunnelEnd;
  readonly plane: Plane;
  readonly #exchange: Exchange;
  readonly #onClosed: TunnelOptions["onClosed"];
  #reason: ErrorCode | "ok" = "ok";
  #endedBy: EndedBy | "" = "";
  /** How long it may be silent, and for how many looks it has been. */
  #idleMs: number;
  #quiet = 0;
  /** Something has passed since the last look: cheaper than the time of each piece. */
  #active = false;
  #done = false;
  #early: Buffer | null;

  /** Hears its sockets' ends; what is read of them is given to `client` and `upstream`. */
  constructor(x: Exchange, { client, upstream, early, onClosed }: TunnelOptions) {
    this.#exchange = x;
    this.plane = x.plane;
    this.#onClosed = onClosed;
    this.#early = early;
    this.#idleMs = x.plane.timeouts.tunnelIdleMs;
    this.client = new TunnelEnd(this, client, "server");
    this.upstream = new TunnelEnd(this, upstream, "client");
    this.client.other = this.upstream;
    this.upstream.other = this.client;
    this.#look();
  }

  /** Both ends are ready. A client that sent much before it was answered was made to wait. */
  begin(): void {
    const early = this.#early;
    this.#early = null;
    if (early !== null) this.client.bytes(early, 0, early.length);
    if (!this.upstream.writer.full) this.client.resume();
  }

  /** So many bytes came from one end. */
  passed(from: TunnelEnd, length: number): void {
    this.#active = true;
    if (from === this.client) this.#exchange.bytesIn += length;
    else this.#exchange.bytesOut += length;
  }

  /** One end has said its last byte: the other may go on for a while. */
  endEnded(end: TunnelEnd): void {
    this.#blame("ok", end === this.client ? "client" : "backend");
    end.other.writer.end();
    this.#limit(this.plane.timeouts.tunnelHalfClosedMs);
  }

  /** The socket of one end is closed. */
  endGone(end: TunnelEnd): void {
    const { client, upstream } = this;
    if (!client.hasEnded || !upstream.hasEnded) {
      if (end === client) this.#blame("client_gone", "client");
      else this.#blame("upstream_reset", "backend");
      this.#finish(true);
    } else if (client.isGone && upstream.isGone) {
      this.#finish(false);
    }
  }

  /** As a ClientConnection: the worker stops. Both ends are told, each once no frame is under way. */
  closeIdle(): void {
    this.#blame("draining", "gateway");
    this.client.goAway();
    this.upstream.goAway();
    this.#limit(this.plane.timeouts.lingerMs);
  }

  cut(code: ErrorCode = "draining"): void {
    this.#blame(code, "gateway");
    this.#finish(false);
  }

  expire(): void {
    this.#quiet = this.#active ? 0 : this.#quiet + 1;
    this.#active = false;
    if (this.#quiet < LOOKS) {
      this.#look();
      return;
    }
    this.#blame("tunnel_idle", "gateway");
    this.#finish(false);
  }

  /** From now on no more than so long may pass without a byte. */
  #limit(idleMs: number): void {
    this.#idleMs = Math.min(this.#idleMs, idleMs);
    this.#quiet = 0;
    this.#active = false;
    if (!this.#done) this.#look();
  }

  #look(): void {
    this.plane.wheel.schedule(this, performance.now() + this.#idleMs / LOOKS);
  }

  /** What happened first is what ended it. */
  #blame(reason: ErrorCode | "ok", endedBy: EndedBy): void {
    if (this.#endedBy !== "") return;
    this.#reason = reason;
    this.#endedBy = endedBy;
  }

  /** `reset` passes on that one end broke, so that the other does not take it for an end in order. */
  #finish(reset: boolean): void {
    if (this.#done) return;
    this.#done = true;
    this.plane.wheel.cancel(this);
    this.client.close(reset);
    this.upstream.close(reset);
    const x = this.#exchange;
    x.reason = this.#reason;
    x.tunnelEndedBy = this.#endedBy;
    x.finish();
    this.#onClosed(this);
  }
}

/** One end: what is heard from it, and what it is told. */
class TunnelEnd implements Reader {
  readonly writer: TunnelWriter;
  /** Assigned right after construction, for the two ends know each other. */
  other!: TunnelEnd;
  hasEnded = false;
  isGone = false;
  readonly #tunnel: Tunnel;
  readonly #host: TunnelHost;
  readonly #frames = new FrameTracker();
  /** Whom this gateway plays towards this end. */
  readonly #role: "client" | "server";
  /** A Close of our own is due at the next end of a frame, or has been sent: nothing follows it. */
  #leaving: "no" | "due" | "said" = "no";

  constructor(tunnel: Tunnel, host: TunnelHost, role: "client" | "server") {
    this.#tunnel = tunnel;
    this.#host = host;
    this.#role = role;
    const { socket, direct } = host;
    // The other end may go on after this one has said its last byte.
    socket.allowHalfOpen = true;
    socket.on("end", () => this.#ended());
    socket.on("error", () => this.#gone());
    socket.on("close", () => this.#gone());
    this.writer = new TunnelWriter({
      socket,
      direct,
      outbox: tunnel.plane.outbox,
      onFull: () => this.other.#host.socket.pause(),
      onDrained: () => this.other.resume(),
    });
  }

  /** As a Reader: what one read brought. */
  read(from: ReadBuffer, length: number): void {
    this.bytes(from.bytes, 0, length);
  }

  /** Bytes of `from`, valid during the call. A bug in here costs this tunnel, not the worker. */
  bytes(from: Buffer, start: number, end: number): void {
    try {
      const { other } = this;
      this.#tunnel.passed(this, end - start);
      if (other.#leaving === "no") {
        this.#frames.pass(from, start, end);
        other.writer.write(from, start, end);
      } else {
        this.#passLast(from, start, end);
      }
    } catch (error) {
      this.#tunnel.plane.onBug(error);
      this.#tunnel.cut("internal");
    }
  }

  /** The other end was told, or waits to be told, that this is the end. */
  #passLast(from: Buffer, start: number, end: number): void {
    const { other } = this;
    let at = start;
    if (other.#leaving === "due") {
      const boundary = this.#frames.passFrame(from, start, end);
      at = boundary === -1 ? end : boundary;
      other.writer.write(from, start, at);
      if (boundary !== -1) other.#sayClose();
    }
    this.#frames.pass(from, at, end);
    this.#endWhenAnswered();
  }

  #ended(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.#tunnel.endEnded(this);
  }

  #gone(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.#tunnel.endGone(this);
  }

  /** Says that this is the end: now, or once the frame that is under way to this end is whole. */
  goAway(): void {
    if (this.#leaving !== "no") return;
    this.#leaving = "due";
    if (this.other.#frames.atBoundary) this.#sayClose();
  }

  #sayClose(): void {
    this.#leaving = "said";
    // Nothing may follow a Close that the other end has said already (RFC 6455 §5.5.1).
    if (!this.other.#frames.closed) {
      const frame = closeFrame(GOING_AWAY, this.#role);
      this.writer.write(frame, 0, frame.length);
    }
    this.#endWhenAnswered();
  }

  /** Once both have said Close, who plays the server closes first (RFC 6455 §7.1.1); so may the other. */
  #endWhenAnswered(): void {
    if (this.#leaving === "said" && this.#frames.closed) this.writer.end();
  }

  resume(): void {
    if (!this.isGone) this.#host.socket.resume();
  }

  close(reset: boolean): void {
    const { socket, onDone } = this.#host;
    this.writer.send();
    if (reset) breakConnection(socket);
    else socket.destroy();
    onDone?.();
  }
}
