/**
 * The one road from resources to traffic: every change in the store is compiled, sockets that are new
 * are tried, what changed is delivered to the workers, and when all of them serve it the resources are
 * told so in their status, with what some worker could not do. Changes that come while one round runs
 * make one next round.
 */
import type { Clock } from "../base/clock.ts";
import { toTimestamp } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { sameMap } from "../base/same-map.ts";
import { addressesOverlap, unixPath } from "../compile/address.ts";
import { compile, compileRoutes } from "../compile/compile.ts";
import type { Compiled, CompileInput, ResourceChange } from "../compile/compiled.ts";
import { formatProblem, problemsOf, problemsOfStatus } from "../compile/problems.ts";
import type { PartKey } from "../compile/program.ts";
import { recompile } from "../compile/recompile.ts";
import { mergeStatus, releasedStatus } from "../compile/status.ts";
import { isOfKind } from "../compile/stored.ts";
import type { Delivery } from "../delivery/delivery.ts";
import { keyOf, keyText, type Resource, type ResourceKey } from "../resource/resource.ts";
import { type Change, type Store, StoreError, type WatchEvent } from "../store/store.ts";
import { CertificateFiles } from "./certificate-files.ts";
import { probeSocket } from "./probe.ts";

export interface ProgramLoopOptions {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly clock: Clock;
  readonly log: Logger;
  /** Worker threads that will come. */
  readonly workers: number;
}

/** A socket that could not be opened is tried again this often. */
const PROBE_AGAIN_MS = 2000;
/** After a round that failed all is compiled again after this. */
const ROUND_AGAIN_MS = 1000;
/** Statuses that the disk refused are offered to it again after this. */
const STATUSES_AGAIN_MS = 1000;
const NO_KEYS: ReadonlySet<PartKey> = new Set();
/** How long the start waits for workers to say what they hold. */
const WORKERS_MS_MAX = 5000;
const WORKERS_LOOK_MS = 5;

export class ProgramLoop {
  readonly #options: ProgramLoopOptions;
  #compiled: Compiled | undefined;
  /** What the workers were sent last; `#compiled` may be ahead of it while sockets are tried. */
  #published: Compiled | undefined;
  #changes: ResourceChange[] = [];
  /** The newest resourceVersion that `#compiled` has taken in. */
  #compiledVersion = 0;
  #waiting: { readonly version: number; readonly resolve: () => void }[] = [];
  #unavailable = new Map<PartKey, string>();
  /** What workers could not put to work, as the statuses that are compiled next will say. */
  #failed: ReadonlyMap<PartKey, string> = new Map();
  #failedDue = false;
  #running = false;
  /** Set when sockets that could not be opened are to be tried again. */
  #probeDue = false;
  /** Set when all is to be compiled: a certificate in a file is another one, or a round has failed. */
  #wholeDue = false;
  readonly #files: CertificateFiles;
  #cancelProbe: (() => void) | undefined;
  #cancelRound: (() => void) | undefined;
  #served = false;
  #writing = false;
  #statusesDue = false;
  #cancelStatuses: (() => void) | undefined;
  #told: ReadonlySet<string> = new Set();
  /** Gateways and GatewayClasses whose statuses are ours. */
  #spokenOf: ReadonlyMap<string, ResourceKey> = new Map();

