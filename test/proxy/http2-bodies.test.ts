/** Bodies of a hundred megabytes over HTTP/2 on both sides, both ways: they pass, and are held nowhere. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { Readable, Writable } from "node:stream";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { Http2Client } from "../support/http2.ts";

const BYTES = 100 * 1024 * 1024;
const PIECE = Buffer.alloc(64 * 1024, "0123456789abcdef");
/** What node:http2 itself holds at both ends is some of it. */
const HELD_BYTES_MAX = 48 * 1024 * 1024;

/** Writes all bytes as fast as they are taken. */
async function writeAll(to: Writable): Promise<void> {
  for (let sent = 0; sent < BYTES; sent += PIECE.length) {
    if (!to.write(PIECE)) await once(to, "drain");
  }
  to.end();
}

/** Counts the bytes, checks what they are, and how much memory is held meanwhile. */
async function readAll(from: Readable): Promise<{ bytes: number; heldBytes: number }> {
  let bytes = 0;
  let heldBytes = 0;
  from.on("data", (piece: Buffer) => {
    const at = bytes % 16;
    assert.equal(piece[0], PIECE[at]);
    bytes += piece.length;
    heldBytes = Math.max(heldBytes, process.memoryUsage().arrayBuffers);
  });
  await once(from, "end");
  return { bytes, heldBytes };
}

test("100 MB up and 100 MB down are passed on, and not kept", { timeout: 60_000 }, async () => {
  const received: Promise<{ bytes: number; heldBytes: number }>[] = [];
  const sessions: ServerHttp2Session[] = [];
  const server = createServer();
  server.on("session", (session) => sessions.push(session));
  server.on("stream", (stream, headers) => {
    if (headers[":method"] === "GET") {
      stream.respond({ ":status": 200 });
      void writeAll(stream);
      return;
    }
    const all = readAll(stream);
    received.push(all);
    stream.on("end", () => {
      stream.respond({ ":status": 200 });
      stream.end("ok");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await using gateway = await testGateway({
    parts: oneRoute({ stable: [port], pool: { protocol: "h2c" } }),
    onBug: (error) => assert.fail(error as Error),
  });
  using client = new Http2Client(gateway.port);
  const before = process.memoryUsage().arrayBuffers;
  const down = await readAll(client.open({}));
  assert.equal(down.bytes, BYTES);
  assert.ok(down.heldBytes - before < HELD_BYTES_MAX, `${down.heldBytes - before}`);
  const up = client.open({ ":method": "POST" });
  await writeAll(up);
  up.resume();
  await once(up, "close");
  const seen = await received[0];
  assert.equal(seen?.bytes, BYTES);
  assert.ok(seen.heldBytes - before < HELD_BYTES_MAX, `${seen.heldBytes - before}`);
  for (const session of sessions) session.destroy();
  server.close();
});
