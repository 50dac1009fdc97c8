/**
 * The two ends of one client connection, and the texts about them, made once for each: what its
 * requests say upstream of where they came from, and what the access log says of the client. Where a
 * proxy before this one speaks for many clients, each of them has a Peer in its turn.
 */

import type { ClientPart } from "../compile/program.ts";
import type { PathReading } from "../http1/path.ts";
import type { RequestHead } from "../http1/request-head.ts";
import { jsonText } from "./access-log.ts";
import type { Secure } from "./arrival.ts";
import { plainAddress, type AddressDetection } from "./client-address.ts";
import {
  forwardedClientCert,
  subjectText,
  type ForwardedClientCert,
} from "./forwarded-client-cert.ts";
import type { Timeouts } from "./plane.ts";
import type { Cell, LinkedClient } from "./snapshot.ts";
import { UNIX_CLIENT } from "./socket-ends.ts";

export interface PeerOptions {
  readonly protocol: "HTTP/1.1" | "HTTP/2.0";
  /** What the client speaks where a proxy before this one has told; absent: what is spoken here. */
  readonly scheme?: "http" | "https";
  /** Of the client, as the socket has it or as a trusted proxy has told it; or UNIX_CLIENT. */
  readonly clientAddress: string;
  readonly localAddress: string;
  readonly localPort: number;
  /** Null: plain text. */
  readonly secure: Secure | null;
  /** The policy that holds for the client, if there is one. */
  readonly settings: ClientPart | undefined;
  /** Where that policy is kept: its changes hold for the next request. Null where there is none. */
  readonly client: Cell<LinkedClient> | null;
  readonly timeouts: Timeouts;
}

const PORTS = { http: 80, https: 443 } as const;

export class Peer {
  readonly scheme: "http" | "https";
  readonly protocol: "HTTP/1.1" | "HTTP/2.0";
  readonly clientAddress: string;
  /** A client of a Unix socket has none, and X-Forwarded-For, which lists addresses, is left out. */
  readonly hasAddress: boolean;
  readonly localPort: number;
  readonly serverName: string;
  /** The subject of the client's certificate, "" where it has none. */
  readonly clientSubject: string;
  readonly secure: Secure | null;
  readonly settings: ClientPart | undefined;
  readonly timeouts: Timeouts;
  /** What requests say of the client's certificate, and of those that proxies before this one saw. */
  readonly clientCert: ForwardedClientCert | null;
  /** Address and port of this end, for requests that name no host. */
  readonly localAuthority: string;
  /** What a line of the access log says of the client, between request id and method. */
  readonly logged: string;
  readonly #client: Cell<LinkedClient> | null;
  readonly #forwardedLines: string;
  /** What another client of this connection is made of; null where there is none. */
  readonly #options: PeerOptions | null;
  #told: Peer | null = null;
  /** Null before the first request: one may have none, which is "". */
  #authority: string | null = null;
  #lines = "";

  constructor(options: PeerOptions) {
    const { secure, settings } = options;
    this.scheme = options.scheme ?? (secure === null ? "http" : "https");
    this.secure = secure;
    this.settings = settings;
    this.#client = options.client;
    this.#options = options.client === null ? null : options;
    this.timeouts = options.timeouts;
    this.clientCert = forwardedClientCert(settings?.forwardedClientCert, secure);
    this.protocol = options.protocol;
    this.clientAddress = plainAddress(options.clientAddress);
    this.localPort = options.localPort;
    this.serverName = secure?.serverName ?? "";
    this.localAuthority = authorityOf(options.localAddress, this.localPort);
    this.hasAddress = this.clientAddress !== UNIX_CLIENT;
    const forwardedFor = this.hasAddress ? `x-forwarded-for: ${this.clientAddress}\r\n` : "";
    this.#forwardedLines = `${forwardedFor}x-forwarded-proto: ${this.scheme}\r\nx-forwarded-port: ${this.localPort}\r\n`;
    const certificate = secure?.clientCertificate;
    this.clientSubject = certificate === undefined ? "" : subjectText(certificate);
    const subject =
      certificate === undefined ? "" : `,"clientSubject":${jsonText(this.clientSubject)}`;
    this.logged = `","client":"${this.clientAddress}"${subject},"protocol":"${this.protocol}","method":"`;
  }

  /** How the clients of requests are found where they are not who connects; null: they are. */
  get detection(): AddressDetection | null {
    return this.#client === null ? null : (this.#client.value?.detection ?? null);
  }

  /** How paths of requests are read; undefined: as usual. */
  get path(): PathReading | undefined {
    return this.#client === null ? undefined : this.#client.value?.part.path;
  }

  /**
   * The same connection for requests of the client at `address`, in plain form, which speaks `scheme`.
   * Where TLS ended before this gateway, the port that the client knows is that scheme's own.
   */
  speakingFor(address: string, scheme = this.scheme): Peer {
    if (this.#options === null || this.#isFor(address, scheme)) return this;
    if (this.#told === null || !this.#told.#isFor(address, scheme)) {
      const localPort = scheme === this.scheme ? this.localPort : PORTS[scheme];
      this.#told = new Peer({ ...this.#options, clientAddress: address, scheme, localPort });
    }
    return this.#told;
  }

  #isFor(address: string, scheme: Peer["scheme"]): boolean {
    return address === this.clientAddress && scheme === this.scheme;
  }

  /** The lines that a request with `head` gets, up to its request id. */
  ownLines(head: RequestHead): string {
    const lines = this.#linesFor(head.authority);
    return this.clientCert === null ? lines : this.clientCert.line(head) + lines;
  }

  #linesFor(authority: string): string {
    if (authority !== this.#authority) {
      // Copies, for a slice of a head would keep the whole head alive.
      this.#authority = copyOf(authority);
      const host = authority === "" ? "" : `x-forwarded-host: ${authority}\r\n`;
      this.#lines = copyOf(`${this.#forwardedLines}${host}x-request-id: `);
    }
    return this.#lines;
  }
}

/** Address and port as they stand in a Host header. */
function authorityOf(address: string, port: number): string {
  const plain = plainAddress(address);
  return `${plain.includes(":") ? `[${plain}]` : plain}:${port}`;
}

/** A string of its own: a slice of a head would keep the whole head alive. */
export function copyOf(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}
