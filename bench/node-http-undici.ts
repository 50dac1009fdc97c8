/**
 * A proxy of node:http and undici, as one would write it with care: a pool for each origin, bodies
 * passed on as streams, headers of one hop taken off. Arguments: the ports of two origins.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Pool, type Dispatcher } from "undici";

const ONE_HOP = new Set(["connection", "keep-alive", "transfer-encoding", "upgrade", "host"]);
const CONNECTIONS = 128;

const [stable, canary] = process.argv
  .slice(2, 4)
  .map((port) => new Pool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS })) as [
  Pool,
  Pool,
];

/** Writes what an origin answers to the client, and waits for a client that is slow. */
class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;
  #ended = false;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#response.on("drain", () => controller.resume());
    this.#response.on("close", () => {
      if (!this.#ended) controller.abort(new Error("the client has gone"));
    });
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    const kept: Record<string, string | string[]> = {};
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined && !ONE_HOP.has(name)) kept[name] = value;
    }
    this.#response.writeHead(status, kept);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#response.write(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    this.#ended = true;
    this.#response.end();
  }

  onResponseError(): void {
    this.#ended = true;
    if (!this.#response.headersSent) this.#response.writeHead(502);
    this.#response.end();
  }
}

function forwarded(request: IncomingMessage): string[] {
  const headers: string[] = [];
  const raw = request.rawHeaders;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name, value] = [raw[at] as string, raw[at + 1] as string];
    const lower = name.toLowerCase();
    if (lower === "host" || !ONE_HOP.has(lower)) headers.push(name, value);
  }
  headers.push("x-forwarded-for", request.socket.remoteAddress ?? "", "x-forwarded-proto", "http");
  return headers;
}

const server = createServer((request, response) => {
  const pool = Math.random() < 0.1 ? canary : stable;
  const hasBody = request.headers["content-length"] ?? request.headers["transfer-encoding"];
  pool.dispatch(
    {
      path: request.url ?? "/",
      method: request.method as Dispatcher.HttpMethod,
      headers: forwarded(request),
      body: hasBody === undefined ? null : request,
    },
    new Relay(response),
  );
});
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
