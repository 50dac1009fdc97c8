/**
 * The PROXY protocol's header, version 1 (text) and 2 (binary), which stands before everything else
 * on a connection and says whose connection it is (haproxy.org, proxy-protocol.txt). A pure function
 * of the bytes that came so far; what is not exactly as it is written there is refused, for whoever
 * can write such a header can be anybody.
 */
import { isIPv4, isIPv6 } from "node:net";
import { canonicalAddress } from "../compile/address.ts";

export interface ProxyHeader {
  /** Bytes of the header: what follows is the client's. */
  readonly length: number;
  /** Null: the proxy speaks for itself, or of something that is no address; the socket's own hold. */
  readonly source: ProxyAddress | null;
  readonly destination: ProxyAddress | null;
}

export interface ProxyAddress {
  readonly address: string;
  readonly port: number;
}

/** `more`: the bytes may be the beginning of a header; `none`: they are not; `invalid`: they began one. */
export type ProxyHeaderResult = ProxyHeader | "more" | "none" | "invalid";

const SIGNATURE_V1 = Buffer.from("PROXY ", "latin1");
const SIGNATURE_V2 = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
/** With its line end, as the specification has it. */
const V1_BYTES_MAX = 107;
const V2_HEAD_BYTES = 16;
/** The specification allows 64 KB of extensions; nobody sends that many. */
export const PROXY_HEADER_BYTES_MAX = 4096;

/** Reads a header at the beginning of `bytes`, of which more may come. */
export function readProxyHeader(bytes: Buffer): ProxyHeaderResult {
  if (startsLike(bytes, SIGNATURE_V2)) {
    return bytes.length < V2_HEAD_BYTES ? "more" : readBinary(bytes);
  }
  if (!startsLike(bytes, SIGNATURE_V1)) return "none";
  return bytes.length < SIGNATURE_V1.length ? "more" : readText(bytes);
}

/** Whether `bytes` is the beginning of `signature`, or begins with it. */
function startsLike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length);
  return bytes.subarray(0, length).equals(signature.subarray(0, length));
}

const PORT = /^(?:0|[1-9]\d{0,4})$/;

function readText(bytes: Buffer): ProxyHeaderResult {
  const text = bytes.toString("latin1", 0, Math.min(bytes.length, V1_BYTES_MAX));
  const end = text.indexOf("\r\n");
  if (end === -1) {
    // A line end may be half there; any other control character ends nothing.
    const odd = /[^\x20-\x7e]/.test(text.endsWith("\r") ? text.slice(0, -1) : text);
    return odd || text.length === V1_BYTES_MAX ? "invalid" : "more";
  }
  const length = end + 2;
  const line = text.slice(SIGNATURE_V1.length, end);
  if (line === "UNKNOWN" || /^UNKNOWN [\x20-\x7e]*$/.test(line)) {
    return { length, source: null, destination: null };
  }
  const fields = line.split(" ");
  const [family, from = "", to = "", fromPort = "", toPort = ""] = fields;
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isPlainIPv6 : undefined;
  if (isAddress === undefined || fields.length !== 5) return "invalid";
  if (!isAddress(from) || !isAddress(to) || !isPort(fromPort) || !isPort(toPort)) return "invalid";
  return {
    length,
    source: { address: spelled(from), port: Number(fromPort) },
    destination: { address: spelled(to), port: Number(toPort) },
  };
}

/** A zone means something on the proxy's host alone. */
function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes("%");
}

function isPort(text: string): boolean {
  return PORT.test(text) && Number(text) <= 65_535;
}

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

function spelled(address: string): string {
  return MAPPED.exec(address)?.[1] ?? canonicalAddress(address) ?? address;
}

/** Bytes of the addresses of each family. */
const IPV4_BYTES = 12;
const IPV6_BYTES = 36;
const UNIX_BYTES = 216;

function readBinary(bytes: Buffer): ProxyHeaderResult {
  const versionAndCommand = bytes[12] as number;
  const family = (bytes[13] as number) >> 4;
  const transport = (bytes[13] as number) & 0xf;
  const rest = bytes.readUInt16BE(14);
  const length = V2_HEAD_BYTES + rest;
  const isLocal = versionAndCommand === 0x20;
  if ((!isLocal && versionAndCommand !== 0x21) || family > 3 || transport > 2) return "invalid";
  if (length > PROXY_HEADER_BYTES_MAX || rest < bytesOf(isLocal ? 0 : family)) return "invalid";
  if (bytes.length < length) return "more";
  // Datagrams, and sockets without an address, are not ours to speak of: the socket's own hold.
  if (isLocal || transport !== 1 || family === 0 || family === 3) {
    return { length, source: null, destination: null };
  }
  const size = family === 1 ? 4 : 16;
  const at = V2_HEAD_BYTES;
  return {
    length,
    source: { address: addressIn(bytes, at, size), port: bytes.readUInt16BE(at + 2 * size) },
    destination: {
      address: addressIn(bytes, at + size, size),
      port: bytes.readUInt16BE(at + 2 * size + 2),
    },
  };
}

function bytesOf(family: number): number {
  return [0, IPV4_BYTES, IPV6_BYTES, UNIX_BYTES][family] as number;
}

function addressIn(bytes: Buffer, at: number, size: number): string {
  const raw = bytes.subarray(at, at + size);
  if (size === 4) return raw.join(".");
  const isMapped = raw.readUInt16BE(10) === 0xffff && raw.subarray(0, 10).every((one) => one === 0);
  if (isMapped) return raw.subarray(12).join(".");
  const groups = Array.from({ length: 8 }, (_, index) => raw.readUInt16BE(index * 2).toString(16));
  return canonicalAddress(groups.join(":")) as string;
}
