/**
 * The main thread's work: it allocates shared memory, starts one control thread and the workers,
 * joins each worker with the control thread by a channel, brings back whichever dies or hangs, and
 * ends them in order. It serves nothing itself, so that nothing can bring it down: what cannot start ends
 * the start, and what fails later is tried again while the others go on.
 */
import { randomBytes } from "node:crypto";
import { url as inspectorUrl } from "node:inspector";
import { MessageChannel } from "node:worker_threads";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { allocateSharedMemory, type SharedMemory } from "../shared/memory.ts";
import type { TraceSettings } from "../trace/settings.ts";
import { TICKET_SECRET_BYTES, TicketSecret } from "../shared/tickets.ts";
import type {
  ControlOptions,
  ControlThreadData,
  ThreadReport,
  TraceThreadData,
  WorkerOptions,
  WorkerThreadData,
} from "./messages.ts";
import { SupervisedThread } from "./thread.ts";
import { Watchdog } from "./watchdog.ts";

export interface SupervisorOptions {
  readonly control: ControlOptions;
  readonly worker: WorkerOptions;
  readonly workers: number;
  /** How spans are exported; absent where nothing is traced, and no thread for it is started. */
  readonly traces?: TraceSettings;
  /** How long a stop may take in all, from being asked to the last request cut off. */
  readonly drainTimeoutMs: number;
  /** How long readiness has failed, and all is served, before connections are refused. */
  readonly drainDelayMs: number;
  /** How long a worker's event loop may stand still before the worker is replaced. */
  readonly hangMs?: number;
  /** Runs in place of worker-thread.ts, for tests of how workers fail. */
  readonly workerScript?: URL;
  readonly log: Logger;
}

/** Sluice cannot start, for a reason that its user can act on. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** A worker that has not said it is drained this long after its grace period is ended by force. */
const DRAIN_SLACK_MS = 2000;
/** The same for a control thread that was told to close. */
const CLOSE_MS_MAX = 5000;
/** How long a collector may take for the last spans. */
const LAST_SPANS_MS_MAX = 3000;
/** Far above what linking or collecting garbage takes, also on a busy host. */
const HANG_MS = 10_000;
/** How long TLS sessions can be resumed at most: what is known of a secret opens no older ones. */
const TICKET_SECRET_MS = 12 * 60 * 60 * 1000;

/**
 * Most of what a request allocates dies at once, and is cheap where it dies in the nursery: 48 MB do
 * as well as 192. They are not given back, and a worker with many connections fills them. A large
 * configuration is read and compiled in a nursery that holds it.
 */
