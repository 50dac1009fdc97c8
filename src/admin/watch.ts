/**
 * Watches: one JSON line per event on a response that stays open, from the version that a list
 * named, so that a client misses nothing between list and watch. A version that the history no
 * longer holds is answered by an ERROR event with code 410, upon which clients list again.
 *
 * A client that does not read is cut off rather than buffered for: it can resume where it was.
 */
import type { ServerResponse } from "node:http";
import type { Clock } from "../base/clock.ts";
import type { JsonObject } from "../base/json.ts";
import type { Resource } from "../resource/resource.ts";
import { apiVersionOf } from "../resource/kind.ts";
import { StoreError } from "../store/store.ts";
import type { Store, WatchEvent } from "../store/store.ts";
import { badRequest, expired, tooManyRequests } from "./api-error.ts";
import type { ApiError } from "./api-error.ts";
import { presentOne } from "./represent.ts";
import type { Presentation } from "./represent.ts";
import type { Selector } from "./selector.ts";

const WATCHES_MAX = 1024;
const UNREAD_BYTES_MAX = 8 * 1024 * 1024;
const BOOKMARK_EVERY_MS = 60_000;
/** A watch without `timeoutSeconds` ends after this, as in Kubernetes: none is forgotten. */
const WATCH_MS_MAX = 30 * 60_000;

export interface WatchRequest {
  readonly presentation: Omit<Presentation, "nowMs">;
  /** Undefined for all namespaces. */
  readonly namespace: string | undefined;
  readonly selector: Selector;
  readonly query: URLSearchParams;
}

export interface WatchDependencies {
  readonly store: Store;
  readonly clock: Clock;
}

/** Every watch that is open, so that closing the server can end them. */
export class Watches {
  readonly #dependencies: WatchDependencies;
  readonly #open = new Set<WatchStream>();

  constructor(dependencies: WatchDependencies) {
    this.#dependencies = dependencies;
  }

  /** Answers `response` for as long as the watch lasts. Throws ApiError before anything is sent. */
  start(request: WatchRequest, response: ServerResponse): void {
    if (this.#open.size >= WATCHES_MAX) {
      throw tooManyRequests(`more than ${WATCHES_MAX} watches are open`, 5);
    }
    const options = watchOptions(request.query);
    const stream = new WatchStream(this.#dependencies, request, response);
    this.#open.add(stream);
    response.once("close", () => {
      stream.stop();
      this.#open.delete(stream);
    });
    stream.begin(options);
  }

  close(): void {
    for (const stream of this.#open) stream.end();
  }
}

interface WatchOptions {
  /** Undefined: from the current state. */
  readonly since: number | undefined;
  /** Send what exists as ADDED events first. */
  readonly initial: boolean;
  /** Tell by a bookmark where the initial events end. */
  readonly markInitialEnd: boolean;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
}

function watchOptions(query: URLSearchParams): WatchOptions {
  const version = query.get("resourceVersion") ?? "";
  const sendInitial = query.get("sendInitialEvents");
  const match = query.get("resourceVersionMatch") ?? "";
  if (sendInitial !== null && match !== "NotOlderThan") {
    throw badRequest("sendInitialEvents requires resourceVersionMatch to be NotOlderThan");
  }
  if (sendInitial === null && match !== "") {
    throw badRequest("resourceVersionMatch is forbidden for watch without sendInitialEvents");
  }
  const since = version === "" || version === "0" ? undefined : parseVersion(version);
  const initial = sendInitial === null ? since === undefined : isTrue(sendInitial);
  const bookmarks = isTrue(query.get("allowWatchBookmarks"));
  return {
    since,
    initial,
    markInitialEnd: sendInitial !== null && initial && bookmarks,
    bookmarks,
    timeoutMs: timeoutOf(query),
  };
}

/** A resourceVersion of a request; throws ApiError 400. */
export function parseVersion(text: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw badRequest(`resourceVersion: Invalid value: "${text.slice(0, 50)}": must be a number`);
  }
  return Number(text);
}

/** What `watch` and other switches of a query may be. */
export function isTrue(value: string | null): boolean {
  return value === "true" || value === "1";
}

function timeoutOf(query: URLSearchParams): number {
  const text = query.get("timeoutSeconds") ?? "";
  if (text === "") return WATCH_MS_MAX;
  if (!/^\d{1,9}$/.test(text)) throw badRequest("timeoutSeconds must be a number of seconds");
  const timeoutMs = Number(text) * 1000;
  return timeoutMs === 0 ? WATCH_MS_MAX : timeoutMs;
}

/** Why a watch or a list cannot start at a version that the store has not reached. */
export function futureVersion(asked: number, current: number): ApiError {
  return expired(`too large resource version: ${asked}, current: ${current}; list again`);
}

class WatchStream {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #request: WatchRequest;
  readonly #response: ServerResponse;
  readonly #cancels: (() => void)[] = [];
  /** The newest version that this stream has dealt with: what a bookmark may promise. */
  #version = 0;
  #bookmarks = false;

