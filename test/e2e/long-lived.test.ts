/**
 * What lives long is left alone by changes: WebSockets, event streams and a request under way, through
 * swaps of their own route and of others, and of the backend behind them.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const STREAMS = 50;
const SWAPS = 50;

/** An origin of WebSockets that echo, of event streams, and of answers that wait. */
async function longLivedOrigin() {
  const streams: ServerResponse[] = [];
  const held: ServerResponse[] = [];
  const server = createServer((request, response) => {
    if (request.url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: begin\n\n");
      streams.push(response);
    } else if (request.url === "/slow") {
      held.push(response);
    } else {
      response.end("ok");
    }
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data) => socket.send(data));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    streams,
    held,
    [Symbol.dispose]: () => {
      for (const socket of sockets.clients) socket.terminate();
      server.close();
      server.closeAllConnections();
    },
  };
}

/** A client of one event stream, and what it has read. */
function eventStream(port: number): { readonly socket: Socket; text: string; ended: boolean } {
  const socket = connect(port, "127.0.0.1");
  const stream = { socket, text: "", ended: false };
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => (stream.text += text));
  socket.on("error", () => {});
  socket.on("close", () => (stream.ended = true));
  socket.write("GET /events HTTP/1.1\r\nHost: shop\r\n\r\n");
  return stream;
}

function generationRoute(g: number) {
  const set = [{ name: "x-generation", value: String(g) }];
  const filters = [{ type: "ResponseHeaderModifier", responseHeaderModifier: { set } }];
  return shop.route({ filters });
}

test(`${STREAMS} WebSockets and ${STREAMS} event streams live through ${SWAPS} swaps`, async () => {
  using origin = await longLivedOrigin();
  using other = await longLivedOrigin();
  const port = await freePort();
  await using sluice = await Sluice.start({ workers: 2 });
  await sluice.apply(shop.gateway(port), generationRoute(0), shop.backend("1", origin.port));
  const url = `http://127.0.0.1:${port}/`;
  await eventually("it serves", async () => (await fetch(url)).ok);
  const slow = fetch(`${url}slow`);
  const streams = Array.from({ length: STREAMS }, () => eventStream(port));
  const clients = Array.from({ length: STREAMS }, () => new WebSocket(url.replace("http", "ws")));
  const lost: string[] = [];
  const echoes = new Map<WebSocket, string[]>();
  for (const client of clients) {
    const got: string[] = [];
    echoes.set(client, got);
    client.on("message", (data: Buffer) => got.push(String(data)));
    client.on("error", (error) => lost.push(error.message));
    client.on("close", (code) => lost.push(`closed ${code}`));
  }
  await eventually("all are open", () => {
    const open = clients.every(({ readyState }) => readyState === WebSocket.OPEN);
    return open && streams.every(({ text }) => text.includes("begin")) && origin.held.length === 1;
  });
  for (let g = 1; g <= SWAPS; g++) {
    // Half of the way the backend moves as well: what is open stays where it is.
    const backend = shop.backend("1", g > SWAPS / 2 ? other.port : origin.port);
    await sluice.apply(generationRoute(g), backend);
    await eventually(`swap ${g} is served`, async () => {
      return (await fetch(url)).headers.get("x-generation") === String(g);
    });
    for (const client of clients) client.send(`swap ${g}`);
    for (const response of origin.streams) response.write(`data: swap ${g}\n\n`);
  }
  const texts = Array.from({ length: SWAPS }, (_, index) => `swap ${index + 1}`);
  await eventually("all echoes", () => clients.every((c) => echoes.get(c)?.length === SWAPS));
  await eventually("all events", () =>
    streams.every(({ text }) => text.includes(`swap ${SWAPS}\n`)),
  );
  for (const client of clients) assert.deepEqual(echoes.get(client), texts);
  for (const { text, ended } of streams) {
    assert.equal(ended, false);
    assert.deepEqual(
      [...text.matchAll(/data: (swap \d+)\n/g)].map(([, event]) => event),
      texts,
    );
  }
  assert.deepEqual(lost, []);
  origin.held[0]?.end("at last");
  assert.equal(await (await slow).text(), "at last");
  for (const client of clients) client.terminate();
  for (const { socket } of streams) socket.destroy();
});

test("SIGTERM: WebSockets are told 1001, on both sides, and the process ends with 0", async () => {
  const codes: number[] = [];
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  server.on("connection", (socket) => socket.on("close", (code) => codes.push(code)));
  const port = await freePort();
  await using sluice = await Sluice.start({ workers: 2 });
  const backend = shop.backend("1", (server.address() as AddressInfo).port);
  await sluice.apply(shop.gateway(port), shop.route(), backend);
  const clients: WebSocket[] = [];
  await eventually("they connect", async () => {
    const client = new WebSocket(`ws://127.0.0.1:${port}/`);
    await once(client, "open");
    return clients.push(client) === 10;
  });
  const closed = clients.map(async (client) => (await once(client, "close"))[0] as number);
  assert.equal(await sluice.stop(), 0);
  assert.deepEqual(new Set(await Promise.all(closed)), new Set([1001]));
  await eventually("the server's side", () => codes.length === 10);
  assert.deepEqual(new Set(codes), new Set([1001]));
  server.close();
});
