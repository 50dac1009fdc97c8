/**
 * The one road from resources to traffic: every change in the store is compiled, sockets that are new
 * are tried, what changed is delivered to the workers, and when all of them serve it the resources are
 * told so in their status. Changes that come while one round runs make one next round.
 */
import type { Clock } from "../base/clock.ts";
import { toTimestamp } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { compile } from "../compile/compile.ts";
import { recompile } from "../compile/recompile.ts";
import type { Compiled, CompileInput, ResourceChange } from "../compile/compiled.ts";
import type { PartKey, SocketPart } from "../compile/program.ts";
import { mergeStatus } from "../compile/status.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { Change, Store, WatchEvent } from "../store/store.ts";
import { probeSocket } from "./probe.ts";

export interface ProgramLoopOptions {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A socket that could not be opened is tried again this often. */
const PROBE_AGAIN_MS = 2000;

export class ProgramLoop {
  readonly #options: ProgramLoopOptions;
  #compiled: Compiled | undefined;
  #changes: ResourceChange[] = [];
  #unavailable = new Map<PartKey, string>();
  /** Sockets that were found free, or that a worker held when this thread started. */
  readonly #opened = new Set<PartKey>();
  #running = false;
  /** Set when sockets that could not be opened are to be tried again. */
  #probeDue = false;
  #cancelProbe: (() => void) | undefined;

  constructor(options: ProgramLoopOptions) {
    this.#options = options;
  }

  /** What is compiled now; undefined before `start`. */
  get compiled(): Compiled | undefined {
    return this.#compiled;
  }

  /** Sockets that cannot be opened, by key, and why. */
  get unavailableSockets(): ReadonlyMap<PartKey, string> {
    return this.#unavailable;
  }

  /** Compiles everything and resolves when every worker serves it. `held` are sockets already open. */
  async start(held: Iterable<PartKey>): Promise<void> {
    for (const key of held) this.#opened.add(key);
    this.#options.store.watch((event) => this.#onEvent(event));
    this.#compiled = compile(this.#input());
    await this.#openSockets();
    await this.#deliver();
  }

  /** What the compiler would say of the resources as they are now; for warnings of the API. */
  preview(): Compiled {
    return compile(this.#input(), this.#compiled);
  }

  #input(): CompileInput {
    const { store } = this.#options;
    return {
      get: (kind, namespace, name) => store.get(kind, namespace, name),
      list: (kind, namespace) => store.list(kind, namespace),
      unavailableSockets: this.#unavailable,
    };
  }

  #onEvent(event: WatchEvent): void {
    this.#changes.push(event);
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#running || this.#compiled === undefined) return;
    this.#running = true;
    try {
      while (this.#changes.length > 0 || this.#probeDue) await this.#round();
    } catch (error) {
      this.#options.log.error({ err: error }, "compiling failed");
    } finally {
      this.#running = false;
    }
  }

  async #round(): Promise<void> {
    const changes = this.#changes;
    this.#changes = [];
    const before = this.#compiled as Compiled;
    if (this.#probeDue) {
      this.#probeDue = false;
      this.#unavailable = new Map();
      this.#compiled = compile(this.#input(), before);
    } else this.#compiled = recompile(before, this.#input(), changes);
    if (this.#compiled === before) return;
    await this.#openSockets();
    await this.#deliver();
  }

  /** Tries every socket that is new; those that cannot be opened are compiled away, with the reason. */
  async #openSockets(): Promise<void> {
    const compiled = this.#compiled as Compiled;
    const wanted = new Set<PartKey>();
    let changed = false;
    for (const part of compiled.parts.values()) {
      if (part.type !== "socket") continue;
      wanted.add(part.key);
      if (this.#opened.has(part.key)) continue;
      const problem = await probeSocket(part satisfies SocketPart);
      if (problem === undefined) this.#opened.add(part.key);
      else {
        this.#unavailable.set(part.key, problem);
        changed = true;
      }
    }
    for (const key of this.#opened) if (!wanted.has(key)) this.#opened.delete(key);
    if (changed) {
      this.#compiled = compile(this.#input(), compiled);
      this.#scheduleProbe();
    }
  }

  #scheduleProbe(): void {
    this.#cancelProbe?.();
    this.#cancelProbe = this.#options.clock.after(PROBE_AGAIN_MS, () => {
      this.#probeDue = true;
      void this.#run();
    });
  }

  async #deliver(): Promise<void> {
    const compiled = this.#compiled as Compiled;
    await this.#options.delivery.publish(compiled);
    await this.#writeStatuses(compiled);
  }

  /** Writes what became different. A resource that changed meanwhile is compiled again anyway. */
  async #writeStatuses(compiled: Compiled): Promise<void> {
    const { store, clock, log } = this.#options;
    const timestamp = toTimestamp(clock.now());
    const changes: Change[] = [];
    for (const draft of compiled.statuses) {
      const { kind, namespace, name } = draft.key;
      const resource = store.get(kind, namespace, name);
      if (resource === undefined) continue;
      const status = mergeStatus(resource, draft, timestamp);
      if (status === undefined) continue;
      const { resourceVersion: _any, ...metadata } = resource.metadata;
      changes.push({ op: "status", resource: { ...resource, metadata, status } });
    }
    if (changes.length === 0) return;
    try {
      await store.commit(changes);
    } catch (error) {
      log.warn({ err: error }, "statuses were not written; the next change writes them");
    }
  }
}
