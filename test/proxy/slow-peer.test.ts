/**
 * Peers that take their time: each side's time counts against that side alone, and nobody may be
 * silent for ever.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { describe, test } from "node:test";
import { DATA, RST_STREAM, SETTINGS_INITIAL_WINDOW_SIZE } from "../../src/http2/frame.ts";
import type { AccessLog } from "../../src/proxy/access-log.ts";
import { FramePeer, GET as HTTP2_GET } from "../support/frames.ts";
import { oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import { eventually, origin, RawClient, rawOrigin, statuses } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/**
 * A limit that tests wait out, milliseconds: longer than a machine under load keeps this thread waiting,
 * or what is not late at all would run into it.
 */
const SHORT_MS = 400;
/** What a machine under load may take for all of LARGE. */
const LARGE_MS_MAX = 60_000;

/** Answers POST when "end" has come, and never answers GET. */
function posts(socket: { write(text: string): unknown }, text: string): void {
  if (text.endsWith("end") || text.endsWith("end\r\n0\r\n\r\n")) socket.write(OK);
}

function lineLog(): { lines: string[]; accessLog: AccessLog } {
  const lines: string[] = [];
  return {
    lines,
    accessLog: { line: (text) => lines.push(text), dropped: 0, close: () => Promise.resolve() },
  };
}

/** Waits for as long as the gateway's limits are, by running into one. */
async function outwait(port: number, code: string): Promise<void> {
  using client = new RawClient(port);
  client.send(GET);
  assert.match(await client.responses(1, LARGE_MS_MAX), new RegExp(`^HTTP/1.1 504 .*${code}`, "s"));
}

describe("a client of HTTP/2 whose connection is slow", () => {
  /** Passes on what a gateway says, a little at a time; stops for good once it is told so. */
  async function slowRelay(
    port: number,
  ): Promise<AsyncDisposable & { port: number; stop(): void }> {
    const timers: NodeJS.Timeout[] = [];
    const sockets: Socket[] = [];
    const server = createServer((client) => {
      const gateway = connect(port, "127.0.0.1");
      sockets.push(client, gateway);
      for (const socket of [client, gateway]) socket.on("error", () => {});
      client.pipe(gateway);
      timers.push(
        setInterval(() => {
          const bytes = gateway.read() as Buffer | null;
          if (bytes !== null) client.write(bytes);
        }, 10),
      );
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const stop = (): void => timers.forEach((timer) => clearInterval(timer));
    return {
      port: (server.address() as AddressInfo).port,
      stop,
      async [Symbol.asyncDispose]() {
        stop();
        for (const socket of sockets) socket.destroy();
        server.close();
        await once(server, "close");
      },
    };
  }

  const STREAMS = 90;
  const BODY = "x".repeat(250_000);

  async function slowClient(port: number): Promise<FramePeer> {
    const peer = FramePeer.client(port, [[SETTINGS_INITIAL_WINDOW_SIZE, 2 ** 30]]);
    peer.window(0, 2 ** 30);
    for (let id = 1; id < 2 * STREAMS; id += 2) peer.headers(id, HTTP2_GET);
    return peer;
  }

  test("gets all of many responses, each of which has to wait for the others", async () => {
    await using app = await origin((_request, response) => response.end(BODY));
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port] }),
      timeouts: { clientStallMs: 1500 },
    });
    await using relay = await slowRelay(gateway.port);
    using peer = await slowClient(relay.port);
    let ended = 0;
    await peer.until(({ frames }) => {
      ended = frames.filter(({ type, flags }) => type === DATA && (flags & 1) !== 0).length;
      return ended + peer.of(RST_STREAM).length === STREAMS;
    }, 60_000);
    assert.equal(ended, STREAMS);
    assert.equal(gateway.metric("clientGone"), 0);
  });

  test("is given up once it takes nothing at all", async () => {
    await using app = await origin((_request, response) => response.end(BODY));
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port] }),
      timeouts: { clientStallMs: SHORT_MS },
    });
    await using relay = await slowRelay(gateway.port);
    using peer = await slowClient(relay.port);
    await peer.until(({ frames }) => frames.some(({ type }) => type === DATA));
    relay.stop();
    await eventually(() => gateway.metric("clientGone") > 0, 20_000);
  });
});

