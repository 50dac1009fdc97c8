/**
 * One supervised thread: started, listened to, and started again when it ends unasked. A thread that
 * keeps dying is started at growing intervals, so that a crash loop does not eat the host.
 */
import { Worker } from "node:worker_threads";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type {
  ControlCommand,
  ControlThreadData,
  ThreadReport,
  WorkerCommand,
  WorkerThreadData,
} from "./messages.ts";

export interface ThreadOptions {
  readonly name: string;
  readonly script: "control-thread" | "worker-thread";
  readonly data: ControlThreadData | WorkerThreadData;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called for every start, the first and each later one, before any report of that start. */
  readonly onStart: () => void;
  readonly onReport: (report: ThreadReport) => void;
}

/** The first restart is at once; each further one within `STEADY_MS` waits twice as long. */
const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 5000;
/** A thread that lived this long has not crashed in a loop. */
const STEADY_MS = 10_000;

/**
 * Most of what a request allocates dies at once. A large nursery lets it die there, which measures
 * as several percent of the proxy's CPU.
 */
const YOUNG_GENERATION_MB = 192;

export class SupervisedThread {
  readonly #options: ThreadOptions;
  #worker: Worker;
  #startedMs: number;
  #restartMs = 0;
  #ending = false;
  /** Resolves when the thread has ended because it was asked to. */
  readonly ended: Promise<void>;
  #resolveEnded: () => void = () => undefined;

  constructor(options: ThreadOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#startedMs = options.clock.monotonic();
    this.#worker = this.#start();
  }

  post(command: ControlCommand | WorkerCommand): void {
    const transfer = "port" in command ? [command.port] : [];
    this.#worker.postMessage(command, transfer);
  }

  /** From now on the thread may end without being started again. */
  expectEnd(): void {
    this.#ending = true;
  }

  /** Ends the thread now, as a crash would. It is started again unless its end is expected. */
  async kill(): Promise<void> {
    await this.#worker.terminate();
  }

  #start(): Worker {
    const { script, data, name, log } = this.#options;
    // The file's own ending tells whether this is the checkout or the built package.
    const ending = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
    const worker = new Worker(new URL(`./${script}${ending}`, import.meta.url), {
      name,
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    worker.on("message", (report: ThreadReport) => this.#options.onReport(report));
    worker.on("error", (error) => log.error({ thread: name, err: error }, "thread failed"));
    worker.on("exit", (code) => this.#onExit(code));
    return worker;
  }

  #onExit(code: number): void {
    const { clock, log, name } = this.#options;
    if (this.#ending) {
      this.#resolveEnded();
      return;
    }
    const steady = clock.monotonic() - this.#startedMs > STEADY_MS;
    const waitMs = steady ? 0 : this.#restartMs;
    this.#restartMs = Math.min(Math.max(waitMs * 2, RESTART_MS_MIN), RESTART_MS_MAX);
    log.error({ thread: name, code, waitMs }, "thread ended; starting it again");
    clock.after(waitMs, () => {
      if (this.#ending) {
        this.#resolveEnded();
        return;
      }
      this.#startedMs = clock.monotonic();
      this.#worker = this.#start();
      this.#options.onStart();
    });
  }
}
