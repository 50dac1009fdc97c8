/**
 * Gateways whose port takes one connection at a time, so that the next is served only where the one
 * before has been let go of; and the ways in which a connection can end.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { WebSocket, WebSocketServer } from "ws";
import type { ClientPart, ListenerTls } from "../../src/compile/program.ts";
import { PREFACE, SETTINGS } from "../../src/http2/frame.ts";
import type { Timeouts } from "../../src/proxy/plane.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { SERVED, type TestCertificate } from "./certificates.ts";
import { FramePeer } from "./frames.ts";
import { oneRoute, testGateway, type TestGateway } from "./gateway.ts";
import { privateKeys, secureParts } from "./secure.ts";
import { eventually } from "./upstream.ts";

const OWN = SERVED[0] as TestCertificate;
export const HOST = "a.example";
export const GET = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
/** Of every case. */
export const LIMIT = { timeout: 15_000 };

const NONE = Buffer.alloc(0);
export const PROXY_V1 = Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.2 56324 8443\r\n");
export const PROXY_V2_SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
export const PROXY_V2 = Buffer.concat([
  PROXY_V2_SIGNATURE,
  Buffer.from([0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x20, 0xfb]),
]);
const LOCAL = Buffer.concat([PROXY_V2_SIGNATURE, Buffer.from([0x20, 0, 0, 0])]);

/** What stands before the first request. */
export interface Before {
  readonly name: string;
  readonly header: Buffer;
  readonly secure: boolean;
}

export const BEFORE: readonly Before[] = [
  { name: "TLS", header: NONE, secure: true },
  { name: "PROXY version 1", header: PROXY_V1, secure: false },
  { name: "PROXY version 2", header: PROXY_V2, secure: false },
  { name: "PROXY LOCAL", header: LOCAL, secure: false },
  { name: "PROXY version 1 and TLS", header: PROXY_V1, secure: true },
  { name: "PROXY version 2 and TLS", header: PROXY_V2, secure: true },
  { name: "PROXY LOCAL and TLS", header: LOCAL, secure: true },
];

/** A way out. */
export interface Way {
  readonly name: string;
  readonly timeouts?: Partial<Timeouts>;
  readonly tls?: Partial<ListenerTls>;
  /** What clients that are to be served say of themselves. */
  readonly own?: ConnectionOptions;
  /** The gateway is let go of: nobody is served afterwards. */
  readonly drains?: true;
  take(world: World): Promise<unknown>;
}

/** How whoever has a connection can end it. */
export const ENDS: readonly [name: string, end: (socket: Socket, below: Socket) => unknown][] = [
  ["ended", (socket) => socket.end()],
  ["closed", (socket) => socket.destroy()],
  ["closed below TLS", (_, below) => below.destroy()],
  ["reset", (_, below) => below.resetAndDestroy()],
];

interface WorldOptions {
  readonly counts: SharedArrayBuffer;
  readonly header: Buffer;
  readonly secure: boolean;
  /** What clients that are to be served say of themselves. */
  readonly own: ConnectionOptions;
  readonly bugs: readonly unknown[];
}

/** One gateway whose port takes one connection, and what a case does with it. */
export class World implements AsyncDisposable {
  readonly gateway: TestGateway;
  readonly bugs: readonly unknown[];
  readonly #counts: Int32Array;
  readonly #header: Buffer;
  readonly #secure: boolean;
  readonly #own: ConnectionOptions;
  readonly #sockets: Socket[] = [];

  constructor(gateway: TestGateway, options: WorldOptions) {
    this.gateway = gateway;
    this.bugs = options.bugs;
    this.#counts = new Int32Array(options.counts);
    this.#header = options.header;
    this.#secure = options.secure;
    this.#own = options.own;
  }

