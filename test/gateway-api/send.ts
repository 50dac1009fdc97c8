/**
 * The clients of the conformance tests: HTTP/1.1, HTTP/2 in plain text with prior knowledge or over
 * TLS, gRPC and WebSocket. Each request has a connection of its own.
 */
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { request as httpRequest } from "node:http";
import type { IncomingMessage, RequestOptions } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request as httpsRequest } from "node:https";
import { WebSocket } from "ws";
import type { ConformanceRequest, GrpcCall } from "./conformance-case.ts";
import { readHeaders } from "./echo.ts";
import type { TestGateway } from "./test-gateway.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly body: string;
}

export interface SendOptions extends ConformanceRequest {
  readonly gateway: string;
  /** Of the manifests. */
  readonly port?: number;
  readonly scheme?: string;
}

/** One request; without a host it names the Gateway's address. */
export function send(gateway: TestGateway, options: SendOptions): Promise<Answer> {
  const secure = options.scheme?.toLowerCase() === "https";
  const target = gateway.addressOf(options.gateway, options.port ?? (secure ? 443 : 80));
  const http2 = options.protocol !== undefined && !options.protocol.startsWith("HTTP/1");
  const path = withQuery(options);
  if (http2) return sendHttp2({ ...options, path }, { ...target, secure });
  return sendHttp1({ ...options, path }, { ...target, secure });
}

interface Target {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

/** "<fresh uuid per request>" is what it says. */
function withQuery({ path = "/", query = {} }: ConformanceRequest): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    params.append(name, value.startsWith("<fresh uuid") ? crypto.randomUUID() : value);
  }
  if (params.size === 0) return path;
  return `${path}${path.includes("?") ? "&" : "?"}${params.toString()}`;
}

function sendHttp1(options: SendOptions, { host, port, secure }: Target): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const sent: RequestOptions = {
    host,
    port,
    path: options.path ?? "/",
    method: options.method ?? "GET",
    headers: { host: options.host ?? host, ...options.headers },
    agent: false,
  };
  const read = (response: IncomingMessage): void => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (text: string) => (body += text));
    response.on("error", reject);
    response.on("end", () => {
      const headers = readHeaders(response.rawHeaders);
      resolve({ status: response.statusCode ?? 0, headers, body });
    });
  };
  const tls = { servername: options.serverName ?? options.host ?? "", rejectUnauthorized: false };
  const outgoing = secure ? httpsRequest({ ...sent, ...tls }, read) : httpRequest(sent, read);
  outgoing.on("error", reject);
  outgoing.end();
  return promise;
}

function sendHttp2(options: SendOptions, { host, port, secure }: Target): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const tls = { servername: options.serverName ?? options.host ?? "", rejectUnauthorized: false };
  const session = connectHttp2(`${secure ? "https" : "http"}://${host}:${port}`, secure ? tls : {});
  session.on("error", reject);
  const stream = session.request({
    ":method": options.method ?? "GET",
    ":path": options.path ?? "/",
    ":authority": options.host ?? host,
    ...options.headers,
  });
  let answer: Answer = { status: 0, headers: {}, body: "" };
  stream.setEncoding("utf8");
  stream.on("response", (received, _flags) => {
    const headers: Record<string, readonly string[]> = {};
    for (const [name, value] of Object.entries(received))
      headers[name] = [value ?? ""].flat().map(String);
    answer = { ...answer, status: received[":status"] ?? 0, headers };
  });
  stream.on("data", (text: string) => {
    answer = { ...answer, body: answer.body + text };
  });
  stream.on("error", reject);
  stream.on("end", () => resolve(answer));
  return promise.finally(() => session.close());
}

export interface CallAnswer {
  /** The name of the gRPC status: "OK", "UNIMPLEMENTED". */
  readonly code: string;
  /** Empty where the call failed. */
  readonly message: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
}

/** gRPC channels that are open, for those who send many calls. */
export class Calls {
  readonly #gateway: TestGateway;
  readonly #clients = new Map<string, Client>();

  constructor(gateway: TestGateway) {
    this.#gateway = gateway;
  }

  call(gateway: string, call: GrpcCall, port = 80): Promise<CallAnswer> {
    const client = this.#clientOf(gateway, call, port);
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(call.metadata ?? {})) metadata.add(name, value);
    const { promise, resolve } = Promise.withResolvers<CallAnswer>();
    let headers: Record<string, readonly string[]> = {};
    const bytes = (value: Buffer): Buffer => value;
    const running = client.makeUnaryRequest(
      `/${call.service}/${call.method}`,
      bytes,
      bytes,
      Buffer.alloc(0),
      metadata,
      { deadline: Date.now() + 10_000 },
      (error: ServiceError | null, value?: Buffer) => {
        const code = status[error?.code ?? status.OK] ?? "";
        resolve({ code, message: value?.toString("utf8") ?? error?.details ?? "", headers });
      },
    );
    running.on("metadata", (received) => {
      headers = Object.fromEntries(
        Object.entries(received.getMap()).map(([name, value]) => [name, [String(value)]]),
      );
    });
    return promise;
  }

  #clientOf(gateway: string, { authority }: GrpcCall, port: number): Client {
    const address = this.#gateway.addressOf(gateway, port);
    const key = `${address.host}:${address.port} ${authority ?? ""}`;
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    const made = new Client(`${address.host}:${address.port}`, credentials.createInsecure(), {
      ...(authority !== undefined && { "grpc.default_authority": authority }),
    });
    this.#clients.set(key, made);
    return made;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }
}

/** Opens a WebSocket, sends a message and resolves to what came: who answered, and the echo. */
export function exchangeWebSocket(
  gateway: TestGateway,
  options: SendOptions,
): Promise<readonly string[]> {
  const { host, port } = gateway.addressOf(options.gateway, options.port ?? 80);
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
  const socket = new WebSocket(`ws://${host}:${port}${options.path ?? "/"}`, {
    headers: { host: options.host ?? host, ...options.headers },
  });
  const messages: string[] = [];
  socket.on("error", reject);
  socket.on("open", () => socket.send("hello"));
  socket.on("message", (data: Buffer) => {
    messages.push(data.toString("utf8"));
    if (messages.length < 2) return;
    socket.close();
    resolve(messages);
  });
  return promise;
}
