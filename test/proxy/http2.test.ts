/**
 * HTTP/2 between a client and the gateway, with prior knowledge: what a request and an answer can be,
 * what is refused, and what a client that misbehaves or leaves does to the others.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants, type OutgoingHttpHeaders } from "node:http2";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { GOAWAY, PREFACE } from "../../src/http2/frame.ts";
import { FramePeer, GET } from "../support/frames.ts";
import { oneRoute, testGateway, type RouteOptions, type TestGateway } from "../support/gateway.ts";
import { answerOf, Http2Client } from "../support/http2.ts";
import { eventually, origin, RawClient, rawOrigin } from "../support/upstream.ts";
import type { Timeouts } from "../../src/proxy/plane.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants;

async function gatewayTo(
  port: number,
  options: Partial<RouteOptions> & { timeouts?: Partial<Timeouts> } = {},
): Promise<TestGateway> {
  const { timeouts, ...route } = options;
  return testGateway({
    parts: oneRoute({ stable: [port], ...route }),
    onBug: (error) => assert.fail(error as Error),
    ...(timeouts === undefined ? {} : { timeouts }),
  });
}

describe("a request over HTTP/2", () => {
  test("goes on as HTTP/1.1, and its answer comes back", async () => {
    await using app = await origin((_request, response) => {
      response.setHeader("X-Answer", "yes");
      response.end("hello");
    });
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const answer = await client.get({
      ":path": "/a?b=c",
      ":authority": "app.example",
      cookie: ["a=1", "b=2"],
      te: "trailers",
      "x-forwarded-for": "203.0.113.9",
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["x-answer"], "yes");
    assert.equal(answer.headers.connection, undefined);
    assert.equal(answer.body, "hello");
    const [seen] = app.requests;
    assert.equal(seen?.url, "/a?b=c");
    assert.equal(seen.headers.host, "app.example");
    assert.equal(seen.headers.cookie, "a=1; b=2");
    assert.equal(seen.headers.te, undefined);
    assert.equal(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(seen.headers["x-forwarded-host"], "app.example");
  });

  test("carries a body, of a length that is said or not", async () => {
    await using app = await origin((request, response) => response.end(request.body));
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const body = "x".repeat(300_000);
    const said = { ":method": "POST", "content-length": body.length };
    assert.equal((await client.get(said, body)).body, body);
    assert.equal((await client.get({ ":method": "POST" }, body)).body, body);
    assert.equal((await client.get({ ":method": "POST" }, "")).body, "");
    assert.equal(app.requests[0]?.headers["content-length"], "300000");
    assert.equal(app.requests[1]?.headers["transfer-encoding"], "chunked");
  });

  test("has many beside it on one connection", async () => {
    await using app = await origin((request, response) => response.end(request.url));
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const paths = Array.from({ length: 100 }, (_, index) => `/${index}`);
    const answers = await Promise.all(paths.map((path) => client.get({ ":path": path })));
    assert.deepEqual(
      answers.map(({ body }) => body),
      paths,
    );
    assert.equal(gateway.plane.connections, 1);
  });

  test("HEAD, 204 and 304 have no body", async () => {
    await using app = await origin((request, response) => {
      response.statusCode = Number(request.url.slice(1));
      response.setHeader("Content-Length", request.method === "HEAD" ? 5 : 0);
      response.end();
    });
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const head = await client.get({ ":method": "HEAD", ":path": "/200" });
    assert.equal(head.headers["content-length"], "5");
    for (const code of [204, 304]) {
      const answer = await client.get({ ":path": `/${code}` });
      assert.deepEqual([answer.status, answer.body], [code, ""]);
    }
  });

  test("hears 100 and 103 before the answer", async () => {
    await using app = await origin((_request, response) => {
      response.writeEarlyHints({ link: ["</a>; rel=preload", "</b>; rel=preload"] });
      response.end("ok");
    });
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const stream = client.open({ ":method": "POST", expect: "100-continue", "content-length": 2 });
    const answered = answerOf(stream);
    stream.once("continue", () => stream.end("hi"));
    const { interim, status } = await answered;
    assert.deepEqual(interim, [100, 103]);
    assert.equal(status, 200);
  });

  test("is answered with errors, redirects and the like by the gateway itself", async () => {
    await using app = await origin();
    await using gateway = await gatewayTo(app.port, {
      rule: { filters: { redirect: { scheme: "https", statusCode: 301 } } },
    });
    using client = new Http2Client(gateway.port);
    const moved = await client.get({ ":authority": "app.example", ":path": "/a" });
    assert.equal(moved.status, 301);
    assert.equal(moved.headers.location, "https://app.example/a");
    const refused = await client.get({ ":method": "TRACE" });
    assert.equal(refused.status, 405);
    assert.match(refused.body, /method_refused/);
  });

  test("is answered early, and the rest of its body is not waited for", async () => {
    await using app = await origin((_request, response) => response.end("early"), { early: true });
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const stream = client.open({ ":method": "POST" });
    stream.write("some");
    const { status, body, code } = await answerOf(stream);
    assert.deepEqual([status, body, code], [200, "early", NGHTTP2_NO_ERROR]);
  });
});

describe("what is refused over HTTP/2", () => {
  const cases: [what: string, headers: OutgoingHttpHeaders, status: number][] = [
    ["a path that is a URL", { ":path": "http://other.example/" }, 400],
    ["a path with a dot segment", { ":path": "/a/../b" }, 400],
    ["a scheme of another kind", { ":scheme": "ftp" }, 400],
    ["a host beside another authority", { ":authority": "a.example", host: "b.example" }, 400],
    ["an authority that is none", { ":authority": "user@a.example" }, 400],
    ["a length that is none", { ":method": "POST", "content-length": "1x" }, 400],
    ["a name that passes for another", { x_forwarded_for: "1" }, 400],
    ["a tunnel", { ":method": "CONNECT", ":authority": "a.example:80" }, 501],
    ["another expectation", { expect: "more" }, 417],
    [
      "many headers",
      Object.fromEntries(Array.from({ length: 110 }, (_, index) => [`x-${index}`, "1"])),
      431,
    ],
    ["a long head", { "x-long": "x".repeat(40_000) }, 431],
    ["a long path", { ":path": `/${"x".repeat(20_000)}` }, 414],
  ];
  for (const [what, headers, expected] of cases) {
    test(what, async () => {
      await using app = await origin();
      await using gateway = await gatewayTo(app.port);
      using client = new Http2Client(gateway.port);
      const fields =
        headers[":method"] === "CONNECT" ? headers : { ":authority": "app", ...headers };
      const stream = client.session.request(
        fields[":method"] === "CONNECT" ? fields : { ":path": "/", ...fields },
        { endStream: true },
      );
      stream.on("error", () => {});
      const { status, code } = await answerOf(stream);
      // What node:http2 refuses by itself is reset, and not answered.
      if (status !== 0) assert.equal(status, expected);
      else assert.equal(code, constants.NGHTTP2_PROTOCOL_ERROR);
      assert.equal(app.requests.length, 0);
      // The connection goes on for others.
      assert.equal((await client.get()).status, 200);
    });
  }
});

describe("a client over HTTP/2", () => {
  test("that resets its stream frees the backend, and is logged as gone", async () => {
    await using app = await origin(() => {});
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const stream = client.open({});
    await eventually(() => app.requests.length === 1);
    stream.close(NGHTTP2_CANCEL);
    await eventually(() => gateway.metric("clientGone") === 1);
    await eventually(() => app.open() === 0);
    assert.equal(gateway.plane.connections, 1);
  });

  test("that breaks its connection frees every backend it waits for", async () => {
    await using app = await origin(() => {});
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    for (let count = 0; count < 5; count++) client.open({});
    await eventually(() => app.requests.length === 5);
    client.session.destroy();
    await eventually(() => gateway.metric("clientGone") === 5);
    await eventually(() => app.open() === 0 && gateway.plane.connections === 0);
  });

  test("that resets as fast as it asks is sent away (CVE-2023-44487)", async () => {
    await using app = await origin(() => {});
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    await once(client.session, "remoteSettings");
    const closed = new Promise((resolve) => client.session.once("close", resolve));
    for (let count = 0; count < 1000 && !client.session.closed; count++) {
      client.open({}).close(NGHTTP2_CANCEL);
      if (count % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    assert.ok(client.goaways.length > 0);
    using another = new Http2Client(gateway.port);
    assert.equal((await another.get({ ":method": "TRACE" })).status, 405);
  });

  test("that does not read makes the backend wait, and is given up in the end", async () => {
    let sent = 0;
    await using app = await rawOrigin((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
      const piece = "x".repeat(65_536);
      const more = (): void => {
        while (!socket.destroyed && sent < 100_000_000) {
          sent += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.on("drain", more);
      more();
    });
    await using gateway = await gatewayTo(app.port, { timeouts: { clientStallMs: 300 } });
    using client = new Http2Client(gateway.port);
    const stream = client.open({});
    await once(stream, "response");
    await eventually(() => gateway.metric("clientGone") === 1);
    assert.ok(sent < 50_000_000, String(sent));
  });

  test("that stops in its body is told so", async () => {
    await using app = await origin();
    await using gateway = await gatewayTo(app.port, { timeouts: { requestIdleMs: 200 } });
    using client = new Http2Client(gateway.port);
    const stream = client.open({ ":method": "POST" });
    stream.write("some");
    const { status, body } = await answerOf(stream);
    assert.equal(status, 408);
    assert.match(body, /request_timed_out/);
  });

  test("that asks for nothing is let go", async () => {
    await using app = await origin();
    await using gateway = await gatewayTo(app.port, { timeouts: { clientIdleMs: 200 } });
    using client = new Http2Client(gateway.port);
    assert.equal((await client.get()).status, 200);
    await once(client.session, "close");
    assert.ok(
      client.goaways.length > 0 && client.goaways.every((code) => code === NGHTTP2_NO_ERROR),
    );
    await eventually(() => gateway.plane.connections === 0);
  });

  test("is told of a drain, and its stream goes on to the end", async () => {
    let answer: (() => void) | undefined;
    await using app = await origin((_request, response) => {
      response.write("one ");
      answer = () => response.end("two");
    });
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const stream = client.open({});
    const answered = answerOf(stream);
    await once(stream, "response");
    const drained = gateway.plane.drain(5000);
    await once(client.session, "goaway");
    answer?.();
    assert.equal((await answered).body, "one two");
    await drained;
    assert.ok(
      client.goaways.length > 0 && client.goaways.every((code) => code === NGHTTP2_NO_ERROR),
    );
  });

  test("whose preface ends after the drain began is told at once", async () => {
    let answer: (() => void) | undefined;
    await using app = await origin((_request, response) => (answer = () => response.end("ok")));
    await using gateway = await gatewayTo(app.port);
    using peer = new FramePeer(connect(gateway.port, "127.0.0.1"));
    peer.socket.write(PREFACE.subarray(0, 10));
    await eventually(() => gateway.plane.connections === 1);
    // The beginning of the preface has been read when another client's request is answered.
    using other = new RawClient(gateway.port);
    other.send("OPTIONS * HTTP/1.1\r\nHost: app\r\n\r\n");
    await other.until(({ received }) => received.includes("\r\n\r\n"));
    const drained = gateway.plane.drain(5000);
    await other.until(({ ended }) => ended);
    other.socket.end();
    peer.socket.write(PREFACE.subarray(10));
    peer.settings([]);
    peer.headers(1, GET);
    await peer.until((one) => one.of(GOAWAY).length > 0);
    await eventually(() => answer !== undefined);
    assert.equal(peer.ended(1), false);
    answer?.();
    await peer.until((one) => one.body(1) === "ok" && one.closed);
    await drained;
  });

  test("is cut off at the end of a drain's time", async () => {
    await using app = await origin(() => {});
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const closed = answerOf(client.open({}));
    await eventually(() => app.requests.length === 1);
    await gateway.plane.drain(50);
    const { status } = await closed;
    assert.ok(status === 503 || status === 0);
    assert.equal(gateway.plane.connections, 0);
  });

  test("learns that a response broke off", async () => {
    await using app = await rawOrigin((socket) => {
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    await using gateway = await gatewayTo(app.port);
    using client = new Http2Client(gateway.port);
    const { status, code } = await client.get();
    assert.equal(status, 200);
    assert.equal(code, constants.NGHTTP2_INTERNAL_ERROR);
  });
});
