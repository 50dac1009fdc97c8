/**
 * The backends of the conformance tests: one server per Service, which answers with what it was
 * asked (path, host, method, headers), waits where `delay` says so and sets headers on request.
 */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../src/base/clock.ts";
import { parseDuration } from "../../src/base/duration.ts";

/** What a backend saw. */
export interface Echo {
  readonly path: string;
  readonly host: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly namespace: string;
  readonly pod: string;
}

export interface EchoServer {
  readonly port: number;
  close(): void;
}

export async function startEcho(namespace: string, service: string): Promise<EchoServer> {
  const server = createServer((request, response) => {
    const delay = new URL(request.url ?? "/", "http://echo").searchParams.get("delay");
    const delayMs = parseDuration(delay ?? "0") ?? 0;
    systemClock.after(delayMs, () => answer(request, response, { namespace, service }));
  });
  await listen(server);
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listen(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  who: { readonly namespace: string; readonly service: string },
): void {
  const headers = readHeaders(request.rawHeaders);
  const echo: Echo = {
    path: request.url ?? "",
    host: request.headers.host ?? "",
    method: request.method ?? "",
    headers,
    namespace: who.namespace,
    pod: `${who.service}-0`,
  };
  for (const pair of (headers["x-echo-set-header"] ?? []).flatMap((list) => list.split(","))) {
    const colon = pair.indexOf(":");
    response.appendHeader(pair.slice(0, colon).trim(), pair.slice(colon + 1).trim());
  }
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(echo));
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
