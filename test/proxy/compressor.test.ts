/**
 * Bodies on their way through zlib: whole and in pieces, fast and slow, to every kind of client; what
 * clients that stop reading or leave cost; and what happens when a backend breaks off.
 */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Transform } from "node:stream";
import { describe, test, type TestContext } from "node:test";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { fetch, request } from "undici";
import type { AccessLog } from "../../src/proxy/access-log.ts";
import { Compressors } from "../../src/proxy/compressor.ts";
import {
  CODINGS,
  type Coding,
  COMPRESSION,
  compressing,
  decoded,
  decoderOf,
  jsonOf,
} from "../support/compression.ts";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { STABLE, testGateway } from "../support/gateway.ts";
import { Http2Client, http2Origin } from "../support/http2.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { eventually, origin, RawClient, rawOrigin, settled } from "../support/upstream.ts";

const run = promisify(execFile);
/** Says what curl was built with; "" where there is none. */
const CURL = spawnSync("curl", ["--version"], { encoding: "utf8" }).stdout ?? "";

/** Bodies by how a backend may send them. The longest is more than all that is held on the way. */
const BODIES: Readonly<Record<string, (response: ServerResponse) => string>> = {
  "short, with its length": (response) => sendWhole(response, jsonOf(2000)),
  "of 15 KB, with its length": (response) => sendWhole(response, jsonOf(15_000)),
  "of 3 MB, with its length": (response) => sendWhole(response, jsonOf(3_000_000)),
  "short, in one chunk": (response) => sendPieces(response, jsonOf(300), 1000),
  "shorter than the minimum, in a chunk": (response) => sendPieces(response, "ok", 2),
  empty: (response) => sendPieces(response, "", 1),
  "of 3 MB, in chunks": (response) => sendPieces(response, jsonOf(3_000_000), 70_001),
  "of 200 KB, in chunks of 100 bytes": (response) => sendPieces(response, jsonOf(200_000), 100),
};

function sendWhole(response: ServerResponse, body: string): string {
  response.setHeader("content-length", body.length).end(body);
  return body;
}

function sendPieces(response: ServerResponse, body: string, bytes: number): string {
  response.flushHeaders();
  for (let at = 0; at < body.length; at += bytes) response.write(body.slice(at, at + bytes));
  response.end();
  return body;
}

/** An origin whose path names one of BODIES, and what it sent last. */
async function bodiesOrigin() {
  const sent: { body: string } = { body: "" };
  const app = await origin(({ url }, response) => {
    response.setHeader("content-type", "application/json");
    sent.body = BODIES[decodeURIComponent(url.slice(1))]?.(response) ?? "";
  });
  return Object.assign(app, { sent });
}

