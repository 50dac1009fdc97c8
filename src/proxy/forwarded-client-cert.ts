/**
 * The header X-Forwarded-Client-Cert, as Envoy writes it: elements parted by commas, each of pairs
 * parted by semicolons. Whatever a certificate says is quoted or escaped, so that no name in it can
 * end an element or a head. Made once for each connection.
 */
import type { X509Certificate } from "node:crypto";
import type { ClientPart } from "../compile/program.ts";
import type { RequestHead } from "../http1/request-head.ts";
import { altNamesIn } from "./alt-names.ts";
import type { Secure } from "./arrival.ts";

type Policy = NonNullable<ClientPart["forwardedClientCert"]>;

const NAME = "x-forwarded-client-cert";

/** What the requests of one connection say of certificates; clients' own words are dropped else. */
export class ForwardedClientCert {
  readonly #mode: Policy["mode"];
  readonly #element: string;

  constructor(mode: Policy["mode"], element: string) {
    this.#mode = mode;
    this.#element = element;
  }

  /** The header's value for a request, "" where there is none to send. */
  value(head: RequestHead): string {
    if (this.#mode === "SanitizeSet") return this.#element;
    const came = head.header(NAME) ?? "";
    if (this.#mode !== "AppendForward") return came;
    return came === "" ? this.#element : `${came},${this.#element}`;
  }

  /** As a line. */
  line(head: RequestHead): string {
    const value = this.value(head);
    return value === "" ? "" : `${NAME}: ${value}\r\n`;
  }
}

/** Null where requests say nothing: the default, and so without a certificate that was verified. */
export function forwardedClientCert(
  policy: Policy | undefined,
  secure: Secure | null,
): ForwardedClientCert | null {
  if (policy === undefined || policy.mode === "Sanitize") return null;
  if (policy.mode === "AlwaysForwardOnly") return new ForwardedClientCert(policy.mode, "");
  const client = secure?.clientCertificate;
  if (client === undefined) return null;
  if (policy.mode === "ForwardOnly") return new ForwardedClientCert(policy.mode, "");
  const chain: string[] = [];
  for (
    let one: X509Certificate | undefined = client;
    one !== undefined && chain.length < CHAIN_MAX;
  ) {
    chain.push(one.toString());
    one = one.issuerCertificate;
  }
  const about = { client, chain, own: secure?.ownCertificate };
  return new ForwardedClientCert(policy.mode, clientCertElement(about, policy.details));
}

/** Certificates of a chain that are passed on. */
const CHAIN_MAX = 8;

export interface CertificatesOfConnection {
  /** The client's, already verified. */
  readonly client: X509Certificate;
  /** PEM of the client's certificate and of those that vouch for it. */
  readonly chain: readonly string[];
  /** What the gateway presented, for By. */
  readonly own: X509Certificate | undefined;
}

/** One element of the header, for the certificate of a client. */
export function clientCertElement(
  { client, chain, own }: CertificatesOfConnection,
  details: Policy["details"],
): string {
  const names = altNamesIn(client.subjectAltName ?? "");
  const by =
    own === undefined
      ? []
      : altNamesIn(own.subjectAltName ?? "").filter(({ type }) => type === "URI");
  const pairs = by.map(({ value }) => `By=${quoted(value)}`);
  pairs.push(`Hash=${client.fingerprint256.replaceAll(":", "").toLowerCase()}`);
  if (details.includes("Cert")) pairs.push(`Cert="${encodeURIComponent(client.toString())}"`);
  if (details.includes("Chain")) pairs.push(`Chain="${encodeURIComponent(chain.join(""))}"`);
  if (details.includes("Subject")) pairs.push(`Subject="${escapedName(subjectText(client))}"`);
  if (details.includes("URI")) {
    const uris = names.filter(({ type }) => type === "URI");
    for (const { value } of uris.length === 0 ? [{ value: "" }] : uris) {
      pairs.push(`URI=${quoted(value)}`);
    }
  }
  if (details.includes("DNS")) {
    for (const { type, value } of names) if (type === "DNS") pairs.push(`DNS=${quoted(value)}`);
  }
  return pairs.join(";");
}

/** What a value may hold without quotes. */
const PLAIN = /^[!#-+\--:<>-[\]-~]*$/;

function quoted(value: string): string {
  return PLAIN.test(value) && !value.includes("=") ? value : `"${escaped(value)}"`;
}

/** Printable ASCII inside quotes; everything else would be another's to interpret. */
function escaped(value: string): string {
  // Whole characters, for half of one cannot be encoded.
  return value
    .toWellFormed()
    .replaceAll(/[^ !#-[\]-~]/gu, (character) =>
      character === '"' || character === "\\" ? `\\${character}` : encodeURIComponent(character),
    );
}

/** As `escaped`, of a text that has the escapes of RFC 2253 already. */
function escapedName(name: string): string {
  return name.replaceAll(/\\[ -~]|[^ !#-[\]-~]/gu, (part) =>
    part.length === 2 && part.startsWith("\\") ? part : escaped(part),
  );
}

/** RFC 2253: the most specific part first, as Envoy and OpenSSL write subjects. */
export function subjectText(certificate: X509Certificate): string {
  return certificate.subject.split("\n").toReversed().join(",");
}
