/** Gateways with TLS listeners, and clients that speak TLS to them. */
import { once } from "node:events";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { sha256 } from "../../src/base/hash.ts";
import type {
  CertificatePart,
  ClientPart,
  ListenerTls,
  Part,
  SocketPart,
} from "../../src/compile/program.ts";
import type { TestCertificate } from "./certificates.ts";
import { oneRoute, type RouteOptions, SOCKET_KEY } from "./gateway.ts";

export interface SecureListener {
  readonly hostname: string;
  /** Names of `certificates`. */
  readonly certificates: readonly string[];
  readonly tls?: Partial<ListenerTls>;
  readonly client?: ClientPart;
  /** No route there: 404. */
  readonly empty?: true;
}

export interface SecureOptions {
  readonly listeners: readonly SecureListener[];
  readonly certificates: Readonly<Record<string, TestCertificate>>;
  readonly route: RouteOptions;
  readonly client?: ClientPart;
  readonly more?: readonly Part[];
}

const CIPHERS = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"];

/** The parts of one route on several TLS listeners of one port. */
export function secureParts(options: SecureOptions): Part[] {
  const table = "table/127.0.0.1:0/";
  const listeners: SocketPart["listeners"] = options.listeners.map((one) => ({
    hostname: one.hostname,
    table: one.empty === true ? "table/none" : table,
    ...(one.client !== undefined && { client: one.client.key }),
    tls: {
      certificates: one.certificates.map((name) => `certificate/${name}`),
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.3",
      ciphers: CIPHERS,
      alpnProtocols: ["h2", "http/1.1"],
      ...one.tls,
    },
  }));
  const socket: SocketPart = {
    type: "socket",
    key: SOCKET_KEY,
    address: "127.0.0.1",
    port: 0,
    listeners,
    ...(options.client !== undefined && { client: options.client.key }),
  };
  const clients = [options.client, ...options.listeners.map((one) => one.client)];
  return [
    ...oneRoute(options.route).filter((part) => part.type !== "socket"),
    socket,
    { type: "table", key: "table/none", hosts: [] },
    ...certificateParts(options.certificates),
    ...clients.filter((one) => one !== undefined),
    ...(options.more ?? []),
  ];
}

export function certificateParts(
  certificates: Readonly<Record<string, TestCertificate>>,
): CertificatePart[] {
  return Object.entries(certificates).map(([name, { certificate, privateKey }]) => ({
    type: "certificate",
    key: `certificate/${name}`,
    chain: certificate,
    privateKey: { ref: `${name}/tls.key`, digest: sha256(privateKey) },
  }));
}

/** The private keys, as they travel beside the parts. */
export function privateKeys(
  certificates: Readonly<Record<string, TestCertificate>>,
): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(certificates).map(([name, { privateKey }]) => [`${name}/tls.key`, privateKey]),
  );
}

/** A connection whose handshake is done; rejects where it fails. */
export async function secureConnect(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", ALPNProtocols: ["http/1.1"], ...options });
  await once(socket, "secureConnect");
  socket.on("error", () => {});
  return socket;
}

/** Asks for "/" of a host on an open connection; all that came when the answer is complete. */
export async function ask(socket: TLSSocket, host: string, lines = ""): Promise<string> {
  let text = "";
  socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n${lines}\r\n`);
  for await (const bytes of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    text += bytes.toString("latin1");
    const blank = text.indexOf("\r\n\r\n");
    const length = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? "NaN");
    if (blank !== -1 && text.length >= blank + 4 + length) return text;
  }
  return text;
}
