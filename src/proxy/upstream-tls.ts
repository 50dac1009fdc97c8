/**
 * TLS towards backends: whom the gateway takes for one (BackendTLSPolicy), what it presents itself, and
 * the session that the next connection begins with. Certificates are always verified; what comes of a
 * session was verified when the session began.
 */
import type { NetConnectOpts } from "node:net";
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  getCACertificates,
  type PeerCertificate,
  type SecureContext,
  setDefaultCACertificates,
  type TLSSocket,
} from "node:tls";
import type { PoolTls } from "../compile/program.ts";
import { altNamesIn } from "./alt-names.ts";
import type { LinkedCertificate } from "./snapshot.ts";

/** One endpoint as TLS knows it. */
export class SecureOrigin {
  readonly #tls: PoolTls;
  readonly #certificate: LinkedCertificate | null;
  /** Parsing certificates for each connection would cost more than its handshake. */
  #context: SecureContext | undefined;
  /** Of the last connection, for the next one to resume. */
  #session: Buffer | undefined;

  constructor(tls: PoolTls, certificate: LinkedCertificate | null) {
    this.#tls = tls;
    this.#certificate = certificate;
  }

  /** Begins a connection; its "secureConnect" comes when the backend is who it should be. */
  open(target: NetConnectOpts, protocol: "http/1.1" | "h2"): TLSSocket {
    const names = this.#tls.subjectAltNames;
    const socket = connect({
      ...target,
      servername: this.#tls.serverName,
      ALPNProtocols: [protocol],
      secureContext: (this.#context ??= this.#newContext()),
      ...(this.#session !== undefined && { session: this.#session }),
      ...(names !== undefined && {
        checkServerIdentity: (_: string, shown: PeerCertificate) => checkNames(names, shown),
      }),
    });
    socket.on("session", (session: Buffer) => {
      this.#session = session;
    });
    // A session that the backend does not like must not spoil the connection after this one.
    socket.on("error", () => {
      this.#session = undefined;
    });
    return socket;
  }

  #newContext(): SecureContext {
    const { caCertificates } = this.#tls;
    const own = this.#certificate;
    if (caCertificates === undefined) trustWhomHostTrusts();
    return createSecureContext({
      minVersion: "TLSv1.2",
      ...(caCertificates !== undefined && { ca: caCertificates }),
      ...(own !== null && own.privateKey !== null && { cert: own.part.chain, key: own.privateKey }),
    });
  }
}

let trustsHost = false;

/**
 * From now on a context of this thread that names no authorities has those of the host: with what its
 * administrators have added, and without what they have taken out. Where a host has none, as slim images
 * have not, Node's own list stands. Reading them takes 50 ms, once, and nothing where no backend needs them.
 */
function trustWhomHostTrusts(): void {
  if (trustsHost) return;
  trustsHost = true;
  const authorities = getCACertificates("system");
  if (authorities.length === 0) return;
  // NODE_EXTRA_CA_CERTS is believed beside whichever list there is.
  setDefaultCACertificates([...new Set([...authorities, ...getCACertificates("extra")])]);
}

type Names = NonNullable<PoolTls["subjectAltNames"]>;

/** An error where the certificate has none of `names`: the name that was asked for is not looked at. */
function checkNames(names: Names, shown: PeerCertificate): Error | undefined {
  const found = altNamesIn(shown.subjectaltname ?? "");
  const fits = names.some(({ type, value }) => {
    if (type === "URI") return found.some((one) => one.type === "URI" && one.value === value);
    if (!value.startsWith("*.")) return checkServerIdentity(value, shown) === undefined;
    return found.some((one) => one.type === "DNS" && isUnder(one.value.toLowerCase(), value));
  });
  if (fits) return undefined;
  const error = new Error("The certificate has none of the names that the policy wants");
  return Object.assign(error, { code: "ERR_TLS_CERT_ALTNAME_INVALID" });
}

/** Whether `name` is `wildcard` itself or has one label in place of its star. */
function isUnder(name: string, wildcard: string): boolean {
  const suffix = wildcard.slice(1);
  if (!name.endsWith(suffix)) return false;
  const label = name.slice(0, -suffix.length);
  return label !== "" && !label.includes(".");
}

/** What OpenSSL and node:tls call certificates that do not stand up to verification. */
const UNTRUSTED =
  /^(?:ERR_TLS_CERT_ALTNAME_INVALID|CERT_.*|.*_CERT(?:_.*)?|UNABLE_TO_.*|INVALID_(?:CA|PURPOSE)|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN)$/;

/** Whether a connection failed because the backend is not who it should be. */
export function isUntrusted(error: Error): boolean {
  return UNTRUSTED.test((error as NodeJS.ErrnoException).code ?? "");
}
