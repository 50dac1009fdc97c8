/**
 * One worker as delivery sees it: what it has, what is on its way to it, and what it serves for
 * sure. One generation is under way at a time; those published meanwhile go as one, the latest.
 */
import type { MessagePort } from "node:worker_threads";
import type { PartKey, Program } from "../compile/program.ts";
import type { PartFailure, ProgramMessage, WorkerMessage } from "../process/messages.ts";
import type { Content, Contents } from "./contents.ts";
import { pack } from "./pack.ts";

/** One generation, as it was given to `publish`. */
export interface Published {
  readonly generation: number;
  readonly parts: Program;
  readonly credentials: ReadonlyMap<string, string>;
}

/**
 * Messages that a worker may have before it says that it took them in. Bounds its longest stall.
 */
const WINDOW = 2;

export interface ChannelListener {
  /** The worker has said what it holds; `generation` is what it serves, 0 if nothing. */
  onReady(generation: number): void;
  onAcknowledged(): void;
  onClosed(): void;
}

export class Channel {
  readonly #port: MessagePort;
  readonly #contents: Contents;
  readonly #listener: ChannelListener;
  /** What the worker has once all that was sent is committed. */
  readonly #hashes = new Map<PartKey, string>();
  readonly #credentials = new Map<string, string>();
  /** Keys that may be others than the worker has. */
  #dirty = new Set<PartKey>();
  #ready = false;
  #fresh = false;
  #acknowledged: Published | undefined;
  #sending: Published | undefined;
  #messages: Iterator<ProgramMessage> | undefined;
  #unconfirmed = 0;
  failures: readonly PartFailure[] = [];

  constructor(port: MessagePort, contents: Contents, listener: ChannelListener) {
    this.#port = port;
    this.#contents = contents;
    this.#listener = listener;
    port.on("message", (message: WorkerMessage) => this.#take(message));
    port.once("close", () => listener.onClosed());
  }

  /** Whether nothing is known yet of what the worker serves. */
  get isBlind(): boolean {
    return !this.#ready || (!this.#fresh && this.#acknowledged === undefined);
  }

  /** Whether the worker has said what it holds. */
  get isReady(): boolean {
    return this.#ready;
  }

  /** Whether the worker has the part, whoever sent it. */
  holds(key: PartKey): boolean {
    return this.#hashes.has(key);
  }

  get acknowledged(): Published | undefined {
    return this.#acknowledged;
  }

  /**
   * The oldest generation that the worker may serve. One that came with nothing serves nothing
   * older than the first that it was sent.
   */
  get oldest(): Published | undefined {
    return this.#acknowledged ?? (this.#fresh ? this.#sending : undefined);
  }

  /** Notes what a new generation changed. */
  markChanged(keys: Iterable<PartKey>): void {
    for (const key of keys) this.#dirty.add(key);
  }

  /** Begins to send `latest`, unless something is under way or the worker has it. */
  send(latest: Published): void {
    if (!this.#ready || this.#sending !== undefined || this.#acknowledged === latest) return;
    this.#sending = latest;
    const contents: Content[] = [];
    const removed: PartKey[] = [];
    for (const key of this.#dirty) {
      const content = this.#contents.get(key);
      if (content?.hash === this.#hashes.get(key)) continue;
      if (content === undefined) {
        removed.push(key);
        this.#hashes.delete(key);
      } else {
        contents.push(content);
        this.#hashes.set(key, content.hash);
      }
    }
    this.#dirty = new Set();
    const credentials = this.#changedCredentials(latest.credentials);
    this.#messages = pack({ generation: latest.generation, contents, removed, credentials });
    this.#pump();
  }

  close(): void {
    this.#port.removeAllListeners("message");
    this.#port.removeAllListeners("close");
    this.#port.close();
  }

  #changedCredentials(
    wanted: ReadonlyMap<string, string>,
  ): readonly (readonly [string, string | null])[] {
    const changed: (readonly [string, string | null])[] = [];
    for (const [ref, value] of wanted) {
      if (this.#credentials.get(ref) === value) continue;
      this.#credentials.set(ref, value);
      changed.push([ref, value]);
    }
    for (const ref of this.#credentials.keys()) {
      if (wanted.has(ref)) continue;
      this.#credentials.delete(ref);
      changed.push([ref, null]);
    }
    return changed;
  }

  #pump(): void {
    while (this.#messages !== undefined && this.#unconfirmed < WINDOW) {
      const next = this.#messages.next();
      if (next.done === true) {
        this.#messages = undefined;
        return;
      }
      this.#unconfirmed += 1;
      post(this.#port, next.value);
    }
  }

  #take(message: WorkerMessage): void {
    switch (message.type) {
      case "have":
        this.#takeHave(message);
        return;
      case "received":
        this.#unconfirmed -= 1;
        this.#pump();
        return;
      case "ack":
        if (message.generation !== this.#sending?.generation) return;
        this.#acknowledged = this.#sending;
        this.#sending = undefined;
        this.failures = message.failures;
        this.#listener.onAcknowledged();
    }
  }

  #takeHave(message: WorkerMessage & { readonly type: "have" }): void {
    for (const [key, hash] of message.hashes) this.#hashes.set(key, hash);
    if (!message.last) return;
    this.#ready = true;
    this.#fresh = message.generation === 0;
    this.markChanged(this.#hashes.keys());
    this.markChanged(this.#contents.keys());
    this.#listener.onReady(message.generation);
  }
}

function post(port: MessagePort, message: ProgramMessage): void {
  port.postMessage(message);
}
