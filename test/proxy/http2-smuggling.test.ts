/**
 * Requests over HTTP/2 that would be two requests, or another one, where they are written as HTTP/1:
 * none of them reaches the origin, whole or in part (RFC 9113 §8.2.1, §10.3).
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { oneRoute, testGateway } from "../support/gateway.ts";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  fieldBlock,
  frame,
  HEADERS,
  Http2Client,
  sayFrames,
} from "../support/http2.ts";
import { rawOrigin } from "../support/upstream.ts";

type Fields = readonly (readonly [string, string])[];

const PSEUDO: Fields = [
  [":method", "POST"],
  [":scheme", "http"],
  [":authority", "app"],
  [":path", "/"],
];

/** The pseudo-headers with some replaced. */
function pseudo(replaced: Readonly<Record<string, string>>): Fields {
  return PSEUDO.map(([name, value]) => [name, replaced[name] ?? value] as const);
}

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n";

const HEADS: [what: string, fields: Fields][] = [
  ["a line end in a value", [...PSEUDO, ["x-a", "1\r\nx-b: 2"]]],
  ["a line feed in a value", [...PSEUDO, ["x-a", "1\nx-b: 2"]]],
  ["a head's end in a value", [...PSEUDO, ["x-a", `1\r\n\r\n${SMUGGLED}`]]],
  ["NUL in a value", [...PSEUDO, ["x-a", "1\0"]]],
  ["a line end in a name", [...PSEUDO, ["x-a: 1\r\nx-b", "2"]]],
  ["a colon in a name", [...PSEUDO, ["x-a:b", "2"]]],
  ["a space in a name", [...PSEUDO, ["x-a ", "2"]]],
  ["an empty name", [...PSEUDO, ["", "2"]]],
  ["blanks around a value", [...PSEUDO, ["x-a", " 2"]]],
  ["an upper-case name", [...PSEUDO, ["X-A", "2"]]],
  ["a space in the path", pseudo({ ":path": "/ HTTP/1.1" })],
  ["a line end in the path", pseudo({ ":path": "/ HTTP/1.1\r\nx: y" })],
  ["a request in the path", pseudo({ ":path": `/ HTTP/1.1\r\nHost: app\r\n\r\n${SMUGGLED}` })],
  ["an empty path", pseudo({ ":path": "" })],
  ["a path that is not one", pseudo({ ":path": "a" })],
  ["a fragment in the path", pseudo({ ":path": "/#a" })],
  ["a space in the method", pseudo({ ":method": "GET / HTTP/1.1\r\nx:" })],
  ["a line end in the authority", pseudo({ ":authority": "app\r\nx-a: b" })],
  ["a path in the authority", pseudo({ ":authority": "app/b" })],
  ["no authority and no host", PSEUDO.filter(([name]) => name !== ":authority")],
  ["another host", [...PSEUDO, ["host", "other"]]],
  [
    "two hosts",
    [...PSEUDO.filter(([name]) => name !== ":authority"), ["host", "a"], ["host", "a"]],
  ],
  ["two paths", [...PSEUDO, [":path", "/b"]]],
  ["a pseudo-header after the others", [["x-a", "1"], ...PSEUDO]],
  ["a pseudo-header of responses", [...PSEUDO, [":status", "200"]]],
  ["a pseudo-header that does not exist", [...PSEUDO, [":x", "200"]]],
  ["transfer-encoding", [...PSEUDO, ["transfer-encoding", "chunked"]]],
  ["connection", [...PSEUDO, ["connection", "x-a"]]],
  ["upgrade", [...PSEUDO, ["upgrade", "h2c"]]],
  ["te that is not trailers", [...PSEUDO, ["te", "chunked"]]],
  ["two lengths", [...PSEUDO, ["content-length", "5"], ["content-length", "6"]]],
  ["the same length twice", [...PSEUDO, ["content-length", "5"], ["content-length", "5"]]],
  ["a length with a sign", [...PSEUDO, ["content-length", "+5"]]],
  ["a list of lengths", [...PSEUDO, ["content-length", "5, 5"]]],
  ["an extended CONNECT", [...pseudo({ ":method": "CONNECT" }), [":protocol", "websocket"]]],
];

const hello = Buffer.from("hello");

function post(fields: Fields): Buffer[] {
  return [frame(HEADERS, END_HEADERS, 1, fieldBlock(fields)), frame(DATA, END_STREAM, 1, hello)];
}

const BODIES: [what: string, frames: readonly Buffer[]][] = [
  ["less body than its length", post([...PSEUDO, ["content-length", "6"]])],
  ["more body than its length", post([...PSEUDO, ["content-length", "4"]])],
];

describe("over HTTP/2 this reaches no origin:", () => {
  for (const [what, fields] of HEADS) {
    test(what, async () => {
      await using seen = await watch();
      const outcome = await sayFrames(seen.port, post(fields));
      assert.deepEqual([outcome.answered, outcome.goaway, outcome.closed], [true, false, false]);
      assert.match(String(outcome.status), /^(?:400|501)$/);
      assert.equal(seen.received(), "");
      await seen.servesOthers();
    });
  }
  for (const [what, frames] of BODIES) {
    test(`${what}: not as a complete request`, async () => {
      await using seen = await watch();
      const outcome = await sayFrames(seen.port, frames);
      assert.ok(outcome.reset || outcome.goaway || outcome.closed, JSON.stringify(outcome));
      assert.doesNotMatch(seen.received(), /hello$/);
      await seen.servesOthers();
    });
  }

  test("a length and no body", async () => {
    await using seen = await watch();
    const block = fieldBlock([...PSEUDO, ["content-length", "5"]]);
    const outcome = await sayFrames(seen.port, [
      frame(HEADERS, END_HEADERS | END_STREAM, 1, block),
    ]);
    assert.equal(outcome.status, 400);
    assert.equal(seen.received(), "");
    await seen.servesOthers();
  });

  test("a pseudo-header among trailers: the request is not completed", async () => {
    await using seen = await watch();
    const trailers = fieldBlock([[":path", "/smuggled"]]);
    await sayFrames(seen.port, [
      frame(HEADERS, END_HEADERS, 1, fieldBlock(PSEUDO)),
      frame(DATA, 0, 1, hello),
      frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers),
    ]);
    assert.doesNotMatch(seen.received(), /\r\n0\r\n\r\n$/);
    await seen.servesOthers();
  });
});

interface Watched extends AsyncDisposable {
  readonly port: number;
  /** All bytes that the origin got. */
  received(): string;
  /** A request that is in order is answered, and stands alone on its connection. */
  servesOthers(): Promise<void>;
}

async function watch(): Promise<Watched> {
  let received = "";
  const app = await rawOrigin((socket, text) => {
    received += text;
    if (text.startsWith("GET /ok ") || text.includes("hello"))
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  const gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
  return {
    port: gateway.port,
    received: () => received,
    async servesOthers() {
      received = "";
      using client = new Http2Client(gateway.port);
      const { status, body } = await client.get({ ":path": "/ok" });
      assert.deepEqual([status, body], [200, "ok"]);
      assert.equal(received.match(/HTTP\/1\.1\r\n/g)?.length, 1);
    },
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await app[Symbol.asyncDispose]();
    },
  };
}
