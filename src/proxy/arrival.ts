/**
 * An accepted connection until it is known whose it is and what it speaks: a header of the PROXY
 * protocol, then the name that a TLS client asks for, then its handshake. All of it has one deadline,
 * and what is not as it should be ends here: nobody has asked for anything yet.
 */
import type { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Refusal } from "../shared/metrics.ts";
import { CLIENT_HELLO_BYTES_MAX, readClientHello } from "./client-hello.ts";
import { PROXY_HEADER_BYTES_MAX, readProxyHeader, type ProxyHeader } from "./proxy-protocol.ts";
import type { Cell, LinkedListener, LinkedSocket } from "./snapshot.ts";
import { socketEnds, type SocketEnds } from "./socket-ends.ts";
import type { Timed, TimerWheel } from "./timer-wheel.ts";
import {
  ALERT,
  isAdmitted,
  isVerified,
  isWithoutCertificate,
  release,
  type TlsContexts,
} from "./tls.ts";

/** What was found out about a connection: its ends as the socket has them or as a proxy has told. */
export interface Arrived extends SocketEnds {
  /** Null: plain text. */
  readonly secure: Secure | null;
}

/** What TLS has to say of a connection. */
export interface Secure {
  readonly listener: LinkedListener;
  /** The name that was asked for, "" for none. */
  readonly serverName: string;
  readonly http2: boolean;
  /** Verified; undefined where the client has presented none that could be. */
  readonly clientCertificate: X509Certificate | undefined;
  /** What the client was shown; undefined where nobody needs it. */
  readonly ownCertificate: X509Certificate | undefined;
}

/** Who is told of a connection's arrival; exactly one of the two. */
export interface ArrivalEvents {
  /** `socket` is the TLS side where there is TLS. `first` was read of it already. */
  arrived(arrival: Arrival, socket: Socket, about: Arrived, first: Buffer): void;
  /** It has ended before anything was asked; `failure` names why, for whoever counts. */
  lost(arrival: Arrival, failure: ArrivalFailure): void;
}

/** `closed`: by the client, or because the worker lets its connections go. */
export type ArrivalFailure = Refusal | "closed";

export interface ArrivalDeps {
  readonly wheel: TimerWheel;
  readonly contexts: TlsContexts;
  readonly events: ArrivalEvents;
  readonly timeoutMs: number;
  readonly onBug: (error: unknown) => void;
}

const HEADER = 0;
const HELLO = 1;
const HANDSHAKE = 2;
const OVER = 3;

const NOTHING = Buffer.alloc(0);
/** Said to clients that speak plain HTTP to a port with TLS, as far as that can be told. */
const PLAIN_METHOD = /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|PRI) /;
const PLAIN_WORDS = "This port speaks HTTPS: ask for https://\n";
const PLAIN_ANSWER =
  "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n" +
  `content-length: ${PLAIN_WORDS.length}\r\n\r\n${PLAIN_WORDS}`;

export class Arrival implements Timed {
  deadlineMs = Infinity;
  wheelTick = -1;
  wheelNext: Timed | null = null;
  wheelPrevious: Timed | null = null;

  readonly #socket: Socket;
  readonly #served: Cell<LinkedSocket>;
  readonly #deps: ArrivalDeps;
  #state: number;
  #bytes: Buffer = NOTHING;
  #header: ProxyHeader | null = null;
  #tls: TLSSocket | null = null;
  readonly #onData = (bytes: Buffer): void => this.#read(bytes);
  readonly #onGone = (): void => this.#lose("closed");

