/** A worker thread's composition root: the data plane, and the receiver that feeds it Programs. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { assert } from "../base/assert.ts";
import { systemClock } from "../base/clock.ts";
import { seededRandom, systemRandom } from "../base/random.ts";
import { type AccessLog, openAccessLog } from "../proxy/access-log.ts";
import { Linker } from "../proxy/link.ts";
import { Receiver } from "../proxy/receiver.ts";
import { DataPlane } from "../proxy/server.ts";
import { Gates } from "../shared/gates.ts";
import { Limits } from "../shared/limits.ts";
import { MetricRecorder } from "../shared/metrics.ts";
import type { ThreadReport, WorkerCommand, WorkerThreadData } from "./messages.ts";

assert(parentPort !== null, "a worker thread has a parent");
const main: MessagePort = parentPort;
const { index, memory, options } = workerData as WorkerThreadData;

function report(message: ThreadReport): void {
  main.postMessage(message);
}

function openLog(): AccessLog {
  try {
    return openAccessLog(options.accessLog, systemClock);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    report({ type: "fatal", message: `Cannot open the access log: ${reason}` });
    return process.exit(1);
  }
}

function run(accessLog: AccessLog): void {
  const metrics = new MetricRecorder(memory.metrics, index);
  const gates = new Gates(memory.gates);
  const limits = new Limits(memory.limits);
  const plane = new DataPlane({
    metrics,
    gates,
    limits,
    accessLog,
    random: options.seed === undefined ? systemRandom : seededRandom(options.seed + index),
    clock: systemClock,
    reusePort: true,
    sampler: options.sampler,
  });
  const receiver = new Receiver({
    linker: new Linker({ metrics, gates, limitSeed: limits.seed }),
    apply: (snapshot) => plane.apply(snapshot),
    clock: systemClock,
  });
  main.on("message", (command: WorkerCommand) => {
    switch (command.type) {
      case "control":
        receiver.attach(command.port);
        break;
      case "traces":
        plane.exportSpansTo(command.port);
        break;
      case "drain":
        void plane.drain(command.graceMs).then(() => report({ type: "drained" }));
        break;
    }
  });
  report({ type: "ready" });
}

run(openLog());
