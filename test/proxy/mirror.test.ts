/** Copies of requests for mirrors: what they hold, and that nobody waits for them or hears of them. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, test } from "node:test";
import type { Part } from "../../src/compile/program.ts";
import { oneRoute, poolPart, STABLE, testGateway, type TestGateway } from "../support/gateway.ts";
import {
  closedPort,
  eventually,
  origin,
  RawClient,
  rawOrigin,
  statuses,
} from "../support/upstream.ts";

const MIRROR = "split/Backend/default/shadow";
const SHADOW = "Backend/default/shadow@1";

/** One route with a mirror, whose pool is the stable arm's but for its endpoint. */
function partsWith(port: number, shadow: number, filters: object = {}): Part[] {
  const mirrors = [{ split: MIRROR, fraction: 1 }];
  const parts = oneRoute({ stable: [port], rule: { filters: { mirrors, ...filters } } });
  const pool = parts.find((part) => part.type === "pool") as Part & { type: "pool" };
  const key = `pool/${SHADOW}`;
  return [
    ...parts,
    { ...pool, key, endpoints: [{ host: "127.0.0.1", port: shadow }] },
    {
      type: "split",
      key: MIRROR,
      salt: "",
      arms: [{ id: SHADOW, version: "1", role: "stable", weightBp: 10_000, pool: key }],
    },
  ];
}

