/** Requests that are sent again because their rule asks for it (`RulePart.retry`). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { seededRandom } from "../../src/base/random.ts";
import type { Retry } from "../../src/compile/rule-part.ts";
import type { ErrorCode } from "../../src/proxy/error.ts";
import { backoffMs, retriesFailure } from "../../src/proxy/retry.ts";
import { oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import {
  closedPort,
  eventually,
  origin,
  RawClient,
  rawOrigin,
  statuses,
} from "../support/upstream.ts";

const RETRY: Retry = {
  attempts: 2,
  statusCodes: [[500, 500]],
  grpcCodes: [],
  on: ["connect", "refused", "reset", "timeout"],
  backoffBaseMs: 1,
  backoffMaxMs: 1,
};

function post(body: string): string {
  return `POST / HTTP/1.1\r\nHost: app\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

function partsWith(ports: readonly number[], retry: Partial<Retry> = {}) {
  return oneRoute({ stable: ports, rule: { retry: { ...RETRY, ...retry } } });
}

async function ask(port: number, text: string): Promise<string> {
  using client = new RawClient(port);
  client.send(text);
  return await client.responses(1);
}

/** An origin whose first answers are failures of this status. */
function failing(times: number, status = 500) {
  let count = 0;
  return origin((_request, response) => {
    response.statusCode = count++ < times ? status : 200;
    response.end("answer");
  });
}

describe("sending again", () => {
  test("a POST goes again with its body, and each failure counts against the arm", async () => {
    await using app = await failing(2);
    await using gateway = await testGateway({ parts: partsWith([app.port]) });
    assert.deepEqual(statuses(await ask(gateway.port, post("hello"))), [200]);
    assert.deepEqual(
      app.requests.map(({ body }) => body),
      ["hello", "hello", "hello"],
    );
    assert.equal(gateway.metric("status5xx", STABLE), 2);
    assert.equal(gateway.metric("ok", STABLE), 1);
  });

  test("no more often than asked for, and not after other codes", async () => {
    await using often = await failing(9);
    await using gateway = await testGateway({ parts: partsWith([often.port]) });
    assert.deepEqual(statuses(await ask(gateway.port, post("a"))), [500]);
    assert.equal(often.requests.length, 3);
    await using other = await failing(9, 503);
    await gateway.link(partsWith([other.port]));
    assert.deepEqual(statuses(await ask(gateway.port, post("a"))), [503]);
    assert.equal(other.requests.length, 1);
  });

  test("a body that is longer than what is kept is sent once", async () => {
    await using app = await failing(9);
    await using gateway = await testGateway({ parts: partsWith([app.port]) });
    assert.deepEqual(statuses(await ask(gateway.port, post("x".repeat(100_000)))), [500]);
    assert.equal(app.requests.length, 1);
  });

  test("after a connection that ends without an answer, also for a POST", async () => {
    let count = 0;
    await using app = await rawOrigin((socket) => {
      if (count++ === 0) socket.destroy();
      else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    await using gateway = await testGateway({ parts: partsWith([app.port]) });
    assert.deepEqual(statuses(await ask(gateway.port, post("a"))), [200]);
    assert.equal(count, 2);
  });

  test("only what is named is tried again", async () => {
    let count = 0;
    await using app = await rawOrigin((socket) => {
      count++;
      socket.destroy();
    });
    await using gateway = await testGateway({ parts: partsWith([app.port], { on: ["connect"] }) });
    assert.deepEqual(statuses(await ask(gateway.port, post("a"))), [502]);
    assert.equal(count, 1);
  });

  test("an endpoint that cannot be connected to is asked again, as often as asked for", async () => {
    const dead = await closedPort();
    await using gateway = await testGateway({ parts: partsWith([dead], { attempts: 3 }) });
    assert.deepEqual(statuses(await ask(gateway.port, post("a"))), [502]);
    assert.equal(gateway.metric("connect", STABLE), 4);
  });

  test("another endpoint is asked where there is one", async () => {
    await using bad = await failing(9);
    await using good = await origin();
    const parts = partsWith([bad.port, good.port]);
    await using gateway = await testGateway({ parts });
    for (let count = 0; count < 8; count++) {
      assert.deepEqual(statuses(await ask(gateway.port, post("a"))), [200]);
    }
    assert.equal(good.requests.length, 8);
  });

  test("a client that leaves while the next try waits is not served", async () => {
    await using app = await failing(1);
    const parts = partsWith([app.port], { backoffBaseMs: 60, backoffMaxMs: 60 });
    await using gateway = await testGateway({ parts });
    const client = new RawClient(gateway.port);
    client.send(post("a"));
    await eventually(() => app.requests.length === 1);
    client[Symbol.dispose]();
    await eventually(() => gateway.metric("clientGone") === 1);
    using later = new RawClient(gateway.port);
    later.send(post("b"));
    await later.responses(1);
    assert.deepEqual(
      app.requests.map(({ body }) => body),
      ["a", "b"],
    );
  });

  test("a wait never outlasts the request's own time", async () => {
    await using app = await failing(9);
    const retry = { ...RETRY, backoffBaseMs: 60_000, backoffMaxMs: 60_000 };
    const parts = oneRoute({ stable: [app.port], rule: { retry, requestTimeoutMs: 60 } });
    await using gateway = await testGateway({ parts });
    assert.match(await ask(gateway.port, post("a")), /^HTTP\/1.1 504 .*request_timeout/s);
  });
});

const TRIGGERED: readonly (readonly [code: ErrorCode, refused: boolean, trigger: string])[] = [
  ["upstream_connect_failed", false, "connect"],
  ["upstream_connect_timeout", false, "connect"],
  ["upstream_reset", false, "reset"],
  ["upstream_reset", true, "refused"],
  ["attempt_timeout", false, "timeout"],
  ["upstream_head_timeout", false, "timeout"],
  ["request_timeout", false, ""],
  ["upstream_certificate_invalid", false, ""],
  ["upstream_invalid", false, ""],
  ["response_truncated", false, ""],
];

for (const [code, refused, trigger] of TRIGGERED) {
  const what = `${code}${refused ? ", refused" : ""}`;
  test(`${what}: sent again where ${trigger === "" ? "nothing" : trigger} is named`, () => {
    const triggers = RETRY.on.filter((on) => retriesFailure({ ...RETRY, on: [on] }, code, refused));
    assert.deepEqual(triggers, trigger === "" ? [] : [trigger]);
  });
}

test("waits double from the base to the longest, and are never shorter than the base", () => {
  const random = seededRandom(1);
  const retry = { ...RETRY, backoffBaseMs: 100, backoffMaxMs: 1000 };
  for (const [repetition, least, most] of [
    [0, 100, 200],
    [1, 200, 400],
    [3, 800, 1000],
    [9, 1000, 1000],
  ] as const) {
    for (let draw = 0; draw < 100; draw++) {
      const waitMs = backoffMs(retry, repetition, random);
      assert.ok(waitMs >= least && waitMs <= most, `${repetition}: ${waitMs}`);
    }
  }
});