  constructor(options: ProgramLoopOptions) {
    this.#options = options;
    this.#files = new CertificateFiles({
      clock: options.clock,
      onChange: () => {
        this.#wholeDue = true;
        void this.#run();
      },
    });
  }

  /** Stops looking at files and trying again. */
  close(): void {
    this.#cancelRound?.();
    this.#files.close();
  }

  /** What is compiled now; undefined before `start`. */
  get compiled(): Compiled | undefined {
    return this.#compiled;
  }

  /** Why traffic is not served yet; empty once it has been. */
  notReady(): readonly string[] {
    return this.#served ? [] : ["no worker serves the configuration yet"];
  }

  /**
   * Compiles everything and resolves when every worker serves it. With `allSockets` it throws where
   * a socket cannot be opened: at the start that is better known at once than read in a status.
   */
  async start({ allSockets }: { readonly allSockets: boolean }): Promise<void> {
    const { store, delivery } = this.#options;
    await this.#workersCame();
    store.watch((event) => this.#onEvent(event));
    this.#compiledVersion = store.resourceVersion;
    this.#compiled = compile(this.#input());
    await this.#probeSockets();
    if (allSockets && this.#unavailable.size > 0) {
      throw new Error([...this.#unavailable.values()].join("\n"));
    }
    const served = Promise.withResolvers<void>();
    delivery.onAcknowledged(() => {
      if (delivery.acknowledgedGeneration !== delivery.generation) return;
      this.#served = true;
      served.resolve();
      if (this.#noteFailures()) void this.#run();
      else void this.#writeStatuses();
    });
    this.#publish(this.#compiled);
    await served.promise;
    void this.#run();
  }

  /** What stands between a resource just written and others; resolves once it is compiled. */
  async problemsOf(resource: Resource): Promise<readonly string[]> {
    await this.#compiledUpTo(Number(resource.metadata.resourceVersion));
    const wanted = keyText(keyOf(resource));
    return (this.#compiled?.statuses ?? [])
      .filter((status) => keyText(status.key) === wanted)
      .flatMap(problemsOfStatus)
      .map(({ type, reason, message }) => `${type}: ${reason}: ${message}`);
  }

  async #compiledUpTo(version: number): Promise<void> {
    if (this.#compiledVersion >= version) return;
    await new Promise<void>((resolve) => {
      this.#waiting.push({ version, resolve });
    });
  }

  /** Resources with which something is wrong, by kind; for /metrics. */
  problemCounts(): ReadonlyMap<string, number> {
    const keys = new Map<string, string>();
    for (const { resource } of this.#compiled === undefined ? [] : problemsOf(this.#compiled)) {
      keys.set(keyText(resource), resource.kind);
    }
    const counts = new Map<string, number>();
    for (const kind of keys.values()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  }

  /** Sockets that workers hold already must be known before others are tried. */
  async #workersCame(): Promise<void> {
    const { delivery, clock, workers } = this.#options;
    for (let waitedMs = 0; waitedMs < WORKERS_MS_MAX; waitedMs += WORKERS_LOOK_MS) {
      if (delivery.readyCount >= workers) return;
      await new Promise<void>((resolve) => {
        clock.after(WORKERS_LOOK_MS, resolve);
      });
    }
  }

  #input(): CompileInput {
    const { store } = this.#options;
    return {
      get: (kind, namespace, name) => store.get(kind, namespace, name),
      list: (kind, namespace) => store.list(kind, namespace),
      unavailableSockets: this.#unavailable,
      failedParts: this.#failed,
      certificateFiles: this.#files.of(
        store.list("Gateway").filter((one) => isOfKind(one, "Gateway")),
      ),
    };
  }

  #onEvent(event: WatchEvent): void {
    this.#changes.push(event);
    // What was committed together is told at a stretch, and compiled as one.
    if (this.#changes.length === 1) queueMicrotask(() => void this.#run());
  }

  async #run(): Promise<void> {
    if (this.#running || !this.#served) return;
    this.#running = true;
    try {
      while (this.#isDue()) await this.#round();
    } catch (error) {
      this.#options.log.error({ err: error }, "compiling failed");
      this.#roundLater();
    } finally {
      this.#running = false;
    }
  }

  #isDue(): boolean {
    return this.#changes.length > 0 || this.#probeDue || this.#wholeDue || this.#failedDue;
  }

  /** Takes in what workers could not do; false where it is what they could not do before. */
  #noteFailures(): boolean {
    const failed = this.#options.delivery.failures();
    if (sameMap(failed, this.#failed)) return false;
    this.#failed = failed;
    this.#failedDue = true;
    return true;
  }

  /** What a round that failed was about is forgotten, so that the next one is about everything. */
  #roundLater(): void {
    this.#wholeDue = true;
    this.#cancelRound?.();
    this.#cancelRound = this.#options.clock.after(ROUND_AGAIN_MS, () => void this.#run());
  }

  async #round(): Promise<void> {
    const changes = this.#changes;
    this.#changes = [];
    const before = this.#compiled as Compiled;
    try {
      this.#compiled = this.#recompile(before, changes);
    } finally {
      // Whoever waits for a change must not wait for ever because the compiler failed on it.
      this.#noteCompiled(changes);
    }
    if (this.#compiled === before) return;
    await this.#probeSockets();
    const generation = this.#publish(this.#compiled);
    // Statuses may have changed though no part did: nothing will be acknowledged then.
    const { acknowledgedGeneration } = this.#options.delivery;
    if (generation === acknowledgedGeneration) await this.#writeStatuses();
  }

  #publish(compiled: Compiled): number {
    this.#published = compiled;
    return this.#options.delivery.publish(compiled);
  }

  #recompile(before: Compiled, changes: readonly ResourceChange[]): Compiled {
    const failed = this.#failedDue;
    this.#failedDue = false;
    if (!this.#probeDue && !this.#wholeDue) {
      const compiled = recompile(before, this.#input(), changes);
      return failed ? compileRoutes(this.#input(), compiled, NO_KEYS) : compiled;
    }
    if (this.#probeDue) this.#unavailable = new Map();
    this.#probeDue = false;
    this.#wholeDue = false;
    return compile(this.#input(), before);
  }

  /** Lets those go on who wait for a change to be compiled. */
  #noteCompiled(changes: readonly ResourceChange[]): void {
    const newest = Number(changes.at(-1)?.resource.metadata.resourceVersion ?? 0);
    this.#compiledVersion = Math.max(this.#compiledVersion, newest);
    const due = this.#waiting.filter(({ version }) => version <= this.#compiledVersion);
    this.#waiting = this.#waiting.filter(({ version }) => version > this.#compiledVersion);
    for (const { resolve } of due) resolve();
  }

  /** Tries every socket that is new; those that cannot be opened are compiled away, with the reason. */
  async #probeSockets(): Promise<void> {
    const compiled = this.#compiled as Compiled;
    const { delivery } = this.#options;
    const sockets = [...compiled.parts.values()].filter((part) => part.type === "socket");
    const held = sockets.filter((part) => delivery.isHeld(part.key));
    let found = false;
    for (const part of sockets) {
      // One of ours on an overlapping address is no other program.
      const ours = held.some(
        ({ port, address }) =>
          (port === part.port || unixPath(address) !== undefined) &&
          addressesOverlap(address, part.address),
      );
      const problem = ours ? undefined : await probeSocket(part);
      if (problem === undefined) continue;
      this.#unavailable.set(part.key, problem);
      found = true;
    }
    if (!found) return;
    this.#compiled = compile(this.#input(), compiled);
    this.#cancelProbe?.();
    this.#cancelProbe = this.#options.clock.after(PROBE_AGAIN_MS, () => {
      this.#probeDue = true;
      void this.#run();
    });
  }

  /** Says once on the log what is wrong between resources or at a worker, and that it is mended. */
  #tellProblems(): void {
    const { log, delivery } = this.#options;
    const problems = problemsOf(this.#published as Compiled);
    const now = new Set(problems.map(formatProblem));
    const said = new Set(problems.map(({ message }) => message));
    // What is a listener's stands in its status by now; what is a rule's is said here alone.
    for (const [key, message] of delivery.failures()) {
      if (!said.has(message)) now.add(`${key}: ${message}`);
    }
    for (const problem of now) if (!this.#told.has(problem)) log.warn({}, problem);
    for (const problem of this.#told) if (!now.has(problem)) log.info({}, `mended: ${problem}`);
    this.#told = now;
  }

  /** Brings the statuses up to what is served; whoever comes meanwhile makes it look once more. */
  async #writeStatuses(): Promise<void> {
    this.#statusesDue = true;
    if (this.#writing) return;
    this.#writing = true;
    this.#cancelStatuses?.();
    try {
      while (this.#statusesDue) {
        this.#statusesDue = false;
        this.#tellProblems();
        await this.#writeDifferences();
      }
    } catch (error) {
      const { log, clock } = this.#options;
      log.warn({ err: error }, "statuses were not written");
      this.#cancelStatuses = clock.after(STATUSES_AGAIN_MS, () => void this.#writeStatuses());
    } finally {
      this.#writing = false;
    }
  }

  async #writeDifferences(): Promise<void> {
    const { store, clock } = this.#options;
    const timestamp = toTimestamp(clock.now());
    const changes: Change[] = [];
    for (const draft of this.#published?.statuses ?? []) {
      const { kind, namespace, name } = draft.key;
      const resource = store.get(kind, namespace, name);
      if (resource === undefined) continue;
      const status = mergeStatus(resource, draft, timestamp);
      if (status !== undefined) changes.push({ op: "status", resource: { ...resource, status } });
    }
    const speaking = gatewaysOf(this.#published);
    changes.push(...this.#releases(speaking));
    try {
      if (changes.length > 0) await store.commit(changes);
      this.#spokenOf = speaking;
    } catch (error) {
      if (!(error instanceof StoreError) || error.code === "Unavailable") throw error;
      // Somebody has changed one of them meanwhile, which need not compile to anything new.
      this.#statusesDue = true;
    }
  }

  /** What we said of Gateways whose class has become another's is taken back. */
  #releases(speaking: ReadonlyMap<string, ResourceKey>): readonly Change[] {
    const changes: Change[] = [];
    for (const [text, { kind, namespace, name }] of this.#spokenOf) {
      if (speaking.has(text)) continue;
      const resource = this.#options.store.get(kind, namespace, name);
      if (resource === undefined) continue;
      changes.push({ op: "status", resource: { ...resource, status: releasedStatus(resource) } });
    }
    return changes;
  }
}

/** The Gateways and GatewayClasses that something is said of. */
function gatewaysOf(compiled: Compiled | undefined): ReadonlyMap<string, ResourceKey> {
  const keys = (compiled?.statuses ?? [])
    .map(({ key }) => key)
    .filter(({ kind }) => kind === "Gateway" || kind === "GatewayClass");
  return new Map(keys.map((key) => [keyText(key), key]));
}