  /** `socket` is paused, and nothing has been read of it. */
  constructor(socket: Socket, served: Cell<LinkedSocket>, deps: ArrivalDeps) {
    this.#socket = socket;
    this.#served = served;
    this.#deps = deps;
    this.#state = served.value?.client?.value?.part.proxyProtocol === undefined ? HELLO : HEADER;
    socket.on("data", this.#onData);
    socket.on("error", this.#onGone);
    socket.on("end", this.#onGone);
    socket.on("close", this.#onGone);
    deps.wheel.schedule(this, performance.now() + deps.timeoutMs);
    socket.resume();
  }

  /** Whose connection it is, as far as that is known: the client's address, or that of its proxy. */
  get clientAddress(): string {
    const { clientAddress } = socketEnds(this.#socket, this.#served);
    return this.#header?.source?.address ?? clientAddress;
  }

  expire(): void {
    this.#lose(this.#state === HEADER ? "proxy_header_timeout" : "handshake_timeout");
  }

  /** The worker lets its connections go. */
  cut(): void {
    this.#lose("closed");
  }

  #read(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    try {
      if (this.#state === HEADER) this.#readHeader();
      if (this.#state === HELLO) this.#readHello();
    } catch (error) {
      this.#deps.onBug(error);
      this.#lose("handshake");
    }
  }

  #readHeader(): void {
    const found = readProxyHeader(this.#bytes);
    if (found === "more") {
      if (this.#bytes.length > PROXY_HEADER_BYTES_MAX) this.#lose("proxy_header");
      return;
    }
    const mode = this.#served.value?.client?.value?.part.proxyProtocol;
    if (found === "invalid" || (found === "none" && mode === "required")) {
      this.#lose("proxy_header");
      return;
    }
    if (found !== "none") {
      this.#header = found;
      this.#bytes = this.#bytes.subarray(found.length);
    }
    this.#state = HELLO;
  }

  #readHello(): void {
    const served = this.#served.value;
    if (served === undefined) {
      this.#lose("no_listener");
      return;
    }
    if (!served.secure) {
      this.#arrive(this.#socket, null, this.#bytes);
      return;
    }
    if (this.#bytes.length === 0) return;
    const hello = readClientHello(this.#bytes);
    if (hello === "more") {
      if (this.#bytes.length > CLIENT_HELLO_BYTES_MAX) this.#lose("client_hello");
      return;
    }
    if (hello === "invalid") {
      const isPlain = PLAIN_METHOD.test(this.#bytes.toString("latin1", 0, 16));
      this.#refuse("client_hello", isPlain ? PLAIN_ANSWER : ALERT.decodeError);
      return;
    }
    const listener = served.listeners.find(hello.serverName);
    if (listener === undefined) {
      this.#refuse("no_listener", ALERT.unrecognizedName);
      return;
    }
    this.#shake(served, listener, hello.serverName);
  }

  #shake(served: LinkedSocket, listener: LinkedListener, serverName: string): void {
    const socket = this.#socket;
    this.#leaveSocket();
    socket.unshift(this.#bytes);
    this.#bytes = NOTHING;
    const tls = this.#deps.contexts.begin(socket, served.part.key, listener);
    if (tls === undefined) {
      this.#refuse("no_listener", ALERT.handshakeFailure);
      return;
    }
    this.#state = HANDSHAKE;
    this.#tls = tls;
    socket.on("error", () => {});
    const onError = (): void => this.#lose("handshake");
    const onClose = (): void => this.#lose("closed");
    tls.on("error", onError);
    tls.on("close", onClose);
    // Half open sockets do not close by themselves, and who has said its last byte shakes no hands.
    tls.on("end", onClose);
    // Errors of TLS itself come under this name as long as no tls.Server has let go of the socket.
    tls.on("_tlsError", (error: unknown) => {
      this.#lose(isWithoutCertificate(error) ? "client_certificate" : "handshake");
      tls.destroy();
    });
    tls.once("secure", () => {
      tls.off("error", onError);
      tls.off("close", onClose);
      tls.off("end", onClose);
      try {
        this.#shaken(tls, listener, serverName);
      } catch (error) {
        this.#deps.onBug(error);
        tls.destroy();
      }
    });
  }

  #shaken(tls: TLSSocket, listener: LinkedListener, serverName: string): void {
    if (this.#state !== HANDSHAKE) return;
    if (!isAdmitted(tls, listener)) {
      this.#lose("client_certificate");
      return;
    }
    release(tls);
    const verified = listener.tls?.authorities !== null && isVerified(tls);
    this.#arrive(
      tls,
      {
        listener,
        serverName,
        http2: tls.alpnProtocol === "h2",
        clientCertificate: verified ? tls.getPeerX509Certificate() : undefined,
        ownCertificate: verified ? tls.getX509Certificate() : undefined,
      },
      NOTHING,
    );
  }

  #arrive(socket: Socket, secure: Secure | null, first: Buffer): void {
    this.#leaveSocket();
    this.#state = OVER;
    this.#deps.wheel.cancel(this);
    const { source, destination } = this.#header ?? { source: null, destination: null };
    const own = socketEnds(this.#socket, this.#served);
    const about: Arrived = {
      clientAddress: source?.address ?? own.clientAddress,
      localAddress: destination?.address ?? own.localAddress,
      localPort: destination?.port ?? own.localPort,
      secure,
    };
    this.#deps.events.arrived(this, socket, about, first);
  }

  /** Says why in the only words that the client may understand yet, and ends the connection. */
  #refuse(failure: ArrivalFailure, words: Buffer | string): void {
    if (this.#state === OVER) return;
    this.#socket.end(words);
    this.#lose(failure);
  }

  #lose(failure: ArrivalFailure): void {
    if (this.#state === OVER) return;
    this.#state = OVER;
    this.#leaveSocket();
    this.#deps.wheel.cancel(this);
    this.#socket.on("error", () => {});
    this.#tls?.on("error", () => {}).destroy();
    // Words that were said are sent before the socket is gone.
    if (this.#socket.writableEnded) this.#socket.destroySoon();
    else this.#socket.destroy();
    this.#deps.events.lost(this, failure);
  }

  #leaveSocket(): void {
    const socket = this.#socket;
    socket.off("data", this.#onData);
    socket.off("error", this.#onGone);
    socket.off("end", this.#onGone);
    socket.off("close", this.#onGone);
    socket.pause();
  }
}
