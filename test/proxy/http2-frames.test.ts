/**
 * What a client may do with frames, and what becomes of one that does what it may not: windows of any size,
 * settings that change under way, frames cut anywhere, floods, and a connection that is to end.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  CANCEL,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  GOAWAY,
  HEADERS,
  NO_ERROR,
  numberAt,
  PADDED,
  PING,
  PROTOCOL_ERROR,
  REFUSED_STREAM,
  SETTINGS,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  SETTINGS_MAX_FRAME_SIZE,
  STREAM_CLOSED,
  STREAM_ID_MAX,
  WINDOW_UPDATE,
  WITH_PRIORITY,
} from "../../src/http2/frame.ts";
import type { ClientPart, RulePart, SocketPart } from "../../src/compile/program.ts";
import type { Timeouts } from "../../src/proxy/plane.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { FIELD, MetricReader, UNMATCHED_ROUTE } from "../../src/shared/metrics.ts";
import { FramePeer, GET, POST } from "../support/frames.ts";
import { oneRoute, testGateway, type TestGateway } from "../support/gateway.ts";
import { fieldBlock, frame } from "../support/http2.ts";
import { eventually, origin, rawOrigin, settled, type Origin } from "../support/upstream.ts";

function gatewayTo(
  port: number,
  timeouts: Partial<Timeouts> = {},
  rule: Partial<RulePart> = {},
): Promise<TestGateway> {
  return testGateway({
    parts: oneRoute({ stable: [port], rule }),
    onBug: (error) => assert.fail(error as Error),
    timeouts,
  });
}

/** The connection still serves a stream. */
async function serves(peer: FramePeer, id: number): Promise<void> {
  peer.headers(id, GET);
  await peer.until(() => peer.ended(id));
  assert.match(peer.of(HEADERS, id)[0]?.said ?? "", /^200/);
}

describe("frames", () => {
  const echo = (): Promise<Origin> =>
    origin((request, response) => response.end(`${request.method} ${request.body}`));

  for (const sliceBytes of [1, 2, 7, 0]) {
    const how = sliceBytes === 0 ? "whole" : `in pieces of ${sliceBytes}`;
    test(`that come ${how}: padding, continuations, priorities, unknown ones`, async () => {
      await using app = await echo();
      await using gateway = await gatewayTo(app.port);
      using peer = FramePeer.client(gateway.port);
      peer.sliceBytes = sliceBytes;
      const block = fieldBlock([...POST, ["x-a", "1"]]);
      const dependsOn = Buffer.from([0, 0, 0, 0, 15]);
      const padded = Buffer.concat([Buffer.from([3]), Buffer.from("hello"), Buffer.alloc(3)]);
      const [first, second, third] = [
        block.subarray(0, 9),
        block.subarray(9, 40),
        block.subarray(40),
      ];
      peer.send(
        frame(
          HEADERS,
          PADDED | 0x20,
          1,
          Buffer.concat([Buffer.from([2]), dependsOn, first, Buffer.alloc(2)]),
        ),
        frame(CONTINUATION, 0, 1, second),
        frame(CONTINUATION, END_HEADERS, 1, third),
        frame(0xbe, 0xff, 1, Buffer.from("whatever")),
        frame(DATA, PADDED, 1, padded),
        frame(DATA, 0, 1, Buffer.from(" world")),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, fieldBlock([["x-after", "1"]])),
      );
      await peer.until(() => peer.ended(1));
      assert.equal(peer.body(1), "POST hello world");
      await serves(peer, 3);
      assert.equal(app.requests[0]?.headers["x-a"], "1");
    });
  }

  test("that say the same head again are known, and each request is its own", async () => {
    await using app = await origin((request, response) => {
      response.setHeader("x-seen", String(request.headers["x-request-id"]));
      response.end(request.body);
    });
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    for (let count = 0; count < 6; count++) {
      const [get, post, sized] = [count * 6 + 1, count * 6 + 3, count * 6 + 5];
      peer.headers(get, GET);
      peer.headers(post, POST, 0);
      peer.data(post, `body ${count}`, END_STREAM);
      peer.headers(sized, [...POST, ["content-length", "3"]], 0);
      peer.data(sized, "abc", END_STREAM);
      await peer.until(() => peer.ended(get) && peer.ended(post) && peer.ended(sized));
      assert.deepEqual(
        [get, post, sized].map((id) => peer.body(id)),
        ["", `body ${count}`, "abc"],
      );
    }
    const ids = app.requests.map(({ headers }) => headers["x-request-id"]);
    assert.equal(new Set(ids).size, 18);
    const told = peer.of(HEADERS).map(({ said }) => /x-seen: (\w+)/.exec(said)?.[1]);
    assert.deepEqual(new Set(told), new Set(ids));
    for (const { method, headers } of app.requests) {
      const sized = headers["content-length"] === "3";
      const chunked = headers["transfer-encoding"] === "chunked";
      assert.equal(method === "POST", sized || chunked);
    }
  });

  test("that say a known head where trailers stand, or the other way round, are refused", async () => {
    await using app = await echo();
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    const trailers = [["x-after", "1"]] as const;
    for (const id of [1, 5, 9]) {
      peer.headers(id, GET);
      peer.headers(id + 2, POST, 0);
      peer.headers(id + 2, trailers);
      await peer.until(() => peer.ended(id) && peer.ended(id + 2));
    }
    peer.headers(13, POST, 0);
    peer.headers(13, GET);
    peer.headers(15, trailers);
    await peer.until(() => peer.code(13) !== undefined && peer.code(15) !== undefined);
    assert.deepEqual([peer.code(13), peer.code(15)], [PROTOCOL_ERROR, PROTOCOL_ERROR]);
    await serves(peer, 17);
    assert.equal(app.requests.filter(({ url }) => url !== "/").length, 0);
  });

  test("that say a known head are answered by a new rule once there is one", async () => {
    await using old = await origin((_request, response) => response.end("old"));
    await using next = await origin((_request, response) => response.end("next"));
    await using gateway = await gatewayTo(old.port);
    using peer = FramePeer.client(gateway.port);
    const bodies: string[] = [];
    for (let id = 1; id < 20; id += 2) {
      if (id === 11) await gateway.link(oneRoute({ stable: [next.port] }));
      await serves(peer, id);
      bodies.push(peer.body(id));
    }
    assert.deepEqual(bodies, [...Array(5).fill("old"), ...Array(5).fill("next")]);
  });
});

