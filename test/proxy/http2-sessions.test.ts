/**
 * What clients of one session to an HTTP/2 backend may do to one another: nothing. Who does not read, has
 * little time, or runs into a bug costs itself alone.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createSecureServer, type ServerHttp2Stream } from "node:http2";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { describe, test } from "node:test";
import type { PoolPart } from "../../src/compile/program.ts";
import {
  ACK,
  DATA,
  END_STREAM,
  HEADERS,
  PING,
  REFUSED_STREAM,
  SETTINGS,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
} from "../../src/http2/frame.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { Http2Session, type Http2SessionOwner } from "../../src/proxy/http2-session.ts";
import { Outbox } from "../../src/proxy/outbox.ts";
import { ReadBuffer } from "../../src/proxy/read-buffer.ts";
import { TimerWheel } from "../../src/proxy/timer-wheel.ts";
import type { UpstreamEvents } from "../../src/proxy/upstream-stream.ts";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { type Fields, frameOrigin, FramePeer, GET, type SeenFrame } from "../support/frames.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { frame, Http2Client, http2Origin } from "../support/http2.ts";
import { eventually } from "../support/upstream.ts";

const OK: Fields = [[":status", "200"]];

function ends({ type, flags }: SeenFrame): boolean {
  return (type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0;
}

function say(stream: ServerHttp2Stream, text: string): void {
  stream.respond({ ":status": 200 });
  stream.end(text);
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A session without a gateway, for requests without an exchange. */
function sessionTo(
  port: number,
  events: UpstreamEvents,
  { onBug, owner }: { onBug: (error: unknown) => void; owner: Http2SessionOwner },
): Http2Session {
  return new Http2Session(
    {
      events,
      wheel: new TimerWheel(
        () => {},
        (error) => assert.fail(error as Error),
      ),
      outbox: new Outbox(onBug),
      live: new Set(),
      readBuffer: ReadBuffer.ofSize(65_536),
      openSocket: (onread) => connect({ host: "127.0.0.1", port, onread }),
      scheme: "http",
    },
    { idleTimeoutMs: 1e9, connectTimeoutMs: 1e9 } as PoolPart,
    owner,
  );
}

function beginOn(session: Http2Session): void {
  const stream = session.stream({ inFlight: 0 } as Parameters<Http2Session["stream"]>[0]);
  stream.exchange = {
    head: { method: "GET" },
    known: null,
    upstreamHead: "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
  } as Exchange;
}

/** A server of which nothing is left in the end. */
async function doorOf(
  enter: (socket: Socket) => void,
): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets: Socket[] = [];
  const door = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    enter(socket);
  });
  const port = await listening(door);
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      door.close();
      await once(door, "close");
    },
  };
}

