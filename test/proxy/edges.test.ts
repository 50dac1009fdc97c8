/** Ends and beginnings of connections: drains, tunnels, empty lines, gates that move. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AccessLog } from "../../src/proxy/access-log.ts";
import { CANARY, oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import {
  eventually,
  origin,
  RawClient,
  rawOrigin,
  settled,
  statuses,
} from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

function lineLog(): { lines: string[]; accessLog: AccessLog } {
  const lines: string[] = [];
  return {
    lines,
    accessLog: { line: (text) => lines.push(text), dropped: 0, close: () => Promise.resolve() },
  };
}

describe("a request that outlasts the drain", () => {
  const beginnings: [name: string, bytes: string, status: number][] = [
    ["before its answer began", "", 503],
    ["in the middle of its answer", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", 200],
  ];
  for (const [name, bytes, status] of beginnings) {
    test(`is ended, logged and counted ${name}`, async () => {
      const { lines, accessLog } = lineLog();
      await using app = await rawOrigin((socket) => socket.write(bytes));
      const gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }), accessLog });
      using client = new RawClient(gateway.port);
      client.send(GET);
      await eventually(() => app.sockets.length === 1);
      if (bytes !== "") await client.until(({ received }) => received.endsWith("part"));
      await gateway.plane.drain(0);
      await client.until(({ closed, ended }) => closed || ended);
      assert.deepEqual(statuses(client.received), [status]);
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? "", new RegExp(`"status":${status},"reason":"draining"`));
      assert.equal(gateway.metric("reset", STABLE), 0);
      await eventually(() => app.sockets[0]?.destroyed === true);
    });
  }
});

test("what follows CONNECT is not taken for a request", async () => {
  await using app = await origin();
  await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
  using client = new RawClient(gateway.port);
  client.send(`CONNECT app:443 HTTP/1.1\r\nHost: app:443\r\n\r\n${GET}`);
  await client.until(({ ended }) => ended);
  assert.deepEqual(statuses(client.received), [501]);
  assert.match(client.received, /\r\nconnection: close\r\n/);
  assert.equal(app.requests.length, 0);
});

test("a chunked body that is wrong from its beginning reaches nobody", async () => {
  let reads = 0;
  await using app = await rawOrigin((socket) => {
    reads++;
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
  using client = new RawClient(gateway.port);
  // From then on there is a connection on which a head could go at once.
  client.send(GET);
  await client.responses(1);
  client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n");
  await settled(() => reads);
  client.send("nonsense\r\n");
  await client.responses(2);
  assert.deepEqual(statuses(client.received), [200, 400]);
  assert.equal(reads, 1);
});

describe("a client of HTTP/1.0", () => {
  test("is told that its connection stays, where it asks for that", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    client.send("GET / HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n");
    client.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n");
    const [kept = "", closed = ""] = (await client.until(({ ended }) => ended)).split("ok");
    assert.match(kept, /\r\nconnection: keep-alive\r\n/);
    assert.doesNotMatch(closed, /keep-alive/);
  });

  test("does not take an answer that broke off for a whole one", async () => {
    await using app = await rawOrigin((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    let failure: NodeJS.ErrnoException | undefined;
    client.socket.on("error", (error) => (failure = error));
    client.send("GET / HTTP/1.0\r\nHost: app\r\n\r\n");
    await client.until(({ received }) => received.endsWith("hello"));
    app.sockets[0]?.destroy();
    await client.until(({ closed }) => closed);
    assert.equal(failure?.code, "ECONNRESET");
  });
});

test("a method that is not served is told which are", async () => {
  await using gateway = await testGateway({ parts: oneRoute({ stable: [] }) });
  using client = new RawClient(gateway.port);
  client.send("TRACE / HTTP/1.1\r\nHost: app\r\n\r\n");
  const answer = await client.responses(1);
  assert.match(answer, /^HTTP\/1\.1 405 /);
  assert.match(answer, /\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n/);
});

test("a body that came in very many pieces before there was a connection arrives whole", async () => {
  await using app = await origin();
  await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
  using client = new RawClient(gateway.port);
  const body = Array.from({ length: 500 }, (_each, index) => String(index % 10)).join("");
  const chunks = body.replaceAll(/./g, (char) => `1\r\n${char}\r\n`);
  // Head and body are one read, and the connection is made after it.
  client.send(`POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`);
  await eventually(() => app.requests.length === 1);
  client.send("0\r\n\r\n");
  assert.deepEqual(statuses(await client.responses(1)), [200]);
  assert.equal(app.requests[0]?.body, body);
});

describe("empty lines before a request", () => {
  /** Lets the gateway read what was sent before anything more is sent. */
  async function settle(port: number): Promise<void> {
    using other = new RawClient(port);
    other.send("TRACE / HTTP/1.1\r\nHost: app\r\n\r\n");
    await other.responses(1);
  }

  const cases: [name: string, pieces: string[], status: number][] = [
    ["one, at once", [`\r\n${GET}`], 200],
    ["one, by itself", ["\r\n", GET], 200],
    ["one, in two pieces", ["\r", `\n${GET}`], 200],
    ["two, at once", [`\r\n\r\n${GET}`], 400],
    ["two, by themselves", ["\r\n", "\r\n", GET], 400],
    ["two, in odd pieces", ["\r\n\r", `\n${GET}`], 400],
  ];
  for (const [name, pieces, status] of cases) {
    test(`${name}: ${status}`, async () => {
      await using app = await origin();
      await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
      using client = new RawClient(gateway.port);
      for (const piece of pieces) {
        client.send(piece);
        await settle(gateway.port);
      }
      assert.deepEqual(statuses(await client.responses(1)), [status]);
    });
  }

  test("each request may have one", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    for (let count = 1; count <= 3; count++) {
      client.send("\r\n");
      await settle(gateway.port);
      client.send(GET);
      assert.equal(statuses((await client.responses(count)).replaceAll("ok", "\n")).length, count);
    }
  });
});

describe("a gate that moves before anything is sent", () => {
  test("the arm that takes the request makes its first attempt", async () => {
    const { lines, accessLog } = lineLog();
    await using canary = await origin();
    await using stable = await origin();
    const parts = oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 9999 });
    const random = (): number => {
      // After the choice; the connection is made turns later.
      queueMicrotask(() => gateway.gates.set(CANARY, false));
      return 0.5;
    };
    await using gateway = await testGateway({ parts, random, accessLog });
    using client = new RawClient(gateway.port);
    client.send(GET);
    assert.deepEqual(statuses(await client.responses(1)), [200]);
    assert.equal(canary.requests.length, 0);
    assert.match(lines.join(""), /"attempts":1,"shielded":false/);
  });

  test("an arm that was closed and opened again meanwhile takes the request", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    const { gates } = gateway;
    const isOpen = gates.isOpen.bind(gates);
    // Open when the arm is chosen, closed just before a connection is made, open again after.
    const looks = [true, false];
    gates.isOpen = (gate) => looks.shift() ?? isOpen(gate);
    using client = new RawClient(gateway.port);
    client.send(GET);
    assert.deepEqual(statuses(await client.responses(1)), [200]);
    assert.equal(looks.length, 0);
  });
});