describe("windows", () => {
  const BODY = "0123456789".repeat(10);

  test("of a few bytes are filled and never overrun", async () => {
    await using app = await origin((_request, response) => response.end(BODY));
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port, [[SETTINGS_INITIAL_WINDOW_SIZE, 7]]);
    peer.headers(1, GET);
    for (let given = 7; given < BODY.length; given += 5) {
      await peer.until(() => peer.body(1).length === given);
      assert.equal(peer.ended(1), false);
      peer.window(1, 5);
    }
    await peer.until(() => peer.ended(1));
    assert.equal(peer.body(1), BODY);
  });

  test("of the connection hold all streams, and are shared among them", async () => {
    const large = "x".repeat(60_000);
    await using app = await origin((_request, response) => response.end(large));
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    const ids = [1, 3, 5];
    const total = (): number => ids.reduce((sum, id) => sum + peer.body(id).length, 0);
    for (const id of ids) peer.headers(id, GET);
    await peer.until(() => total() === 65_535);
    peer.ping();
    await peer.until(() => peer.of(PING).length > 0);
    assert.equal(total(), 65_535);
    peer.window(0, 120_000);
    await peer.until(() => ids.every((id) => peer.ended(id)));
    assert.equal(total(), 180_000);
  });

  test("that shrink under way go below zero, and are waited for", async () => {
    await using app = await origin((_request, response) => response.end(BODY));
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port, [[SETTINGS_INITIAL_WINDOW_SIZE, 60]]);
    peer.headers(1, GET);
    await peer.until(() => peer.body(1).length === 60);
    // The stream may be sent 60 - 50 bytes less than nothing.
    peer.settings([[SETTINGS_INITIAL_WINDOW_SIZE, 10]]);
    peer.window(1, 50);
    peer.ping();
    await peer.until(() => peer.of(PING).length > 0);
    assert.equal(peer.body(1).length, 60);
    peer.window(1, 1);
    await peer.until(() => peer.body(1).length === 61);
    peer.settings([[SETTINGS_INITIAL_WINDOW_SIZE, 1000]]);
    await peer.until(() => peer.ended(1));
    assert.equal(peer.body(1), BODY);
  });

  test("of the gateway are given back as its backend takes the body", async () => {
    let received = 0;
    let reads = true;
    await using app = await rawOrigin((socket, text) => {
      received += text.length;
      if (!reads) socket.pause();
    });
    reads = false;
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    peer.headers(1, POST, 0);
    let sent = 0;
    const given = (id: number): number =>
      peer.of(WINDOW_UPDATE, id).reduce((sum, { payload }) => sum + numberAt(payload, 0), 65_535);
    // As much as the gateway takes, until it gives nothing more.
    const more = (): boolean => {
      while (Math.min(given(1), given(0)) - sent >= 16_384) {
        peer.data(1, Buffer.alloc(16_384));
        sent += 16_384;
      }
      return false;
    };
    await eventually(() => app.sockets.length === 1);
    await settled(() => {
      more();
      return sent;
    });
    assert.ok(sent < 20_000_000, String(sent));
    reads = true;
    app.sockets[0]?.resume();
    const before = sent;
    await eventually(() => more() || sent > before + 1_000_000);
    assert.ok(received > 0);
  });

  test("that a policy makes smaller hold once the client has read of them", async () => {
    await using app = await origin((request, response) =>
      response.end(String(request.body.length)),
    );
    const parts = oneRoute({ stable: [app.port] });
    const [socket] = parts;
    const client: ClientPart = {
      type: "client",
      key: "client/a",
      http2: { initialStreamWindowBytes: 16_384 },
    };
    await using gateway = await testGateway({
      parts: [client, { ...(socket as SocketPart), client: client.key }, ...parts.slice(1)],
    });
    using peer = FramePeer.client(gateway.port);
    peer.headers(1, POST, 0);
    for (let count = 0; count < 3; count++) peer.data(1, Buffer.alloc(16_000));
    peer.data(1, Buffer.alloc(16_000), END_STREAM);
    await peer.until(() => peer.ended(1));
    assert.equal(peer.body(1), "64000");
    const [said] = peer.of(SETTINGS);
    assert.equal(numberAt(said?.payload as Buffer, 8), 16_384);
  });

  test("that are overrun end the stream", async () => {
    await using app = await rawOrigin((socket) => socket.pause());
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    peer.headers(1, POST, 0);
    let sent = 0;
    const given = (): number =>
      peer.of(WINDOW_UPDATE, 1).reduce((sum, { payload }) => sum + numberAt(payload, 0), 65_535);
    await settled(() => {
      for (; given() - sent >= 1000; sent += 1000) peer.data(1, Buffer.alloc(1000));
      return sent;
    });
    assert.equal(peer.code(1), undefined);
    peer.data(1, Buffer.alloc(1000));
    await peer.until(() => peer.code(1) !== undefined);
    assert.equal(peer.code(1), FLOW_CONTROL_ERROR);
    assert.equal(peer.code(0), undefined);
  });
});

