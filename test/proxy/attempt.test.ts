/** The attempt loop: endpoints, retries, the canary shield, gates, timeouts and what is counted. */
import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { describe, test } from "node:test";
import { CANARY, oneRoute, splitPart, STABLE, testGateway } from "../support/gateway.ts";
import {
  closedPort,
  eventually,
  origin,
  RawClient,
  rawOrigin,
  statuses,
} from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi";
/** A timeout that a test waits out, milliseconds. */
const SHORT_MS = 60;

async function ask(port: number, text: string): Promise<string> {
  using client = new RawClient(port);
  client.send(text);
  return await client.responses(1);
}

describe("connections and endpoints", () => {
  test("a connection is used again, the latest first", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    for (let count = 0; count < 20; count++) await ask(gateway.port, GET);
    assert.equal(app.connections(), 1);
    assert.equal(gateway.metric("ok", STABLE), 20);
    assert.equal(gateway.metric("response1xx"), 0);
  });

  test("an endpoint that refuses is passed over, also for a request with a body", async () => {
    const dead = await closedPort();
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [dead, app.port] }) });
    for (let count = 0; count < 10; count++) {
      assert.deepEqual(statuses(await ask(gateway.port, POST)), [200]);
    }
    assert.equal(app.requests.length, 10);
    assert.ok(app.requests.every(({ body }) => body === "hi"));
    assert.ok(gateway.metric("connect", STABLE) > 0, "failures to connect are counted");
  });

  test("no endpoint that can be connected to: 502 after three tries", async () => {
    const ports = await Promise.all(Array.from({ length: 5 }, closedPort));
    await using gateway = await testGateway({ parts: oneRoute({ stable: ports }) });
    assert.match(await ask(gateway.port, GET), /502 .*upstream_connect_failed/s);
    assert.equal(gateway.metric("connect", STABLE), 3);
  });

  test("no endpoint at all: 503, and no attempt is counted", async () => {
    await using gateway = await testGateway({ parts: oneRoute({ stable: [] }) });
    assert.match(await ask(gateway.port, GET), /503 .*no_endpoint/s);
    assert.equal(gateway.metric("connect", STABLE), 0);
  });

  test("of two endpoints the less busy one is taken", async () => {
    await using slow = await rawOrigin(() => {});
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [slow.port, app.port] }) });
    using busy = new RawClient(gateway.port);
    busy.send(GET);
    await eventually(() => slow.sockets.length + app.requests.length === 1);
    if (slow.sockets.length === 0) return;
    for (let count = 0; count < 10; count++) await ask(gateway.port, GET);
    assert.equal(slow.sockets.length, 1);
    assert.equal(app.requests.length, 10);
  });

  test("every endpoint at its limit of connections: 503", async () => {
    await using app = await rawOrigin(() => {});
    const pool = { connectionsPerEndpointMax: 2 };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], pool }) });
    using one = new RawClient(gateway.port);
    using two = new RawClient(gateway.port);
    one.send(GET);
    two.send(GET);
    await eventually(() => app.sockets.length === 2);
    assert.match(await ask(gateway.port, GET), /503 .*upstream_overflow/s);
  });

  test("an idle connection is closed after its time", async () => {
    await using app = await origin();
    const pool = { idleTimeoutMs: 10 };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], pool }) });
    await ask(gateway.port, GET);
    await eventually(() => app.open() === 0);
  });
});

describe("a reused connection that is dead before any byte came", () => {
  /** Answers the first request of each connection and resets at the second. */
  function mortal(answers: number): Parameters<typeof rawOrigin>[0] {
    const seen = new Map<number, number>();
    return (socket, _text, connection) => {
      const count = (seen.get(connection) ?? 0) + 1;
      seen.set(connection, count);
      if (count > answers) socket.resetAndDestroy();
      else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    };
  }

  test("an idempotent request gets one fresh try, and nobody is blamed", async () => {
    await using app = await rawOrigin(mortal(1));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    assert.deepEqual(statuses(await ask(gateway.port, GET)), [200]);
    assert.deepEqual(statuses(await ask(gateway.port, GET)), [200]);
    assert.equal(app.sockets.length, 2);
    assert.equal(gateway.metric("reset", STABLE), 0);
    assert.equal(gateway.metric("ok", STABLE), 2);
  });

  test("a request with a body is not sent twice", async () => {
    await using app = await rawOrigin(mortal(1));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    await ask(gateway.port, GET);
    assert.match(await ask(gateway.port, POST), /502 .*upstream_reset/s);
    assert.equal(app.sockets.length, 1);
    assert.equal(gateway.metric("reset", STABLE), 1);
  });

  test("a fresh connection that is reset is an error", async () => {
    await using app = await rawOrigin(mortal(0));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    assert.match(await ask(gateway.port, GET), /502 .*upstream_reset/s);
    assert.equal(app.sockets.length, 1);
  });
});

