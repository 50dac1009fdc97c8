/**
 * The two ends of one client connection, and the texts about them, made once for each: what its
 * requests say upstream of where they came from, and what the access log says of the client.
 */

export interface PeerOptions {
  readonly scheme: "http" | "https";
  readonly protocol: "HTTP/1.1" | "HTTP/2.0";
  /** Of the client, as the socket has it or as a trusted proxy has told it. */
  readonly clientAddress: string;
  readonly localAddress: string;
  readonly localPort: number;
  /** The name that the client asked for in TLS (SNI), "" where it named none. */
  readonly serverName?: string;
}

export class Peer {
  readonly scheme: "http" | "https";
  readonly protocol: "HTTP/1.1" | "HTTP/2.0";
  readonly clientAddress: string;
  readonly localPort: number;
  readonly serverName: string;
  /** Address and port of this end, for requests that name no host. */
  readonly localAuthority: string;
  /** What a line of the access log says of the client, between request id and method. */
  readonly logged: string;
  readonly #forwardedLines: string;
  #authority = "";
  #lines = "";

  constructor(options: PeerOptions) {
    this.scheme = options.scheme;
    this.protocol = options.protocol;
    this.clientAddress = plainAddress(options.clientAddress);
    this.localPort = options.localPort;
    this.serverName = options.serverName ?? "";
    this.localAuthority = authorityOf(options.localAddress, this.localPort);
    this.#forwardedLines = `x-forwarded-for: ${this.clientAddress}\r\nx-forwarded-proto: ${this.scheme}\r\nx-forwarded-port: ${this.localPort}\r\n`;
    this.logged = `","client":"${this.clientAddress}","protocol":"${this.protocol}","method":"`;
  }

  /** The lines that every request for `authority` gets, up to its request id. */
  ownLines(authority: string): string {
    if (authority !== this.#authority) {
      // Copies, for a slice of a head would keep the whole head alive.
      this.#authority = copyOf(authority);
      this.#lines = copyOf(
        `${this.#forwardedLines}x-forwarded-host: ${authority}\r\nx-request-id: `,
      );
    }
    return this.#lines;
  }
}

/** An IPv4 peer of a socket that takes both families is written "::ffff:192.0.2.1". */
function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
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