describe("clients of one session", () => {
  test("that do not read their answers leave the others' alone", async () => {
    const large = "x".repeat(200_000);
    await using app = await http2Origin((_request, stream) => say(stream, large));
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port], pool: { protocol: "h2c" } }),
    });
    using silent = FramePeer.client(gateway.port, [[SETTINGS_INITIAL_WINDOW_SIZE, 0]]);
    for (let id = 1; id < 180; id += 2) silent.headers(id, GET);
    await silent.until(() => silent.of(HEADERS).length === 90);
    const answer = await fetch(gateway.url, { signal: AbortSignal.timeout(10_000) });
    assert.equal((await answer.text()).length, large.length);
    assert.equal(app.sessions.length, 1);
  });

  test("that give up before there is a connection do not take it from the others", async () => {
    const [served] = SERVED as [TestCertificate];
    const server = createSecureServer({ key: served.privateKey, cert: served.certificate });
    server.on("stream", (stream) => say(stream, "ok"));
    const port = await listening(server);
    // TLS does not begin before it is told to.
    const begins: (() => void)[] = [];
    await using door = await doorOf((socket) => {
      begins.push(() => socket.pipe(connect(port, "127.0.0.1").on("error", () => {})).pipe(socket));
    });
    const tls = { serverName: "a.example", caCertificates: served.certificate };
    await using gateway = await testGateway({
      parts: oneRoute({
        stable: [door.port],
        pool: { protocol: "h2", tls },
      }),
    });
    const patient = fetch(gateway.url);
    await eventually(() => begins.length === 1);
    using client = new Http2Client(gateway.port);
    const hasty = await client.get({ "grpc-timeout": "100m" });
    assert.equal(hasty.status, 504);
    for (const begin of begins) begin();
    assert.equal(await (await patient).text(), "ok");
    assert.equal(begins.length, 1);
    server.close();
  });

  test("that have little time all of them do not keep a connection that does not come about", async () => {
    let connections = 0;
    await using door = await doorOf((socket) => {
      connections++;
      socket.resume();
    });
    const [served] = SERVED as [TestCertificate];
    const tls = { serverName: "a.example", caCertificates: served.certificate };
    await using gateway = await testGateway({
      parts: oneRoute({
        stable: [door.port],
        pool: { protocol: "h2", tls, connectTimeoutMs: 400 },
      }),
    });
    using client = new Http2Client(gateway.port);
    for (let turn = 0; turn < 100 && connections < 2; turn++) {
      const { status } = await client.get({ "grpc-timeout": "50m" });
      assert.equal(status, 504);
    }
    assert.equal(connections, 2);
  });

  test("are blamed for a bug in what their end brings about, and nobody else", async () => {
    const bugs: unknown[] = [];
    const answers: (() => void)[] = [];
    await using app = await http2Origin(({ headers }, stream) => {
      if (headers[":path"] === "/bad") say(stream, "bad");
      else answers.push(() => say(stream, "good"));
    });
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port], pool: { protocol: "h2c" } }),
      onBug: (error) => bugs.push(error),
      accessLog: {
        line(text) {
          if (text.includes("/bad")) throw new Error("a bug");
        },
        dropped: 0,
        close: () => Promise.resolve(),
      },
    });
    const good = fetch(`${gateway.url}/good`);
    await eventually(() => answers.length === 1);
    await (await fetch(`${gateway.url}/bad`)).text();
    answers[0]?.();
    assert.equal(await (await good).text(), "good");
    assert.equal(bugs.length, 1);
    assert.equal(app.sessions.length, 1);
  });
});

describe("a bug in a session itself", () => {
  test("costs what is under way on it, and the worker nothing", async () => {
    await using app = await frameOrigin(() => {});
    const bugs: unknown[] = [];
    const failed: string[] = [];
    const events = {
      ready: (upstream, exchange) => upstream.sendHead(exchange, true),
      failed: (_upstream, _exchange, code) => failed.push(code),
    } as Partial<UpstreamEvents> as UpstreamEvents;
    const session = sessionTo(app.port, events, {
      onBug: (error) => bugs.push(error),
      owner: {
        get streamsMax() {
          return Infinity;
        },
        set streamsMax(_value) {
          throw new Error("a bug");
        },
        gone() {},
      },
    });
    beginOn(session);
    await eventually(() => failed.length > 0);
    assert.deepEqual(failed, ["upstream_reset"]);
    assert.equal(bugs.length, 1);
  });
});

describe("a backend that takes few streams", () => {
  test("is sent no more than those where it has said so before", async () => {
    const at = new Map<FramePeer, number>();
    let refused = 0;
    await using app = await frameOrigin(
      (peer, seen) => {
        if (!ends(seen)) return;
        const open = (at.get(peer) ?? 0) + 1;
        at.set(peer, open);
        if (open > 3) {
          refused++;
          at.set(peer, 3);
          peer.reset(seen.id, REFUSED_STREAM);
          return;
        }
        setImmediate(() => {
          at.set(peer, (at.get(peer) ?? 0) - 1);
          peer.headers(seen.id, OK);
        });
      },
      [[SETTINGS_MAX_CONCURRENT_STREAMS, 3]],
    );
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port], pool: { protocol: "h2c" } }),
    });
    // All of them come before the backend has said a word.
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => fetch(gateway.url, { method: "POST", body: "x" })),
    );
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array.from({ length: 30 }, () => 200),
    );
    assert.ok(refused <= 27, String(refused));
    const before = refused;
    for (const peer of app.peers) peer.socket.destroy();
    await eventually(() => app.peers.every(({ closed }) => closed));
    const again = await Promise.all(Array.from({ length: 30 }, () => fetch(gateway.url)));
    assert.ok(again.every(({ status }) => status === 200));
    assert.equal(refused, before);
  });
});

