/**
 * Who asks, where proxies before this one forward for others (Envoy Gateway `clientIPDetection`): the
 * address that they wrote into X-Forwarded-For or a header of their own, as far as they are trusted,
 * and whether they were asked by TLS. Everything that depends on the client goes by what is found here.
 */
import { BlockList, isIPv4, isIPv6, SocketAddress } from "node:net";
import type { ClientPart } from "../compile/program.ts";
import type { RequestFields } from "./request-fields.ts";

type Part = NonNullable<ClientPart["clientIpDetection"]>;

export interface AddressDetection {
  readonly part: Part;
  /** Proxies that are believed; null where none are told by their address. */
  readonly trusted: BlockList | null;
}

/** Proxies of one request that are looked at; the client is behind none further. */
const HOPS_MAX = 64;

/** Throws where a range is none. */
export function linkDetection(part: Part | undefined): AddressDetection | null {
  if (part === undefined) return null;
  if (part.type !== "cidrs") return { part, trusted: null };
  const trusted = new BlockList();
  for (const range of part.trusted) {
    const [address = "", bits = ""] = range.split("/");
    trusted.addSubnet(address, Number(bits), isIPv6(address) ? "ipv6" : "ipv4");
  }
  return { part, trusted };
}

/**
 * The client of a request that came over a connection from `peerAddress`: its plain address, that of
 * the connection where nobody who is trusted tells another, or undefined where such a request must be
 * refused (`failClosed`).
 */
export function detectClient(
  { part, trusted }: AddressDetection,
  head: Pick<RequestFields, "header">,
  peerAddress: string,
): string | undefined {
  switch (part.type) {
    case "header": {
      const told = addressOf(head.header(part.name) ?? "");
      return told ?? (part.failClosed ? undefined : peerAddress);
    }
    case "hops": {
      const hops = splitHops(head.header("x-forwarded-for"));
      return addressOf(hops.at(-part.trustedHops) ?? "") ?? peerAddress;
    }
    case "cidrs":
      break;
  }
  let client = peerAddress;
  let left = HOPS_MAX;
  const hops = splitHops(head.header("x-forwarded-for"));
  while (left-- > 0 && trusted !== null && isAmong(trusted, client)) {
    const next = addressOf(hops.pop() ?? "");
    // What is no address was told by the one after it, which is the last that is known.
    if (next === undefined) break;
    client = next;
  }
  return client;
}

/**
 * What the proxy that connects from `peerAddress` says that its client speaks; undefined where it says
 * nothing, or is not believed. As in Envoy, who counts hops believes whoever connects.
 */
export function detectScheme(
  { part, trusted }: AddressDetection,
  head: Pick<RequestFields, "header">,
  peerAddress: string,
): "http" | "https" | undefined {
  if (part.type === "header") return undefined;
  if (trusted !== null && !isAmong(trusted, peerAddress)) return undefined;
  const told = head.header("x-forwarded-proto")?.toLowerCase();
  return told === "http" || told === "https" ? told : undefined;
}

function splitHops(forwarded: string | undefined): string[] {
  return forwarded === undefined ? [] : forwarded.split(",");
}

function isAmong(list: BlockList, address: string): boolean {
  if (isIPv4(address)) return list.check(address, "ipv4");
  return isIPv6(address) && list.check(address, "ipv6");
}

/** An address with or without a port: "192.0.2.1:80", "[2001:db8::1]:80", "2001:db8::1". */
const ENTRY =
  /^[ \t]*(?:\[([0-9a-fA-F:.]{2,45})\](?::\d{1,5})?|([0-9.]{7,15})(?::\d{1,5})?|([0-9a-fA-F:.]{2,45}))[ \t]*$/;

/** The one spelling of an address, so that a client cannot be two; undefined where `entry` is none. */
export function addressOf(entry: string): string | undefined {
  const found = ENTRY.exec(entry);
  if (found === null) return undefined;
  const [, bracketed, ipv4, bare] = found;
  if (ipv4 !== undefined) return isIPv4(ipv4) ? plainAddress(ipv4) : undefined;
  const ipv6 = bracketed ?? bare ?? "";
  if (!isIPv6(ipv6)) return undefined;
  return plainAddress(new SocketAddress({ address: ipv6, family: "ipv6" }).address);
}

/**
 * An IPv4 peer of a socket that takes both families is written "::ffff:192.0.2.1". A string of its
 * own: a slice of a head would keep the whole head alive.
 */
export function plainAddress(address: string): string {
  const plain = address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
  return Buffer.from(plain, "latin1").toString("latin1");
}
