/**
 * Heads of requests over HTTP/2 that come slowly, in the clear though they are asked for securely, or are
 * refused: each is answered and logged once, as one of HTTP/1 is, and none holds its connection for ever.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { describe, test } from "node:test";
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  HEADERS,
  PADDED,
  PREFACE,
  SETTINGS,
} from "../../src/http2/frame.ts";
import type { SocketPart } from "../../src/compile/program.ts";
import type { AccessLog } from "../../src/proxy/access-log.ts";
import { type Fields, FramePeer, GET, POST } from "../support/frames.ts";
import { oneRoute, testGateway, type TestGateway } from "../support/gateway.ts";
import { fieldBlock, frame } from "../support/http2.ts";
import { eventually, origin } from "../support/upstream.ts";
import type { Timeouts } from "../../src/proxy/plane.ts";

/** A limit that tests wait out. */
const SHORT_MS = 400;

interface Logged extends AsyncDisposable {
  readonly gateway: TestGateway;
  /** Lines of the access log. */
  readonly lines: { status: number; reason: string; requestHeadUs: number }[];
}

async function logged(port: number, timeouts: Partial<Timeouts> = {}): Promise<Logged> {
  const lines: Logged["lines"] = [];
  const accessLog: AccessLog = {
    line: (text) => lines.push(JSON.parse(text) as Logged["lines"][number]),
    dropped: 0,
    close: () => Promise.resolve(),
  };
  const gateway = await testGateway({
    parts: oneRoute({ stable: [port] }),
    onBug: (error) => assert.fail(error as Error),
    accessLog,
    timeouts,
  });
  return { gateway, lines, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() };
}

/** A client that has said all that clients say by themselves, lest that come within a frame. */
async function settledClient(port: number): Promise<FramePeer> {
  const peer = FramePeer.client(port);
  await peer.until(() => peer.of(SETTINGS).length === 2);
  return peer;
}

const BLOCK = fieldBlock(GET);
const OPEN_HEAD = frame(HEADERS, END_STREAM, 1, BLOCK.subarray(0, 5));
const WHOLE_HEAD = frame(HEADERS, END_HEADERS | END_STREAM, 1, BLOCK);

describe("what is not complete in the time of a head", () => {
  const cases: [what: string, says: readonly Buffer[], answer: boolean][] = [
    ["a header block without an end", [OPEN_HEAD], true],
    [
      "a header block that goes on in pieces",
      [OPEN_HEAD, frame(CONTINUATION, 0, 1, BLOCK.subarray(5, 9))],
      true,
    ],
    ["a part of the frame that goes on", [OPEN_HEAD, Buffer.from([0, 0, 9, 9, 4])], true],
    ["a part of a HEADERS frame", [WHOLE_HEAD.subarray(0, 20)], false],
    ["a part of the head of a frame", [WHOLE_HEAD.subarray(0, 2)], false],
  ];
  for (const [what, says, answer] of cases) {
    test(`ends the connection: ${what}`, async () => {
      await using app = await origin();
      await using served = await logged(app.port, { requestHeadMs: SHORT_MS, lingerMs: SHORT_MS });
      using peer = await settledClient(served.gateway.port);
      peer.send(...says);
      await peer.until(() => peer.code(0) !== undefined);
      assert.equal(peer.code(0), ENHANCE_YOUR_CALM);
      await peer.until(() => peer.closed);
      assert.equal(peer.ended(1), answer);
      if (answer) assert.match(peer.of(HEADERS, 1)[0]?.said ?? "", /^408/);
      assert.deepEqual(
        served.lines.map(({ status, reason }) => `${status} ${reason}`),
        answer ? ["408 request_timed_out"] : [],
      );
      for (const line of served.lines) assert.ok(line.requestHeadUs >= 1000 * SHORT_MS);
      assert.equal(app.requests.length, 0);
    });
  }

  test("ends the connection: a part of the preface", async () => {
    await using app = await origin();
    await using served = await logged(app.port, { requestHeadMs: SHORT_MS, lingerMs: SHORT_MS });
    using peer = new FramePeer(connect(served.gateway.port, "127.0.0.1"));
    peer.polite = false;
    peer.socket.write(PREFACE.subarray(0, 20));
    await peer.until(() => peer.code(0) !== undefined);
    assert.equal(peer.code(0), ENHANCE_YOUR_CALM);
  });

  test("is so also while other streams are open, and of trailers", async () => {
    const answers: (() => void)[] = [];
    await using app = await origin((_request, response) => answers.push(() => response.end("ok")));
    await using served = await logged(app.port, { requestHeadMs: SHORT_MS });
    using peer = await settledClient(served.gateway.port);
    peer.headers(3, GET);
    await eventually(() => answers.length === 1);
    peer.headers(5, POST, 0);
    peer.data(5, "body");
    peer.send(frame(HEADERS, END_STREAM, 5, Buffer.alloc(0)));
    await peer.until(() => peer.code(0) !== undefined);
    assert.match(peer.of(HEADERS, 5)[0]?.said ?? "", /^408/);
    assert.deepEqual(served.lines.map(({ status, reason }) => `${status} ${reason}`).toSorted(), [
      "408 request_timed_out",
      "499 client_gone",
    ]);
  });

  test("is no body, and no head that comes in time, however many of them are cut", async () => {
    await using app = await origin((request, response) => response.end(request.body));
    await using served = await logged(app.port, { requestHeadMs: SHORT_MS });
    using peer = await settledClient(served.gateway.port);
    const outwait = async (): Promise<void> => {
      using other = await settledClient(served.gateway.port);
      other.send(OPEN_HEAD);
      await other.until(() => other.code(0) !== undefined);
    };
    peer.headers(1, POST, 0);
    const padded = frame(DATA, PADDED, 1, Buffer.from("\x03hello..."));
    peer.send(padded.subarray(0, 12));
    await outwait();
    peer.send(padded.subarray(12));
    const data = frame(DATA, END_STREAM, 1, Buffer.from(" world"));
    peer.send(data.subarray(0, 11));
    await outwait();
    peer.send(data.subarray(11));
    await peer.until(() => peer.ended(1));
    assert.equal(peer.body(1), "hello world");
    // Each read ends within another head, for longer than one of them may take.
    const untilMs = performance.now() + 3 * SHORT_MS;
    let id = 3;
    let left = frame(HEADERS, END_HEADERS | END_STREAM, id, BLOCK);
    while (performance.now() < untilMs) {
      const next = frame(HEADERS, END_HEADERS | END_STREAM, id + 2, BLOCK);
      peer.send(Buffer.concat([left, next.subarray(0, 15)]));
      left = next.subarray(15);
      const present = id;
      await peer.until(() => peer.ended(present));
      id += 2;
    }
    peer.send(left);
    const last = id;
    await peer.until(() => peer.ended(last));
    assert.equal(peer.code(0), undefined);
  });
});

