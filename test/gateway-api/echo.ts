/**
 * The backends of the conformance tests: a server for each port of a Service, which answers with
 * what it was asked (path, host, method, headers), waits where `delay` says so, fails as often as
 * `succeedAfter` says and sets headers on request. A port of appProtocol h2c speaks HTTP/2 alone,
 * and answers gRPC calls in frames; others speak HTTP/1.1 and WebSocket.
 */
import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import { WebSocketServer } from "ws";
import { systemClock } from "../../src/base/clock.ts";
import { parseDuration } from "../../src/base/duration.ts";

/** What a backend saw. */
export interface Echo {
  readonly path: string;
  readonly host: string;
  readonly method: string;
  /** "HTTP/1.1" or "HTTP/2.0". */
  readonly proto: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly namespace: string;
  readonly pod: string;
}

export interface EchoServer {
  readonly port: number;
  close(): void;
}

export interface EchoOptions {
  readonly namespace: string;
  readonly service: string;
  readonly http2: boolean;
  /** Told of every request when its head has arrived. */
  readonly onRequest: (path: string) => void;
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

export async function startEcho(options: EchoOptions): Promise<EchoServer> {
  const attempts = new Map<string, number>();
  const handle = (request: Request, response: Response): void => {
    options.onRequest(request.url ?? "");
    request.resume();
    serve(request, response, { ...options, attempts });
  };
  const server: Server = options.http2 ? createHttp2Server(handle) : createHttpServer(handle);
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  if (!options.http2) echoWebSockets(server, options);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Sends every message back, after one that says who answers. */
function echoWebSockets(server: Server, { service, onRequest }: EchoOptions): void {
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    onRequest(request.url ?? "");
    sockets.handleUpgrade(request, socket, head, (client) => {
      client.send(`${service}-0`);
      client.on("message", (data, isBinary) => {
        client.send(data, { binary: isBinary });
      });
    });
  });
}

interface Serving extends EchoOptions {
  /** Attempts that were made, by the uuid that the client sends. */
  readonly attempts: Map<string, number>;
}

function serve(request: Request, response: Response, serving: Serving): void {
  const query = new URL(request.url ?? "/", "http://echo").searchParams;
  const uuid = query.get("uuid");
  if (uuid !== null) {
    const attempt = (serving.attempts.get(uuid) ?? 0) + 1;
    serving.attempts.set(uuid, attempt);
    if (attempt <= Number(query.get("succeedAfter") ?? 0)) {
      waitThen(query.get("delayRetry"), () => fail(request, response, query.get("responseCode")));
      return;
    }
  }
  waitThen(query.get("delay"), () => answer(request, response, serving));
}

function waitThen(delay: string | null, then: () => void): void {
  const delayMs = parseDuration(delay ?? "0") ?? 0;
  if (delayMs === 0) then();
  else systemClock.after(delayMs, then);
}

/** Without a code the connection ends without an answer. */
function fail(request: Request, response: Response, code: string | null): void {
  if (code === null) {
    request.socket.destroy();
    return;
  }
  response.statusCode = Number(code);
  response.end();
}

function answer(request: Request, response: Response, who: EchoOptions): void {
  const headers = readHeaders(request.rawHeaders);
  const echo: Echo = {
    path: request.url ?? "",
    host: request.headers.host ?? headers[":authority"]?.[0] ?? "",
    method: request.method ?? "",
    proto: `HTTP/${request.httpVersion}`,
    headers,
    namespace: who.namespace,
    pod: `${who.service}-0`,
  };
  for (const pair of (headers["x-echo-set-header"] ?? []).flatMap((list) => list.split(","))) {
    const colon = pair.indexOf(":");
    const [name, value] = [pair.slice(0, colon).trim(), pair.slice(colon + 1).trim()];
    const before = response.getHeader(name);
    response.setHeader(name, before === undefined ? value : [before, value].flat().map(String));
  }
  const body = Buffer.from(JSON.stringify(echo));
  if (headers["content-type"]?.[0]?.startsWith("application/grpc") === true) {
    answerCall(response as Http2ServerResponse, body);
    return;
  }
  response.setHeader("content-type", "application/json");
  response.end(body);
}

/** One message, framed as gRPC frames it, and the status in trailers. */
function answerCall(response: Http2ServerResponse, message: Buffer): void {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  response.setHeader("content-type", "application/grpc");
  response.addTrailers({ "grpc-status": "0" });
  response.end(Buffer.concat([prefix, message]));
}

/** Header lines by lower-case name, in order. */
export function readHeaders(raw: readonly string[]): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] as string).toLowerCase();
    (headers[name] ??= []).push(raw[at + 1] as string);
  }
  return headers;
}