describe("a session that is asked whether its backend is there", () => {
  interface Asked extends AsyncDisposable {
    readonly session: Http2Session;
    readonly peer: FramePeer;
    readonly failed: string[];
    readonly gone: () => number;
    readonly bytes: () => number;
  }

  /** A session with one stream whose response has begun; `answers`: pings are answered. */
  async function asked(answers: boolean): Promise<Asked> {
    const app = await frameOrigin((peer, seen) => {
      peer.polite = answers;
      if (!answers && seen.type === SETTINGS && seen.flags === 0) {
        peer.send(frame(SETTINGS, ACK, 0, Buffer.alloc(0)));
      }
      if (seen.type === HEADERS) peer.headers(seen.id, OK, 0);
    });
    let bytes = 0;
    let begun = false;
    const failed: string[] = [];
    const events = {
      ready: (upstream, exchange) => upstream.sendHead(exchange, true),
      head: () => (begun = true),
      readDone: () => {},
      body: (_exchange, _buffer, { start, end }) => (bytes += end - start),
      failed: (_upstream, _exchange, code) => failed.push(code),
    } as Partial<UpstreamEvents> as UpstreamEvents;
    let gone = 0;
    const session = sessionTo(app.port, events, {
      onBug: (error) => assert.fail(error as Error),
      owner: { streamsMax: Infinity, gone: () => gone++ },
    });
    beginOn(session);
    await eventually(() => begun);
    return {
      session,
      peer: app.peers[0] as FramePeer,
      failed,
      gone: () => gone,
      bytes: () => bytes,
      [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
    };
  }

  function pings(peer: FramePeer): number {
    return peer.of(PING).filter(({ flags }) => flags === 0).length;
  }

  test("is kept while anything comes, and given up where nothing does", async () => {
    await using made = await asked(false);
    const { session, peer } = made;
    const startMs = performance.now();
    session.sweep(startMs + 31_000);
    await peer.until(() => pings(peer) === 1);
    // The answer to the ping waits behind much that comes slowly.
    peer.data(1, "more");
    await eventually(() => made.bytes() === 4);
    session.sweep(startMs + 50_000);
    assert.equal(made.gone(), 0);
    session.sweep(startMs + 62_000);
    await peer.until(() => pings(peer) === 2);
    session.sweep(startMs + 80_000);
    assert.deepEqual([made.gone(), made.failed], [1, ["response_truncated"]]);
  });

  test("is not asked more often than servers of gRPC take it that have nothing to say", async () => {
    await using made = await asked(true);
    const { session, peer } = made;
    const startMs = performance.now();
    /** Once this is over, both have read what the other had said before. */
    const settle = async (): Promise<void> => {
      for (let turn = 0; turn < 2; turn++) {
        const before = peer.of(PING).length - pings(peer);
        peer.ping();
        await peer.until(() => peer.of(PING).length - pings(peer) > before);
      }
    };
    /** How often it has been asked at these seconds. */
    const asks = async (...seconds: readonly number[]): Promise<number> => {
      for (const second of seconds) {
        session.sweep(startMs + second * 1000);
        await settle();
      }
      return pings(peer);
    };
    assert.equal(await asks(20, 31), 1);
    assert.equal(await asks(62, 93, 150, 330), 1);
    assert.equal(await asks(342), 2);
    peer.data(1, "something");
    await eventually(() => made.bytes() > 0);
    assert.equal(await asks(360), 2);
    assert.equal(await asks(373), 3);
    assert.equal(made.gone(), 0);
  });
});