describe("clients that are slow with their bodies", () => {
  test("the limit of the response's head begins with the end of the request", async () => {
    let got = "";
    await using app = await rawOrigin((socket, text) => {
      got += text;
      posts(socket, text);
    });
    const pool = { responseHeadTimeoutMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], pool }) });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\nthe ");
    await eventually(() => got.endsWith("the "));
    await outwait(gateway.port, "upstream_head_timeout");
    client.send("e end");
    assert.deepEqual(statuses(await client.responses(1)), [200]);
    assert.equal(gateway.metric("timeout", STABLE), 1);
  });

  test("the response's head is waited for no longer after it", async () => {
    await using app = await rawOrigin(() => {});
    const pool = { responseHeadTimeoutMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], pool }) });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nab");
    await eventually(() => app.sockets.length === 1);
    client.send("cd");
    assert.match(await client.responses(1), /^HTTP\/1\.1 504 .*upstream_head_timeout/s);
    assert.equal(gateway.metric("timeout", STABLE), 1);
  });

  test("the first attempt begins when there is something to send", async () => {
    await using app = await rawOrigin(posts);
    const rule = { backendRequestTimeoutMs: SHORT_MS };
    const { lines, accessLog } = lineLog();
    const parts = oneRoute({ stable: [app.port], rule });
    await using gateway = await testGateway({ parts, accessLog });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n");
    await outwait(gateway.port, "attempt_timeout");
    client.send("3\r\nend\r\n0\r\n\r\n");
    assert.deepEqual(statuses(await client.responses(1)), [200]);
    const { durationUs, upstreamUs } = JSON.parse(lines[1] ?? "") as Record<string, number>;
    assert.ok((durationUs ?? 0) - (upstreamUs ?? 0) >= SHORT_MS * 1000, "the client's own time");
    assert.equal(gateway.metric("timeout", STABLE), 1);
  });

  for (const limit of ["requestTimeoutMs", "backendRequestTimeoutMs"] as const) {
    test(`${limit} with a body that is not there yet: 408, and the arm is not blamed`, async () => {
      await using app = await rawOrigin(() => {});
      const rule = { [limit]: SHORT_MS };
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], rule }) });
      using client = new RawClient(gateway.port);
      client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\nthe ");
      assert.match(await client.responses(1), /^HTTP\/1\.1 408 .*request_timed_out/s);
      assert.equal(gateway.metric("timeout", STABLE), 0);
    });
  }
});

describe("clients that do not read", () => {
  /** More than the kernel's buffers take. */
  const LARGE = Buffer.alloc(32 * 1024 * 1024, "x");
  const HEAD = `HTTP/1.1 200 OK\r\nContent-Length: ${LARGE.length}\r\n\r\n`;

  test("a request's timeout is theirs", async () => {
    await using app = await rawOrigin((socket) => {
      socket.write(HEAD);
      socket.write(LARGE);
    });
    // Nobody can tell before how long a machine under load takes to fill the kernel's buffers.
    for (let requestTimeoutMs = SHORT_MS; ; requestTimeoutMs *= 2) {
      const { lines, accessLog } = lineLog();
      const parts = oneRoute({ stable: [app.port], rule: { requestTimeoutMs } });
      await using gateway = await testGateway({ parts, accessLog });
      using client = new RawClient(gateway.port);
      client.socket.pause();
      client.send(GET);
      await eventually(() => lines.length === 1, LARGE_MS_MAX);
      const tooShort = /"reason":"request_timeout"/.test(lines.join(""));
      if (tooShort && requestTimeoutMs < LARGE_MS_MAX / 4) continue;
      assert.match(lines.join(""), /"status":499,"reason":"client_stalled"/);
      assert.equal(gateway.metric("clientGone"), 1);
      assert.equal(gateway.metric("timeout", STABLE), 0);
      return;
    }
  });

  test("the backend is not silent while it is they who are waited for", async () => {
    await using app = await rawOrigin((socket, text) => {
      const large = text.startsWith("POST");
      socket.write(HEAD);
      if (large) socket.write(LARGE);
    });
    const timeouts = { responseIdleMs: SHORT_MS };
    const { lines, accessLog } = lineLog();
    const parts = oneRoute({ stable: [app.port] });
    await using gateway = await testGateway({ parts, timeouts, accessLog });
    using client = new RawClient(gateway.port);
    client.socket.pause();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n");
    await eventually(() => app.sockets.length === 1);
    for (let count = 0; count < 2; count++) {
      using other = new RawClient(gateway.port);
      other.send(GET);
      await other.until(({ closed, ended }) => closed || ended);
    }
    let bytes = 0;
    client.socket.on("data", (text: string) => (bytes += text.length));
    client.socket.resume();
    await eventually(() => lines.length === 3, LARGE_MS_MAX);
    assert.match(lines.at(-1) ?? "", /"status":200,"reason":"ok"/);
    await eventually(() => bytes >= LARGE.length, LARGE_MS_MAX);
    assert.equal(gateway.metric("ok", STABLE), 1);
    assert.equal(gateway.metric("timeout", STABLE), 2);
  });
});