  constructor(
    { store, clock }: WatchDependencies,
    request: WatchRequest,
    response: ServerResponse,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#request = request;
    this.#response = response;
  }

  begin(options: WatchOptions): void {
    const current = this.#store.resourceVersion;
    this.#bookmarks = options.bookmarks;
    this.#response.writeHead(200, {
      "content-type": "application/json",
      "cache-control": "no-cache, private",
    });
    this.#response.flushHeaders();
    if (options.since !== undefined && options.since > current) {
      return this.#fail(futureVersion(options.since, current));
    }
    // The state and the version are read in one turn, so no change can fall between them.
    this.#version = options.initial ? current : (options.since ?? current);
    if (options.initial) this.#sendState();
    if (options.markInitialEnd) this.#bookmark({ "k8s.io/initial-events-end": "true" });
    try {
      this.#cancels.push(this.#store.watch((event) => this.#onEvent(event), this.#version));
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "Gone") throw error;
      return this.#fail(expired(`too old resource version: ${this.#version} (${current})`));
    }
    this.#cancels.push(this.#clock.after(options.timeoutMs, () => this.end()));
    if (options.bookmarks) this.#bookmarkLater();
    return undefined;
  }

  /** Ends the stream in good order: the client knows how far it came. */
  end(): void {
    if (this.#bookmarks && this.#response.writable) this.#bookmark();
    this.stop();
    this.#response.end();
  }

  stop(): void {
    for (const cancel of this.#cancels.splice(0)) cancel();
  }

  #sendState(): void {
    const { presentation, namespace, selector } = this.#request;
    for (const resource of this.#store.list(presentation.kind.kind, namespace)) {
      if (selector(resource)) this.#send("ADDED", resource);
    }
  }

  #onEvent(event: WatchEvent): void {
    const { resource } = event;
    this.#version = Number(resource.metadata.resourceVersion);
    const { presentation, namespace } = this.#request;
    if (resource.kind !== presentation.kind.kind) return;
    if (namespace !== undefined && resource.metadata.namespace !== namespace) return;
    const type = seenType(event, this.#request.selector);
    if (type !== undefined) this.#send(type, resource);
  }

  #send(type: WatchEvent["type"], resource: Resource): void {
    const presentation = { ...this.#request.presentation, nowMs: this.#clock.now() };
    this.#write({ type, object: presentOne(resource, presentation) });
  }

  #bookmarkLater(): void {
    const bookmark = (): void => {
      this.#bookmark();
      this.#bookmarkLater();
    };
    // Only the newest timer is kept: a watch may live for thousands of bookmarks.
    this.#cancels.splice(2);
    this.#cancels.push(this.#clock.after(BOOKMARK_EVERY_MS, bookmark));
  }

  #bookmark(annotations?: JsonObject): void {
    const { kind, version, view } = this.#request.presentation;
    const metadata: JsonObject = {
      resourceVersion: String(this.#version),
      ...(annotations !== undefined && { annotations }),
    };
    const object: JsonObject =
      view === "table"
        ? { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata, columnDefinitions: [], rows: [] }
        : { kind: kind.kind, apiVersion: apiVersionOf(kind.group, version), metadata };
    this.#write({ type: "BOOKMARK", object });
  }

  #fail(error: ApiError): void {
    this.#write({ type: "ERROR", object: error.toStatus() });
    this.#response.end();
  }

  #write(line: JsonObject): void {
    this.#response.write(`${JSON.stringify(line)}\n`);
    if (this.#response.writableLength > UNREAD_BYTES_MAX) this.#response.destroy();
  }
}

/** What an event is to someone who sees only what the selector selects; undefined for nothing. */
function seenType(event: WatchEvent, selector: Selector): WatchEvent["type"] | undefined {
  const isSelected = selector(event.resource);
  const wasSelected = event.previous !== undefined && selector(event.previous);
  if (event.type === "DELETED") return isSelected || wasSelected ? "DELETED" : undefined;
  if (isSelected) return wasSelected ? "MODIFIED" : "ADDED";
  return wasSelected ? "DELETED" : undefined;
}
