/** The name that a TLS client asks for, whole, in pieces of every size, and where it is none. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { connect } from "node:tls";
import { assert as check, property, uint8Array } from "fast-check";
import {
  CLIENT_HELLO_BYTES_MAX,
  readClientHello,
  type ClientHelloResult,
} from "../../src/proxy/client-hello.ts";
import { clientHello, serverNameExtension } from "../support/client-hello.ts";

const CASES: readonly [name: string, bytes: Buffer, result: ClientHelloResult][] = [
  ["a name", clientHello({ serverName: "shop.example" }), { serverName: "shop.example" }],
  [
    "a name in capitals",
    clientHello({ serverName: "Shop.EXAMPLE" }),
    { serverName: "shop.example" },
  ],
  ["no name", clientHello({}), { serverName: "" }],
  ["no extensions", clientHello({ noExtensions: true }), { serverName: "" }],
  ["an empty name", clientHello({ serverName: "" }), "invalid"],
  ["a name with NUL", clientHello({ serverName: "a\0.example" }), "invalid"],
  ["a name with a space", clientHello({ serverName: "a b" }), "invalid"],
  ["a name with a line end", clientHello({ serverName: "a\r\nb" }), "invalid"],
  ["a name with a dot at its end", clientHello({ serverName: "a.example." }), "invalid"],
  ["a name that is too long", clientHello({ serverName: "a".repeat(254) }), "invalid"],
  [
    "a name in records of a few bytes",
    clientHello({ serverName: "shop.example", recordBytes: 3 }),
    { serverName: "shop.example" },
  ],
  [
    "a list that leads out of its extension",
    clientHello({ extension: Buffer.from([0, 0, 0, 2, 0, 9]), noExtensions: false }),
    "invalid",
  ],
  ["an extension that leads out of the message", cutExtension(), "invalid"],
  ["HTTP in plain text", Buffer.from("GET / HTTP/1.1\r\n\r\n"), "invalid"],
  ["an alert", Buffer.from([0x15, 3, 1, 0, 2, 2, 40]), "invalid"],
  ["SSL 2", Buffer.from([0x80, 0x2e, 1, 0, 2]), "invalid"],
  ["a record of nothing", Buffer.from([0x16, 3, 1, 0, 0]), "invalid"],
  ["a record that is too large", Buffer.from([0x16, 3, 1, 0x40, 1]), "invalid"],
  ["another message", Buffer.from([0x16, 3, 1, 0, 4, 2, 0, 0, 0]), "invalid"],
  ["a message that is too large", Buffer.from([0x16, 3, 1, 0, 4, 1, 1, 0, 0]), "invalid"],
  ["nothing", Buffer.alloc(0), "more"],
];

function cutExtension(): Buffer {
  const hello = clientHello({ serverName: "a.example" });
  const extension = serverNameExtension(Buffer.from("a.example"));
  const at = hello.indexOf(extension);
  hello.writeUInt16BE(0x7fff, at + 2);
  return hello;
}

for (const [name, bytes, result] of CASES) {
  test(name, () => {
    assert.deepEqual(readClientHello(bytes), result);
    if (result === "invalid" || result === "more") return;
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(readClientHello(bytes.subarray(0, length)), "more", `${length} bytes`);
    }
    const followed = Buffer.concat([bytes, Buffer.from([0x14, 3, 3, 0, 1, 1])]);
    assert.deepEqual(readClientHello(followed), result);
  });
}

test("whatever comes, it ends in a result", () => {
  check(
    property(uint8Array({ maxLength: 300 }), (bytes) => {
      readClientHello(Buffer.from(bytes));
      readClientHello(Buffer.concat([Buffer.from([0x16, 3, 1]), bytes]));
    }),
    { numRuns: 2000 },
  );
});

test("a message in many small records is refused before they cost anything", () => {
  const name = `${"a".repeat(60)}.`.repeat(4);
  const hello = clientHello({ serverName: `${name}example`, recordBytes: 4 });
  const beginning = hello.subarray(0, 63 * 9);
  assert.equal(readClientHello(beginning), "more");
  assert.equal(readClientHello(hello), "invalid");
});

test("records that never end are refused", () => {
  const record = Buffer.from([0x16, 3, 1, 0, 1, 1]);
  const endless = Buffer.concat(Array.from({ length: CLIENT_HELLO_BYTES_MAX }, () => record));
  assert.equal(readClientHello(endless), "invalid");
});

test("what OpenSSL sends is read", async () => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: "127.0.0.1", servername: "real.example" });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [import("node:net").Socket];
  const [bytes] = (await once(socket, "data")) as [Buffer];
  assert.deepEqual(readClientHello(bytes), { serverName: "real.example" });
  socket.destroy();
  client.destroy();
  server.close();
});
