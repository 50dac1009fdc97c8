/**
 * Clients and backends that do what they like, by frames: whatever comes of it, each stream that was taken
 * is one line of the log, no endpoint keeps a request that is over, and nothing raises an exception.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { seededRandom } from "../../src/base/random.ts";
import {
  CANCEL,
  DATA,
  END_STREAM,
  HEADERS,
  INTERNAL_ERROR,
  NO_ERROR,
  REFUSED_STREAM,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
} from "../../src/http2/frame.ts";
import { Session } from "../../src/http2/session.ts";
import type { Endpoint } from "../../src/proxy/endpoint.ts";
import { Http2Upstream } from "../../src/proxy/http2-upstream.ts";
import {
  type Fields,
  frameOrigin,
  FramePeer,
  GET,
  POST,
  type SeenFrame,
} from "../support/frames.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { eventually } from "../support/upstream.ts";

const ROUNDS = process.env["SLUICE_LONG"] === "1" ? 40 : 3;
const CLIENTS = 6;
const STEPS = 200;
const OK: Fields = [[":status", "200"]];
/** Short, so that all that is silent comes to its end within a test. */
const TIMEOUTS = {
  requestIdleMs: 200,
  responseIdleMs: 300,
  clientStallMs: 300,
  requestHeadMs: 200,
  clientIdleMs: 400,
  lingerMs: 200,
};

type Random = () => number;
type Method = (...args: unknown[]) => void;

function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)] as T;
}

function answer(random: Random, peer: FramePeer, id: number): void {
  const acts: (() => void)[] = [
    () => peer.headers(id, OK),
    () => {
      peer.headers(id, OK, 0);
      peer.data(id, Buffer.alloc(Math.floor(random() * 14_000), "a"));
      const ends: (() => void)[] = [
        () => peer.data(id, "end", END_STREAM),
        () => peer.headers(id, [["x-trailer", "1"]]),
        () => peer.reset(id, CANCEL),
      ];
      pick(random, ends)();
    },
    () => peer.reset(id, pick(random, [NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL])),
    () => {
      peer.headers(id, [...OK, ["content-length", "10"]], 0);
      peer.data(id, "12345", pick(random, [0, END_STREAM]));
    },
    () => {
      peer.headers(id, [[":status", "103"]], 0);
      setImmediate(() => peer.headers(id, OK));
    },
    () => {
      peer.headers(id, OK, 0);
      setImmediate(() => peer.data(id, "late", END_STREAM));
    },
    () => {},
  ];
  pick(random, acts)();
}

function backend(random: Random, peer: FramePeer, { type, id, payload }: SeenFrame): void {
  if (type === DATA && payload.length > 0 && random() < 0.7) {
    peer.window(0, payload.length);
    peer.window(id, payload.length);
  }
  if (type !== HEADERS) return;
  const act = random();
  if (act < 0.02) peer.goaway(pick(random, [Math.max(id - 2, 0), id, 2 ** 31 - 1]), NO_ERROR);
  else if (act < 0.03) peer.socket.destroy();
  else if (act < 0.06) {
    peer.settings([
      [SETTINGS_INITIAL_WINDOW_SIZE, Math.floor(random() * 100_000)],
      [SETTINGS_MAX_CONCURRENT_STREAMS, 1 + Math.floor(random() * 30)],
      [SETTINGS_HEADER_TABLE_SIZE, pick(random, [0, 100, 4096])],
    ]);
  } else answer(random, peer, id);
}

const REQUESTS: readonly Fields[] = [
  GET,
  GET,
  POST,
  [...POST, ["content-length", "5"]],
  [...POST, ["expect", "100-continue"]],
  [...POST, ["content-type", "application/grpc"]],
  [...GET, ["Upper", "case"]],
  GET.map(([name, value]) => [name, name === ":scheme" ? "https" : value]),
];

async function client(random: Random, port: number): Promise<FramePeer> {
  const window = pick(random, [0, 10, 65_535, 100_000]);
  const peer = FramePeer.client(port, [[SETTINGS_INITIAL_WINDOW_SIZE, window]]);
  peer.sliceBytes = pick(random, [0, 0, 0, 7]);
  let id = 1;
  /** Streams that this side has not ended; what it says of others would end the connection. */
  const open = new Set<number>();
  const one = (act: (id: number) => void): void => {
    if (open.size > 0) act(pick(random, [...open]));
  };
  const acts: (() => void)[] = [
    () => {
      const flags = pick(random, [0, END_STREAM]);
      peer.headers(id, pick(random, REQUESTS), flags);
      if (flags === 0) open.add(id);
      id += 2;
    },
    () =>
      one((stream) => {
        const flags = pick(random, [0, 0, END_STREAM]);
        peer.data(stream, Buffer.alloc(Math.floor(random() * 3000), "b"), flags);
        if (flags === END_STREAM) open.delete(stream);
      }),
    () =>
      one((stream) => {
        peer.headers(stream, [["x-last", "1"]]);
        open.delete(stream);
      }),
    () =>
      one((stream) => {
        peer.reset(stream, CANCEL);
        open.delete(stream);
      }),
    () => id > 1 && peer.window(id - 2, 1 + Math.floor(random() * 20_000)),
    () => peer.window(0, 1 + Math.floor(random() * 20_000)),
    () => peer.settings([[SETTINGS_INITIAL_WINDOW_SIZE, Math.floor(random() * 100_000)]]),
    () => peer.settings([[SETTINGS_HEADER_TABLE_SIZE, pick(random, [0, 50, 4096])]]),
    () => peer.ping(),
  ];
  for (let step = 0; step < STEPS && peer.code(0) === undefined && !peer.closed; step++) {
    pick(random, [acts[0] as () => void, ...acts])();
    if (random() < 0.1) await new Promise((resolve) => setImmediate(resolve));
  }
  if (random() < 0.3) peer.socket.destroy();
  return peer;
}

describe("whatever clients and backends do", () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    test(`each stream ends, and is one line of the log: seed ${seed}`, async (t) => {
      const random = seededRandom(seed);
      let taken = 0;
      const add = Reflect.get(Session.prototype, "add") as Method;
      t.mock.method(
        Session.prototype,
        "add",
        function (this: Session<unknown>, ...args: unknown[]) {
          if (this.isServer) taken++;
          add.apply(this, args);
        },
      );
      const endpoints = new Set<Endpoint>();
      const claim = Reflect.get(Http2Upstream.prototype, "claim");
      t.mock.method(Http2Upstream.prototype, "claim", function (this: Http2Upstream) {
        endpoints.add(this.endpoint);
        claim.call(this);
      });
      await using app = await frameOrigin((peer, seen) => backend(random, peer, seen));
      const pool = { protocol: "h2c", responseHeadTimeoutMs: 300 } as const;
      let lines = 0;
      await using gateway = await testGateway({
        parts: oneRoute({ stable: [app.port], pool, rule: { requestBodyBytesMax: 50_000 } }),
        onBug: (error) => assert.fail(error as Error),
        timeouts: TIMEOUTS,
        accessLog: { line: () => lines++, dropped: 0, close: () => Promise.resolve() },
      });
      const peers: FramePeer[] = [];
      for (let count = 0; count < CLIENTS; count++) peers.push(await client(random, gateway.port));
      await eventually(() => gateway.plane.connections === 0, 20_000);
      assert.ok(taken > 100, String(taken));
      assert.equal(lines, taken);
      for (const { inFlight } of endpoints) assert.equal(inFlight, 0);
      for (const { socket } of peers) socket.destroy();
    });
  }
});
