/**
 * WebSocket over HTTP/1.1: real clients and servers through the gateway, the handshake's edges on raw
 * sockets, and tunnels that end in every way.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { describe, test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { acceptOf } from "../../src/http1/websocket.ts";
import type { AccessLog } from "../../src/proxy/access-log.ts";
import { CANARY, oneRoute, splitPart, STABLE, testGateway } from "../support/gateway.ts";
import { eventually, origin, RawClient, rawOrigin } from "../support/upstream.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ASK = `GET /chat HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n`;
const SWITCH = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(KEY)}\r\n\r\n`;
const SHORT_MS = 100;

type Line = Readonly<Record<string, unknown>>;

function lineLog(): { lines: Line[]; accessLog: AccessLog } {
  const lines: Line[] = [];
  const accessLog = {
    line: (text: string) => lines.push(JSON.parse(text) as Line),
    dropped: 0,
    close: () => Promise.resolve(),
  };
  return { lines, accessLog };
}

/** A WebSocket server that echoes. */
async function echoServer(options: { readonly closes?: boolean } = {}) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: true });
  await once(server, "listening");
  const closes: number[] = [];
  server.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data, binary) => {
      if (options.closes === true) socket.close(1000, "enough");
      else socket.send(data, { binary });
    });
    socket.on("close", (code) => closes.push(code));
  });
  return {
    port: (server.address() as AddressInfo).port,
    server,
    closes,
    [Symbol.asyncDispose]: async () => {
      for (const socket of server.clients) socket.terminate();
      server.close();
      await once(server, "close");
    },
  };
}

async function connected(port: number, path = "/"): Promise<WebSocket> {
  const client = new WebSocket(`ws://127.0.0.1:${port}${path}`, ["chat", "other"]);
  await once(client, "open");
  return client;
}

