/** What waits for the end of a turn of the event loop, and how text gets to the kernel. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, test } from "node:test";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { Outbox } from "../../src/proxy/outbox.ts";
import type { Http1Endpoint } from "../../src/proxy/pool.ts";
import { ReadBuffer } from "../../src/proxy/read-buffer.ts";
import { TextWriter } from "../../src/proxy/text-writer.ts";
import { TimerWheel } from "../../src/proxy/timer-wheel.ts";
import { Upstream } from "../../src/proxy/upstream.ts";
import type { UpstreamEvents } from "../../src/proxy/upstream-stream.ts";
import { oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import { eventually, origin, RawClient, statuses } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

describe("the outbox", () => {
  test("sends at the end of the turn, in order, and what is added meanwhile in the next", async () => {
    const said: string[] = [];
    const bugs: unknown[] = [];
    const outbox = new Outbox((error) => bugs.push(error));
    const sender = (name: string, then?: () => void): { send: () => void } => ({
      send() {
        said.push(name);
        then?.();
      },
    });
    outbox.add(sender("first", () => outbox.add(sender("later"))));
    outbox.add(
      sender("wrong", () => {
        throw new Error("a bug");
      }),
    );
    outbox.add(sender("third"));
    assert.deepEqual(said, []);
    await turn();
    assert.deepEqual(said, ["first", "wrong", "third"]);
    assert.equal(bugs.length, 1);
    await turn();
    assert.deepEqual(said, ["first", "wrong", "third", "later"]);
  });

  test("an arm that is closed before the turn ends gets nothing", async () => {
    await using app = await origin();
    let closes = false;
    const random = (): number => {
      // After the choice and before the end of the turn.
      if (closes) queueMicrotask(() => gateway.gates.set(STABLE, false));
      return 0.5;
    };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }), random });
    using client = new RawClient(gateway.port);
    client.send(GET);
    assert.deepEqual(statuses(await client.responses(1)), [200]);
    closes = true;
    client.send(GET);
    assert.match(await client.responses(2), /503 .*no_arm/s);
    assert.equal(app.requests.length, 1);
    assert.equal(gateway.metric("reset", STABLE), 0);
  });
});

/** A connection that has answered once, is idle, and is claimed for another request. */
function claimed(): { upstream: Upstream; failures: string[]; ready: () => number } {
  const failures: string[] = [];
  let ready = 0;
  const events: Partial<UpstreamEvents> = {
    head() {},
    readDone() {},
    ended() {},
    ready: () => ready++,
    failed: (_upstream, _exchange, code) => failures.push(code),
  };
  const endpoint: Partial<Http1Endpoint> = { inFlight: 1, release() {}, forget() {} };
  const wheel = new TimerWheel(
    () => {},
    (error) => assert.fail(error as Error),
  );
  const outbox = new Outbox(() => {});
  const upstream = new Upstream(endpoint as Http1Endpoint, {
    events: events as UpstreamEvents,
    wheel,
    outbox,
  });
  upstream.socket = { destroy() {} } as unknown as Socket;
  upstream.writer = { write() {} } as unknown as TextWriter;
  const exchange = { head: { method: "GET" }, tap: null, known: null } as unknown as Exchange;
  upstream.exchange = exchange;
  upstream.sendHead(exchange, true);
  upstream.read(ReadBuffer.over(Buffer.from(ANSWER)), ANSWER.length);
  upstream.exchange = exchange;
  upstream.claim();
  return { upstream, failures, ready: () => ready };
}

describe("a claimed connection", () => {
  test("is given its request once", () => {
    const { upstream, failures, ready } = claimed();
    upstream.send();
    assert.equal(ready(), 1);
    assert.deepEqual(failures, []);
  });

  const cases: [name: string, happens: (upstream: Upstream) => void][] = [
    [
      "speaks unasked",
      (upstream) => upstream.read(ReadBuffer.over(Buffer.from(ANSWER)), ANSWER.length),
    ],
    ["is closed", (upstream) => upstream.closed(true)],
    ["breaks", (upstream) => upstream.closed(false)],
  ];
  for (const [name, happens] of cases) {
    test(`that ${name} before it was used fails like a dead one, and gets no request`, () => {
      const { upstream, failures, ready } = claimed();
      happens(upstream);
      assert.deepEqual(failures, ["upstream_reset"]);
      assert.ok(upstream.reused && !upstream.answered && !upstream.requestSent);
      upstream.send();
      assert.equal(ready(), 0);
    });
  }

  test("that is cancelled gets no request", () => {
    const { upstream, failures, ready } = claimed();
    upstream.cancel();
    upstream.send();
    assert.equal(ready(), 0);
    assert.deepEqual(failures, []);
  });
});

/** Both ends of a connection; the second does not read until it is resumed. */
async function pair(): Promise<{ near: Socket; far: Socket } & Disposable> {
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const near = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [[far]] = (await Promise.all([once(server, "connection"), once(near, "connect")])) as [
    [Socket],
    unknown,
  ];
  server.close();
  return {
    near,
    far,
    [Symbol.dispose]() {
      near.destroy();
      far.destroy();
    },
  };
}

describe("text past the stream", () => {
  for (const direct of [true, false]) {
    test(`keeps its order when the kernel takes no more (${direct ? "direct" : "stream"})`, async () => {
      using both = await pair();
      const { near, far } = both;
      const writer = new TextWriter(near, direct);
      let sent = "";
      for (let count = 0; !writer.pending; count++) {
        const text = `${count}:${"é".repeat(1 + (count % 5) * 4000)}\r\n`;
        writer.write(text);
        sent += text;
      }
      // The stream's queue stands behind what the handle has not finished, and text behind both.
      near.write("bytes\r\n", "latin1");
      writer.write("last\r\n");
      sent += "bytes\r\nlast\r\n";
      let got = "";
      far.on("data", (bytes: Buffer) => (got += bytes.toString("latin1")));
      far.resume();
      await eventually(() => got.length === sent.length);
      assert.ok(got === sent, "the same bytes in the same order");
      await eventually(() => !writer.pending);
      writer.write("again");
      near.end();
      await once(far, "end");
      assert.ok(got.endsWith("last\r\nagain"));
    });
  }

  test("what is unfinished is sent before the end of the stream", async () => {
    using both = await pair();
    const { near, far } = both;
    const writer = new TextWriter(near, true);
    let length = 0;
    while (!writer.pending) {
      writer.write("x".repeat(15_000));
      length += 15_000;
    }
    near.end();
    let got = 0;
    far.on("data", (bytes: Buffer) => (got += bytes.length));
    far.resume();
    await once(far, "end");
    assert.equal(got, length);
  });

  test("a peer that is gone is the socket's error, not an exception", async () => {
    using both = await pair();
    const { near, far } = both;
    const writer = new TextWriter(near, true);
    const errors: Error[] = [];
    near.on("error", (error) => errors.push(error));
    far.resetAndDestroy();
    await eventually(() => {
      if (!near.destroyed) writer.write("x");
      return near.destroyed;
    });
    writer.write("too late");
    await eventually(() => errors.length > 0);
  });

  test("a socket that is destroyed with text unfinished leaves quietly", async () => {
    using both = await pair();
    const { near } = both;
    const writer = new TextWriter(near, true);
    const errors: Error[] = [];
    near.on("error", (error) => errors.push(error));
    while (!writer.pending) writer.write("x".repeat(15_000));
    near.destroy();
    await once(near, "close");
    await turn();
    assert.deepEqual(errors, []);
  });
});
