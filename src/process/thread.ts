/**
 * One supervised thread: started, listened to, and started again when it ends unasked. A thread that
 * keeps dying is started at growing intervals, so that a crash loop does not eat the host.
 */
import { Worker } from "node:worker_threads";
import type { Cancel, Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { ControlCommand, ThreadReport, TraceCommand, WorkerCommand } from "./messages.ts";

export interface ThreadOptions {
  readonly name: string;
  readonly script: URL;
  /** The most that V8 sets aside for objects that have just been made. */
  readonly youngGenerationMb: number;
  /** Asked for at every start: its `workerData`. */
  readonly data: () => unknown;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when it has been started again, before any report of that start. */
  readonly onRestart: () => void;
  readonly onReport: (report: ThreadReport) => void;
  /** Called when it has ended unasked, with the reason for a person. */
  readonly onCrash: (reason: string) => void;
}

/** The first restart is at once; each further one within `STEADY_MS` waits twice as long. */
const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 5000;
/** A thread that lived this long has not crashed in a loop. */
const STEADY_MS = 10_000;

export class SupervisedThread {
  readonly #options: ThreadOptions;
  #worker: Worker;
  #startedMs = 0;
  #restartMs = 0;
  /** Set while the thread is dead and waits to be started again. */
  #cancelRestart: Cancel | undefined;
  #ending = false;
  readonly #ended = Promise.withResolvers<void>();

  constructor(options: ThreadOptions) {
    this.#options = options;
    this.#worker = this.#start();
  }

  /** Resolves when the thread has ended because it was asked to. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Nothing is done where the thread is dead: `onRestart` is when to say it again. */
  post(command: ControlCommand | TraceCommand | WorkerCommand): void {
    const transfer = "port" in command ? [command.port] : [];
    this.#worker.postMessage(command, transfer);
  }

  /** From now on the thread may end without being started again; one that is dead has ended. */
  expectEnd(): void {
    this.#ending = true;
    if (this.#cancelRestart === undefined) return;
    this.#cancelRestart();
    this.#ended.resolve();
  }

  /** Ends the thread now, as a crash would. It is started again unless its end is expected. */
  async kill(): Promise<void> {
    await this.#worker.terminate();
  }

  #start(): Worker {
    const { script, data, name, clock, onReport, youngGenerationMb } = this.#options;
    this.#startedMs = clock.monotonic();
    const worker = new Worker(script, {
      name,
      workerData: data(),
      resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMb },
    });
    let failure: Error | undefined;
    worker.on("message", onReport);
    worker.on("error", (error: Error) => {
      failure = error;
    });
    worker.on("exit", (code) => this.#onExit(code, failure));
    return worker;
  }

  #onExit(code: number, failure: Error | undefined): void {
    const { clock, log, name, onCrash, onRestart } = this.#options;
    if (this.#ending) {
      if (failure !== undefined) log.warn({ name, err: failure }, "thread failed at its end");
      this.#ended.resolve();
      return;
    }
    const steady = clock.monotonic() - this.#startedMs > STEADY_MS;
    const waitMs = steady ? 0 : this.#restartMs;
    this.#restartMs = Math.min(Math.max(waitMs * 2, RESTART_MS_MIN), RESTART_MS_MAX);
    log.error({ name, code, err: failure, waitMs }, "thread ended; starting it again");
    this.#cancelRestart = clock.after(waitMs, () => {
      this.#cancelRestart = undefined;
      this.#worker = this.#start();
      onRestart();
    });
    onCrash(failure?.message ?? `exit code ${code}`);
  }
}
