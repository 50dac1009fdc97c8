/**
 * Connections to endpoints, kept for the next request: last in, first out, so that what is not
 * needed grows old and is closed. An endpoint is known by its address and outlives the Program's
 * generations, with its idle connections and its count of requests in flight.
 */
import { connect, type NetConnectOpts, type OnReadOpts, type Socket } from "node:net";
import type { Random } from "../base/random.ts";
import type { EndpointAddress, PoolPart } from "../compile/program.ts";
import { addressText, isWorn, type Endpoint, type PoolUse } from "./endpoint.ts";
import { Http2Endpoint } from "./http2-endpoint.ts";
import type { Habits, LinkedCertificate, LinkedPool } from "./snapshot.ts";
import { KEEP_ALIVE_MS } from "./plane.ts";
import { ReadBuffer } from "./read-buffer.ts";
import { readDirectly } from "./socket-handle.ts";
import { TextWriter } from "./text-writer.ts";
import { isUntrusted, SecureOrigin } from "./upstream-tls.ts";
import { Upstream, type UpstreamDeps } from "./upstream.ts";

/** What endpoints share: one read buffer for all plain connections of the worker. */
interface Shared extends UpstreamDeps {
  readonly readBuffer: ReadBuffer;
  readonly live: Set<Endpoint>;
}

const READ_BUFFER_BYTES = 64 * 1024;
const KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS } as const;

export class Http1Endpoint implements Endpoint {
  readonly address: EndpointAddress;
  readonly text: string;
  inFlight = 0;
  connections = 0;
  readonly #idle: Upstream[] = [];
  readonly #origin: SecureOrigin | null;
  readonly #shared: Shared;

  /** `origin` is null where it is spoken to in plain text. */
  constructor(address: EndpointAddress, origin: SecureOrigin | null, shared: Shared) {
    this.address = address;
    this.#origin = origin;
    this.text = addressText(address);
    this.#shared = shared;
  }

  /** Whether it is spoken to by TLS. */
  get secure(): boolean {
    return this.#origin !== null;
  }

  hasRoom({ connectionsPerEndpointMax }: PoolUse): boolean {
    // Every connection that is not idle has a request in flight.
    return this.inFlight < connectionsPerEndpointMax;
  }

  mayOpen(use: PoolUse): boolean {
    return this.hasRoom(use);
  }

  /** The idle connection that was used last and that the rule may still use, or undefined. */
  takeIdle(use: PoolUse): Upstream | undefined {
    for (;;) {
      const upstream = this.#idle.pop();
      if (upstream === undefined || !isWorn(upstream, use)) {
        if (upstream !== undefined) upstream.idleTimeoutMs = use.idleTimeoutMs;
        return upstream;
      }
      upstream.destroy();
    }
  }

  /** Begins a new connection; `ready` or `failed` follows. */
  open(use: PoolUse): Upstream {
    const upstream = new Upstream(this, this.#shared);
    upstream.idleTimeoutMs = use.idleTimeoutMs;
    this.connections++;
    this.#shared.live.add(this);
    const origin = this.#origin;
    upstream.socket = origin === null ? this.#plain(upstream) : this.#secure(upstream, origin);
    const { socket } = upstream;
    upstream.writer = new TextWriter(socket, origin === null);
    socket.on("error", (error) => {
      if (isUntrusted(error)) upstream.fail("upstream_certificate_invalid");
      else upstream.closed(false);
    });
    socket.on("end", () => upstream.closed(true));
    socket.on("close", () => upstream.closed(false));
    socket.on("drain", () => {
      if (upstream.exchange !== null) upstream.events.drained(upstream.exchange);
    });
    return upstream;
  }

  #plain(upstream: Upstream): Socket {
    const { readBuffer } = this.#shared;
    const onread = {
      buffer: readBuffer.bytes,
      callback(length: number): boolean {
        upstream.read(readBuffer, length);
        return !upstream.paused;
      },
    };
    const { address } = this;
    const options: NetConnectOpts =
      "unixPath" in address
        ? { path: address.unixPath, onread }
        : { host: address.host, port: address.port, noDelay: true, ...KEEP_ALIVE, onread };
    const socket = connect(options);
    socket.on("connect", () => {
      readDirectly(socket, readBuffer, upstream);
      this.#connected(upstream);
    });
    return socket;
  }

  #secure(upstream: Upstream, origin: SecureOrigin): Socket {
    const socket = openSocket(this.address, origin, { protocol: "http/1.1" });
    socket.on("secureConnect", () => this.#connected(upstream));
    socket.on("data", (bytes: Buffer) =>
      upstream.read(this.#shared.readBuffer.taking(bytes), bytes.length),
    );
    return socket;
  }

  #connected(upstream: Upstream): void {
    if (upstream.exchange === null) upstream.destroy();
    else upstream.events.ready(upstream, upstream.exchange);
  }

  /** Takes a connection back, ready for another request. */
  release(upstream: Upstream, nowMs: number): void {
    upstream.idleSinceMs = nowMs;
    upstream.requests++;
    this.#idle.push(upstream);
  }

  /** A connection is gone. */
  forget(upstream: Upstream, idle: boolean): void {
    this.connections--;
    if (this.connections === 0) this.#shared.live.delete(this);
    if (!idle) return;
    const index = this.#idle.lastIndexOf(upstream);
    if (index !== -1) this.#idle.splice(index, 1);
  }

  /** Closes what has been idle for too long; the oldest stand first. */
  sweep(nowMs: number): void {
    for (;;) {
      const oldest = this.#idle[0];
      if (oldest === undefined || oldest.idleSinceMs + oldest.idleTimeoutMs > nowMs) return;
      oldest.destroy();
    }
  }

