/**
 * TLS towards clients: for each listener what OpenSSL needs to speak for it, made when a client first
 * asks for it and anew when one of its certificates has changed, so that the next handshake has the
 * new one and open connections keep theirs. Sessions are resumed by tickets that every worker can
 * read, and that are good for one listener alone, whose clients are verified alike.
 */
import { constants, hkdfSync } from "node:crypto";
import type { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import type { TicketSecret } from "../shared/tickets.ts";
import type { LinkedCertificate, LinkedListener, LinkedListenerTls } from "./snapshot.ts";

/** Of TLS 1.3, which cannot be chosen; AES first where both ends have it in hardware. */
const CIPHERS_13 = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
];
/** How long a session may be resumed, seconds. */
const SESSION_SECONDS = 3600;
const TICKET_KEY_BYTES = 48;
const SECURE_OPTIONS =
  constants.SSL_OP_NO_RENEGOTIATION |
  constants.SSL_OP_NO_COMPRESSION |
  constants.SSL_OP_CIPHER_SERVER_PREFERENCE;

/** What is made for one listener, and what it was made of. */
interface Made {
  readonly context: SecureContext;
  readonly certificates: readonly (LinkedCertificate | undefined)[];
  readonly authorities: unknown;
  readonly ticketVersion: number;
}

/** The alerts that refuse a handshake before it begins (RFC 8446 §6), as records. */
export const ALERT = {
  handshakeFailure: alertOf(40),
  unrecognizedName: alertOf(112),
  decodeError: alertOf(50),
} as const;

function alertOf(description: number): Buffer {
  return Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, description]);
}

export class TlsContexts {
  readonly #tickets: TicketSecret;
  readonly #made = new WeakMap<LinkedListenerTls, Made>();

  constructor(tickets: TicketSecret) {
    this.#tickets = tickets;
  }

  /**
   * The TLS side of an accepted connection whose client has asked for `listener`, in its handshake;
   * undefined where none of the listener's certificates is there. Throws what OpenSSL throws.
   */
  begin(socket: Socket, place: string, listener: LinkedListener): TLSSocket | undefined {
    const { tls } = listener;
    const context = tls === null ? undefined : this.#contextOf(place, listener.hostname, tls);
    if (tls === null || context === undefined) return undefined;
    const offered: string[] = [...tls.part.alpnProtocols];
    // Who speaks HTTP/1.1 takes HTTP/1.0 (RFC 9110 §2.5), which clients that are made to offer it alone.
    if (offered.includes("http/1.1")) offered.push("http/1.0");
    return new TLSSocket(socket, {
      isServer: true,
      secureContext: context,
      requestCert: tls.authorities !== null,
      // Whoever presents nothing is told so by OpenSSL, in an alert. It lets pass what is presented, for
      // node:tls has it do so: that is judged by `isAdmitted`, after the handshake.
      rejectUnauthorized: tls.part.clientValidation?.mode === "required",
      ...(offered.length > 0 && { ALPNProtocols: offered }),
    });
  }

  #contextOf(place: string, hostname: string, tls: LinkedListenerTls): SecureContext | undefined {
    const certificates = tls.certificates.map((cell) => cell.value);
    const authorities = tls.authorities?.value;
    const known = this.#made.get(tls);
    if (
      known !== undefined &&
      known.authorities === authorities &&
      known.ticketVersion === this.#tickets.version &&
      known.certificates.every((one, index) => one === certificates[index])
    ) {
      return known.context;
    }
    const served = certificates.filter(isServed);
    // Without its authorities a listener could not tell its clients from others.
    if (served.length === 0 || (tls.authorities !== null && authorities === undefined)) {
      return undefined;
    }
    const ticket = this.#tickets.read();
    const context = createSecureContext({
      cert: served.map(({ part }) => part.chain),
      key: served.map(({ privateKey }) => privateKey),
      ...(authorities !== undefined && { ca: authorities.part.pem }),
      minVersion: tls.part.minVersion,
      maxVersion: tls.part.maxVersion,
      ciphers: [...CIPHERS_13, ...tls.part.ciphers].join(":"),
      secureOptions: SECURE_OPTIONS,
      sessionTimeout: SESSION_SECONDS,
      sessionIdContext: "sluice",
      ...(ticket !== undefined && {
        ticketKeys: ticketKeys(ticket.secret, identityOf(place, hostname, tls)),
      }),
    });
    const ticketVersion = ticket?.version ?? 0;
    this.#made.set(tls, { context, certificates, authorities, ticketVersion });
    return context;
  }
}

function isServed(
  certificate: LinkedCertificate | undefined,
): certificate is LinkedCertificate & { readonly privateKey: string } {
  return certificate !== undefined && certificate.privateKey !== null;
}

/**
 * A listener, and whom it takes for its clients: a ticket of another one, or of this one while it
 * believed somebody else, opens nothing here.
 */
function identityOf(place: string, hostname: string, { part }: LinkedListenerTls): string {
  const { minVersion, maxVersion, clientValidation } = part;
  return JSON.stringify([place, hostname, minVersion, maxVersion, clientValidation ?? null]);
}

function ticketKeys(secret: Uint8Array, identity: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, "", identity, TICKET_KEY_BYTES));
}

/**
 * Says that the handshake is done, as a tls.Server says it of its sockets: errors are the socket's own
 * from then on.
 */
export function release(socket: TLSSocket): void {
  Reflect.set(socket, "secureConnecting", false);
  const releaseControl: unknown = Reflect.get(socket, "_releaseControl");
  if (typeof releaseControl === "function") releaseControl.call(socket);
}

/** Whether an error of a handshake says that the client has presented no certificate. */
export function isWithoutCertificate(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE";
}

/** Whether a listener serves a client that has come through its handshake. */
export function isAdmitted(socket: TLSSocket, listener: LinkedListener): boolean {
  const mode = listener.tls?.part.clientValidation?.mode;
  if (mode === undefined || mode === "insecure") return true;
  if (mode === "optional" && socket.getPeerX509Certificate() === undefined) return true;
  return isVerified(socket);
}

/** Whether the client's certificate was presented and verified. */
export function isVerified(socket: TLSSocket): boolean {
  if (socket.getPeerX509Certificate() === undefined) return false;
  // node:tls asks its handle so, for its own servers; where it cannot be asked nobody is let in.
  const handle: unknown = Reflect.get(socket, "_handle");
  const verifyError: unknown =
    typeof handle === "object" && handle !== null ? Reflect.get(handle, "verifyError") : undefined;
  return typeof verifyError === "function" && (verifyError.call(handle) ?? null) === null;
}