describe("the canary shield", () => {
  const whole = { weightBp: 9999 };
  const failures: [name: string, field: "status5xx" | "reset" | "timeout", bytes: string | null][] =
    [
      ["a 5xx", "status5xx", "HTTP/1.1 500 Bad\r\nContent-Length: 3\r\n\r\nbad"],
      ["a 5xx without a length", "status5xx", "HTTP/1.1 503 Bad\r\n\r\nbad"],
      [
        "a 5xx after a hint",
        "status5xx",
        "HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n",
      ],
      ["a reset", "reset", ""],
      ["silence", "timeout", null],
    ];
  for (const [name, field, bytes] of failures) {
    test(`${name} of the canary is answered by stable and counted`, async () => {
      await using canary = await rawOrigin((socket) => {
        if (bytes === "") socket.resetAndDestroy();
        else if (bytes !== null) socket.write(bytes);
      });
      await using stable = await origin();
      const pool = { responseHeadTimeoutMs: SHORT_MS };
      const parts = oneRoute({ stable: [stable.port], canary: [canary.port], pool, ...whole });
      await using gateway = await testGateway({ parts, random: () => 0.5 });
      const text = await ask(gateway.port, GET);
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s);
      assert.equal(gateway.metric(field, CANARY), 1);
      assert.equal(gateway.metric("ok", STABLE), 1);
      assert.equal(gateway.metric("shielded"), 1);
    });
  }

  test("a canary that cannot be connected to is answered by stable, whatever the method", async () => {
    await using stable = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [await closedPort()], ...whole });
    await using gateway = await testGateway({ parts, random: () => 0.5 });
    assert.deepEqual(statuses(await ask(gateway.port, POST)), [200]);
    assert.equal(gateway.metric("connect", CANARY), 1);
    assert.equal(stable.requests[0]?.body, "hi");
  });

  test("a request that may not be repeated gets the canary's own answer", async () => {
    await using canary = await origin((_request, response) => response.writeHead(500).end("bad"));
    await using stable = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], ...whole });
    await using gateway = await testGateway({ parts, random: () => 0.5 });
    assert.deepEqual(statuses(await ask(gateway.port, POST)), [500]);
    assert.equal(stable.requests.length, 0);
    assert.equal(gateway.metric("status5xx", CANARY), 1);
    assert.equal(gateway.metric("shielded"), 0);
  });

  test("stable's own failure is not hidden", async () => {
    await using stable = await origin((_request, response) => response.writeHead(500).end("bad"));
    await using canary = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 100 });
    await using gateway = await testGateway({ parts, random: () => 0.5 });
    assert.deepEqual(statuses(await ask(gateway.port, GET)), [500]);
    assert.equal(canary.requests.length, 0);
  });

  test("the discarded answer's connection is used again", async () => {
    await using canary = await origin((_request, response) =>
      response.writeHead(500, { "content-length": 40_000 }).end("x".repeat(40_000)),
    );
    await using stable = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], ...whole });
    await using gateway = await testGateway({ parts, random: () => 0.5 });
    using client = new RawClient(gateway.port);
    for (let count = 1; count <= 5; count++) {
      client.send(GET);
      await client.responses(count);
    }
    assert.equal(canary.requests.length, 5);
    assert.ok(canary.connections() < 5);
  });
});