describe("settings that change under way", () => {
  test("the size of the table, also to nothing", async () => {
    await using app = await origin((_request, response) => {
      response.setHeader("x-long", "said again and again");
      response.end("ok");
    });
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    let id = 1;
    for (const size of [4096, 0, 100, 65_536, 0]) {
      peer.settings([[SETTINGS_HEADER_TABLE_SIZE, size]]);
      for (let count = 0; count < 4; count++, id += 2) {
        await serves(peer, id);
        assert.match(peer.of(HEADERS, id)[0]?.said ?? "", /x-long: said again and again\r\n/);
      }
    }
    const lengths = peer.of(HEADERS).map(({ payload }) => payload.length);
    assert.ok((lengths[3] as number) < (lengths[0] as number) / 2, lengths.join(" "));
    assert.ok((lengths.at(-1) as number) > 2 * (lengths[3] as number), lengths.join(" "));
  });

  test("the size of frames", async () => {
    await using app = await origin((_request, response) => response.end("x".repeat(60_000)));
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    peer.headers(1, GET);
    await peer.until(() => peer.ended(1));
    assert.ok(peer.of(DATA).every(({ payload }) => payload.length <= 16_384));
    peer.settings([[SETTINGS_MAX_FRAME_SIZE, 65_536]]);
    peer.window(0, 60_000);
    peer.headers(3, GET);
    await peer.until(() => peer.ended(3));
    assert.ok(peer.of(DATA, 3).every(({ payload }) => payload.length <= 65_536));
  });

  test("what is wrong with one ends the connection", async () => {
    await using app = await origin();
    await using gateway = await gatewayTo(app.port);
    const cases: [setting: number, value: number, code: number][] = [
      [SETTINGS_INITIAL_WINDOW_SIZE, 2 ** 31, FLOW_CONTROL_ERROR],
      [SETTINGS_MAX_FRAME_SIZE, 16_383, PROTOCOL_ERROR],
      [SETTINGS_MAX_FRAME_SIZE, 2 ** 24, PROTOCOL_ERROR],
      [2, 2, PROTOCOL_ERROR],
    ];
    for (const [setting, value, code] of cases) {
      using peer = FramePeer.client(gateway.port, [[setting, value]]);
      await peer.until(() => peer.closed || peer.code(0) !== undefined);
      assert.equal(peer.code(0), code);
    }
  });
});