function post(body: string): string {
  return `POST /a?b HTTP/1.1\r\nHost: app\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

async function ask(port: number, text: string): Promise<string> {
  using client = new RawClient(port);
  client.send(text);
  return await client.responses(1);
}

/** Copies that failed, and that were dropped. */
function lost(gateway: TestGateway): readonly number[] {
  return [gateway.metric("mirrorFailed"), gateway.metric("mirrorDropped")];
}

describe("mirrors", () => {
  test("of a rule and of its backendRef get a copy each", async () => {
    await using app = await origin();
    await using shadow = await origin();
    const mirrors = [{ split: MIRROR, fraction: 1 }];
    const parts = partsWith(app.port, shadow.port).map((part) => {
      if (part.type !== "rule") return part;
      return { ...part, backends: part.backends.map((one) => ({ ...one, filters: { mirrors } })) };
    });
    await using gateway = await testGateway({ parts });
    assert.deepEqual(statuses(await ask(gateway.port, post("body"))), [200]);
    await eventually(() => gateway.metric("mirrorDelivered") === 2);
    assert.deepEqual(
      shadow.requests.map(({ body }) => body),
      ["body", "body"],
    );
  });

  test("get a copy of each request of a connection that sends the same again", async () => {
    await using app = await origin();
    await using shadow = await origin();
    await using gateway = await testGateway({ parts: partsWith(app.port, shadow.port) });
    using client = new RawClient(gateway.port);
    for (let count = 1; count <= 6; count++) {
      client.send("GET /a HTTP/1.1\r\nHost: app\r\n\r\n");
      await client.responses(count);
    }
    await eventually(() => gateway.metric("mirrorDelivered") === 6);
    assert.equal(shadow.requests.length, 6);
  });

  test("get the request as the backend gets it, with its body, and their answer goes nowhere", async () => {
    await using app = await origin();
    await using shadow = await origin((_request, response) => {
      response.statusCode = 500;
      response.end("from the shadow");
    });
    const filters = {
      requestHeaders: { set: [["X-Set", "one"]] },
      rewrite: { path: { type: "ReplaceFullPath", value: "/other" } },
    };
    await using gateway = await testGateway({ parts: partsWith(app.port, shadow.port, filters) });
    const long = "x".repeat(300_000);
    for (const body of ["", "short", long]) {
      const answer = await ask(gateway.port, post(body));
      assert.deepEqual(statuses(answer), [200]);
      assert.doesNotMatch(answer, /shadow/);
    }
    await eventually(() => shadow.requests.length === 3 && shadow.requests[2]?.body === long);
    assert.deepEqual(
      shadow.requests.map(({ method, url, body }) => [method, url, body.length]),
      app.requests.map(({ method, url, body }) => [method, url, body.length]),
    );
    assert.equal(shadow.requests[0]?.url, "/other?b");
    assert.equal(shadow.requests[0]?.headers["x-set"], "one");
    assert.equal(gateway.metric("ok", STABLE), 3);
    assert.equal(gateway.metric("status5xx", SHADOW), 0, "a copy is no attempt on an arm");
    await eventually(() => gateway.metric("mirrorDelivered") === 3);
    assert.deepEqual(lost(gateway), [0, 0]);
  });

  test("a chunked body that comes slowly is copied as it comes", async () => {
    await using app = await origin();
    await using shadow = await origin();
    await using gateway = await testGateway({ parts: partsWith(app.port, shadow.port) });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    await eventually(() => app.requests[0]?.body === "abc" && shadow.requests[0]?.body === "abc");
    client.send("3\r\ndef\r\n0\r\n\r\n");
    assert.deepEqual(statuses(await client.responses(1)), [200]);
    await eventually(() => shadow.requests[0]?.body === "abcdef");
  });

  test("one that cannot be reached, or never answers, holds nobody up", async () => {
    await using app = await origin();
    await using silent = await origin(() => {});
    for (const [port, failed] of [
      [await closedPort(), 5],
      [silent.port, 0],
    ] as const) {
      await using gateway = await testGateway({ parts: partsWith(app.port, port) });
      for (let count = 0; count < 5; count++) {
        assert.deepEqual(statuses(await ask(gateway.port, post("a"))), [200]);
      }
      await eventually(() => gateway.metric("mirrorFailed") === failed);
      assert.equal(gateway.metric("mirrorDelivered"), 0);
    }
  });

  test("a copy for which nobody takes requests, or that is reset, has failed", async () => {
    await using app = await origin();
    await using rude = await rawOrigin((socket) => socket.destroy());
    await using gateway = await testGateway({ parts: partsWith(app.port, rude.port) });
    await ask(gateway.port, post("a"));
    await eventually(() => gateway.metric("mirrorFailed") === 1);
    gateway.gates.set(SHADOW, false);
    await ask(gateway.port, post("a"));
    gateway.gates.set(SHADOW, true);
    await gateway.link([poolPart(SHADOW, [])]);
    await ask(gateway.port, post("a"));
    assert.deepEqual(lost(gateway), [3, 0]);
    assert.equal(gateway.metric("mirrorDelivered"), 0);
  });

  test("a request that is not drawn for its mirror is no copy", async () => {
    await using app = await origin();
    await using shadow = await origin();
    const mirrors = [{ split: MIRROR, fraction: 0.5 }];
    const parts = partsWith(app.port, shadow.port, { mirrors });
    await using gateway = await testGateway({ parts });
    for (let count = 0; count < 40; count++) await ask(gateway.port, post("a"));
    await eventually(() => gateway.metric("mirrorDelivered") === shadow.requests.length);
    assert.ok(shadow.requests.length > 5 && shadow.requests.length < 35);
    assert.deepEqual(lost(gateway), [0, 0]);
  });

  test("a request whose client leaves in its body leaves no copy behind", async () => {
    await using app = await origin();
    await using shadow = await origin();
    await using gateway = await testGateway({ parts: partsWith(app.port, shadow.port) });
    const client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nhalf");
    await eventually(() => shadow.requests[0]?.body === "half");
    client[Symbol.dispose]();
    await eventually(() => shadow.open() === 0 && app.open() === 0);
    assert.deepEqual(lost(gateway), [0, 1]);
  });

  for (const everyMs of [20, 60_000]) {
    test(`an event stream with an event each ${everyMs} ms is not heard for ever`, async () => {
      await using app = await origin();
      await using shadow = await origin((_request, response) => {
        response.write("data: 0\n\n");
        const timer = setInterval(() => response.write("data: 1\n\n"), everyMs);
        response.on("close", () => clearInterval(timer));
      });
      const parts = partsWith(app.port, shadow.port);
      await using gateway = await testGateway({ parts, timeouts: { mirrorAnswerMs: 100 } });
      for (const body of ["", "a"]) {
        assert.deepEqual(statuses(await ask(gateway.port, post(body))), [200]);
      }
      await eventually(() => shadow.requests.length === 2 && shadow.open() === 0);
      assert.equal(gateway.metric("mirrorDelivered"), 2);
    });
  }

  test("an answer that begins before the request has ended has its time from then on", async () => {
    await using app = await origin();
    let heard = 0;
    const answer = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
      response.write("early");
      for await (const _ of message) heard++;
    };
    await using shadow = await origin(
      (_request, response, message) => void answer(message, response),
      { early: true },
    );
    const parts = partsWith(app.port, shadow.port);
    await using gateway = await testGateway({ parts, timeouts: { mirrorAnswerMs: 100 } });
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\na");
    await eventually(() => heard === 1);
    // That time passes for another request, which had ended.
    await ask(gateway.port, post(""));
    await eventually(() => shadow.requests.length === 2 && shadow.open() === 1);
    client.send("b");
    await client.responses(1);
    await eventually(() => heard === 2);
    await eventually(() => shadow.open() === 0);
  });

  test("a mirror that does not read loses its copy, and the request goes on", async () => {
    await using app = await origin();
    const stopped: IncomingMessage[] = [];
    await using shadow = await origin(
      (_request, _response, message) => {
        message.pause();
        stopped.push(message);
      },
      { early: true },
    );
    await using gateway = await testGateway({ parts: partsWith(app.port, shadow.port) });
    const body = "x".repeat(16 * 1024 * 1024);
    assert.deepEqual(statuses(await ask(gateway.port, post(body))), [200]);
    assert.equal(app.requests[0]?.body.length, body.length);
    assert.deepEqual(lost(gateway), [0, 1]);
    for (const message of stopped) message.resume();
    await eventually(() => shadow.open() === 0);
    assert.ok((shadow.requests[0]?.body.length ?? 0) < body.length);
  });
});