/** A raw origin that answers the handshake with `answer`, and keeps what comes after it. */
async function handshaken(answer = SWITCH) {
  const got: string[] = [];
  const app = await rawOrigin((socket, text) => {
    if (text.startsWith("GET ")) {
      const end = text.indexOf("\r\n\r\n") + 4;
      got.push(text.slice(0, end));
      if (end < text.length) got.push(text.slice(end));
      socket.write(answer, "latin1");
    } else {
      got.push(text);
    }
  });
  return {
    port: app.port,
    sockets: app.sockets,
    got,
    /** What came after the handshake. */
    received: () => got.slice(1).join(""),
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
}

describe("a real client and a real server", () => {
  test("a backend that speaks HTTP/2 cannot become one", async () => {
    await using app = await rawOrigin(() => {});
    const parts = oneRoute({ stable: [app.port], pool: { protocol: "h2c" } });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    client.send(ASK);
    assert.match(await client.responses(1), /^HTTP\/1\.1 501 .*upgrade_unsupported/s);
    assert.equal(app.sockets.length, 0);
  });

  test("messages of every size come back as they went, compressed ones too", async () => {
    await using app = await echoServer();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    const client = await connected(gateway.port, "/chat?x=1");
    assert.equal(client.protocol, "chat");
    assert.match(client.extensions, /permessage-deflate/);
    for (const size of [0, 1, 125, 126, 4096, 65_535, 65_536, 1_000_000]) {
      const sent = Buffer.alloc(size, size % 251);
      client.send(sent);
      const [data, binary] = (await once(client, "message")) as [Buffer, boolean];
      assert.ok(binary && data.equals(sent), `${size} bytes`);
    }
    client.ping("still there?");
    const [pong] = (await once(client, "pong")) as [Buffer];
    assert.equal(String(pong), "still there?");
    client.close(1000, "done");
    const [code] = (await once(client, "close")) as [number];
    assert.equal(code, 1000);
    await eventually(() => app.closes.length === 1);
    assert.deepEqual(app.closes, [1000]);
  });

  test("a thousand messages under way at once keep their order", async () => {
    await using app = await echoServer();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    const client = await connected(gateway.port);
    const got: string[] = [];
    client.on("message", (data: Buffer) => got.push(String(data)));
    const sent = Array.from(
      { length: 1000 },
      (_, index) => `message ${index} ${"x".repeat(index)}`,
    );
    for (const text of sent) client.send(text);
    await eventually(() => got.length === sent.length);
    assert.deepEqual(got, sent);
    client.terminate();
  });

  test("the head reaches the server with its upgrade and the gateway's lines, and nothing twice", async () => {
    await using app = await handshaken();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(
      ASK.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade, x-hop\r\nX-Hop: 1"),
    );
    await client.until(({ received }) => received.endsWith("\r\n\r\n"));
    const [head = ""] = app.got;
    const names = [...head.matchAll(/^([^:\r\n]+):/gm)].map(([, name]) =>
      String(name).toLowerCase(),
    );
    names.sort();
    assert.deepEqual(names, [
      "connection",
      "host",
      "sec-websocket-key",
      "sec-websocket-version",
      "upgrade",
      "x-forwarded-for",
      "x-forwarded-host",
      "x-forwarded-port",
      "x-forwarded-proto",
      "x-request-id",
    ]);
    assert.match(head, /\r\nconnection: Upgrade\r\nupgrade: websocket\r\n/);
    assert.match(client.received, /\r\nconnection: Upgrade\r\nupgrade: websocket\r\n/);
    assert.match(
      client.received,
      new RegExp(`Sec-WebSocket-Accept: ${acceptOf(KEY).replace("+", "\\+")}`),
    );
  });
});

describe("the handshake's edges", () => {
  for (const [name, ask, status, code] of [
    ["without a key", ASK.replace(/Sec-WebSocket-Key.*\r\n/, ""), 400, "websocket_invalid"],
    [
      "with two keys",
      ASK.replace("Sec-", `Sec-WebSocket-Key: ${KEY}\r\nSec-`),
      400,
      "websocket_invalid",
    ],
    ["by POST", ASK.replace("GET", "POST"), 501, "upgrade_unsupported"],
    ["with a body", ASK.replace("Host", "Content-Length: 2\r\nHost"), 501, "upgrade_unsupported"],
    ["to another protocol", ASK.replace("websocket", "irc/6.9"), 501, "upgrade_unsupported"],
    ["to two protocols", ASK.replace("websocket", "websocket, h2c"), 501, "upgrade_unsupported"],
  ] as const) {
    test(`a request ${name}: ${status}`, async () => {
      await using app = await handshaken();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(ask);
      await client.until(({ received, ended }) => received.includes("}}") || ended);
      assert.match(client.received, new RegExp(`^HTTP/1.1 ${status} .*"code":"${code}"`, "s"));
      assert.deepEqual(app.got, []);
    });
  }

  for (const [name, ask] of [
    ["HTTP/1.0", ASK.replace("HTTP/1.1", "HTTP/1.0")],
    ["an upgrade that Connection does not name", ASK.replace("Connection: Upgrade\r\n", "")],
    ["h2c", ASK.replace("websocket", "h2c")],
  ] as const) {
    test(`${name} is an ordinary request`, async () => {
      await using app = await origin();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(ask);
      await client.responses(1);
      assert.match(client.received, /^HTTP\/1\.1 200 /);
      assert.equal(app.requests[0]?.headers.upgrade, undefined);
    });
  }

  test("a version that the server does not know is the server's to refuse", async () => {
    await using app = await echoServer();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(ASK.replace("Version: 13", "Version: 99"));
    await client.until(({ received, ended }) => received.includes("\r\n\r\n") || ended);
    assert.match(client.received, /^HTTP\/1\.1 (?:400|426) .*Sec-WebSocket-Version: 13/s);
  });

  for (const [name, answer] of [
    ["without Upgrade", SWITCH.replace("Upgrade: websocket\r\n", "")],
    ["with another's accept", SWITCH.replace(acceptOf(KEY), acceptOf("x"))],
    ["to another protocol", SWITCH.replace("websocket", "h2c")],
    ["that is chunked", SWITCH.replace("Conn", "Transfer-Encoding: chunked\r\nConn")],
    ["with a length", SWITCH.replace("Conn", "Content-Length: 5\r\nConn")],
  ] as const) {
    test(`a 101 ${name}: 502`, async () => {
      await using app = await handshaken(answer);
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(ASK);
      await client.responses(1);
      assert.match(client.received, /^HTTP\/1\.1 502 .*"upstream_invalid"/s);
      await eventually(() => app.sockets[0]?.destroyed === true);
    });
  }

  test("a 101 that nobody asked for: 502", async () => {
    await using app = await rawOrigin((socket) => socket.write(SWITCH));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    await client.responses(1);
    assert.match(client.received, /^HTTP\/1\.1 502 .*"upstream_invalid"/s);
  });

  test("another answer is an ordinary response, and the connection goes on", async () => {
    await using app = await origin((request, response) => {
      response.statusCode = request.url === "/chat" ? 403 : 200;
      response.end("no");
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(ASK);
    await client.responses(1);
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    await client.responses(2);
    assert.deepEqual(
      [...client.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, s]) => s),
      ["403", "200"],
    );
  });

  test("what was meant for a tunnel that did not come about is no request", async () => {
    await using app = await origin((_request, response) => {
      response.statusCode = 403;
      response.end("no");
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(`${ASK}GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n`);
    await client.until(({ ended }) => ended);
    assert.equal(app.requests.length, 1);
  });

  test("bytes that come early on either side are kept", async () => {
    await using app = await handshaken(`${SWITCH}early server`);
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(`${ASK}early client`);
    await client.until(({ received }) => received.endsWith("early server"));
    await eventually(() => app.received() === "early client");
    client.send(" and later");
    await eventually(() => app.received() === "early client and later");
  });

  test("the handshake has a backend's time for its head, the tunnel has not", async () => {
    await using app = await rawOrigin(() => {});
    const pool = { responseHeadTimeoutMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], pool }) });
    using client = new RawClient(gateway.port);
    client.send(ASK);
    await client.responses(1);
    assert.match(client.received, /^HTTP\/1\.1 504 .*"upstream_head_timeout"/s);
  });

  test("a route's timeout ends a handshake, and no tunnel", async () => {
    await using app = await echoServer();
    const rule = { requestTimeoutMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], rule }) });
    const client = await connected(gateway.port);
    const sinceMs = performance.now();
    await eventually(() => performance.now() - sinceMs > SHORT_MS * 2);
    client.send("later");
    const [data] = (await once(client, "message")) as [Buffer];
    assert.equal(String(data), "later");
    client.terminate();
  });
});