describe("a client that the gateway loses patience with", () => {
  const empty = Buffer.alloc(0);
  const floods: [what: string, flood: (peer: FramePeer, turn: number) => void][] = [
    ["pings (CVE-2019-9512)", (peer) => peer.ping()],
    ["settings (CVE-2019-9515)", (peer) => peer.settings([])],
    ["settings' acknowledgements", (peer) => peer.send(frame(SETTINGS, 1, 0, empty))],
    ["priorities", (peer) => peer.send(frame(2, 0, 1, Buffer.from([0, 0, 0, 0, 1])))],
    ["frames of no known kind", (peer) => peer.send(frame(0x77, 0, 0, empty))],
    [
      "empty data (CVE-2019-9518)",
      (peer, turn) => (turn === 0 ? peer.headers(1, POST, 0) : peer.data(1, "")),
    ],
    [
      "resets (CVE-2023-44487)",
      (peer, turn) => {
        peer.headers(2 * turn + 1, GET);
        peer.reset(2 * turn + 1, CANCEL);
      },
    ],
    [
      "resets that it provokes (CVE-2025-8671)",
      (peer, turn) => {
        peer.headers(2 * turn + 1, GET);
        peer.window(2 * turn + 1, 0);
      },
    ],
    ["malformed requests", (peer, turn) => peer.headers(2 * turn + 1, [...GET, ["Upper", "case"]])],
    [
      "empty continuations (CVE-2024-27316)",
      (peer, turn) => {
        if (turn === 0) peer.send(frame(HEADERS, 0, 1, fieldBlock(GET)));
        else peer.send(frame(CONTINUATION, 0, 1, empty));
      },
    ],
    [
      "a header block without an end",
      (peer, turn) => {
        if (turn === 0) peer.send(frame(HEADERS, 0, 1, fieldBlock(GET)));
        else peer.send(frame(CONTINUATION, 0, 1, fieldBlock([["x-a", "b".repeat(100)]])));
      },
    ],
    ["more streams than it may", (peer, turn) => peer.headers(2 * turn + 1, POST, 0)],
  ];
  for (const [what, flood] of floods) {
    test(what, async () => {
      await using app = await origin(() => {}, { early: true });
      await using gateway = await gatewayTo(app.port);
      using peer = FramePeer.client(gateway.port);
      for (let turn = 0; turn < 3000 && peer.code(0) === undefined && !peer.closed; turn++) {
        flood(peer, turn);
        if (turn % 50 === 49) await new Promise((resolve) => setImmediate(resolve));
      }
      await peer.until(() => peer.code(0) !== undefined || peer.closed);
      assert.ok([ENHANCE_YOUR_CALM, undefined].includes(peer.code(0)));
      await peer.until(() => peer.closed || peer.of(GOAWAY).length > 0);
      peer.socket.end();
      await eventually(() => gateway.plane.connections === 0);
      using other = FramePeer.client(gateway.port);
      other.headers(1, [...GET.slice(0, 3), [":path", "*"]]);
      await other.until(() => other.ended(1));
    });
  }

  const spared: [what: string, act: (peer: FramePeer, id: number) => Promise<void>][] = [
    [
      "answers that it has begun to get, and cancels",
      async (peer, id) => {
        peer.headers(id, GET);
        await peer.until(() => peer.of(DATA, id).length > 0);
        peer.reset(id, CANCEL);
      },
    ],
    [
      "as many that it takes as that it cancels",
      async (peer, id) => {
        peer.headers(id, POST, 0);
        peer.reset(id, CANCEL);
        peer.headers(id + 2, END);
        await peer.until(() => peer.ended(id + 2));
      },
    ],
  ];
  const END = GET.map(([name, value]) => [name, name === ":path" ? "/end" : value] as const);
  for (const [what, act] of spared) {
    test(`but not for ${what}`, async () => {
      await using app = await origin((request, response) => {
        if (request.url === "/end") response.end();
        else response.write("some");
      });
      await using gateway = await gatewayTo(app.port);
      using peer = FramePeer.client(gateway.port);
      for (let id = 1; id < 2000 && peer.code(0) === undefined; id += 4) await act(peer, id);
      assert.equal(peer.code(0), undefined);
    });
  }

  test("bodies that are longer than they may be, one after the other", async () => {
    await using app = await origin(() => {}, { early: true });
    await using gateway = await gatewayTo(app.port, {}, { requestBodyBytesMax: 3 });
    using peer = FramePeer.client(gateway.port);
    for (let id = 1; id < 2000 && peer.code(0) === undefined; id += 2) {
      peer.headers(id, POST, 0);
      peer.data(id, "much");
      await peer.until(() => peer.ended(id) || peer.code(0) !== undefined);
    }
    assert.equal(peer.code(0), ENHANCE_YOUR_CALM);
  });

  test("not for measuring the way of what it is sent", async () => {
    await using app = await origin();
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    for (let id = 1; id < 60; id += 2) {
      await serves(peer, id);
      for (let count = 0; count < 100; count++) peer.ping();
    }
    await peer.until(() => peer.of(PING).length === 3000);
    assert.equal(peer.code(0), undefined);
  });

  test("where it does not read answers, nothing more is read of it", async () => {
    await using app = await origin((_request, response) => response.end("x".repeat(8000)));
    await using gateway = await gatewayTo(app.port, { clientStallMs: 500, clientIdleMs: 1000 });
    using peer = FramePeer.client(gateway.port, [[SETTINGS_INITIAL_WINDOW_SIZE, 2 ** 30]]);
    peer.window(0, 2 ** 30);
    await peer.until(() => peer.of(SETTINGS).length > 1);
    peer.socket.pause();
    let asked = 0;
    const ask = async (): Promise<void> => {
      for (let id = 1; id < 200_000 && !peer.closed; id += 2) {
        peer.headers(id, GET);
        asked++;
        if (asked % 50 === 0) {
          // What was asked is answered before more is, for more streams than that are refused.
          const count = app.requests.length;
          await Promise.race([
            eventually(() => app.requests.length >= asked || peer.closed, 2000),
            settled(() => count + app.requests.length, 600),
          ]).catch(() => {});
          if (app.requests.length < asked) return;
        }
      }
    };
    await ask();
    assert.ok(app.requests.length < asked, "the gateway went on reading");
    assert.ok(app.requests.length < 3000, String(app.requests.length));
    await eventually(() => gateway.plane.connections === 0);
  });
});

