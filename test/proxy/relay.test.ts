/** Messages through the gateway: order, framing, hop-by-hop lines, what is said about the client. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { request as httpRequest } from "node:http";
import { describe, test } from "node:test";
import { oneRoute, testGateway } from "../support/gateway.ts";
import {
  countResponses,
  eventually,
  origin,
  RawClient,
  rawOrigin,
  settled,
  statuses,
} from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

describe("requests", () => {
  test("pipelined requests are answered in order on one connection", async () => {
    await using app = await origin((request, response) => response.end(request.url));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    const paths = Array.from({ length: 50 }, (_, index) => `/${index}`);
    client.send(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: app\r\n\r\n`).join(""));
    const text = await client.responses(50);
    assert.deepEqual(
      [...text.matchAll(/\r\n\r\n(\/\d+)/g)].map((match) => match[1]),
      paths,
    );
    assert.equal(app.connections(), 1);
  });

  test("many pipelined requests that the gateway answers itself do not exhaust the stack", async () => {
    await using gateway = await testGateway({ parts: oneRoute({ stable: [] }) });
    using client = new RawClient(gateway.port);
    client.send(GET.repeat(5000));
    const text = await client.responses(5000, 20_000);
    assert.equal(statuses(text).length, 5000);
  });

  test("hop-by-hop lines and those that Connection nominates stay behind", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(
      "GET / HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, X-Secret, Host, cookie\r\nX-Secret: 1\r\n" +
        "Cookie: a=1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: close\r\nUpgrade: h2c\r\n" +
        "Proxy-Authorization: Basic eA==\r\nHTTP2-Settings: AA\r\nX-Kept: ä\r\n\r\n",
    );
    await client.responses(1);
    const { headers } = app.requests[0] as (typeof app.requests)[0];
    const own = Object.keys(headers).filter((name) => !name.startsWith("x-forwarded-"));
    assert.deepEqual(
      own.toSorted(),
      ["connection", "cookie", "host", "x-kept", "x-request-id"]
        .filter((name) => name in headers)
        .toSorted(),
    );
    for (const gone of [
      "x-secret",
      "keep-alive",
      "te",
      "proxy-connection",
      "upgrade",
      "proxy-authorization",
      "http2-settings",
    ]) {
      assert.equal(headers[gone], undefined, gone);
    }
    assert.equal(headers.host, "app");
    assert.equal(headers["x-kept"], "ä");
  });

  test("what a client says about whom it forwards for is overwritten", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(
      "GET / HTTP/1.1\r\nHost: app:81\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\n" +
        "X-Forwarded-Host: evil\r\nX-FORWARDED-PORT: 1\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Prefix: /x\r\n\r\n",
    );
    await client.responses(1);
    const { headers } = app.requests[0] as (typeof app.requests)[0];
    assert.equal(headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(headers["x-forwarded-proto"], "http");
    assert.equal(headers["x-forwarded-host"], "app:81");
    assert.equal(headers["x-forwarded-port"], String(gateway.port));
    assert.equal(headers["forwarded"], undefined);
    assert.equal(headers["x-forwarded-prefix"], undefined);
  });

  for (const [name, rule] of [
    ["as it came", {}],
    ["with headers edited", { filters: { requestHeaders: { remove: ["x-b"] } } }],
  ] as const) {
    test(`a request that names no host goes on without X-Forwarded-Host: ${name}`, async () => {
      await using app = await origin();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], rule }) });
      // The second comes on a connection whose first request has named one.
      for (const named of ["", "GET / HTTP/1.1\r\nHost: app\r\n\r\n"]) {
        using client = new RawClient(gateway.port);
        client.send(`${named}GET / HTTP/1.0\r\n\r\n`);
        await client.until(({ ended }) => ended);
        const headers = app.requests.at(-1)?.headers;
        assert.equal(headers?.["x-forwarded-for"], "127.0.0.1");
        assert.equal(headers["x-forwarded-host"], undefined);
      }
    });
  }

  const ids: [name: string, sent: string, kept: boolean][] = [
    ["a plain id is kept", "abc-123_4.5", true],
    ["a quote is not", 'a"b', false],
    ["nor is a long one", "a".repeat(129), false],
  ];
  for (const [name, sent, kept] of ids) {
    test(`request ids: ${name}`, async () => {
      await using app = await origin();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(`GET / HTTP/1.1\r\nHost: app\r\nX-Request-Id: ${sent}\r\n\r\n`);
      await client.responses(1);
      const id = app.requests[0]?.headers["x-request-id"] as string;
      assert.equal(id === sent, kept);
      if (!kept) assert.match(id, /^[0-9a-f]{32}$/);
    });
  }

  test("an absolute target names the host, whatever Host says", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send("GET http://real.example:8080?a=1 HTTP/1.1\r\nHost: other\r\n\r\n");
    await client.responses(1);
    assert.equal(app.requests[0]?.headers.host, "real.example:8080");
    assert.equal(app.requests[0]?.url, "/?a=1");
  });

  test("what is to be asked for over TLS is not given in the clear", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send("GET HTTPS://app/ HTTP/1.1\r\nHost: app\r\n\r\n");
    assert.match(await client.responses(1), /^HTTP\/1\.1 421/);
    client.send("GET HTTP://app/ HTTP/1.1\r\nHost: app\r\n\r\n");
    assert.match(await client.responses(2), /HTTP\/1\.1 200/);
    assert.equal(app.requests.length, 1);
  });

  test("chunked bodies are framed anew and arrive whole", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhel");
    await eventually(() => app.requests.length === 1);
    client.send("lo\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n");
    await client.responses(1);
    assert.equal(app.requests[0]?.body, "hello world");
    assert.equal(app.requests[0]?.headers["transfer-encoding"], "chunked");
  });

  test("5 MB travel both ways unchanged, by length and chunked", async () => {
    await using app = await origin(
      (_request, response, message) => {
        response.writeHead(200, { "content-type": "application/octet-stream" });
        message.setEncoding("binary");
        message.on("data", (text: string) => response.write(text, "latin1"));
        message.on("end", () => response.end());
      },
      { early: true },
    );
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    const sent = randomBytes(5 * 1024 * 1024);
    for (const headers of [
      { "content-length": String(sent.length) },
      { "transfer-encoding": "chunked" },
    ]) {
      const received = await new Promise<Buffer>((resolve, reject) => {
        const outgoing = httpRequest(gateway.url, { method: "POST", headers }, (response) => {
          const parts: Buffer[] = [];
          response.on("data", (part: Buffer) => parts.push(part));
          response.on("end", () => resolve(Buffer.concat(parts)));
          response.on("error", reject);
        });
        outgoing.on("error", reject);
        for (let at = 0; at < sent.length; at += 100_000)
          outgoing.write(sent.subarray(at, at + 100_000));
        outgoing.end();
      });
      assert.ok(received.equals(sent));
    }
  });

  test("an expectation is answered by the gateway once the request is admitted", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(
      "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    await client.until(({ received }) => received === "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi");
    await client.responses(1);
    assert.equal(app.requests[0]?.body, "hi");
    assert.equal(app.requests[0]?.headers.expect, undefined);
  });
});

describe("responses", () => {
  test("HEAD, 204 and 304 have no body, and the connection goes on", async () => {
    await using app = await origin((request, response) => {
      response.statusCode = Number(request.url.slice(1));
      if (response.statusCode === 200) response.setHeader("content-length", 5);
      response.end();
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(
      "HEAD /200 HTTP/1.1\r\nHost: app\r\n\r\nGET /204 HTTP/1.1\r\nHost: app\r\n\r\nGET /304 HTTP/1.1\r\nHost: app\r\n\r\n",
    );
    const text = await client.until(({ received }) => received.includes(" 304 "));
    assert.deepEqual(statuses(text), [200, 204, 304]);
    assert.match(text, /content-length: 5/i);
    assert.equal(app.connections(), 1);
  });

  test("an answer that ends with its connection reaches a 1.1 client in chunks, a 1.0 client as is", async () => {
    await using app = await rawOrigin((socket) =>
      socket.end("HTTP/1.0 200 Fine\r\nX-A: 1\r\n\r\nto the end"),
    );
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using modern = new RawClient(gateway.port);
    modern.send(GET);
    assert.match(
      await modern.responses(1),
      /^HTTP\/1\.1 200 Fine\r\nX-A: 1\r\n.*transfer-encoding: chunked\r\n\r\na\r\nto the end\r\n0\r\n\r\n$/s,
    );
    using old = new RawClient(gateway.port);
    old.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n");
    await old.until(({ ended }) => ended);
    assert.match(old.received, /connection: close\r\n\r\nto the end$/);
  });

  test("a chunked answer of many pieces is passed on as it comes", async () => {
    await using app = await rawOrigin((socket, text) => {
      if (text.startsWith("GET"))
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.until(({ received }) => received.endsWith("3\r\none\r\n"));
    for (const byte of "3;a=b\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n") app.sockets[0]?.write(byte);
    const text = await client.responses(1);
    assert.match(text, /\r\n\r\n3\r\none\r\n(?:1\r\n.\r\n|3\r\ntwo\r\n)+0\r\n\r\n$/s);
    assert.doesNotMatch(text, /X-T/);
  });

  test("interim answers are relayed to clients that know them", async () => {
    await using app = await rawOrigin((socket) =>
      socket.write(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
      ),
    );
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using modern = new RawClient(gateway.port);
    modern.send(GET);
    assert.match(
      await modern.responses(1),
      /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a>\r\n\r\nHTTP\/1\.1 200 /,
    );
    using old = new RawClient(gateway.port);
    old.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n");
    assert.match(await old.until(({ ended }) => ended), /^HTTP\/1\.1 200 /);
  });

  test("an early answer is passed on at once, and neither connection is used again", async () => {
    await using app = await rawOrigin((socket, text) => {
      if (text.startsWith("POST"))
        socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
      if (text.startsWith("GET")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\npart");
    const text = await client.until(({ ended }) => ended);
    assert.match(text, /^HTTP\/1\.1 413 Too Large\r\n.*connection: close\r\n\r\nno$/is);
    using next = new RawClient(gateway.port);
    next.send(GET);
    await next.responses(1);
    assert.equal(app.sockets.length, 2);
    await eventually(() => app.sockets[0]?.destroyed === true);
  });

  test("a chunked body that is wrong from its beginning is an error, and not broken off", async () => {
    const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    await using app = await rawOrigin((socket) => socket.write(`${head}5\r\nhello\r\nx\r\n`));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(GET);
    assert.match(await client.responses(1), /^HTTP\/1\.1 502 .*upstream_invalid/s);
  });

  test("an upstream that is faster than its client waits", async () => {
    const total = 64 * 1024 * 1024;
    let written = 0;
    await using app = await rawOrigin((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
      const piece = Buffer.alloc(64 * 1024);
      const pump = (): void => {
        while (written < total) {
          written += piece.length;
          if (!socket.write(piece)) {
            socket.once("drain", pump);
            return;
          }
        }
      };
      pump();
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.socket.pause();
    client.send(GET);
    await eventually(() => written > 0);
    // The kernel's buffers fill first; then nothing moves any more.
    await settled(() => written);
    assert.ok(written < total / 2, `${written} bytes are under way`);
    client.socket.removeAllListeners("data");
    let received = 0;
    client.socket.on("data", (text: string) => (received += text.length));
    client.socket.resume();
    await eventually(() => received >= total, 20_000);
  });

  const broken: [name: string, bytes: string, status: number][] = [
    [
      "Content-Length and Transfer-Encoding",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
      502,
    ],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 502],
    ["a folded line", "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n", 502],
    ["not HTTP", "220 mail ready\r\n\r\n", 502],
    ["an unasked switch", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", 502],
    ["eleven interim answers", "HTTP/1.1 102 Processing\r\n\r\n".repeat(11), 502],
  ];
  for (const [name, bytes, status] of broken) {
    test(`${name}: ${status}`, async () => {
      await using app = await rawOrigin((socket) => socket.write(bytes));
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(GET);
      assert.deepEqual(statuses(await client.responses(1)), [status]);
      assert.equal(gateway.metric("reset", "Backend/default/app@1"), 1);
    });
  }

  const truncated: [name: string, bytes: string][] = [
    ["by length", "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\npart"],
    ["chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"],
  ];
  for (const [name, bytes] of truncated) {
    test(`an answer that is broken off never looks complete, ${name}`, async () => {
      await using app = await rawOrigin((socket) => socket.end(bytes));
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(GET);
      await client.until(({ closed, ended }) => closed || ended);
      assert.equal(countResponses(client.received), 0);
      assert.equal(gateway.metric("truncated", "Backend/default/app@1"), 1);
    });
  }

  test("bytes behind a complete answer are nobody's answer", async () => {
    let asked = 0;
    await using app = await rawOrigin((socket) => {
      asked++;
      socket.write(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
      );
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(GET + GET);
    const text = await client.responses(2);
    assert.doesNotMatch(text, /evil/);
    assert.equal(asked, 2);
    assert.equal(app.sockets.length, 2);
  });
});
