/**
 * The main thread's work: it allocates shared memory, starts one control thread and the workers,
 * joins each worker with the control thread by a channel, brings back whichever dies, and ends
 * them in order. It serves nothing itself, so that nothing can bring it down.
 */
import { MessageChannel } from "node:worker_threads";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { allocateSharedMemory } from "../shared/memory.ts";
import type { ControlOptions, ThreadReport, WorkerOptions } from "./messages.ts";
import { SupervisedThread } from "./thread.ts";

export interface SupervisorOptions {
  readonly control: ControlOptions;
  readonly worker: WorkerOptions;
  readonly workers: number;
  /** How long requests in flight may take to finish once the process is asked to stop. */
  readonly graceMs: number;
  readonly log: Logger;
}

/** Sluice cannot start, for a reason that its user can act on. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** A worker that has not said it is drained this long after its grace period is ended by force. */
const DRAIN_SLACK_MS = 2000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #clock: Clock = systemClock;
  readonly #workers: SupervisedThread[] = [];
  readonly #control: SupervisedThread;
  readonly #drained = new Set<number>();
  /** Resolves with the port of the admin API once traffic is served; rejects with StartError. */
  readonly ready: Promise<number>;
  /** Resolves with the reason when a thread reports, after the start, that it cannot go on. */
  readonly failed: Promise<string>;
  readonly #ready = Promise.withResolvers<number>();
  readonly #failed = Promise.withResolvers<string>();
  readonly #allDrained = Promise.withResolvers<void>();

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.ready = this.#ready.promise;
    this.failed = this.#failed.promise;
    const memory = allocateSharedMemory(options.workers);
    const shared = { clock: this.#clock, log: options.log };
    this.#control = new SupervisedThread({
      ...shared,
      name: "control",
      script: "control-thread",
      data: { role: "control", memory, options: options.control },
      onStart: () => this.#workers.forEach((_, index) => this.#connect(index)),
      onReport: (report) => this.#onControlReport(report),
    });
    for (let index = 0; index < options.workers; index++) {
      this.#workers.push(
        new SupervisedThread({
          ...shared,
          name: `worker-${index}`,
          script: "worker-thread",
          data: { role: "worker", index, memory, options: options.worker },
          onStart: () => this.#connect(index),
          onReport: (report) => this.#onWorkerReport(index, report),
        }),
      );
      this.#connect(index);
    }
  }

  /**
   * Readiness fails, workers finish what is in flight and leave, then the control thread closes the
   * store. Resolves when every thread has ended.
   */
  async stop(): Promise<void> {
    this.#control.post({ type: "drain" });
    const { graceMs, log } = this.#options;
    const cancel = this.#clock.after(graceMs + DRAIN_SLACK_MS, () => {
      log.warn({}, "workers did not drain in time; ending them");
      this.#allDrained.resolve();
    });
    for (const worker of this.#workers) {
      worker.expectEnd();
      worker.post({ type: "drain", graceMs });
    }
    await this.#allDrained.promise;
    cancel();
    await Promise.all(this.#workers.map(async (worker) => worker.kill()));
    this.#control.expectEnd();
    this.#control.post({ type: "stop" });
    await this.#control.ended;
  }

  /** Ends the control thread as a crash would; it comes back. For tests of that promise. */
  async killControl(): Promise<void> {
    await this.#control.kill();
  }

  /** As `killControl`, for one worker. */
  async killWorker(index: number): Promise<void> {
    await this.#workers[index]?.kill();
  }

  #connect(index: number): void {
    const { port1, port2 } = new MessageChannel();
    this.#workers[index]?.post({ type: "control", port: port1 });
    this.#control.post({ type: "worker", index, port: port2 });
  }

  #onControlReport(report: ThreadReport): void {
    if (report.type === "ready") this.#ready.resolve(report.adminPort ?? 0);
    if (report.type === "fatal") this.#fail(report.message);
  }

  #onWorkerReport(index: number, report: ThreadReport): void {
    if (report.type === "fatal") this.#fail(report.message);
    if (report.type !== "drained") return;
    this.#drained.add(index);
    if (this.#drained.size === this.#workers.length) this.#allDrained.resolve();
  }

  #fail(message: string): void {
    this.#ready.reject(new StartError(message));
    this.#failed.resolve(message);
  }
}