describe("how a tunnel ends", () => {
  async function tunnel(timeouts: Record<string, number> = {}) {
    const app = await handshaken();
    const { lines, accessLog } = lineLog();
    const parts = oneRoute({ stable: [app.port] });
    const gateway = await testGateway({ parts, accessLog, timeouts });
    const client = new RawClient(gateway.port);
    client.send(ASK);
    await client.until(({ received }) => received.endsWith("\r\n\r\n"));
    const server = app.sockets[0] as Socket;
    return {
      app,
      client,
      gateway,
      lines,
      server,
      ended: async () => {
        await eventually(() => lines.length === 1);
        const { reason, endedBy, phase, status } = lines[0] ?? {};
        return [status, reason, endedBy, phase];
      },
      [Symbol.asyncDispose]: async () => {
        client[Symbol.dispose]();
        await gateway[Symbol.asyncDispose]();
        await app[Symbol.asyncDispose]();
      },
    };
  }

  test("the client says its last byte first: the server may still answer", async () => {
    await using given = await tunnel();
    const { client, server } = given;
    server.allowHalfOpen = true;
    client.send("bye");
    client.socket.end();
    await eventually(() => given.app.received() === "bye");
    await eventually(() => server.readableEnded);
    server.end("and good night");
    await client.until(({ ended }) => ended);
    assert.match(client.received, /and good night$/);
    assert.deepEqual(await given.ended(), [101, "ok", "client", "tunnel"]);
    const { bytesIn, bytesOut, durationUs, bodyUs } = given.lines[0] as Record<string, number>;
    assert.deepEqual([bytesIn, bytesOut], [3, 14]);
    assert.ok((durationUs ?? 0) >= (bodyUs ?? Infinity));
  });

  test("the server ends first", async () => {
    await using given = await tunnel();
    given.server.end("over");
    await given.client.until(({ ended }) => ended);
    given.client.socket.end();
    assert.deepEqual(await given.ended(), [101, "ok", "backend", "tunnel"]);
  });

  test("one end is left alone for long after the other's last byte", async () => {
    await using given = await tunnel({ tunnelHalfClosedMs: SHORT_MS });
    given.server.end();
    assert.deepEqual(await given.ended(), [101, "ok", "backend", "tunnel"]);
    await given.client.until(({ closed, ended }) => closed || ended);
  });

  test("a client that breaks off: the server's connection is reset too", async () => {
    await using given = await tunnel();
    let broken = false;
    given.server.on(
      "error",
      (error: NodeJS.ErrnoException) => (broken = error.code === "ECONNRESET"),
    );
    given.client.socket.resetAndDestroy();
    await eventually(() => broken);
    assert.deepEqual(await given.ended(), [101, "client_gone", "client", "tunnel"]);
  });

  test("a server that breaks off: so is the client's", async () => {
    await using given = await tunnel();
    given.server.resetAndDestroy();
    await given.client.until(({ closed }) => closed);
    assert.equal(given.client.ended, false);
    assert.deepEqual(await given.ended(), [101, "upstream_reset", "backend", "tunnel"]);
  });

  test("silence for too long", async () => {
    await using given = await tunnel({ tunnelIdleMs: SHORT_MS });
    await given.client.until(({ closed, ended }) => closed || ended);
    assert.deepEqual(await given.ended(), [101, "tunnel_idle", "gateway", "tunnel"]);
  });

  test("a byte now and then is no silence", async () => {
    await using given = await tunnel({ tunnelIdleMs: SHORT_MS * 2 });
    const sinceMs = performance.now();
    let sent = 0;
    await eventually(() => {
      if (performance.now() - sinceMs > sent * 20) {
        given.client.send("x");
        sent++;
      }
      return performance.now() - sinceMs > SHORT_MS * 8;
    });
    assert.deepEqual(given.lines, []);
    await eventually(() => given.app.received().length === sent);
  });

  test("it counts as one request and one attempt, when its handshake is answered", async () => {
    await using given = await tunnel();
    const { gateway } = given;
    assert.equal(gateway.metric("response1xx"), 1);
    assert.equal(gateway.metric("ok", STABLE), 1);
    given.client.socket.end();
    given.server.end();
    await given.ended();
    assert.equal(gateway.metric("response1xx"), 1);
    assert.equal(gateway.metric("ok", STABLE), 1);
    assert.equal(gateway.metric("clientGone"), 0);
  });
});