describe("streams", () => {
  test("beyond the limit are refused, and may be sent again", async () => {
    const waiting: (() => void)[] = [];
    await using app = await origin((_request, response) => waiting.push(() => response.end("ok")));
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    await peer.until(() => peer.of(SETTINGS).length > 0);
    const said = peer.of(SETTINGS)[0]?.payload as Buffer;
    assert.deepEqual(
      [said.readUInt16BE(0), numberAt(said, 2)],
      [SETTINGS_MAX_CONCURRENT_STREAMS, 100],
    );
    for (let count = 0; count <= 100; count++) peer.headers(2 * count + 1, GET);
    await peer.until(() => peer.code(201) !== undefined);
    assert.equal(peer.code(201), REFUSED_STREAM);
    await eventually(() => waiting.length === 100);
    for (const answer of waiting) answer();
    await peer.until(() => peer.ended(199));
    assert.equal(peer.code(0), undefined);
    peer.headers(203, GET);
    await eventually(() => waiting.length === 101);
    waiting.at(-1)?.();
    await peer.until(() => peer.ended(203));
  });

  test("that are refused are lines of the log like others, and counted", async () => {
    const lines: string[] = [];
    const memory = allocateSharedMemory(1);
    await using app = await origin(() => {});
    await using gateway = await testGateway({
      memory,
      parts: oneRoute({ stable: [app.port] }),
      onBug: (error) => assert.fail(error as Error),
      accessLog: { line: (text) => lines.push(text), dropped: 0, close: () => Promise.resolve() },
    });
    using peer = FramePeer.client(gateway.port);
    for (let id = 1; id < 200; id += 2) peer.headers(id, GET);
    const path = GET.map(([name, value]) => [name, name === ":path" ? "/more?q" : value] as const);
    peer.headers(201, path);
    peer.headers(203, path);
    peer.headers(205, [...GET, ["Upper", "case"]]);
    await peer.until(() => peer.code(205) === REFUSED_STREAM);
    const told = lines.map((line) => {
      const { status, reason, method, path: asked, endedBy, attempts } = JSON.parse(line);
      return [status, reason, method, asked, endedBy, attempts];
    });
    const more = [429, "streams_too_many", "GET", "/more", "gateway", 0];
    assert.deepEqual(told, [more, more, [429, "streams_too_many", "", "", "gateway", 0]]);
    const counts = new MetricReader(memory.metrics).read(UNMATCHED_ROUTE, "");
    assert.equal(counts?.[FIELD.response1xx + 3], 3);
    peer.socket.destroy();
    await eventually(() => lines.length === 103);
  });

  test("that depend on themselves are lines of the log, too", async () => {
    const lines: string[] = [];
    await using app = await origin();
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port] }),
      accessLog: { line: (text) => lines.push(text), dropped: 0, close: () => Promise.resolve() },
    });
    using peer = FramePeer.client(gateway.port);
    const onItself = Buffer.concat([Buffer.from([0, 0, 0, 1, 15]), fieldBlock(GET)]);
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, onItself));
    await peer.until(() => peer.code(1) === PROTOCOL_ERROR);
    assert.match(lines.join(""), /^[^\n]+"status":400,"reason":"head_malformed"[^\n]+\n$/);
  });

  test("that are over: what was under way is passed over, what was not is an error", async () => {
    await using app = await origin((_request, response) => response.end("early"), { early: true });
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    peer.headers(1, POST, 0);
    await peer.until(() => peer.code(1) === NO_ERROR);
    // The gateway has reset it, so that this means nothing.
    peer.data(1, "late");
    peer.headers(1, [["x-late", "trailer"]]);
    await serves(peer, 3);
    // The client has ended it itself.
    peer.data(3, "wrong");
    await peer.until(() => peer.code(3) !== undefined);
    assert.equal(peer.code(3), STREAM_CLOSED);
    await serves(peer, 5);
    peer.headers(3, GET);
    await peer.until(() => peer.code(0) !== undefined);
    assert.equal(peer.code(0), STREAM_CLOSED);
  });

  test("of a connection that is told to go: those under way come to their end, then it closes", async () => {
    const waiting: (() => void)[] = [];
    await using app = await origin((_request, response) => waiting.push(() => response.end("ok")));
    await using gateway = await gatewayTo(app.port);
    using peer = FramePeer.client(gateway.port);
    peer.polite = false;
    peer.headers(1, GET);
    await eventually(() => waiting.length === 1);
    const drained = gateway.plane.drain(5000);
    await peer.until(() => peer.of(GOAWAY).length === 1);
    assert.deepEqual(
      [numberAt(peer.of(GOAWAY)[0]?.payload as Buffer, 0), peer.code(0)],
      [STREAM_ID_MAX, NO_ERROR],
    );
    // This one was sent before the client had read of it.
    peer.headers(3, GET);
    await eventually(() => waiting.length === 2);
    const ping = peer.of(PING)[0]?.payload as Buffer;
    peer.send(frame(PING, 1, 0, ping));
    await peer.until(() => peer.of(GOAWAY).length === 2);
    assert.equal(numberAt(peer.of(GOAWAY)[1]?.payload as Buffer, 0), 3);
    peer.headers(5, GET);
    for (const answer of waiting) answer();
    await peer.until(() => peer.ended(1) && peer.ended(3) && peer.closed);
    assert.equal(app.requests.length, 2);
    assert.equal(peer.of(HEADERS, 5).length, 0);
    await drained;
  });
});