const YOUNG_GENERATION_MB = {
  "worker-thread": 48,
  "control-thread": 192,
  "trace-thread": 48,
} as const;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #clock: Clock = systemClock;
  readonly #workers: SupervisedThread[] = [];
  readonly #control: SupervisedThread;
  readonly #traces: SupervisedThread | undefined;
  readonly #drained: PromiseWithResolvers<void>[] = [];
  readonly #ready = Promise.withResolvers<number>();
  readonly #watchdog: Watchdog;
  /** Set once traffic is served: where the admin API is, also for the next control thread. */
  #adminPort: number | undefined;
  #stopped: Promise<void> | undefined;
  #cancelTickets: (() => void) | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const memory = allocateSharedMemory(options.workers);
    this.#replaceTicketSecret(new TicketSecret(memory.tickets));
    this.#control = this.#thread("control", "control-thread", {
      data: (): ControlThreadData => ({ role: "control", memory, ...this.#controlData() }),
      onRestart: () => {
        this.#workers.forEach((_, index) => this.#connect(index));
        if (this.#stopped !== undefined) this.#control.post({ type: "drain" });
      },
      onReport: (report) => this.#onControlReport(report),
    });
    this.#traces = this.#traceThread(memory);
    this.#watchdog = new Watchdog({
      heartbeats: memory.heartbeats,
      clock: this.#clock,
      limitMs: options.hangMs ?? HANG_MS,
      onHung: (index) => this.#onHung(index),
    });
    for (let index = 0; index < options.workers; index++) {
      this.#drained.push(Promise.withResolvers());
      const data = (): WorkerThreadData => {
        const own = { ...options.worker, ...samplerOf(options.traces) };
        return { role: "worker", index, memory, options: own };
      };
      this.#workers.push(
        this.#thread(`worker-${index}`, "worker-thread", {
          data,
          onRestart: () => this.#onWorkerRestart(index),
          onReport: (report) => this.#onWorkerReport(index, report),
        }),
      );
      this.#connect(index);
      this.#connectTraces(index);
    }
  }

  /** Resolves with the port of the admin API once traffic is served; rejects with StartError. */
  get ready(): Promise<number> {
    return this.#ready.promise;
  }

  /**
   * Readiness fails, and where `delayed` all is served on for a while, so that who watches readiness
   * sends no more; then workers finish what is in flight and leave, and the control thread closes the
   * store. Resolves when every thread has ended; to be called any number of times.
   */
  stop({ delayed = false }: { readonly delayed?: boolean } = {}): Promise<void> {
    this.#stopped ??= this.#stop(delayed ? this.#options.drainDelayMs : 0);
    return this.#stopped;
  }

  /** The access log's file was renamed: every worker goes on in a new one. */
  reopenLogs(): void {
    for (const worker of this.#workers) worker.post({ type: "reopenLog" });
  }

  /** Ends the control thread as a crash would; it comes back. For tests of that promise. */
  async killControl(): Promise<void> {
    await this.#control.kill();
  }

  /** As `killControl`, for one worker. */
  async killWorker(index: number): Promise<void> {
    await this.#workers[index]?.kill();
  }

  /** As `killControl`, for the thread that exports spans. */
  async killTraces(): Promise<void> {
    await this.#traces?.kill();
  }

  #replaceTicketSecret(tickets: TicketSecret): void {
    tickets.replace(randomBytes(TICKET_SECRET_BYTES));
    this.#cancelTickets = this.#clock.after(TICKET_SECRET_MS, () => {
      this.#replaceTicketSecret(tickets);
    });
  }

  async #stop(delayMs: number): Promise<void> {
    this.#cancelTickets?.();
    this.#control.post({ type: "drain" });
    for (const worker of this.#workers) worker.post({ type: "announceDrain" });
    if (delayMs > 0) await this.#after(delayMs);
    const limitMs = Math.max(this.#options.drainTimeoutMs - delayMs, 0);
    const drained = this.#workers.map((worker, index) => {
      worker.expectEnd();
      worker.post({ type: "drain", limitMs });
      // A worker that dies, or was dead, has nothing in flight.
      return Promise.race([this.#drained[index]?.promise, worker.ended]);
    });
    await this.#within(limitMs + DRAIN_SLACK_MS, Promise.all(drained), "workers did not drain");
    this.#watchdog.close();
    await Promise.all(this.#workers.map((worker) => worker.kill()));
    await this.#close(this.#traces, LAST_SPANS_MS_MAX, "the last spans were not exported");
    await this.#close(this.#control, CLOSE_MS_MAX, "the control thread did not close");
  }

  async #close(
    thread: SupervisedThread | undefined,
    limitMs: number,
    problem: string,
  ): Promise<void> {
    if (thread === undefined) return;
    thread.expectEnd();
    thread.post({ type: "stop" });
    await this.#within(limitMs, thread.ended, problem);
    await thread.kill();
  }

  /** Waits for `done`, but not for ever; `problem` says what was too late. */
  async #within(limitMs: number, done: Promise<unknown>, problem: string): Promise<void> {
    const limit = Promise.withResolvers<void>();
    const cancel = this.#clock.after(limitMs, () => {
      this.#options.log.warn({ limitMs }, `${problem} in time; ending it by force`);
      limit.resolve();
    });
    await Promise.race([done, limit.promise]);
    cancel();
  }

  #after(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#clock.after(delayMs, resolve);
    return promise;
  }

  #thread(
    name: string,
    script: "control-thread" | "trace-thread" | "worker-thread",
    options: Pick<
      ConstructorParameters<typeof SupervisedThread>[0],
      "data" | "onRestart" | "onReport"
    >,
  ): SupervisedThread {
    // The file's own ending tells whether this is the checkout or the built package.
    const ending = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
    return new SupervisedThread({
      ...options,
      name,
      script:
        (script === "worker-thread" ? this.#options.workerScript : undefined) ??
        new URL(`./${script}${ending}`, import.meta.url),
      youngGenerationMb: YOUNG_GENERATION_MB[script],
      clock: this.#clock,
      log: this.#options.log,
      // What dies before it ever served would do so again; later, the others go on meanwhile.
      onCrash: (reason) => {
        // Traffic does not wait for traces.
        if (script !== "trace-thread") {
          this.#failStart(`The thread ${name} failed at the start: ${reason}`);
        }
      },
    });
  }

  /** A control thread after the first finds its API where it was, and bears what it finds. */
  #controlData(): Pick<ControlThreadData, "options" | "resumes"> {
    const { control } = this.#options;
    const adminPort = this.#adminPort;
    if (adminPort === undefined) return { options: control, resumes: false };
    const adminAddress = control.adminAddress.replace(/\d+$/, String(adminPort));
    return { options: { ...control, adminAddress }, resumes: true };
  }

  #connect(index: number): void {
    const { port1, port2 } = new MessageChannel();
    this.#workers[index]?.post({ type: "control", port: port1 });
    this.#control.post({ type: "worker", index, port: port2 });
  }

  #traceThread(memory: SharedMemory): SupervisedThread | undefined {
    const { traces: settings, control } = this.#options;
    if (settings === undefined) return undefined;
    const { logLevel } = control;
    return this.#thread("trace", "trace-thread", {
      data: (): TraceThreadData => ({ role: "trace", memory, settings, logLevel }),
      onRestart: () => this.#workers.forEach((_, index) => this.#connectTraces(index)),
      onReport: () => {},
    });
  }

  #connectTraces(index: number): void {
    if (this.#traces === undefined) return;
    const { port1, port2 } = new MessageChannel();
    this.#workers[index]?.post({ type: "traces", port: port1 });
    this.#traces.post({ type: "worker", port: port2 });
  }

  #onControlReport(report: ThreadReport): void {
    if (report.type === "fatal") this.#onFatal(this.#control, "control", report.message);
    if (report.type !== "ready") return;
    this.#adminPort ??= report.adminPort ?? 0;
    this.#ready.resolve(this.#adminPort);
  }

  #onWorkerReport(index: number, report: ThreadReport): void {
    const { log } = this.#options;
    const name = `worker-${index}`;
    if (report.type === "fatal") this.#onFatal(this.#workers[index], name, report.message);
    if (report.type === "drained") this.#drained[index]?.resolve();
    if (report.type === "warning") log.warn({ name }, report.message);
    if (report.type === "bug") log.error({ name }, report.message);
  }

  #onWorkerRestart(index: number): void {
    this.#watchdog.restarted(index);
    this.#connect(index);
    this.#connectTraces(index);
    if (this.#stopped !== undefined) this.#workers[index]?.post({ type: "announceDrain" });
  }

  #onHung(index: number): void {
    // A thread that stands in a debugger is looked at, and not hung.
    if (inspectorUrl() !== undefined) return;
    const name = `worker-${index}`;
    this.#options.log.error({ name }, "the thread's event loop stands still; ending the thread");
    void this.#workers[index]?.kill();
  }

  /** The thread ends itself after such a report, and is started again like any that dies. */
  #onFatal(thread: SupervisedThread | undefined, name: string, reason: string): void {
    this.#failStart(reason);
    if (this.#adminPort !== undefined) this.#options.log.error({ name, reason }, "thread gave up");
    // The start fails with that reason, and nothing is started again.
    else thread?.expectEnd();
  }

  /** Nothing after the start. */
  #failStart(message: string): void {
    this.#ready.reject(new StartError(message));
  }
}

function samplerOf(traces: TraceSettings | undefined): Pick<WorkerOptions, "sampler"> {
  return traces === undefined ? {} : { sampler: traces.sampler };
}