  closeIdle(): void {
    for (let oldest = this.#idle[0]; oldest !== undefined; oldest = this.#idle[0]) oldest.destroy();
  }
}

/** The endpoints of one linked pool, as one rule uses them. */
export interface PoolRuntime {
  readonly part: PoolUse;
  readonly endpoints: readonly Endpoint[];
}

/** What a rule's habits come to with the certificate that it presents now. */
interface Habitual {
  readonly certificate: LinkedCertificate | null;
  readonly runtimes: WeakMap<LinkedPool, PoolRuntime>;
}

export class Pools {
  readonly #runtimes = new WeakMap<LinkedPool, PoolRuntime>();
  readonly #habitual = new WeakMap<Habits, Habitual>();
  readonly #endpoints = new Map<string, WeakRef<Endpoint>>();
  readonly #shared: Shared;

  constructor(deps: UpstreamDeps) {
    const readBuffer = ReadBuffer.ofSize(READ_BUFFER_BYTES);
    this.#shared = { ...deps, readBuffer, live: new Set() };
  }

  /** `habits`: how the rule uses connections, where it does so in a way of its own. */
  of(pool: LinkedPool, habits: Habits | null): PoolRuntime {
    const certificate = habits?.clientCertificate?.value ?? null;
    const runtimes = habits === null ? this.#runtimes : this.#runtimesOf(habits, certificate);
    let runtime = runtimes.get(pool);
    if (runtime === undefined) {
      const part = habits === null ? pool.part : useOf(pool.part, habits);
      const endpoints = part.endpoints.map((address) => this.#endpoint(address, part, certificate));
      runtime = { part, endpoints };
      runtimes.set(pool, runtime);
    }
    return runtime;
  }

  #runtimesOf(
    habits: Habits,
    certificate: LinkedCertificate | null,
  ): WeakMap<LinkedPool, PoolRuntime> {
    let habitual = this.#habitual.get(habits);
    // Connections that were made with another certificate are those of another endpoint.
    if (habitual?.certificate !== certificate) {
      habitual = { certificate, runtimes: new WeakMap() };
      this.#habitual.set(habits, habitual);
    }
    return habitual.runtimes;
  }

  #endpoint(
    address: EndpointAddress,
    { tls, protocol }: PoolPart,
    certificate: LinkedCertificate | null,
  ): Endpoint {
    const shown = tls === undefined ? null : certificate;
    const key = JSON.stringify([address, tls ?? null, protocol ?? null, shown?.part ?? null]);
    const known = this.#endpoints.get(key)?.deref();
    if (known !== undefined) return known;
    const origin = tls === undefined ? null : new SecureOrigin(tls, shown);
    const endpoint =
      protocol === undefined
        ? new Http1Endpoint(address, origin, this.#shared)
        : new Http2Endpoint(address, addressText(address), {
            ...this.#shared,
            scheme: protocol === "h2" ? "https" : "http",
            openSocket: (onread) => openSocket(address, origin, { protocol: "h2", onread }),
          });
    this.#endpoints.set(key, new WeakRef(endpoint));
    return endpoint;
  }

  sweep(nowMs: number): void {
    for (const endpoint of this.#shared.live) endpoint.sweep(nowMs);
  }

  /** Forgets addresses that no pool names any more. */
  forgetUnused(): void {
    for (const [key, reference] of this.#endpoints) {
      if (reference.deref() === undefined) this.#endpoints.delete(key);
    }
  }

  closeIdle(): void {
    for (const endpoint of this.#shared.live) endpoint.closeIdle();
  }
}

/** gRPC goes over HTTP/2, whether or not the backend says so. */
function useOf(part: PoolPart, { grpc, limits }: Habits): PoolUse {
  const spoken = part.protocol ?? (part.tls === undefined ? "h2c" : "h2");
  return { ...part, ...(grpc && { protocol: spoken }), ...limits };
}

/**
 * Of two endpoints drawn at random the one with fewer requests in flight, among those that `excluded`
 * does not name; undefined where none is left. Draws nothing where there is no choice.
 */
export function chooseEndpoint(
  endpoints: readonly Endpoint[],
  excluded: readonly Endpoint[],
  random: Random,
): Endpoint | undefined {
  const candidates =
    excluded.length === 0
      ? endpoints
      : endpoints.filter((endpoint) => !excluded.includes(endpoint));
  const count = candidates.length;
  if (count < 2) return candidates[0];
  const first = Math.floor(random() * count);
  const drawn = Math.floor(random() * (count - 1));
  const second = drawn >= first ? drawn + 1 : drawn;
  const one = candidates[first] as Endpoint;
  const other = candidates[second] as Endpoint;
  return other.inFlight < one.inFlight ? other : one;
}

/** Begins a connection to `address`, over TLS where the pool says so; `onread` is for plain ones. */
function openSocket(
  address: EndpointAddress,
  origin: SecureOrigin | null,
  { protocol, onread }: { protocol: "http/1.1" | "h2"; onread?: OnReadOpts },
): Socket {
  const target =
    "unixPath" in address
      ? { path: address.unixPath }
      : { host: address.host, port: address.port, noDelay: true, ...KEEP_ALIVE };
  if (origin === null) return connect({ ...target, ...(onread !== undefined && { onread }) });
  const socket = origin.open(target, protocol);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  if (protocol === "h2") {
    socket.on("secureConnect", () => {
      if (socket.alpnProtocol !== "h2") socket.destroy(new Error("the backend speaks no HTTP/2"));
    });
  }
  return socket;
}
