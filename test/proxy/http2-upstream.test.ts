/**
 * HTTP/2 towards backends: any protocol of the client with it, sessions and their streams, and what
 * becomes of requests when a session or a stream ends.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants, createSecureServer, type ServerHttp2Stream } from "node:http2";
import { connect, type AddressInfo } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { describe, test } from "node:test";
import { CANARY, oneRoute, STABLE, testGateway, type TestGateway } from "../support/gateway.ts";
import type { PoolPart } from "../../src/compile/program.ts";
import type { Timeouts } from "../../src/proxy/plane.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { Http2Endpoint } from "../../src/proxy/http2-endpoint.ts";
import { Outbox } from "../../src/proxy/outbox.ts";
import { ReadBuffer } from "../../src/proxy/read-buffer.ts";
import { TimerWheel } from "../../src/proxy/timer-wheel.ts";
import type { UpstreamEvents } from "../../src/proxy/upstream-stream.ts";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { answerOf, Http2Client, http2Origin } from "../support/http2.ts";
import { closedPort, eventually, origin, rawOrigin } from "../support/upstream.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR } =
  constants;

interface Options {
  readonly pool?: Partial<PoolPart>;
  readonly timeouts?: Partial<Timeouts>;
}

function gatewayTo(port: number, { pool, timeouts }: Options = {}): Promise<TestGateway> {
  return testGateway({
    parts: oneRoute({ stable: [port], pool: { protocol: "h2c", ...pool } }),
    onBug: (error) => assert.fail(error as Error),
    ...(timeouts === undefined ? {} : { timeouts }),
  });
}

function say(stream: ServerHttp2Stream, text: string, headers = {}): void {
  stream.respond({ ":status": 200, ...headers });
  stream.end(text);
}

describe("an HTTP/1.1 client and an HTTP/2 backend", () => {
  test("a request with and without body, an answer of known and unknown length", async () => {
    await using app = await http2Origin(({ body, headers }, stream) => {
      const length = headers[":path"] === "/known" ? { "content-length": body.length + 1 } : {};
      say(stream, `${body}!`, { "x-answer": "yes", ...length });
    });
    await using gateway = await gatewayTo(app.port);
    const plain = await fetch(`${gateway.url}/a?b`, { headers: { "x-ask": "1" } });
    assert.equal(await plain.text(), "!");
    assert.equal(plain.headers.get("x-answer"), "yes");
    assert.equal(plain.headers.get("transfer-encoding"), "chunked");
    const known = await fetch(`${gateway.url}/known`, { method: "POST", body: "hello" });
    assert.equal(await known.text(), "hello!");
    assert.equal(known.headers.get("content-length"), "6");
    const [first, second] = app.requests;
    assert.equal(first?.headers[":path"], "/a?b");
    assert.equal(first.headers["x-ask"], "1");
    assert.equal(first.headers[":authority"], `127.0.0.1:${gateway.port}`);
    assert.equal(first.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(first.headers.connection, undefined);
    assert.equal(second?.body, "hello");
    assert.equal(app.sessions.length, 1);
  });

  test("a body in chunks goes on without them", async () => {
    await using app = await http2Origin(({ body }, stream) => say(stream, String(body.length)));
    await using gateway = await gatewayTo(app.port);
    const body = new ReadableStream({
      start(controller) {
        for (let count = 0; count < 10; count++) controller.enqueue(Buffer.alloc(30_000, "x"));
        controller.close();
      },
    });
    const answer = await fetch(gateway.url, { method: "POST", body, duplex: "half" });
    assert.equal(await answer.text(), "300000");
    assert.equal(app.requests[0]?.headers["transfer-encoding"], undefined);
  });

  test("answers that have no body, and one that is empty", async () => {
    await using app = await http2Origin(({ headers }, stream) => {
      const status = Number(String(headers[":path"]).slice(1));
      stream.respond({ ":status": status }, { endStream: true });
    });
    await using gateway = await gatewayTo(app.port);
    for (const status of [200, 204, 304]) {
      const answer = await fetch(`${gateway.url}/${status}`);
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get("content-length"), status === 200 ? "0" : null);
    }
    const head = await fetch(`${gateway.url}/200`, { method: "HEAD" });
    assert.equal(head.status, 200);
  });

  test("trailers are left out, interim responses are not", async () => {
    await using app = await http2Origin((_request, stream) => {
      stream.additionalHeaders({ ":status": 103, link: "</a>" });
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": "1" }));
      stream.end("ok");
    });
    await using gateway = await gatewayTo(app.port);
    assert.equal(await (await fetch(gateway.url)).text(), "ok");
  });
});

describe("an HTTP/2 client and an HTTP/2 backend", () => {
  test("trailers go both ways", async () => {
    await using app = await http2Origin((_request, stream) => {
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => {
        stream.sendTrailers({ "x-after": ["1", "2"], authorization: "no" });
      });
      stream.end("ok");
    });
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const stream = client.open({ ":method": "POST", te: "trailers" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sent": "yes", host: "no" }));
    stream.end("hello");
    const { body, trailers } = await answerOf(stream);
    assert.equal(body, "ok");
    assert.equal(trailers["x-after"], "1, 2");
    assert.equal(trailers.authorization, undefined);
    const [seen] = app.requests;
    assert.equal(seen?.headers.te, "trailers");
    assert.equal(seen.body, "hello");
    assert.equal(seen.trailers["x-sent"], "yes");
    assert.equal(seen.trailers.host, undefined);
  });

  test("large bodies go both ways, with backpressure", async () => {
    await using app = await http2Origin((request, stream) => say(stream, request.body));
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const body = "0123456789".repeat(300_000);
    assert.equal((await client.get({ ":method": "POST" }, body)).body === body, true);
  });

  test("a client that stops in the middle of its body has not ended it", async () => {
    for (const protocol of ["h2c", undefined] as const) {
      await using second = await http2Origin(() => {}, { early: true });
      let received = "";
      await using first = await rawOrigin((_socket, text) => (received += text));
      const port = protocol === undefined ? first.port : second.port;
      const pool = protocol === undefined ? {} : { protocol };
      await using gateway = await testGateway({ parts: oneRoute({ stable: [port], pool }) });
      using client = new Http2Client(gateway.port);
      const stream = client.open({ ":method": "POST" });
      stream.write("half");
      await eventually(() => received.includes("half") || second.requests[0]?.body === "half");
      client.session.destroy();
      await eventually(() => gateway.metric("clientGone") === 1);
      if (protocol === undefined) {
        assert.doesNotMatch(received, /0\r\n\r\n$/);
      } else {
        await eventually(() => second.requests[0]?.aborted === true);
        assert.equal(second.requests[0]?.ended, false);
      }
    }
  });
});

describe("sessions to a backend", () => {
  test("one is enough for many requests, and another is made where the backend takes fewer", async () => {
    const waiting: (() => void)[] = [];
    await using app = await http2Origin(
      (_request, stream) => waiting.push(() => say(stream, "ok")),
      { settings: { maxConcurrentStreams: 2 } },
    );
    await using gateway = await gatewayTo(app.port, { pool: { connectionsPerEndpointMax: 2 } });
    // The first answer brings the backend's settings.
    const first = fetch(gateway.url);
    await eventually(() => waiting.length === 1);
    waiting.shift()?.();
    assert.equal((await first).status, 200);
    const answers = Array.from({ length: 4 }, () => fetch(gateway.url));
    await eventually(() => waiting.length === 4);
    assert.equal(app.sessions.length, 2);
    const overflow = await fetch(gateway.url);
    assert.equal(overflow.status, 503);
    assert.match(await overflow.text(), /upstream_overflow/);
    for (const go of waiting) go();
    for (const answer of answers) assert.equal((await answer).status, 200);
  });

  test("a GOAWAY lets streams go on to their end, and what comes then goes elsewhere", async () => {
    const waiting: (() => void)[] = [];
    await using app = await http2Origin(({ headers }, stream) => {
      if (headers[":path"] === "/slow") waiting.push(() => say(stream, "slow"));
      else say(stream, "fast");
    });
    await using gateway = await gatewayTo(app.port);
    const slow = fetch(`${gateway.url}/slow`);
    await eventually(() => waiting.length === 1);
    app.sessions[0]?.close();
    const answer = await fetch(gateway.url);
    assert.equal(await answer.text(), "fast");
    waiting[0]?.();
    assert.equal(await (await slow).text(), "slow");
    assert.equal(app.sessions.length, 2);
  });

  test("a request that was refused is sent again, whatever its method, body and all", async () => {
    await using app = await http2Origin((request, stream, count) => {
      if (count === 1) stream.close(NGHTTP2_REFUSED_STREAM);
      else say(stream, request.body);
    });
    await using gateway = await gatewayTo(app.port);
    const answer = await fetch(gateway.url, { method: "POST", body: "hello" });
    assert.equal(await answer.text(), "hello");
    assert.equal(app.requests.length, 2);
  });

  test("one that goes in the turn in which it is chosen has refused the request", async () => {
    await using app = await http2Origin((_request, stream) => say(stream, "ok"));
    const failed: [code: string, refused: boolean][] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const events: Partial<UpstreamEvents> = {
      ready: () => resolve(),
      failed: (upstream, _exchange, code) => failed.push([code, upstream.refused]),
    };
    const address = { host: "127.0.0.1", port: app.port };
    const endpoint = new Http2Endpoint(address, "", {
      events: events as UpstreamEvents,
      wheel: new TimerWheel(
        () => {},
        (error) => assert.fail(error as Error),
      ),
      outbox: new Outbox((error) => assert.fail(error as Error)),
      live: new Set(),
      readBuffer: ReadBuffer.ofSize(65_536),
      openSocket: (onread) => connect({ ...address, onread }),
      scheme: "http",
    });
    const first = endpoint.open({ idleTimeoutMs: 1000, connectTimeoutMs: 1000 } as PoolPart);
    first.exchange = {} as Exchange;
    await promise;
    first.cancel();
    const second = endpoint.takeIdle();
    assert.ok(second);
    second.exchange = {} as Exchange;
    second.claim();
    endpoint.closeIdle();
    await eventually(() => failed.length > 0);
    assert.deepEqual(failed, [["upstream_reset", true]]);
  });

  test("one that died while it was idle costs no request", async () => {
    await using app = await http2Origin((_request, stream) => say(stream, "ok"));
    await using gateway = await gatewayTo(app.port);
    for (let round = 0; round < 3; round++) {
      assert.equal(await (await fetch(gateway.url)).text(), "ok");
      app.sessions.at(-1)?.destroy();
    }
  });

  test("one that is idle for too long is closed", async () => {
    await using app = await http2Origin((_request, stream) => say(stream, "ok"));
    await using gateway = await gatewayTo(app.port, { pool: { idleTimeoutMs: 100 } });
    assert.equal((await fetch(gateway.url)).status, 200);
    const [session] = app.sessions;
    await eventually(() => session?.closed === true || session?.destroyed === true);
    assert.equal((await fetch(gateway.url)).status, 200);
    assert.equal(app.sessions.length, 2);
  });

  test("a backend that cannot be connected to, that is silent, or that speaks HTTP/1", async () => {
    await using silent = await rawOrigin(() => {});
    await using http1 = await origin();
    const cases: [port: number, status: number, code: string][] = [
      [await closedPort(), 502, "upstream_connect_failed"],
      [silent.port, 504, "upstream_head_timeout"],
      [http1.port, 502, "upstream_reset"],
    ];
    for (const [port, status, code] of cases) {
      await using gateway = await gatewayTo(port, { pool: { responseHeadTimeoutMs: 200 } });
      const answer = await fetch(gateway.url);
      assert.equal(answer.status, status);
      assert.match(await answer.text(), new RegExp(code));
    }
  });
});

describe("over TLS", () => {
  const [served] = SERVED as [TestCertificate];
  const tls = { serverName: "a.example", caCertificates: served.certificate };

  test("a backend that chooses h2 gets requests", async () => {
    const server = createSecureServer({ key: served.privateKey, cert: served.certificate });
    server.on("stream", (stream, headers) => say(stream, String(headers[":scheme"])));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    await using gateway = await gatewayTo(port, { pool: { protocol: "h2", tls } });
    const text = await (await fetch(gateway.url)).text();
    server.close();
    assert.equal(text, "https");
  });

  test("a backend that does not is none", async () => {
    const options = { key: served.privateKey, cert: served.certificate };
    const server = createTlsServer({ ...options, ALPNProtocols: ["http/1.1"] });
    server.on("tlsClientError", () => {});
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    await using gateway = await gatewayTo(port, { pool: { protocol: "h2", tls } });
    const { status } = await fetch(gateway.url);
    server.close();
    assert.equal(status, 502);
  });
});

describe("one stream of a session", () => {
  test("is reset alone when its client leaves", async () => {
    let open: ServerHttp2Stream | undefined;
    await using app = await http2Origin(({ headers }, stream) => {
      if (headers[":path"] === "/open") open = stream;
      else say(stream, "ok");
    });
    await using gateway = await gatewayTo(app.port);
    const abort = new AbortController();
    const left = fetch(`${gateway.url}/open`, { signal: abort.signal });
    await eventually(() => open !== undefined);
    abort.abort();
    await assert.rejects(left);
    await eventually(() => open?.closed === true);
    assert.equal(open?.rstCode, NGHTTP2_CANCEL);
    assert.equal(await (await fetch(gateway.url)).text(), "ok");
    assert.equal(app.sessions.length, 1);
  });

  test("that breaks before its head is a 502, and in its body a broken answer", async () => {
    await using app = await http2Origin(({ headers }, stream) => {
      if (headers[":path"] === "/head") {
        stream.close(NGHTTP2_INTERNAL_ERROR);
        return;
      }
      stream.respond({ ":status": 200 });
      stream.write("half");
      stream.once("drain", () => {});
      setImmediate(() => stream.destroy(new Error("broken")));
    });
    await using gateway = await gatewayTo(app.port);
    assert.equal((await fetch(`${gateway.url}/head`, { method: "POST" })).status, 502);
    const broken = await fetch(`${gateway.url}/body`);
    assert.equal(broken.status, 200);
    await assert.rejects(broken.text());
    using client = new Http2Client(gateway.port);
    const { code } = await client.get({ ":path": "/body" });
    assert.equal(code, NGHTTP2_INTERNAL_ERROR);
    await eventually(() => gateway.metric("truncated", STABLE) === 2);
  });

  test("whose body is shorter than it said is broken off", async () => {
    await using app = await http2Origin((_request, stream) => {
      stream.respond({ ":status": 200, "content-length": 10 });
      stream.write("half");
      setImmediate(() => stream.close(NGHTTP2_NO_ERROR));
    });
    await using gateway = await gatewayTo(app.port);
    await assert.rejects(async () => (await fetch(gateway.url)).text());
  });

  test("a slow client makes the backend wait", async () => {
    let sent = 0;
    await using app = await http2Origin((_request, stream) => {
      stream.respond({ ":status": 200 });
      const more = (): void => {
        while (!stream.destroyed && sent < 50_000_000) {
          sent += 65_536;
          if (!stream.write(Buffer.alloc(65_536))) return;
        }
      };
      stream.on("drain", more);
      more();
    });
    await using gateway = await gatewayTo(app.port, { timeouts: { clientStallMs: 300 } });
    using client = new Http2Client(gateway.port);
    const stream = client.open({});
    await once(stream, "response");
    await eventually(() => gateway.metric("clientGone") === 1);
    assert.ok(sent < 10_000_000, String(sent));
  });

  test("is not opened to an arm whose gate closes in the same turn", async () => {
    await using stable = await http2Origin((_request, stream) => say(stream, "stable"));
    await using canary = await http2Origin((_request, stream) => say(stream, "canary"));
    let closes = false;
    const random = (): number => {
      if (closes) queueMicrotask(() => gateway.gates.set(CANARY, false));
      return 0.01;
    };
    const parts = oneRoute({
      stable: [stable.port],
      canary: [canary.port],
      weightBp: 9000,
      pool: { protocol: "h2c" },
    });
    await using gateway = await testGateway({ parts, random });
    assert.equal(await (await fetch(gateway.url)).text(), "canary");
    closes = true;
    assert.equal(await (await fetch(gateway.url)).text(), "stable");
    assert.equal(canary.requests.length, 1);
  });
});