describe("gates", () => {
  test("an arm whose gate closes gets no further attempt, on whatever connection", async () => {
    await using canary = await origin();
    await using stable = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 9999 });
    await using gateway = await testGateway({ parts, random: () => 0.5 });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.responses(1);
    gateway.gates.set(CANARY, false);
    client.send(GET);
    await client.responses(2);
    assert.deepEqual([canary.requests.length, stable.requests.length], [1, 1]);
  });

  test("a gate that closes while the connection is being made is seen before the request is sent", async () => {
    await using canary = await origin();
    await using stable = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 9999 });
    await using gateway = await testGateway({
      parts,
      random: () => {
        // After this draw the arm is chosen; the connection comes about turns later.
        setImmediate(() => gateway.gates.set(CANARY, false));
        return 0.5;
      },
    });
    // Whichever comes first, the gate or the connection, a closed gate gets nothing.
    gateway.gates.set(CANARY, true);
    const text = await ask(gateway.port, GET);
    assert.deepEqual(statuses(text), [200]);
    assert.equal(canary.requests.length + stable.requests.length, 1);
  });

  test("weight 0 gets nothing as soon as it is linked", async () => {
    await using canary = await origin();
    await using stable = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 9999 });
    await using gateway = await testGateway({ parts, random: () => 0.5 });
    await ask(gateway.port, GET);
    await gateway.link([splitPart(0)]);
    for (let count = 0; count < 20; count++) await ask(gateway.port, GET);
    assert.deepEqual([canary.requests.length, stable.requests.length], [1, 20]);
  });
});

describe("timeouts", () => {
  const silent = (): void => {};
  const cases: [name: string, options: Partial<Parameters<typeof oneRoute>[0]>, code: string][] = [
    ["the request's", { rule: { requestTimeoutMs: SHORT_MS } }, "request_timeout"],
    ["the attempt's", { rule: { backendRequestTimeoutMs: SHORT_MS } }, "attempt_timeout"],
    ["the response head's", { pool: { responseHeadTimeoutMs: SHORT_MS } }, "upstream_head_timeout"],
  ];
  for (const [name, options, code] of cases) {
    test(`${name} ends in 504 ${code}`, async () => {
      await using app = await rawOrigin(silent);
      await using gateway = await testGateway({
        parts: oneRoute({ stable: [app.port], ...options }),
      });
      const startedMs = performance.now();
      assert.match(await ask(gateway.port, GET), new RegExp(`^HTTP/1.1 504 .*${code}`, "s"));
      assert.ok(performance.now() - startedMs >= SHORT_MS);
      assert.equal(gateway.metric("timeout", STABLE), 1);
      await eventually(() => app.sockets[0]?.destroyed === true);
    });
  }

  test("a timeout in the middle of the answer breaks it off", async () => {
    await using app = await rawOrigin((socket) =>
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"),
    );
    const rule = { requestTimeoutMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port], rule }) });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.until(({ closed, ended }) => closed || ended);
    assert.ok(client.received.endsWith("part"));
    assert.equal(gateway.metric("timeout", STABLE), 1);
  });

  test("a connection that does not come about in time", async () => {
    // A listener whose queue is full leaves further connections unanswered.
    await using app = await rawOrigin(() => {});
    const pool = { connectTimeoutMs: SHORT_MS };
    const parts = oneRoute({ stable: [app.port], pool }).map((part) =>
      part.type === "pool" ? { ...part, endpoints: [{ host: "192.0.2.1", port: 9 }] } : part,
    );
    await using gateway = await testGateway({ parts });
    // Where that network is refused at once, the answer is 502 instead.
    assert.match(
      await ask(gateway.port, GET),
      /(504 .*upstream_connect_timeout|502 .*upstream_connect_failed)/s,
    );
    assert.equal(gateway.metric("connect", STABLE), 1);
  });
});

describe("clients that leave", () => {
  for (const leave of ["end", "reset"] as const) {
    test(`by ${leave}: the upstream is cancelled, the arm is not blamed`, async () => {
      await using app = await rawOrigin(() => {});
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(GET);
      await eventually(() => app.sockets.length === 1);
      if (leave === "end") client.socket.end();
      else client.socket.resetAndDestroy();
      const leftMs = performance.now();
      await eventually(() => app.sockets[0]?.destroyed === true);
      assert.ok(performance.now() - leftMs < 100);
      assert.equal(gateway.metric("clientGone"), 1);
      for (const field of ["ok", "reset", "truncated", "timeout"] as const) {
        assert.equal(gateway.metric(field, STABLE), 0);
      }
    });
  }
});

test("a unix socket serves as an endpoint", async () => {
  await using app = await origin();
  const path = `\0sluice-test-${process.pid}`;
  const bridge = createServer((socket) =>
    socket.pipe(connect(app.port, "127.0.0.1")).pipe(socket),
  ).listen(path);
  const parts = oneRoute({ stable: [1] }).map((part) =>
    part.type === "pool" ? { ...part, endpoints: [{ unixPath: path }] } : part,
  );
  await using gateway = await testGateway({ parts });
  assert.deepEqual(statuses(await ask(gateway.port, GET)), [200]);
  bridge.close();
});
