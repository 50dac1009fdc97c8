/**
 * The admin server: the Kubernetes REST API, OpenAPI, health and metrics on one loopback address.
 * It bounds what a client may hold (heads, bodies, connections, time), and turns every error into
 * an answer: no request ends the process, and no answer tells what only a log should.
 */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../base/clock.ts";
import type { JsonObject } from "../base/json.ts";
import type { Random } from "../base/random.ts";
import type { Writer } from "../admission/writer.ts";
import { KINDS } from "../resource/kinds.ts";
import type { Resource } from "../resource/resource.ts";
import { StoreError } from "../store/store.ts";
import type { Store } from "../store/store.ts";
import { ApiError, badRequest, methodNotAllowed, noSuchPath } from "./api-error.ts";
import { describeApi } from "./discovery.ts";
import { refuseListen, refuseRequest } from "./guard.ts";
import { ListSnapshots } from "./list-snapshot.ts";
import { answerOpenApi } from "./open-api.ts";
import { answerApi } from "./route.ts";
import type { ApiRoutes, Exchange } from "./route.ts";
import { type Exposition, Scrapes } from "./scrape.ts";
import { Watches } from "./watch.ts";
import { warningHeaders } from "./warning.ts";

const HEAD_BYTES_MAX = 32 * 1024;
const HEAD_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 75_000;
const CONNECTIONS_MAX = 2048;
const CLOSE_GRACE_MS = 5000;

const IN_USE = "the address is already in use; choose another with --admin HOST:PORT";

export interface AdminOptions {
  readonly store: Store;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly random: Random;
  /** What `/metrics` says. */
  readonly metrics: () => Exposition;
  /** Whether traffic is served; `reasons` says why not. */
  readonly ready: () => { readonly ok: boolean; readonly reasons: readonly string[] };
  /** What is wrong between a resource just written and others: sent as HTTP warnings. */
  readonly warnings?: (resource: Resource) => Promise<readonly string[]>;
  /** The version of Sluice, for `/version`. */
  readonly version: string;
  /** Told of errors that are bugs or broken disks; the client hears "internal error" alone. */
  readonly onFault?: (message: string, error: unknown) => void;
}

export interface AdminServer {
  /**
   * Serves on a loopback address; port 0 takes a free one. Rejects with an error that names address
   * and port where they cannot be had.
   */
  listen(address: { readonly host: string; readonly port: number }): Promise<{ port: number }>;
  /** Ends all watches, lets requests in flight finish, and stops. */
  close(): Promise<void>;
}

/** Makes the admin server; nothing is opened before `listen`. */
export function createAdminServer(options: AdminOptions): AdminServer {
  const { store, clock, random } = options;
  const watches = new Watches({ store, clock });
  const snapshots = new ListSnapshots(clock, random);
  const warnings = options.warnings ?? (() => Promise.resolve([]));
  const api = { store, writer: options.writer, clock, random, snapshots, watches, warnings };
  const version = describeVersion(options.version);
  const site: Site = {
    options,
    routes: { api, discovery: describeApi(KINDS), version },
    scrapes: new Scrapes(options),
    listenHost: "",
  };
  const server = createServer(
    { maxHeaderSize: HEAD_BYTES_MAX, headersTimeout: HEAD_TIMEOUT_MS },
    (request, response) => void serve(site, request, response),
  );
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.keepAliveTimeout = IDLE_TIMEOUT_MS;
  server.maxConnections = CONNECTIONS_MAX;
  return {
    async listen({ host, port }) {
      const refusal = refuseListen(host);
      if (refusal !== undefined) throw new Error(refusal);
      site.listenHost = host;
      await ensureDefaultNamespace(options);
      return { port: await listenOn(server, host, port) };
    },
    async close() {
      watches.close();
      await closeServer(server, clock);
    },
  };
}

interface Site {
  readonly options: AdminOptions;
  readonly routes: ApiRoutes;
  readonly scrapes: Scrapes;
  listenHost: string;
}

/** Answers one request; never rejects. */
async function serve(
  site: Site,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const refusal = refuseRequest(request.headers.host, request.headers.origin, site.listenHost);
    if (refusal !== undefined) throw refusal;
    await answer(site, { request, response, url: parseUrl(request) });
  } catch (error) {
    fail(site, error, { request, response });
  }
}