test("a client whose body waits for the backend is not late because it once read slowly", async () => {
  const half = Buffer.alloc(16 * 1024 * 1024, "x");
  await using app = await rawOrigin((socket, text) => {
    if (!text.startsWith("POST")) return;
    // It answers at once, and takes no more of the body.
    socket.pause();
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${2 * half.length}\r\n\r\n`);
    socket.write(half);
  });
  // Nobody can tell before how long a machine under load takes for what a slow client has to read.
  for (let clientStallMs = SHORT_MS; ; clientStallMs *= 2) {
    const { lines, accessLog } = lineLog();
    const pool = { responseHeadTimeoutMs: clientStallMs * 2 };
    const parts = oneRoute({ stable: [app.port], pool });
    const timeouts = { clientStallMs };
    await using gateway = await testGateway({ parts, timeouts, accessLog });
    using client = new RawClient(gateway.port);
    client.socket.on("data", () => {
      client.socket.pause();
      setImmediate(() => client.socket.resume());
    });
    client.send(`POST / HTTP/1.1\r\nHost: app\r\nContent-Length: ${half.length}\r\n\r\n`);
    client.socket.write(half.subarray(1));
    const hasHalf = (): boolean => client.received.length > half.length;
    await eventually(() => hasHalf() || lines.length > 0, LARGE_MS_MAX);
    const tooShort = (): boolean =>
      clientStallMs < LARGE_MS_MAX / 4 && lines.join("").includes("client_stalled");
    if (tooShort()) continue;
    await outwait(gateway.port, "upstream_head_timeout");
    app.sockets.at(-2)?.write(half);
    await eventually(() => lines.length === 2, LARGE_MS_MAX);
    if (tooShort()) continue;
    assert.match(lines[1] ?? "", /"method":"POST".*"status":200,"reason":"ok"/);
    return;
  }
});

test("what came while the thread stood still is read before anybody is late", async () => {
  const { lines, accessLog } = lineLog();
  const head = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
  await using app = await rawOrigin((socket) => socket.write(`${head}one `));
  const timeouts = { responseIdleMs: SHORT_MS };
  const parts = oneRoute({ stable: [app.port] });
  await using gateway = await testGateway({ parts, timeouts, accessLog });
  using client = new RawClient(gateway.port);
  client.send(GET);
  await client.until(({ received }) => received.endsWith("one "));
  for (const piece of ["two ", "last"]) {
    // The kernel has it before the thread stands still.
    app.sockets[0]?.write(piece);
    const still = new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(still, 0, 0, SHORT_MS * 2);
    await client.until(
      ({ received, ended, closed }) => received.endsWith(piece) || ended || closed,
    );
  }
  await eventually(() => lines.length === 1);
  assert.match(lines[0] ?? "", /"status":200,"reason":"ok"/);
  assert.equal(gateway.metric("timeout", STABLE), 0);
});

test("a backend that falls silent in its answer is given up", async () => {
  const { lines, accessLog } = lineLog();
  await using app = await rawOrigin((socket) =>
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"),
  );
  const timeouts = { responseIdleMs: SHORT_MS };
  const parts = oneRoute({ stable: [app.port] });
  await using gateway = await testGateway({ parts, timeouts, accessLog });
  using client = new RawClient(gateway.port);
  client.send(GET);
  await client.until(({ closed, ended }) => closed || ended);
  assert.ok(client.received.endsWith("part"));
  assert.match(lines.join(""), /"reason":"response_stalled"/);
  assert.equal(gateway.metric("timeout", STABLE), 1);
  await eventually(() => app.sockets[0]?.destroyed === true);
});