describe("canaries", () => {
  test("a handshake that the canary fails is stable's, and counts against the canary", async () => {
    await using bad = await origin((_request, response) => {
      response.statusCode = 500;
      response.end();
    });
    await using good = await echoServer();
    const parts = oneRoute({ stable: [good.port], canary: [bad.port], weightBp: 9000 });
    await using gateway = await testGateway({ parts, random: () => 0 });
    const client = await connected(gateway.port);
    client.terminate();
    assert.equal(gateway.metric("status5xx", CANARY), 1);
    assert.equal(gateway.metric("ok", STABLE), 1);
    assert.equal(gateway.metric("shielded"), 1);
  });

  test("a gate that closes and a weight that goes leave tunnels alone", async () => {
    await using stable = await echoServer();
    await using canary = await echoServer();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 10_000 });
    await using gateway = await testGateway({ parts });
    const client = await connected(gateway.port);
    assert.equal(canary.server.clients.size, 1);
    await gateway.link(parts.map((part) => (part.type === "split" ? splitPart(0) : part)));
    gateway.gates.set(CANARY, false);
    const other = await connected(gateway.port);
    assert.equal(stable.server.clients.size, 1);
    client.send("still here");
    const [data] = (await once(client, "message")) as [Buffer];
    assert.equal(String(data), "still here");
    for (const each of [client, other]) each.terminate();
  });
});

describe("a slow reader is waited for", () => {
  for (const slow of ["client", "server"] as const) {
    test(`the ${slow}: nothing is lost, and memory does not hold what it does not read`, async () => {
      const bytes = 32 * 1024 * 1024;
      await using app = await handshaken();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(ASK);
      await client.until(({ received }) => received.endsWith("\r\n\r\n"));
      const server = app.sockets[0] as Socket;
      const [from, to] = slow === "client" ? [server, client.socket] : [client.socket, server];
      for (const socket of [from, to]) socket.removeAllListeners("data");
      to.pause();
      const before = process.memoryUsage.rss();
      const piece = Buffer.alloc(64 * 1024, 7);
      let sent = 0;
      const send = (): void => {
        while (sent < bytes) {
          sent += piece.length;
          if (!from.write(piece)) break;
        }
      };
      from.on("drain", send);
      send();
      // It comes to a stop, for nobody reads.
      let last = -1;
      let sinceMs = performance.now();
      await eventually(() => {
        if (from.writableLength !== last) sinceMs = performance.now();
        last = from.writableLength;
        return performance.now() - sinceMs > SHORT_MS * 2;
      });
      assert.ok(sent < bytes, "the sender is made to wait");
      assert.ok(process.memoryUsage.rss() - before < 24 * 1024 * 1024);
      let received = 0;
      let wrong = 0;
      to.setEncoding("latin1");
      to.on("data", (text: string) => {
        received += text.length;
        if (text.charCodeAt(0) !== 7 || text.charCodeAt(text.length - 1) !== 7) wrong++;
      });
      to.resume();
      await eventually(() => received === bytes, 30_000);
      assert.equal(wrong, 0);
    });
  }
});

