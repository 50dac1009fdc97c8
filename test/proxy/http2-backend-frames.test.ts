/**
 * What a backend may do with frames, and what becomes of a response that is not in order: no client gets a
 * part of one for all of it, or a byte that is not its own.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  ACK,
  CANCEL,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  NO_ERROR,
  numberAt,
  PING,
  REFUSED_STREAM,
  RST_STREAM,
  SETTINGS,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  WINDOW_UPDATE,
} from "../../src/http2/frame.ts";
import type { PoolPart } from "../../src/compile/program.ts";
import {
  frameOrigin,
  type Fields,
  FramePeer,
  GET,
  POST,
  type SeenFrame,
} from "../support/frames.ts";
import { oneRoute, STABLE, testGateway, type TestGateway } from "../support/gateway.ts";
import { fieldBlock, frame } from "../support/http2.ts";
import { eventually, RawClient, settled } from "../support/upstream.ts";

function gatewayTo(port: number, pool: Partial<PoolPart> = {}): Promise<TestGateway> {
  return testGateway({
    parts: oneRoute({ stable: [port], pool: { protocol: "h2c", ...pool } }),
    onBug: (error) => assert.fail(error as Error),
  });
}

const OK: Fields = [[":status", "200"]];

function isHead({ type }: SeenFrame): boolean {
  return type === HEADERS;
}

/** Whether the frame ends a request. */
function ends({ type, flags }: SeenFrame): boolean {
  return (type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0;
}

describe("a response by frames", () => {
  for (const sliceBytes of [1, 3, 0]) {
    const how = sliceBytes === 0 ? "whole" : `in pieces of ${sliceBytes}`;
    test(`that comes ${how}: interim ones, continuations, padding, trailers`, async () => {
      await using app = await frameOrigin((peer, seen) => {
        if (!ends(seen)) return;
        peer.sliceBytes = sliceBytes;
        const block = fieldBlock([...OK, ["x-answer", "yes"]]);
        peer.headers(
          seen.id,
          [
            [":status", "103"],
            ["link", "</a>"],
          ],
          0,
        );
        peer.send(
          frame(HEADERS, 0, seen.id, block.subarray(0, 5)),
          frame(CONTINUATION, END_HEADERS, seen.id, block.subarray(5)),
          frame(DATA, 8, seen.id, Buffer.from("\x02hello\0\0")),
          frame(DATA, 0, seen.id, Buffer.from(" world")),
        );
        peer.headers(seen.id, [["x-after", "1"]]);
      });
      await using gateway = await gatewayTo(app.port);
      using client = FramePeer.client(gateway.port);
      client.headers(1, GET);
      await client.until(() => client.ended(1));
      const said = client.of(HEADERS, 1).map((each) => each.said);
      assert.match(said[0] ?? "", /^103 [^]*link: <\/a>/);
      assert.match(said[1] ?? "", /^200 [^]*x-answer: yes/);
      assert.match(said[2] ?? "", /x-after: 1/);
      assert.equal(client.body(1), "hello world");
    });
  }

  test("whose block comes again is known, and each body is its own", async () => {
    let count = 0;
    await using app = await frameOrigin((peer, seen) => {
      if (!ends(seen)) return;
      peer.headers(seen.id, [...OK, ["content-type", "application/grpc"]], 0);
      peer.data(seen.id, `answer ${count++}`);
      peer.headers(seen.id, [["grpc-status", "0"]]);
    });
    await using gateway = await gatewayTo(app.port);
    using client = FramePeer.client(gateway.port);
    for (let call = 0; call < 8; call++) {
      const id = 2 * call + 1;
      client.headers(id, [...POST, ["te", "trailers"]], 0);
      client.data(id, `call ${call}`, END_STREAM);
      await client.until(() => client.ended(id));
      const [head, trailers] = client.of(HEADERS, id);
      assert.match(head?.said ?? "", /^200 [^]*content-type: application\/grpc/);
      assert.match(trailers?.said ?? "", /grpc-status: 0/);
      assert.equal(client.body(id), `answer ${call}`);
    }
    const [backend] = app.peers;
    assert.equal(backend?.of(HEADERS).length, 8);
    for (let call = 0; call < 8; call++) assert.equal(backend.body(2 * call + 1), `call ${call}`);
    const ids = backend.of(HEADERS).map(({ said }) => /x-request-id: (\w+)/.exec(said)?.[1]);
    assert.equal(new Set(ids).size, 8);
    assert.ok(backend.of(HEADERS).every(({ said }) => /^POST \/\r\n[^]*te: trailers/.test(said)));
    assert.equal(gateway.metric("ok", STABLE), 8);
  });

  test("whose known head stands for trailers, or the other way round, is not in order", async () => {
    const trailers = [["x-after", "1"]] as const;
    await using app = await frameOrigin((peer, seen) => {
      if (!ends(seen)) return;
      if (seen.id < 4) {
        peer.headers(seen.id, OK);
      } else if (seen.id < 11) {
        peer.headers(seen.id, OK, 0);
        peer.headers(seen.id, seen.id < 8 ? trailers : OK);
      } else {
        peer.headers(seen.id, trailers);
      }
    });
    await using gateway = await gatewayTo(app.port);
    using client = FramePeer.client(gateway.port);
    for (const id of [1, 3, 5, 7]) {
      client.headers(id, GET);
      await client.until(() => client.ended(id));
    }
    client.headers(9, GET);
    await client.until(() => client.code(9) !== undefined);
    assert.equal(client.ended(9), false);
    client.headers(11, GET);
    await client.until(() => client.ended(11));
    assert.match(client.of(HEADERS, 11)[0]?.said ?? "", /^502/);
    const said = client.of(HEADERS).map((each) => each.said);
    assert.doesNotMatch(said.join(""), /HTTP\/1/);
  });

  test("that ends before its request does: the rest of the request is not sent", async () => {
    await using app = await frameOrigin((peer, seen) => {
      if (!isHead(seen)) return;
      peer.headers(seen.id, OK, 0);
      peer.data(seen.id, "enough", END_STREAM);
      peer.reset(seen.id, NO_ERROR);
    });
    await using gateway = await gatewayTo(app.port);
    using client = FramePeer.client(gateway.port);
    client.headers(1, POST, 0);
    client.data(1, "some");
    await client.until(() => client.code(1) !== undefined);
    assert.deepEqual([client.body(1), client.ended(1), client.code(1)], ["enough", true, NO_ERROR]);
  });
});

describe("a response that is not in order", () => {
  const cases: [what: string, answer: (peer: FramePeer, id: number) => void][] = [
    ["no status", (peer, id) => peer.headers(id, [["x-a", "1"]])],
    ["two statuses", (peer, id) => peer.headers(id, [...OK, ...OK])],
    ["a status that is none", (peer, id) => peer.headers(id, [[":status", "2000"]])],
    ["a pseudo-header of requests", (peer, id) => peer.headers(id, [...OK, [":path", "/"]])],
    ["a status after other fields", (peer, id) => peer.headers(id, [["x-a", "1"], ...OK])],
    ["an upper-case name", (peer, id) => peer.headers(id, [...OK, ["X-A", "1"]])],
    ["a colon in a name", (peer, id) => peer.headers(id, [...OK, ["x:a", "1"]])],
    ["a line end in a value", (peer, id) => peer.headers(id, [...OK, ["x", "1\r\ny: 2"]])],
    ["connection", (peer, id) => peer.headers(id, [...OK, ["connection", "close"]])],
    [
      "transfer-encoding",
      (peer, id) => peer.headers(id, [...OK, ["transfer-encoding", "chunked"]], 0),
    ],
    ["two lengths", (peer, id) => peer.headers(id, [...OK, ...lengths("1"), ...lengths("2")], 0)],
    ["a length and no body", (peer, id) => peer.headers(id, [...OK, ...lengths("5")])],
    ["101", (peer, id) => peer.headers(id, [[":status", "101"]], 0)],
    ["an interim response that ends", (peer, id) => peer.headers(id, [[":status", "103"]])],
    [
      "too many interim responses",
      (peer, id) => {
        for (let count = 0; count < 20; count++) peer.headers(id, [[":status", "103"]], 0);
      },
    ],
    ["a body before its head", (peer, id) => peer.data(id, "body", END_STREAM)],
    ["a push", (peer, id) => peer.send(frame(5, END_HEADERS, id, Buffer.alloc(4)))],
    ["HTTP/1", (peer) => void peer.socket.write("HTTP/1.1 200 OK\r\n\r\n")],
  ];
  for (const [what, answer] of cases) {
    test(`${what}: the client gets 502`, async () => {
      await using app = await frameOrigin((peer, seen) => isHead(seen) && answer(peer, seen.id));
      await using gateway = await gatewayTo(app.port);
      const response = await fetch(gateway.url, { method: "POST" });
      assert.equal(response.status, 502);
      assert.match(await response.text(), /upstream_(?:invalid|reset)/);
    });
  }

  const broken: [what: string, answer: (peer: FramePeer, id: number) => void][] = [
    ["that is reset without an error, its length unknown", (peer, id) => peer.reset(id, NO_ERROR)],
    ["that is reset", (peer, id) => peer.reset(id, CANCEL)],
    ["whose trailers hold a pseudo-header", (peer, id) => peer.headers(id, OK)],
    ["whose trailers do not end it", (peer, id) => peer.headers(id, [["x-a", "1"]], 0)],
    ["whose connection goes", (peer) => peer.socket.destroy()],
    [
      "whose connection goes after a GOAWAY",
      (peer) => {
        peer.goaway(2 ** 31 - 1, NO_ERROR);
        peer.socket.end();
      },
    ],
  ];
  for (const [what, end] of broken) {
    test(`${what} is broken off, to clients of either protocol`, async () => {
      await using app = await frameOrigin((peer, seen) => {
        if (!ends(seen)) return;
        peer.headers(seen.id, OK, 0);
        peer.data(seen.id, "half");
        end(peer, seen.id);
      });
      await using gateway = await gatewayTo(app.port);
      await assert.rejects(async () => (await fetch(gateway.url)).text());
      using client = FramePeer.client(gateway.port);
      client.headers(1, GET);
      await client.until(() => client.code(1) !== undefined);
      assert.equal(client.ended(1), false);
      await eventually(() => gateway.metric("truncated", STABLE) === 2);
    });
  }

  const overlong: [what: string, method: string, fields: Fields, flags: number][] = [
    ["a body after the head of an answer to HEAD", "HEAD", [...OK, ...lengths("21")], 0],
    ["a body of a 204", "GET", [[":status", "204"]], 0],
    ["a body of a 304", "GET", [[":status", "304"]], 0],
    ["more body than its length", "GET", [...OK, ...lengths("1")], 0],
  ];
  for (const [what, method, fields, flags] of overlong) {
    test(`${what} reaches no client`, async () => {
      await using app = await frameOrigin((peer, seen) => {
        if (!isHead(seen)) return;
        peer.headers(seen.id, fields, flags);
        peer.data(seen.id, "HTTP/1.1 200 SMUGGLED\r\n\r\n", END_STREAM);
      });
      await using gateway = await gatewayTo(app.port);
      using client = new RawClient(gateway.port);
      client.send(`${method} / HTTP/1.1\r\nHost: app\r\n\r\n`);
      await client.until(({ closed, ended }) => closed || ended);
      assert.doesNotMatch(client.received, /SMUGGLED/);
    });
  }
});

function lengths(value: string): Fields {
  return [["content-length", value]];
}

describe("windows of a backend", () => {
  test("of a few bytes, that shrink below zero and grow again, get the body as it is", async () => {
    const body = "0123456789".repeat(20);
    await using app = await frameOrigin(
      (peer, seen) => {
        if (ends(seen)) peer.headers(seen.id, OK);
      },
      [[SETTINGS_INITIAL_WINDOW_SIZE, 50]],
    );
    await using gateway = await gatewayTo(app.port);
    // The settings are in force for the second session's streams from the start.
    assert.equal((await fetch(gateway.url)).status, 200);
    const answered = fetch(gateway.url, { method: "POST", body });
    const [peer] = app.peers;
    assert.ok(peer);
    await peer.until(() => peer.body(3).length === 50);
    peer.settings([[SETTINGS_INITIAL_WINDOW_SIZE, 0]]);
    peer.window(3, 40);
    peer.ping();
    await peer.until(() => peer.of(PING).some(({ flags }) => flags === ACK));
    assert.equal(peer.body(3).length, 50);
    peer.window(3, 20);
    await peer.until(() => peer.body(3).length === 60);
    peer.settings([[SETTINGS_INITIAL_WINDOW_SIZE, 1000]]);
    await peer.until(() => peer.ended(3));
    assert.equal(peer.body(3), body);
    assert.equal((await answered).status, 200);
  });

  test("ours: a client that does not read stops its own stream, and no other", async () => {
    let sent = 0;
    let given = 65_535;
    const more = (peer: FramePeer, id: number): void => {
      for (; given - sent >= 1000; sent += 1000) peer.data(id, Buffer.alloc(1000));
    };
    await using app = await frameOrigin((peer, seen) => {
      if (isHead(seen) && seen.said.startsWith("GET /slow")) {
        peer.headers(seen.id, OK, 0);
        more(peer, seen.id);
      } else if (isHead(seen)) {
        peer.headers(seen.id, OK, 0);
        peer.data(seen.id, "fast", END_STREAM);
      } else if (seen.type === WINDOW_UPDATE && seen.id === 1) {
        given += numberAt(seen.payload, 0);
        more(peer, seen.id);
      }
    });
    await using gateway = await gatewayTo(app.port);
    using client = FramePeer.client(gateway.port);
    const path = (value: string): Fields => [...GET.slice(0, 3), [":path", value]];
    client.headers(1, path("/slow"));
    await client.until(() => client.body(1).length === 65_000 || client.body(1).length === 65_535);
    await settled(() => sent);
    assert.ok(sent < 400_000, String(sent));
    client.window(0, 1_000_000);
    client.headers(3, path("/fast"));
    await client.until(() => client.ended(3));
    assert.equal(client.body(3), "fast");
    const before = sent;
    client.window(1, 100_000);
    await client.until(() => client.body(1).length > 150_000);
    await eventually(() => sent > before);
  });

  test("a table of another size is kept to", async () => {
    await using app = await frameOrigin((peer, seen) => {
      if (!ends(seen)) return;
      if (seen.id === 5) peer.settings([[SETTINGS_HEADER_TABLE_SIZE, 0]]);
      if (seen.id === 11) peer.settings([[SETTINGS_HEADER_TABLE_SIZE, 4096]]);
      peer.headers(seen.id, OK);
    });
    await using gateway = await gatewayTo(app.port);
    for (let count = 0; count < 10; count++) assert.equal((await fetch(gateway.url)).status, 200);
    const said = app.peers[0]?.of(HEADERS).map((each) => each.said) ?? [];
    assert.equal(said.length, 10);
    assert.ok(said.every((each) => /^GET \/\r\n[^]*x-forwarded-for: 127.0.0.1/.test(each)));
  });
});

describe("a backend that takes no more", () => {
  test("has done nothing with streams after the last one: they are sent elsewhere, body and all", async () => {
    let first: FramePeer | undefined;
    await using app = await frameOrigin((peer, seen) => {
      first ??= peer;
      if (peer === first) {
        if (!ends(seen)) return;
        if (seen.id === 1) peer.headers(1, OK);
        // Of three streams it has read one.
        if (seen.id === 7) peer.goaway(3, NO_ERROR);
        if (seen.id === 7) peer.headers(3, OK);
      } else if (ends(seen)) {
        peer.headers(seen.id, OK, 0);
        peer.data(seen.id, peer.body(seen.id), END_STREAM);
      }
    });
    await using gateway = await gatewayTo(app.port);
    assert.equal((await fetch(gateway.url)).status, 200);
    const answers = await Promise.all(
      ["a", "b", "c"].map((body) => fetch(gateway.url, { method: "POST", body })),
    );
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200],
    );
    const bodies = await Promise.all(answers.map((answer) => answer.text()));
    assert.equal(bodies.filter((body) => body !== "").length, 2);
    assert.equal(app.peers.length, 2);
  });

  test("by a limit that it lowers: what it refuses is sent again", async () => {
    let refused = 0;
    await using app = await frameOrigin((peer, seen) => {
      if (!ends(seen)) return;
      if (app.peers.indexOf(peer) === 0 && seen.id > 1) {
        refused++;
        if (refused === 1) peer.settings([[SETTINGS_MAX_CONCURRENT_STREAMS, 0]]);
        peer.reset(seen.id, REFUSED_STREAM);
      } else {
        peer.headers(seen.id, OK);
      }
    });
    await using gateway = await gatewayTo(app.port);
    assert.equal((await fetch(gateway.url)).status, 200);
    assert.equal((await fetch(gateway.url, { method: "POST", body: "x" })).status, 200);
    assert.equal((await fetch(gateway.url, { method: "POST", body: "x" })).status, 200);
    assert.equal(refused, 1);
    assert.equal(app.peers.length, 2);
  });

  test("by refusing a stream: no more connections are made than there may be", async () => {
    let refused = 0;
    await using app = await frameOrigin((peer, seen) => {
      if (!ends(seen)) return;
      if (seen.id > 1 && refused++ === 0) peer.reset(seen.id, REFUSED_STREAM);
      else peer.headers(seen.id, OK);
    });
    await using gateway = await gatewayTo(app.port, { connectionsPerEndpointMax: 1 });
    for (let count = 0; count < 3; count++) assert.equal((await fetch(gateway.url)).status, 200);
    assert.equal(refused, 3);
    assert.equal(app.peers.length, 1);
  });

  test("because it floods is told so, and another connection is made", async () => {
    await using app = await frameOrigin((peer, seen) => {
      if (!ends(seen)) return;
      if (app.peers.indexOf(peer) === 0) {
        for (let count = 0; count < 1500; count++) peer.ping();
      } else {
        peer.headers(seen.id, OK);
      }
    });
    await using gateway = await gatewayTo(app.port);
    assert.equal((await fetch(gateway.url, { method: "POST" })).status, 502);
    assert.equal((await fetch(gateway.url)).status, 200);
    assert.equal(app.peers[0]?.code(0), 11);
  });

  test("nor answers a ping is given up", { timeout: 10_000 }, async () => {
    await using app = await frameOrigin((peer, seen) => {
      peer.polite = false;
      if (seen.type === SETTINGS && seen.flags === 0)
        peer.send(frame(SETTINGS, ACK, 0, Buffer.alloc(0)));
    });
    await using gateway = await gatewayTo(app.port, { responseHeadTimeoutMs: 300 });
    const answer = await fetch(gateway.url);
    assert.equal(answer.status, 504);
    // The stream alone is over; that is said to the backend.
    const [peer] = app.peers;
    assert.ok(peer);
    await peer.until(() => peer.of(RST_STREAM).length === 1);
    assert.equal(peer.code(1), CANCEL);
    assert.equal(peer.of(GOAWAY).length, 0);
  });
});