async function answer(site: Site, exchange: Exchange): Promise<void> {
  const { request, response, url } = exchange;
  const [, root = ""] = url.pathname.split("/", 2);
  switch (root) {
    case "api":
    case "apis":
    case "version": {
      const answered = await answerApi(site.routes, exchange);
      if (answered === undefined) return;
      sendJson(response, answered.code, answered.body, warningHeaders(answered.warnings));
      return;
    }
    case "openapi":
      needGet(request);
      answerOpenApi(exchange);
      return;
    case "healthz":
    case "livez":
      needGet(request);
      sendText(response, 200, "ok");
      return;
    case "readyz": {
      needGet(request);
      const { ok, reasons } = site.options.ready();
      sendText(response, ok ? 200 : 503, ok ? "ok" : `not ready: ${reasons.join("; ")}\n`);
      return;
    }
    case "metrics": {
      needGet(request);
      await site.scrapes.answer(request, response);
      return;
    }
    default:
      throw noSuchPath();
  }
}

function needGet(request: IncomingMessage): void {
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw methodNotAllowed(request.method ?? "");
  }
}

function parseUrl(request: IncomingMessage): URL {
  const target = request.url ?? "/";
  // What follows "//" in a path would be taken for a host.
  if (!target.startsWith("/") || target.startsWith("//")) throw noSuchPath();
  try {
    return new URL(target, "http://localhost");
  } catch {
    throw badRequest("the request target is not a valid URL");
  }
}

function fail(site: Site, error: unknown, { request, response }: Omit<Exchange, "url">): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const refusal = error instanceof ApiError ? error : internalError(site, error, request);
  const { retryAfterSeconds } = refusal.details;
  sendJson(response, refusal.code, refusal.toStatus(), {
    ...(retryAfterSeconds !== undefined && { "retry-after": String(retryAfterSeconds) }),
    // What is left of a body that was refused is not worth reading.
    ...(!request.complete && { connection: "close" }),
  });
}

function internalError(site: Site, error: unknown, request: IncomingMessage): ApiError {
  const [path] = (request.url ?? "").split("?", 1);
  // A client that goes away in the middle of its request is no fault of ours.
  if (!request.destroyed || request.complete) {
    site.options.onFault?.(`${request.method ?? ""} ${path ?? ""} failed`, error);
  }
  const status = { code: 500, reason: "InternalError" };
  return new ApiError(status, "Internal error occurred: the log of the server says more");
}

function sendJson(
  response: ServerResponse,
  code: number,
  body: JsonObject,
  headers: Readonly<Record<string, string | readonly string[]>>,
): void {
  const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(code, {
    ...headers,
    "content-type": "application/json",
    "content-length": bytes.length,
    "cache-control": "no-cache, private",
  });
  response.end(bytes);
}

function sendText(response: ServerResponse, code: number, text: string): void {
  response.writeHead(code, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-cache, private",
    "x-content-type-options": "nosniff",
  });
  response.end(text);
}

/** What kubectl reads the server's version from: the conventions are those of Kubernetes 1.32. */
function describeVersion(version: string): JsonObject {
  return {
    major: "1",
    minor: "32",
    gitVersion: `v1.32.0+sluice-${version}`,
    gitCommit: "",
    gitTreeState: "clean",
    buildDate: "1970-01-01T00:00:00Z",
    goVersion: "",
    compiler: "",
    platform: `${process.platform}/${process.arch}`,
  };
}

/** The one namespace that always exists. A disk that refuses it must not keep the API shut. */
async function ensureDefaultNamespace({ store, writer, onFault }: AdminOptions): Promise<void> {
  if (store.get("Namespace", "", "default") !== undefined) return;
  const metadata = { name: "default", namespace: "" };
  const resource = { apiVersion: "v1", kind: "Namespace", metadata };
  try {
    await writer.write([{ op: "create", resource }]);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    if (error.code !== "AlreadyExists") onFault?.("cannot create the namespace default", error);
  }
}

function listenOn(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      const why = error.code === "EADDRINUSE" ? IN_USE : error.message;
      reject(new Error(`Cannot serve the admin API on ${host}:${port}: ${why}`, { cause: error }));
    };
    server.once("error", onError);
    server.listen({ host, port, exclusive: true }, () => {
      server.off("error", onError);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** What is in flight may finish within the grace period; idle connections close at once. */
function closeServer(server: Server, clock: Clock): Promise<void> {
  const cancel = clock.after(CLOSE_GRACE_MS, () => server.closeAllConnections());
  // A connection whose answer ends only now would otherwise stay open until it is idle too long.
  const closeIdle = (): void => void setImmediate(() => server.closeIdleConnections());
  server.on("request", (_request, response: ServerResponse) => response.once("close", closeIdle));
  return new Promise((resolve) => {
    server.close(() => {
      cancel();
      resolve();
    });
    closeIdle();
  });
}
