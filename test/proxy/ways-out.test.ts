/**
 * However a connection ends, it is not counted any more: each way out once requests can be asked, with TLS
 * and a header of the PROXY protocol before. What ends sooner is in arrival-ways-out.test.ts.
 */
import { after, before, describe, test } from "node:test";
import type { Socket } from "node:net";
import { GOAWAY, PREFACE } from "../../src/http2/frame.ts";
import { GET as H2_GET } from "../support/frames.ts";
import { Backend, BEFORE, ENDS, GET, HOST, LIMIT, type Way } from "../support/ways-out.ts";

const POST = `POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000\r\n\r\nhalf`;
const STREAM = `GET /stream HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
const BROKEN = `GET /broken HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
const LAST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
const SOON = { clientIdleMs: 100, lingerMs: 100 };
/** Of every connection that has come as far as a request. */
const WAYS: readonly Way[] = [
  ...ENDS.flatMap(([name, end]): Way[] => [
    {
      name: `${name} before a byte of it`,
      take: async (world) => {
        const { socket, below } = await world.open();
        end(socket, below);
      },
    },
    {
      name: `${name} in a head`,
      take: async (world) => {
        const { socket, below } = await world.open();
        socket.write(GET.slice(0, 20), () => end(socket, below));
      },
    },
    {
      name: `${name} after a request`,
      take: async (world) => {
        const { socket, below } = await (await world.open()).asked();
        end(socket, below);
      },
    },
    {
      name: `${name} in a request's body`,
      take: async (world) => {
        const { socket, below } = await world.open();
        socket.write(POST, () => end(socket, below));
      },
    },
    {
      name: `${name} in a response`,
      take: async (world) => {
        const { socket, below } = await (await world.open()).asked(STREAM, /begun/);
        end(socket, below);
      },
    },
    {
      name: `an idle HTTP/2 connection ${name}`,
      take: async (world) => {
        const { peer, below } = await world.http2();
        end(peer.socket, below);
      },
    },
    {
      name: `an HTTP/2 connection ${name} in a response`,
      take: async (world) => {
        const { peer, below } = await world.http2();
        const fields = H2_GET.map(([key, value]): [string, string] =>
          key === ":path" ? [key, "/stream"] : [key, key === ":authority" ? HOST : value],
        );
        peer.headers(1, fields);
        await peer.until((one) => one.body(1) === "begun");
        end(peer.socket, below);
      },
    },
    {
      name: `HTTP/2 ${name} in its preface`,
      take: async (world) => {
        const { socket, below } = await world.open({ ALPNProtocols: ["h2"] });
        socket.write(PREFACE.subarray(0, 10), () => end(socket, below));
      },
    },
    {
      name: `a WebSocket ${name}`,
      take: async (world) => {
        const { client, below } = await world.webSocket();
        end(Reflect.get(client, "_socket") as Socket, below);
      },
    },
  ]),
  { name: "the last answer", take: async (world) => (await world.open()).asked(LAST) },
  {
    name: "a bad request",
    take: async (world) => (await world.open()).asked("GET  / HTTP/1.1\r\n\r\n", / 400 /),
  },
  {
    name: "a backend that breaks off",
    take: async (world) => (await world.open()).asked(BROKEN, /begun/),
  },
  {
    name: "an idle connection's time",
    timeouts: SOON,
    take: async (world) => (await world.open()).asked(),
  },
  {
    name: "a head's time",
    timeouts: { ...SOON, requestHeadMs: 100 },
    take: async (world) => (await world.open()).socket.write(GET.slice(0, 20)),
  },
  {
    name: "a body's time",
    timeouts: { ...SOON, requestIdleMs: 100 },
    take: async (world) => (await world.open()).socket.write(POST),
  },
  {
    name: "an idle HTTP/2 connection's time",
    timeouts: SOON,
    take: (world) => world.http2(),
  },
  {
    name: "half a preface's time",
    timeouts: { ...SOON, requestHeadMs: 100 },
    take: async (world) =>
      (await world.open({ ALPNProtocols: ["h2"] })).socket.write(PREFACE.subarray(0, 10)),
  },
  {
    name: "HTTP/2 with GOAWAY",
    take: async (world) => {
      const { peer } = await world.http2();
      peer.goaway(0, 0);
      peer.socket.end();
    },
  },
  {
    name: "a Close of a WebSocket's client",
    take: async (world) => (await world.webSocket()).client.close(1000),
  },
  {
    name: "a Close of a WebSocket's backend",
    take: async (world) => (await world.webSocket()).client.send("close"),
  },
  {
    name: "a WebSocket's time",
    timeouts: { tunnelIdleMs: 100 },
    take: (world) => world.webSocket(),
  },
  {
    name: "a worker that stops, and an idle connection",
    drains: true,
    take: async (world) => {
      await (await world.open()).asked();
      await world.gateway.plane.drain(5000);
    },
  },
  {
    name: "a worker that stops, and an idle HTTP/2 connection",
    drains: true,
    take: async (world) => {
      const { peer } = await world.http2();
      const drained = world.gateway.plane.drain(5000);
      await peer.until((one) => one.of(GOAWAY).length > 0);
      peer.socket.end();
      await drained;
    },
  },
  {
    name: "a worker that stops, and a WebSocket",
    drains: true,
    take: async (world) => {
      await world.webSocket();
      await world.gateway.plane.drain(5000);
    },
  },
  {
    name: "a worker that cuts",
    drains: true,
    take: async (world) => {
      await (await world.open()).asked(STREAM, /begun/);
      await world.gateway.plane.drain(0);
    },
  },
];

const backend = new Backend();
before(() => backend.listen());
after(() => backend[Symbol.asyncDispose]());

for (const stands of BEFORE) {
  describe(stands.name, () => {
    for (const way of WAYS) test(way.name, LIMIT, () => backend.go(way, stands));
  });
}