describe("a request that is asked for securely", () => {
  const asked = (scheme: string, more: Fields = []): Fields => [
    ...GET.map(([name, value]) => [name, name === ":scheme" ? scheme : value] as const),
    ...more,
  ];

  test("is not answered in the clear, however often it is asked for", async () => {
    await using app = await origin();
    await using served = await logged(app.port);
    using peer = FramePeer.client(served.gateway.port);
    for (const [index, scheme] of ["https", "HTTPS", "https", "http", "https"].entries()) {
      const id = 2 * index + 1;
      peer.headers(id, asked(scheme));
      await peer.until(() => peer.ended(id));
      const status = scheme === "http" ? "200" : "421";
      assert.equal(peer.of(HEADERS, id)[0]?.said.slice(0, 3), status, scheme);
    }
    assert.equal(app.requests.length, 1);
    assert.equal(served.lines.filter(({ reason }) => reason === "misdirected").length, 4);
  });

  test("is answered where a proxy that is trusted tells that its client speaks HTTPS", async () => {
    await using app = await origin();
    const parts = oneRoute({ stable: [app.port] });
    const client = {
      type: "client",
      key: "client/a",
      clientIpDetection: { type: "cidrs", trusted: ["127.0.0.1/32"] },
    } as const;
    await using gateway = await testGateway({
      parts: [client, { ...(parts[0] as SocketPart), client: client.key }, ...parts.slice(1)],
    });
    using peer = FramePeer.client(gateway.port);
    for (const [index, told] of ["https", "http", "https", "https"].entries()) {
      const id = 2 * index + 1;
      peer.headers(id, asked("https", [["x-forwarded-proto", told]]));
      await peer.until(() => peer.ended(id));
      const status = told === "https" ? "200" : "421";
      assert.equal(peer.of(HEADERS, id)[0]?.said.slice(0, 3), status);
    }
  });
});

test("a balancer that ends TLS and passes bytes on is believed about :scheme", async () => {
  await using app = await origin();
  const parts = oneRoute({ stable: [app.port] });
  const client = { type: "client", key: "client/a", proxyProtocol: "required" } as const;
  await using gateway = await testGateway({
    parts: [client, { ...(parts[0] as SocketPart), client: client.key }, ...parts.slice(1)],
  });
  using peer = new FramePeer(connect(gateway.port, "127.0.0.1"));
  peer.socket.write("PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n");
  peer.socket.write(PREFACE);
  peer.settings([]);
  for (const [index, scheme] of ["https", "https", "http"].entries()) {
    const id = 2 * index + 1;
    peer.headers(
      id,
      GET.map(([name, value]) => [name, name === ":scheme" ? scheme : value]),
    );
    await peer.until(() => peer.ended(id));
    assert.equal(peer.of(HEADERS, id)[0]?.said.slice(0, 3), "200");
  }
});

describe("a head that is refused", () => {
  const head: Fields = GET.map(([name, value]) => [name, name === ":method" ? "HEAD" : value]);
  const refused: [what: string, fields: Fields][] = [
    ["by its target", head.map(([name, value]) => [name, name === ":path" ? "/%00" : value])],
    ["by its fields", [...head, ["Upper", "case"]]],
    ["by its host", [...head, ["host", "elsewhere"]]],
  ];
  for (const [what, fields] of refused) {
    test(`${what} has an answer without a body where it asks for HEAD`, async () => {
      await using app = await origin();
      await using served = await logged(app.port);
      using peer = FramePeer.client(served.gateway.port);
      peer.headers(1, fields);
      await peer.until(() => peer.ended(1));
      assert.match(peer.of(HEADERS, 1)[0]?.said ?? "", /^400/);
      assert.equal(peer.of(DATA, 1).length, 0);
      await eventually(() => served.lines.length === 1);
    });
  }
});