describe("bodies of every kind", () => {
  for (const name of CODINGS) {
    test(`${name} for undici`, async () => {
      await using app = await bodiesOrigin();
      await using gateway = await testGateway({ parts: compressing(app.port) });
      for (const kind of Object.keys(BODIES)) {
        const url = `${gateway.url}/${encodeURIComponent(kind)}`;
        const answer = await request(url, { headers: { "accept-encoding": name } });
        assert.equal(answer.headers["content-encoding"], name, kind);
        const bytes = Buffer.from(await answer.body.arrayBuffer());
        assert.equal(decoded(name, bytes), app.sent.body, kind);
        assert.ok(bytes.length < Math.max(app.sent.body.length / 2, 200), kind);
        const length = answer.headers["content-length"];
        if (length !== undefined) assert.equal(Number(length), bytes.length, kind);
      }
      assert.equal(gateway.metric("ok", STABLE), Object.keys(BODIES).length);
    });

    test(`${name} for HTTP/1.0, whose body the connection's end ends`, async () => {
      await using app = await bodiesOrigin();
      await using gateway = await testGateway({ parts: compressing(app.port) });
      for (const kind of Object.keys(BODIES)) {
        using client = new RawClient(gateway.port);
        client.send(
          `GET /${encodeURIComponent(kind)} HTTP/1.0\r\nAccept-Encoding: ${name}\r\n\r\n`,
        );
        const received = await client.until(({ ended }) => ended, 20_000);
        const blank = received.indexOf("\r\n\r\n");
        assert.match(received.slice(0, blank), new RegExp(`content-encoding: ${name}`));
        assert.doesNotMatch(received.slice(0, blank), /transfer-encoding/i);
        const body = Buffer.from(received.slice(blank + 4), "latin1");
        assert.equal(decoded(name, body), app.sent.body, kind);
      }
    });

    test(`${name} for HTTP/2`, async () => {
      await using app = await bodiesOrigin();
      await using gateway = await testGateway({ parts: compressing(app.port) });
      using client = new Http2Client(gateway.port);
      for (const kind of Object.keys(BODIES)) {
        const path = `/${encodeURIComponent(kind)}`;
        const answer = await client.get({ ":path": path, "accept-encoding": name });
        assert.equal(answer.headers["content-encoding"], name, kind);
        assert.equal(decoded(name, Buffer.from(answer.body, "latin1")), app.sent.body, kind);
        const only = { ":method": "HEAD", ":path": path, "accept-encoding": name };
        const told = await client.get(only);
        assert.equal(told.headers["content-encoding"], name, kind);
        assert.equal(told.headers["vary"], answer.headers["vary"], kind);
        assert.deepEqual([told.code, told.body], [0, ""], kind);
      }
    });

    const what = { gzip: "zlib", br: "brotli", zstd: "zstd" }[name];
    const skip = !CURL.includes(`${what}/`) && `no curl here that has ${what}`;
    test(`${name} for curl`, { skip }, async () => {
      await using app = await bodiesOrigin();
      const only = { encodings: COMPRESSION.encodings.filter((each) => each.name === name) };
      await using gateway = await testGateway({
        parts: compressing(app.port, { compression: only }),
      });
      for (const kind of Object.keys(BODIES)) {
        const url = `${gateway.url}/${encodeURIComponent(kind)}`;
        for (const version of ["--http1.1", "--http2-prior-knowledge"]) {
          const told = ["-sS", "--fail", "--compressed", "-w", "%header{content-encoding}"];
          const { stdout } = await run("curl", [...told, version, url], { maxBuffer: 2 ** 24 });
          assert.equal(stdout, app.sent.body + name, kind);
        }
      }
    });

    test(`${name} at its heaviest, which is not for the event loop`, async () => {
      await using app = await bodiesOrigin();
      const level = { gzip: 9, br: 11, zstd: 22 }[name];
      const compression = { encodings: [{ name, level }] };
      await using gateway = await testGateway({ parts: compressing(app.port, { compression }) });
      for (const kind of [
        "short, with its length",
        "of 15 KB, with its length",
        "short, in one chunk",
      ]) {
        const url = `${gateway.url}/${encodeURIComponent(kind)}`;
        const answer = await request(url, { headers: { "accept-encoding": name } });
        assert.equal(answer.headers["transfer-encoding"], "chunked", kind);
        assert.equal(
          decoded(name, Buffer.from(await answer.body.arrayBuffer())),
          app.sent.body,
          kind,
        );
      }
    });
  }

  test("a client that sends all its requests at once gets its answers in order", async () => {
    await using app = await bodiesOrigin();
    await using gateway = await testGateway({ parts: compressing(app.port) });
    using client = new RawClient(gateway.port);
    const kinds = ["of 3 MB, in chunks", "short, with its length", "short, in one chunk"];
    const common = "host: app\r\naccept-encoding: gzip\r\n";
    const asked = kinds.map((kind) => `GET /${encodeURIComponent(kind)} HTTP/1.1\r\n${common}`);
    client.send(`${asked.join("\r\n")}connection: close\r\n\r\n`);
    let rest = await client.until(({ ended }) => ended, 20_000);
    for (const kind of kinds) {
      const blank = rest.indexOf("\r\n\r\n") + 4;
      const head = rest.slice(0, blank);
      const length = /content-length: (\d+)/.exec(head)?.[1];
      const chunked = length === undefined;
      const end = chunked ? rest.indexOf("\r\n0\r\n\r\n", blank) + 7 : blank + Number(length);
      const sent = chunked ? dechunked(rest.slice(blank, end)) : rest.slice(blank, end);
      const got = decoded("gzip", Buffer.from(sent, "latin1"));
      assert.equal(got, jsonOf(kind.startsWith("of") ? 3_000_000 : chunked ? 300 : 2000));
      rest = rest.slice(end);
    }
    assert.equal(rest, "");
  });

  test("over TLS, by HTTP/1.1 and HTTP/2", { skip: !CURL && "curl is not installed" }, async () => {
    await using app = await bodiesOrigin();
    const certificates = { a: SERVED[0] as TestCertificate };
    const parts = secureParts({
      listeners: [{ hostname: "", certificates: ["a"] }],
      certificates,
      route: { stable: [app.port], rule: { compression: COMPRESSION } },
    });
    const credentials = privateKeys(certificates);
    await using gateway = await testGateway({ parts, credentials });
    for (const version of ["--http1.1", "--http2"]) {
      for (const kind of Object.keys(BODIES)) {
        const url = `https://127.0.0.1:${gateway.port}/${encodeURIComponent(kind)}`;
        const told = ["-sS", "--insecure", "--compressed", "-w", "%header{content-encoding}"];
        const { stdout } = await run("curl", [...told, version, url], { maxBuffer: 2 ** 24 });
        assert.ok(stdout.startsWith(app.sent.body), kind);
        assert.match(stdout.slice(app.sent.body.length), /^(?:br|zstd|gzip)$/, kind);
      }
    }
  });

  test("fetch, which asks for gzip over plain HTTP, decodes it", async () => {
    await using app = await bodiesOrigin();
    await using gateway = await testGateway({ parts: compressing(app.port) });
    const kind = encodeURIComponent("of 3 MB, in chunks");
    const answer = await fetch(`${gateway.url}/${kind}`);
    assert.equal(answer.headers.get("content-encoding"), "gzip");
    assert.equal(await answer.text(), app.sent.body);
  });

  test("requests of one connection are told apart, though their heads are alike", async () => {
    const body = jsonOf(1000);
    await using app = await rawOrigin((socket) => {
      const head = `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}`;
      socket.write(`${head}\r\n\r\n${body}`);
    });
    await using gateway = await testGateway({ parts: compressing(app.port) });
    using client = new RawClient(gateway.port);
    for (let count = 1; count <= 8; count++) {
      const coding = count % 4 === 0 ? "identity" : "gzip";
      client.received = "";
      client.send(`GET / HTTP/1.1\r\nhost: app\r\naccept-encoding: ${coding}\r\n\r\n`);
      const [head = "", sent = ""] = (await client.responses(1)).split(/\r\n\r\n(.*)/s);
      assert.equal(head.includes("content-encoding: gzip"), coding === "gzip");
      const got = decoded(coding === "gzip" ? coding : undefined, Buffer.from(sent, "latin1"));
      assert.equal(got, body);
    }
    assert.equal(app.sockets.length, 1);
  });

  test("from an HTTP/2 backend, with trailers but for digests", async () => {
    const body = jsonOf(50_000);
    await using app = await http2Origin((_request, stream) => {
      stream.respond({ "content-type": "text/plain" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => {
        stream.sendTrailers({ "x-sum": "1", "content-digest": "sha-256=:x:", "repr-digest": "y" });
      });
      stream.end(body);
    });
    const parts = compressing(app.port, { pool: { protocol: "h2c" } });
    await using gateway = await testGateway({ parts });
    using client = new Http2Client(gateway.port);
    for (const name of CODINGS) {
      const answer = await client.get({ "accept-encoding": name });
      assert.equal(decoded(name, Buffer.from(answer.body, "latin1")), body);
      assert.deepEqual(Object.entries(answer.trailers), [["x-sum", "1"]]);
    }
  });

  test("the access log counts what is sent", async () => {
    await using app = await bodiesOrigin();
    const lines: string[] = [];
    const accessLog: AccessLog = {
      line: (text) => lines.push(text),
      dropped: 0,
      close: () => Promise.resolve(),
    };
    await using gateway = await testGateway({ parts: compressing(app.port), accessLog });
    for (const kind of Object.keys(BODIES)) {
      const url = `${gateway.url}/${encodeURIComponent(kind)}`;
      const answer = await request(url, { headers: { "accept-encoding": "gzip" } });
      const bytes = (await answer.body.arrayBuffer()).byteLength;
      await eventually(() => lines.length === 1);
      assert.equal(JSON.parse(lines.pop() ?? "").bytesOut, bytes, kind);
    }
  });
});

test("what is compressed on the spot in one turn of the event loop has an end", async () => {
  const compressors = new Compressors();
  const encoding = { name: "gzip", level: 6 } as const;
  // Of two letters by chance: hardly anything takes longer.
  const body = Buffer.from(randomBytes(15_000).map((byte) => 97 + (byte & 1)));
  const startedMs = performance.now();
  let count = 0;
  for (; compressors.isQuick(encoding, body.length); count++) {
    assert.equal(zlib.gunzipSync(compressors.compressQuickly(encoding, body)).compare(body), 0);
  }
  const heldMs = performance.now() - startedMs;
  assert.ok(count >= 1 && heldMs >= 4, `${count} bodies, ${heldMs} ms`);
  assert.ok(count < 200, `${count} bodies`);
  assert.equal(compressors.isQuick(encoding, 1), false);
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  assert.equal(compressors.isQuick(encoding, 1), true);
  assert.equal(compressors.isQuick(encoding, 16 * 1024 + 1), false);
  assert.equal(compressors.isQuick({ name: "br", level: 10 }, 1), false);
});

/** A client of a body that is coded, which says what it has made of it so far. */
class Reader implements Disposable {
  readonly #coding: Coding;
  readonly #abort = new AbortController();
  text = "";
  ended = false;
  failed = false;

  constructor(coding: Coding) {
    this.#coding = coding;
  }

  async open(url: string): Promise<void> {
    const headers = { "accept-encoding": this.#coding };
    const answer = await request(url, { headers, signal: this.#abort.signal });
    assert.equal(answer.headers["content-encoding"], this.#coding);
    const decoder = decoderOf(this.#coding);
    answer.body.on("error", () => (this.failed = true));
    answer.body.pipe(decoder).setEncoding("latin1");
    decoder.on("data", (text: string) => (this.text += text));
    decoder.on("end", () => (this.ended = true));
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
  }
}

describe("bodies that trickle", () => {
  const EVENTS = { contentTypes: ["text/event-stream", "application/json"] };
  for (const name of CODINGS) {
    for (const level of [3, name === "gzip" ? 9 : 11]) {
      test(`each piece arrives before the next is sent: ${name} ${level}`, async () => {
        for (const type of EVENTS.contentTypes) {
          let response: ServerResponse | undefined;
          await using app = await origin((_request, answer) => {
            response = answer;
            answer.writeHead(200, { "content-type": type }).flushHeaders();
          });
          const compression = { ...EVENTS, encodings: [{ name, level }] };
          await using gateway = await testGateway({
            parts: compressing(app.port, { compression }),
          });
          using reader = new Reader(name);
          // The head comes before there is a body.
          await reader.open(gateway.url);
          let sent = "";
          for (let count = 0; count < 20; count++) {
            const event = `id: ${count}\ndata: ${"x".repeat(count * 13)}\n\n`;
            response?.write(event);
            sent += event;
            await eventually(() => reader.text === sent);
          }
          response?.end();
          await eventually(() => reader.ended);
          assert.equal(reader.text, sent);
        }
      });
    }
  }

  test("event streams that are not named go as they are", async () => {
    await using app = await origin((_request, answer) => {
      answer.writeHead(200, { "content-type": "text/event-stream" }).end("data: a\n\n");
    });
    await using gateway = await testGateway({ parts: compressing(app.port) });
    const answer = await request(gateway.url, { headers: { "accept-encoding": "gzip" } });
    assert.equal(answer.headers["content-encoding"], undefined);
    assert.equal(answer.headers["vary"], undefined);
    assert.equal(await answer.body.text(), "data: a\n\n");
  });
});

/** An origin that sends bytes which do not get shorter for as long as they are taken. */
async function endlessOrigin() {
  const noise = randomBytes(1 << 20);
  let sent = 0;
  const pump = (socket: Socket): void => {
    while (socket.writable) {
      sent += noise.length;
      if (!socket.write(noise)) break;
    }
  };
  const app = await rawOrigin((socket) => {
    socket.on("drain", () => pump(socket));
    socket.write("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n");
    pump(socket);
  });
  return Object.assign(app, { sent: () => sent });
}

const GET = (name: string): string =>
  `GET / HTTP/1.1\r\nhost: app\r\naccept-encoding: ${name}\r\n\r\n`;

describe("both sides are waited for", () => {
  for (const name of CODINGS) {
    test(`a client that does not read stops the backend: ${name}`, async () => {
      await using app = await endlessOrigin();
      await using gateway = await testGateway({ parts: compressing(app.port) });
      using client = new RawClient(gateway.port);
      client.socket.pause();
      client.send(GET(name));
      await settled(app.sent, 500);
      const stoppedAt = app.sent();
      // The kernel's buffers on four sockets, and little else.
      assert.ok(stoppedAt > 0 && stoppedAt < 24 << 20, `${stoppedAt} bytes`);
      client.socket.resume();
      await eventually(() => app.sent() > stoppedAt + (8 << 20), 10_000);
      client.socket.destroy();
      await eventually(() => app.sockets.every((socket) => socket.destroyed));
    });

    test(`the same over HTTP/2, whose windows are the limit: ${name}`, async () => {
      await using app = await endlessOrigin();
      await using gateway = await testGateway({ parts: compressing(app.port) });
      using client = new Http2Client(gateway.port);
      const stream = client.open({ "accept-encoding": name });
      await once(stream, "response");
      await settled(app.sent, 500);
      const stoppedAt = app.sent();
      assert.ok(stoppedAt < 24 << 20, `${stoppedAt} bytes`);
      stream.resume();
      await eventually(() => app.sent() > stoppedAt + (8 << 20), 10_000);
      stream.close(8);
      await eventually(() => app.sockets.every((socket) => socket.destroyed));
    });
  }

  test("a client that reads slowly gets all of it, and is given its time", async () => {
    const body = jsonOf(4_000_000);
    await using app = await origin((_request, response) => {
      response.setHeader("content-type", "text/plain").end(body);
    });
    const timeouts = { clientStallMs: 2000, responseIdleMs: 2000 };
    await using gateway = await testGateway({ parts: compressing(app.port), timeouts });
    using client = new RawClient(gateway.port);
    client.send(GET("gzip").replace("host", "connection: close\r\nhost"));
    client.socket.on("data", () => {
      client.socket.pause();
      setImmediate(() => client.socket.resume());
    });
    const received = await client.until(({ ended }) => ended, 20_000);
    const [head = "", chunks = ""] = received.split(/\r\n\r\n(.*)/s);
    assert.match(head, /transfer-encoding: chunked/);
    assert.equal(decoded("gzip", Buffer.from(dechunked(chunks), "latin1")), body);
    assert.equal(gateway.metric("ok", STABLE), 1);
  });

  test("a client that has stopped reading is given up, and the backend is not blamed", async () => {
    await using app = await endlessOrigin();
    const lines: string[] = [];
    const accessLog: AccessLog = {
      line: (text) => lines.push(text),
      dropped: 0,
      close: () => Promise.resolve(),
    };
    const timeouts = { clientStallMs: 100 };
    await using gateway = await testGateway({ parts: compressing(app.port), timeouts, accessLog });
    using client = new RawClient(gateway.port);
    client.socket.pause();
    client.send(GET("gzip"));
    await eventually(() => lines.length === 1);
    assert.match(lines[0] ?? "", /"reason":"client_stalled"/);
    await eventually(() => app.sockets.every((socket) => socket.destroyed));
    assert.equal(gateway.metric("timeout", STABLE), 0);
  });
});

test("a request's time that zlib took is neither its client's fault nor its backend's", async () => {
  const lines: string[] = [];
  const accessLog: AccessLog = {
    line: (text) => lines.push(text),
    dropped: 0,
    close: () => Promise.resolve(),
  };
  const body = randomBytes(16 << 20).toString("base64");
  await using app = await rawOrigin((socket) => {
    socket.write("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n");
    socket.write(`content-length: ${body.length}\r\n\r\n${body}`);
  });
  // Brotli takes many seconds for that at its heaviest.
  const compression = { encodings: [{ name: "br", level: 11 }] } as const;
  const parts = compressing(app.port, { compression, rule: { requestTimeoutMs: 1500 } });
  await using gateway = await testGateway({ parts, accessLog });
  using client = new RawClient(gateway.port);
  client.send(GET("br"));
  await eventually(() => lines.length === 1, 20_000);
  const { status, reason, endedBy } = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  assert.deepEqual(
    { status, reason, endedBy },
    {
      status: 200,
      reason: "compression_timeout",
      endedBy: "gateway",
    },
  );
  assert.equal(gateway.metric("timeout", STABLE), 0);
  await client.until(({ ended, closed }) => ended || closed);
  assert.doesNotMatch(client.received, /\r\n0\r\n\r\n$/);
});

/** The data of a complete chunked body. */
function dechunked(text: string): string {
  let out = "";
  for (let at = 0; ;) {
    const end = text.indexOf("\r\n", at);
    const bytes = Number.parseInt(text.slice(at, end), 16);
    if (bytes === 0) return out;
    out += text.slice(end + 2, end + 2 + bytes);
    at = end + 2 + bytes + 2;
  }
}

/** The streams of this coding that are made from now on, which stay reachable. */
function noted(t: TestContext, name: Coding): Transform[] {
  const streams: Transform[] = [];
  const method = { gzip: "createGzip", br: "createBrotliCompress", zstd: "createZstdCompress" }[
    name
  ];
  const make = zlib[method as "createGzip"];
  t.mock.method(zlib, method as "createGzip", (options: zlib.ZlibOptions) => {
    const stream = make(options);
    streams.push(stream);
    return stream;
  });
  return streams;
}

describe("responses that end before their time", () => {
  for (const name of CODINGS) {
    test(`a backend that breaks off does not pass for complete: ${name}`, async () => {
      await using app = await rawOrigin((socket, text) => {
        const head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
        const framing = text.includes("/chunked")
          ? "transfer-encoding: chunked"
          : "content-length: 9999";
        const body = text.includes("/chunked") ? "3\r\nabc\r\n" : "abc";
        socket.end(`${head}${framing}\r\n\r\n${body}`);
      });
      await using gateway = await testGateway({ parts: compressing(app.port) });
      for (const path of ["/chunked", "/length"]) {
        const headers = { "accept-encoding": name };
        const answer = await request(`${gateway.url}${path}`, { headers });
        await assert.rejects(answer.body.text());
        using client = new Http2Client(gateway.port);
        const { code } = await client.get({ ...headers, ":path": path });
        assert.notEqual(code, 0);
        using old = new RawClient(gateway.port);
        old.send(`GET ${path} HTTP/1.0\r\nAccept-Encoding: ${name}\r\n\r\n`);
        await old.until(({ closed }) => closed);
        assert.equal(old.ended, false, "an end would pass for the body's");
      }
      assert.equal(gateway.metric("truncated", STABLE), 6);
    });

    test(`a thousand clients that leave cost nothing: ${name}`, async (t) => {
      const streams = noted(t, name);
      await using app = await endlessOrigin();
      await using gateway = await testGateway({ parts: compressing(app.port) });
      const rssBefore = process.memoryUsage().rss;
      for (let round = 0; round < 25; round++) {
        const clients = Array.from({ length: 40 }, () => new RawClient(gateway.port));
        for (const client of clients) client.send(GET(name));
        for (const client of clients) {
          const received = await client.until((each) => each.received.length > 20_000, 20_000);
          // A place that was not given back would leave later ones uncompressed.
          assert.match(received.slice(0, 400), new RegExp(`content-encoding: ${name}`));
        }
        for (const client of clients) client.socket.destroy();
        await eventually(() => app.sockets.every((socket) => socket.destroyed));
        app.sockets.length = 0;
      }
      await eventually(() => streams.every((stream) => stream.closed), 20_000);
      assert.equal(streams.length, 1000);
      // Nothing is left to the collector, for all of these streams, and what they said, are held here:
      // 80 MB. What zlib had for them was 500 MB at least.
      const grown = process.memoryUsage().rss - rssBefore;
      assert.ok(grown < 300 << 20, `${grown >> 20} MB`);
      assert.deepEqual(
        process.getActiveResourcesInfo().filter((each) => /zlib|brotli|zstd/i.test(each)),
        [],
      );
    });

    test(`a failure of zlib costs the response that it befell: ${name}`, async (t) => {
      const streams = noted(t, name);
      const responses: ServerResponse[] = [];
      await using app = await origin((_request, response) => {
        responses.push(response);
        response.writeHead(200, { "content-type": "text/plain" }).write("one, ");
      });
      const bugs: unknown[] = [];
      const onBug = (error: unknown): number => bugs.push(error);
      await using gateway = await testGateway({ parts: compressing(app.port), onBug });
      using first = new Reader(name);
      using second = new Reader(name);
      await first.open(gateway.url);
      await second.open(gateway.url);
      await eventually(() => first.text !== "" && second.text !== "");
      const failure = new Error("no memory");
      streams[0]?.destroy(failure);
      await eventually(() => first.failed);
      assert.deepEqual(bugs, [failure]);
      responses[1]?.end("two");
      await eventually(() => second.ended);
      assert.equal(second.text, "one, two");
      assert.equal(first.ended, false);
    });
  }

  test("beyond what a worker compresses at once responses go as they are", async () => {
    const open: ServerResponse[] = [];
    await using app = await origin((_request, response) => {
      open.push(response);
      response.writeHead(200, { "content-type": "text/plain" }).write("a".repeat(20_000));
    });
    await using gateway = await testGateway({ parts: compressing(app.port) });
    const codings: (string | undefined)[] = [];
    const aborts = new AbortController();
    const ask = async (): Promise<void> => {
      const headers = { "accept-encoding": "gzip" };
      const answer = await request(gateway.url, { headers, signal: aborts.signal });
      answer.body.on("error", () => {}).resume();
      codings.push(String(answer.headers["content-encoding"]));
      assert.equal(answer.headers["vary"], "Accept-Encoding");
    };
    await Promise.all(Array.from({ length: 256 }, ask));
    assert.deepEqual([...new Set(codings)], ["gzip"]);
    await ask();
    assert.equal(codings.pop(), "undefined");
    aborts.abort();
  });
});