describe("a worker that stops", () => {
  test("both ends are told 1001, and the drain is over once they have gone", async () => {
    await using app = await echoServer();
    const { lines, accessLog } = lineLog();
    const parts = oneRoute({ stable: [app.port] });
    await using gateway = await testGateway({ parts, accessLog });
    const clients = await Promise.all(Array.from({ length: 20 }, () => connected(gateway.port)));
    const closed = Promise.all(clients.map(async (client) => (await once(client, "close"))[0]));
    const startedMs = performance.now();
    await gateway.plane.drain(20_000);
    assert.ok(performance.now() - startedMs < 5000);
    assert.deepEqual(new Set(await closed), new Set([1001]));
    await eventually(() => app.closes.length === 20);
    assert.deepEqual(new Set(app.closes), new Set([1001]));
    assert.deepEqual(
      new Set(lines.map(({ reason, endedBy }) => `${String(reason)} ${String(endedBy)}`)),
      new Set(["draining gateway"]),
    );
  });

  test("a frame that is under way is passed on whole first, and nothing after it", async () => {
    await using app = await handshaken();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(ASK);
    await client.until(({ received }) => received.endsWith("\r\n\r\n"));
    const headEnd = client.received.length;
    const server = app.sockets[0] as Socket;
    server.write(Buffer.from([0x82, 4, 1, 2]));
    await client.until(({ received }) => received.length === headEnd + 4);
    const drained = gateway.plane.drain(20_000);
    const close = "\x88\x02\x03\xe9";
    await eventually(() => app.received() === "\x88\x82\0\0\0\0\x03\xe9");
    assert.equal(client.received.length, headEnd + 4);
    // The rest of the frame, a frame that must not come, and the server's own Close.
    server.write(Buffer.from([3, 4, 0x82, 1, 9, 0x88, 0]));
    await client.until(({ received }) => received.length >= headEnd + 6 + close.length);
    assert.equal(client.received.slice(headEnd), `\x82\x04\x01\x02\x03\x04${close}`);
    client.send("\x88\x80\0\0\0\0");
    await client.until(({ ended }) => ended);
    client.socket.end();
    server.end();
    await drained;
  });

  test("a tunnel that begins only then is told, too", async () => {
    let told = "";
    await using app = await rawOrigin((_socket, text) => (told += text));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using idle = new RawClient(gateway.port);
    using client = new RawClient(gateway.port);
    client.send(ASK);
    await eventually(() => told.endsWith("\r\n\r\n") && gateway.plane.connections === 2);
    told = "";
    const drained = gateway.plane.drain(20_000);
    // Those that ask for nothing are told when all are.
    await idle.until(({ ended }) => ended);
    idle.socket.end();
    const server = app.sockets[0] as Socket;
    server.write(SWITCH, "latin1");
    await client.until(({ received }) => received.endsWith("\r\n\r\n\x88\x02\x03\xe9"));
    await eventually(() => told === "\x88\x82\0\0\0\0\x03\xe9");
    client.send("\x88\x80\0\0\0\0");
    server.write(Buffer.from([0x88, 0]));
    await client.until(({ ended }) => ended);
    client.socket.end();
    server.end();
    await drained;
  });

  test("one that does not answer is cut after the linger time", async () => {
    await using app = await handshaken();
    const { lines, accessLog } = lineLog();
    const parts = oneRoute({ stable: [app.port] });
    const timeouts = { lingerMs: SHORT_MS };
    await using gateway = await testGateway({ parts, accessLog, timeouts });
    using client = new RawClient(gateway.port);
    client.send(ASK);
    await client.until(({ received }) => received.endsWith("\r\n\r\n"));
    await gateway.plane.drain(20_000);
    assert.deepEqual([lines[0]?.["reason"], lines[0]?.["endedBy"]], ["draining", "gateway"]);
  });
});
