/** Limits, slow clients, refusals, drain and the access log. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { openAccessLog } from "../../src/proxy/access-log.ts";
import { ERRORS } from "../../src/proxy/error.ts";
import { TICK_MS, TimerWheel, type Timed } from "../../src/proxy/timer-wheel.ts";
import { oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import { eventually, origin, RawClient, rawOrigin, statuses } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const SHORT_MS = 60;

describe("refusals close the connection, and the client gets to read them", () => {
  const long = "x".repeat(40_000);
  const cases: [name: string, bytes: string, status: number, code: keyof typeof ERRORS][] = [
    ["CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "connect_unsupported"],
    ["TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_refused"],
    [
      "an upgrade",
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: irc/6.9\r\n\r\n",
      501,
      "upgrade_unsupported",
    ],
    [
      "another expectation",
      "GET / HTTP/1.1\r\nHost: a\r\nExpect: gold\r\n\r\n",
      417,
      "expectation_unsupported",
    ],
    ["a long target", `GET /${long} HTTP/1.1\r\nHost: a\r\n\r\n`, 414, "target_too_long"],
    ["a long head", `GET / HTTP/1.1\r\nHost: a\r\nX: ${long}\r\n\r\n`, 431, "head_too_large"],
    [
      "101 headers",
      `GET / HTTP/1.1\r\nHost: a\r\n${"X: 1\r\n".repeat(100)}\r\n`,
      431,
      "headers_too_many",
    ],
    [
      "a coding",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
      501,
      "coding_unsupported",
    ],
    ["HTTP/2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version_unsupported"],
    ["dot segments", "GET /a/%2e%2E/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target_invalid"],
    [
      "an alias of a framing header",
      "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n",
      400,
      "header_underscore",
    ],
    [
      "an alias of what the gateway sets",
      "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\n\r\n",
      400,
      "header_underscore",
    ],
  ];
  for (const [name, bytes, status, code] of cases) {
    test(`${name}: ${status} ${code}`, async () => {
      await using app = await origin();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(bytes);
      const text = await client.responses(1);
      assert.deepEqual(statuses(text), [status]);
      const body = JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4)) as {
        error: Record<string, string>;
      };
      assert.equal(body.error["code"], code);
      assert.equal(body.error["message"], ERRORS[code].message);
      assert.match(body.error["requestId"] ?? "", /^[0-9a-f]{32}$/);
      assert.equal(app.requests.length, 0);
    });
  }

  for (const target of ["*", "http://a"]) {
    test(`OPTIONS ${target} is about the gateway itself`, async () => {
      await using app = await origin();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      client.send(`OPTIONS ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      assert.match(await client.responses(1), /^HTTP\/1\.1 204 .*allow: GET/s);
      assert.equal(app.requests.length, 0);
    });
  }

  test("other names with underscores are forwarded", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\napi_key: 1\r\n\r\n");
    await client.responses(1);
    assert.equal(app.requests[0]?.headers["api_key"], "1");
  });
});

describe("slow clients", () => {
  test("a head that does not end: 408", async () => {
    const timeouts = { requestHeadMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [] }), timeouts });
    using client = new RawClient(gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    await client.until(({ ended }) => ended);
    assert.deepEqual(statuses(client.received), [408]);
  });

  test("a body that does not go on: 408, upstream cancelled, arm not blamed", async () => {
    await using app = await rawOrigin(() => {});
    const timeouts = { requestIdleMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }), timeouts });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\npart");
    await client.until(({ ended }) => ended);
    assert.deepEqual(statuses(client.received), [408]);
    await eventually(() => app.sockets[0]?.destroyed === true);
    assert.equal(gateway.metric("timeout", STABLE) + gateway.metric("reset", STABLE), 0);
  });

  test("an idle connection is closed without a word", async () => {
    const timeouts = { clientIdleMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [] }), timeouts });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.until(({ ended }) => ended);
    assert.deepEqual(statuses(client.received), [503]);
  });

  test("a client that does not read is given up, and the upstream with it", async () => {
    await using app = await rawOrigin((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${2 ** 30}\r\n\r\n`);
      const pump = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536))) continue;
        socket.once("drain", pump);
      };
      pump();
    });
    const timeouts = { clientStallMs: SHORT_MS };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }), timeouts });
    using client = new RawClient(gateway.port);
    client.socket.pause();
    client.send(GET);
    await eventually(() => app.sockets[0]?.destroyed === true);
    assert.equal(gateway.metric("clientGone"), 1);
  });
});

test("an address that is taken fails by name, and the others are served", async () => {
  await using app = await origin();
  const taken = await rawOrigin(() => {});
  await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
  const key = `socket/127.0.0.1:${taken.port}`;
  const listeners = [{ hostname: "", table: "table/127.0.0.1:0/" }];
  const socket = {
    type: "socket",
    key,
    address: "127.0.0.1",
    port: taken.port,
    listeners,
  } as const;
  const failures = await gateway.link([socket]);
  assert.deepEqual(failures, [
    { key, message: `Cannot listen on 127.0.0.1:${taken.port}: EADDRINUSE` },
  ]);
  using client = new RawClient(gateway.port);
  client.send(GET);
  assert.deepEqual(statuses(await client.responses(1)), [200]);
  // The next generation tries again.
  await taken[Symbol.asyncDispose]();
  assert.deepEqual(await gateway.link([]), []);
  using second = new RawClient(taken.port);
  second.send(GET);
  assert.deepEqual(statuses(await second.responses(1)), [200]);
});

test("an exception costs the request that raised it: 500, reported, and the worker goes on", async () => {
  await using app = await origin();
  const bugs: unknown[] = [];
  let broken = true;
  const parts = oneRoute({ stable: [app.port], canary: [app.port], weightBp: 100 });
  const random = (): number => {
    if (broken) throw new Error("a bug");
    return 0.5;
  };
  await using gateway = await testGateway({ parts, random, onBug: (error) => bugs.push(error) });
  using client = new RawClient(gateway.port);
  client.send(GET);
  await client.until(({ ended }) => ended);
  assert.match(client.received, /^HTTP\/1\.1 500 .*"internal"/s);
  assert.equal(bugs.length, 1);
  broken = false;
  using next = new RawClient(gateway.port);
  next.send(GET);
  assert.deepEqual(statuses(await next.responses(1)), [200]);
});

describe("drain", () => {
  test("idle connections close, requests in flight finish and close theirs", async () => {
    const waiting: (() => void)[] = [];
    await using app = await origin((_request, response) =>
      waiting.push(() => response.end("done")),
    );
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using idle = new RawClient(gateway.port);
    using busy = new RawClient(gateway.port);
    busy.send(GET);
    await eventually(() => waiting.length === 1 && gateway.plane.connections === 2);
    const drained = gateway.plane.drain(5000);
    await idle.until(({ ended }) => ended);
    idle.socket.end();
    assert.equal(busy.ended, false);
    for (const answer of waiting) answer();
    const text = await busy.until(({ ended }) => ended);
    assert.match(text, /^HTTP\/1\.1 200 .*connection: close\r\n\r\ndone$/is);
    busy.socket.end();
    await drained;
    assert.equal(gateway.plane.connections, 0);
    using late = new RawClient(gateway.port);
    await late.until(({ closed }) => closed);
  });

  test("what is left after the grace period is cut", async () => {
    await using app = await rawOrigin(() => {});
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await eventually(() => app.sockets.length === 1);
    await gateway.plane.drain(SHORT_MS);
    await client.until(({ ended, closed }) => ended || closed);
    assert.match(client.received, /^HTTP\/1\.1 503 .*"draining"/s);
  });
});

describe("the access log", () => {
  test("one JSON line per request, with a reason and without secrets", async () => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-log-"));
    const path = join(directory, "access.log");
    await using app = await origin();
    {
      const accessLog = openAccessLog(path, systemClock);
      await using gateway = await testGateway({
        parts: oneRoute({ stable: [app.port] }),
        accessLog,
      });
      using client = new RawClient(gateway.port);
      client.send(`GET /a"b?key=secret HTTP/1.1\r\nHost: app\r\n\r\n${GET}BAD\r\n\r\n`);
      await client.until(({ ended }) => ended);
      client.socket.end();
      await gateway.plane.drain(1000);
    }
    const text = readFileSync(path, "latin1");
    rmSync(directory, { recursive: true });
    assert.doesNotMatch(text, /secret/);
    const lines = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      lines.map(({ status, reason }) => [status, reason]),
      [
        [200, "ok"],
        [200, "ok"],
        [400, "head_malformed"],
      ],
    );
    assert.equal(lines[0]?.["path"], '/a"b');
    assert.equal(lines[0]?.["arm"], STABLE);
    assert.equal(lines[0]?.["route"], "default/test");
  });

  test(
    "a full device costs lines, which are counted, and no request",
    { skip: !existsSync("/dev/full") },
    async () => {
      const accessLog = openAccessLog("/dev/full", systemClock);
      await using app = await origin();
      await using gateway = await testGateway({
        parts: oneRoute({ stable: [app.port] }),
        accessLog,
      });
      using client = new RawClient(gateway.port);
      client.send(GET.repeat(20));
      await client.responses(20);
      await eventually(() => accessLog.dropped === 20);
      client.send(GET);
      await client.responses(21);
    },
  );
});

describe("the timer wheel", () => {
  function entry(fired: string[], name: string): Timed {
    return {
      deadlineMs: Infinity,
      wheelTick: -1,
      wheelNext: null,
      wheelPrevious: null,
      expire: () => fired.push(name),
    };
  }

  test("deadlines that move later, earlier, far away, and go", () => {
    const fired: string[] = [];
    const wheel = new TimerWheel(
      () => {},
      (error) => assert.fail(error as Error),
    );
    const start = performance.now();
    const [late, early, far, gone] = ["late", "early", "far", "gone"].map((name) =>
      entry(fired, name),
    ) as [Timed, Timed, Timed, Timed];
    wheel.schedule(late, start + 100);
    wheel.schedule(early, start + 100_000);
    wheel.schedule(far, start + 60_000);
    wheel.schedule(gone, start + 100);
    late.deadlineMs = start + 300;
    wheel.schedule(early, start + 200);
    wheel.cancel(gone);
    const log: [number, string[]][] = [];
    for (let at = 0; at <= 61_000; at += TICK_MS) {
      wheel.advance(start + at);
      for (const name of fired.splice(0)) log.push([at, [name]]);
    }
    assert.deepEqual(
      log.map(([, names]) => names[0]),
      ["early", "late", "far"],
    );
    for (const [index, wanted] of [200, 300, 60_000].entries()) {
      const at = log[index]?.[0] ?? 0;
      assert.ok(at >= wanted && at <= wanted + 2 * TICK_MS, `${at} for ${wanted}`);
    }
  });

  test("what expires may cancel and schedule its neighbours", () => {
    const fired: string[] = [];
    const wheel = new TimerWheel(
      () => {},
      (error) => assert.fail(error as Error),
    );
    const start = performance.now();
    const second = entry(fired, "second");
    const third = entry(fired, "third");
    const first: Timed = {
      ...entry(fired, "first"),
      expire() {
        fired.push("first");
        wheel.cancel(second);
        wheel.schedule(third, start + 1000);
      },
    };
    // The one linked last comes up first.
    for (const one of [second, third, first]) wheel.schedule(one, start + 100);
    for (let at = 0; at <= 500; at += TICK_MS) wheel.advance(start + at);
    assert.deepEqual(fired, ["first"]);
    for (let at = 500; at <= 1200; at += TICK_MS) wheel.advance(start + at);
    assert.deepEqual(fired, ["first", "third"]);
  });

  test("what raises an exception does so at its own cost", () => {
    const fired: string[] = [];
    const bugs: unknown[] = [];
    const wheel = new TimerWheel(
      () => {},
      (error) => bugs.push(error),
    );
    const start = performance.now();
    const bug = new Error("a bug");
    const bad: Timed = {
      ...entry(fired, "bad"),
      expire() {
        throw bug;
      },
    };
    for (const one of [entry(fired, "first"), bad, entry(fired, "last")]) {
      wheel.schedule(one, start + 100);
    }
    for (let at = 0; at <= 500; at += TICK_MS) wheel.advance(start + at);
    assert.deepEqual(fired.toSorted(), ["first", "last"]);
    assert.deepEqual(bugs, [bug]);
  });
});