  get counted(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** A connection that was counted, and has said its header and `first`. */
  async dial(first: Buffer | string = "", header = this.#header): Promise<Socket> {
    const socket = connect({ port: this.gateway.port, host: "127.0.0.1", noDelay: true });
    this.#sockets.push(socket);
    socket.on("error", () => {});
    await once(socket, "connect");
    // Before anything is said: what comes may end it at once.
    await eventually(() => this.counted === 1);
    if (header.length > 0) socket.write(header);
    if (first.length > 0) socket.write(first);
    return socket;
  }

  /** A TLS client in its handshake. */
  async shaking(options: ConnectionOptions = {}): Promise<TLSSocket> {
    const secure = connectTls({
      socket: await this.dial(),
      servername: HOST,
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
      ...options,
    });
    secure.on("error", () => {});
    return secure;
  }

  /** Where requests can be asked: over TLS where there is that. */
  async open(options: ConnectionOptions = {}): Promise<Asker> {
    if (!this.#secure) {
      const socket = await this.dial();
      return new Asker(socket, socket);
    }
    const secure = await this.shaking({ ...this.#own, ...options });
    const [below] = this.#sockets.slice(-1) as [Socket];
    await once(secure, "secureConnect");
    return new Asker(secure, below);
  }

  async http2(): Promise<{ peer: FramePeer; below: Socket }> {
    const { socket, below } = await this.open({ ALPNProtocols: ["h2"] });
    const peer = new FramePeer(socket);
    socket.write(PREFACE);
    peer.settings([]);
    await peer.until((one) => one.of(SETTINGS).length === 2);
    return { peer, below };
  }

  async webSocket(): Promise<{ client: WebSocket; below: Socket }> {
    const { socket, below } = await this.open();
    // The types of ws do not say that the connection may be one that is there.
    const options = { createConnection: () => socket };
    const client = new WebSocket(`ws://${HOST}/`, [], options);
    client.on("error", () => {});
    await once(client, "open");
    return { client, below };
  }

  async gone(): Promise<void> {
    await eventually(() => this.counted === 0 && this.gateway.plane.connections === 0);
  }

  async serves(): Promise<void> {
    const asker = await this.open();
    asker.socket.write(GET);
    assert.match(await asker.until(/\r\n\r\nok$/), /^HTTP\/1\.1 200/);
    asker.socket.destroy();
    await this.gone();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.gateway[Symbol.asyncDispose]();
  }
}

/** A client that keeps what it hears. `below` is its kernel's socket. */
export class Asker {
  readonly socket: Socket;
  readonly below: Socket;
  heard = "";

  constructor(socket: Socket, below: Socket) {
    this.socket = socket;
    this.below = below;
  }

  async until(pattern: RegExp): Promise<string> {
    const hear = (bytes: Buffer): void => void (this.heard += bytes.toString("latin1"));
    this.socket.on("data", hear);
    await eventually(() => pattern.test(this.heard));
    this.socket.off("data", hear);
    this.socket.resume();
    return this.heard;
  }

  async asked(text = GET, pattern = /\r\n\r\nok$/): Promise<this> {
    this.socket.write(text);
    await this.until(pattern);
    return this;
  }
}

/** A backend: "/" is answered "ok", "/stream" begins and goes on, "/broken" begins and breaks off. */
export class Backend implements AsyncDisposable {
  readonly #server: Server;
  readonly #webSockets: WebSocketServer;

  constructor() {
    const server = createServer((request, response) => {
      request.resume();
      request.on("error", () => {});
      if (request.url === "/") request.on("end", () => response.end("ok"));
      else response.write("begun");
      if (request.url === "/broken") setImmediate(() => request.socket.destroy());
    });
    this.#server = server;
    this.#webSockets = new WebSocketServer({ server });
    this.#webSockets.on("connection", (socket) => {
      socket.on("error", () => {});
      socket.on("message", () => socket.close(1000));
    });
  }

  async listen(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  async worldOf(way: Way, { header, secure }: Before): Promise<World> {
    const client: ClientPart = {
      type: "client",
      key: "client/default/p",
      connectionLimit: { value: 1, closeDelayMs: 0 },
      ...(header.length > 0 && { proxyProtocol: "required" }),
    };
    const certificates = { own: OWN };
    const tls = way.tls === undefined ? {} : { tls: way.tls };
    const route = { stable: [(this.#server.address() as AddressInfo).port] };
    const secured = secureParts({
      listeners: [{ hostname: HOST, certificates: ["own"], client, ...tls }],
      certificates,
      route,
      more: [{ type: "authorities", key: "authorities/own", pem: OWN.certificate }],
    });
    const parts = secure ? secured : [...oneRoute(route), client];
    const memory = allocateSharedMemory(1);
    const bugs: unknown[] = [];
    const gateway = await testGateway({
      parts: parts.map((part) => (part.type === "socket" ? { ...part, client: client.key } : part)),
      credentials: privateKeys(certificates),
      memory,
      ...(way.timeouts && { timeouts: way.timeouts }),
      onBug: (error) => bugs.push(error),
    });
    const counts = memory.connections.stripes;
    return new World(gateway, { counts, header, secure, own: way.own ?? {}, bugs });
  }

  /** Goes a way, and looks whether the next is served. */
  async go(way: Way, before: Before): Promise<void> {
    await using world = await this.worldOf(way, before);
    await way.take(world);
    await world.gone();
    if (way.drains !== true) await world.serves();
    assert.deepEqual(world.bugs, []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#webSockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}
