/** The PROXY protocol's header in both versions: what is taken, what is refused, and in any pieces. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as check, property, uint8Array } from "fast-check";
import {
  PROXY_HEADER_BYTES_MAX,
  readProxyHeader,
  type ProxyAddress,
} from "../../src/proxy/proxy-protocol.ts";

type Taken = readonly [source: ProxyAddress | null, destination: ProxyAddress | null];

const V4: Taken = [
  { address: "192.0.2.1", port: 56_324 },
  { address: "198.51.100.2", port: 443 },
];
const V6: Taken = [
  { address: "2001:db8::1", port: 56_324 },
  { address: "2001:db8::2", port: 443 },
];
const OWN: Taken = [null, null];

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** A header of version 2: its 13th and 14th byte, and what follows. */
function binary(command: number, family: number, ...content: readonly Buffer[]): Buffer {
  const rest = Buffer.concat(content);
  const head = Buffer.from([command, family, rest.length >> 8, rest.length & 0xff]);
  return Buffer.concat([SIGNATURE, head, rest]);
}

const PORTS = Buffer.from([0xdc, 0x04, 0x01, 0xbb]);
const ADDRESSES_4 = Buffer.from([192, 0, 2, 1, 198, 51, 100, 2]);
const ADDRESSES_6 = Buffer.from(`20010db8${"0".repeat(23)}120010db8${"0".repeat(23)}2`, "hex");
const MAPPED_6 = Buffer.from(`${"0".repeat(20)}ffffc0000201${"0".repeat(20)}ffffc6336402`, "hex");
const TLV = Buffer.from([0x02, 0, 4, 97, 98, 99, 100]);

const TAKEN: readonly [name: string, header: Buffer | string, taken: Taken][] = [
  ["version 1, IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", V4],
  ["version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:0DB8:0:0::2 56324 443\r\n", V6],
  ["version 1, IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:198.51.100.2 56324 443\r\n", V4],
  ["version 1, unknown", "PROXY UNKNOWN\r\n", OWN],
  ["version 1, unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", OWN],
  ["version 2, IPv4", binary(0x21, 0x11, ADDRESSES_4, PORTS), V4],
  ["version 2, IPv6", binary(0x21, 0x21, ADDRESSES_6, PORTS), V6],
  ["version 2, IPv4 in IPv6", binary(0x21, 0x21, MAPPED_6, PORTS), V4],
  ["version 2, with extensions", binary(0x21, 0x11, ADDRESSES_4, PORTS, TLV, TLV), V4],
  ["version 2, unix", binary(0x21, 0x31, Buffer.alloc(216, 47)), OWN],
  ["version 2, unspecified", binary(0x21, 0x00), OWN],
  ["version 2, unspecified with extensions", binary(0x21, 0x00, TLV), OWN],
  ["version 2, datagrams", binary(0x21, 0x12, ADDRESSES_4, PORTS), OWN],
  ["version 2, local", binary(0x20, 0x00), OWN],
  ["version 2, local with addresses", binary(0x20, 0x11, ADDRESSES_4, PORTS), OWN],
  ["version 2, local with half an address", binary(0x20, 0x11, ADDRESSES_4), OWN],
];

for (const [name, header, [source, destination]] of TAKEN) {
  test(`taken: ${name}`, () => {
    const bytes = Buffer.from(header as string, "latin1");
    const wanted = { length: bytes.length, source, destination };
    assert.deepEqual(readProxyHeader(bytes), wanted);
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(readProxyHeader(bytes.subarray(0, length)), "more", `${length} bytes`);
    }
    const followed = Buffer.concat([bytes, Buffer.from("GET / HTTP/1.1\r\n\r\n")]);
    assert.deepEqual(readProxyHeader(followed), wanted);
  });
}

const INVALID: readonly [name: string, header: Buffer | string][] = [
  ["another family", "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n"],
  ["IPv6 for IPv4", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n"],
  ["IPv4 for IPv6", "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n"],
  ["a zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n"],
  ["no address", "PROXY TCP4 192.0.2.1 198.51.100 1 2\r\n"],
  ["octets with zeros", "PROXY TCP4 192.00.2.1 198.51.100.2 1 2\r\n"],
  ["a port too high", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n"],
  ["a port with zeros", "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n"],
  ["a port with a sign", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n"],
  ["two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n"],
  ["a tab", "PROXY\tTCP4 192.0.2.1 198.51.100.2 1 2\r\n"],
  ["a field too many", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n"],
  ["a field too few", "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n"],
  ["a line feed alone", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\nGET / HTTP/1.1\r\n"],
  ["control characters", "PROXY UNKNOWN \x01\r\n"],
  ["a family that begins like another", "PROXY UNKNOWNS\r\n"],
  ["no end", `PROXY UNKNOWN ${"x".repeat(100)}`],
  ["version 3", binary(0x31, 0x11, ADDRESSES_4, PORTS)],
  ["another command", binary(0x22, 0x11, ADDRESSES_4, PORTS)],
  ["another family of addresses", binary(0x21, 0x41, ADDRESSES_4, PORTS)],
  ["another transport", binary(0x21, 0x13, ADDRESSES_4, PORTS)],
  ["half an address", binary(0x21, 0x11, ADDRESSES_4)],
  ["half an address of IPv6", binary(0x21, 0x21, ADDRESSES_4, PORTS)],
  ["half a unix address", binary(0x21, 0x31, Buffer.alloc(100))],
  ["too many extensions", binary(0x21, 0x11, Buffer.alloc(PROXY_HEADER_BYTES_MAX))],
];

for (const [name, header] of INVALID) {
  test(`invalid: ${name}`, () => {
    const bytes = Buffer.from(header as string, "latin1");
    const result = readProxyHeader(bytes);
    assert.equal(result === "none" ? "invalid" : result, "invalid");
  });
}

const NONE: readonly string[] = ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1", "PROXx", "\x16\x03\x01"];

for (const text of NONE) {
  test(`no header: ${JSON.stringify(text)}`, () => {
    assert.equal(readProxyHeader(Buffer.from(text, "latin1")), "none");
  });
}

test("whatever comes, it ends in a result", () => {
  check(
    property(uint8Array({ maxLength: 300 }), (bytes) => {
      readProxyHeader(Buffer.concat([Buffer.from("PROXY "), bytes]));
      const result = readProxyHeader(Buffer.concat([SIGNATURE, bytes]));
      if (typeof result === "object") assert.ok(result.length <= SIGNATURE.length + bytes.length);
    }),
    { numRuns: 2000 },
  );
});
