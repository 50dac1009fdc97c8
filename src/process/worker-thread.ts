/** A worker thread's composition root: the data plane, and the receiver that feeds it Programs. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { assert } from "../base/assert.ts";
import { systemClock } from "../base/clock.ts";
import { seededRandom, systemRandom } from "../base/random.ts";
import type { AccessLinesOptions } from "../proxy/access-line.ts";
import { openAccessLog, type ReopenableLog } from "../proxy/access-log.ts";
import { parseAccessTemplate } from "../proxy/access-template.ts";
import { Linker } from "../proxy/link.ts";
import { Receiver } from "../proxy/receiver.ts";
import { DataPlane } from "../proxy/server.ts";
import { ConnectionCounts } from "../shared/connections.ts";
import { Gates } from "../shared/gates.ts";
import { Limits } from "../shared/limits.ts";
import { MetricRecorder } from "../shared/metrics.ts";
import { TicketSecret } from "../shared/tickets.ts";
import type { ThreadReport, WorkerCommand, WorkerThreadData } from "./messages.ts";
import { beatFor } from "./watchdog.ts";

assert(parentPort !== null, "a worker thread has a parent");
const main: MessagePort = parentPort;
const { index, memory, options } = workerData as WorkerThreadData;

function report(message: ThreadReport): void {
  main.postMessage(message);
}

function openLog(): ReopenableLog {
  try {
    return openAccessLog(options.accessLog.destination, systemClock);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    report({ type: "fatal", message: `Cannot open the access log: ${reason}` });
    return process.exit(1);
  }
}

function accessLines(): Omit<AccessLinesOptions, "log"> {
  const { format = "json", sample = 1, sampleErrors = 1 } = options.accessLog;
  const template = format === "json" ? null : parseAccessTemplate(format);
  assert(typeof template !== "string", "the command line has checked the template");
  // Of its own: what is logged must not move what the splits draw from a seed.
  return { template, sample, sampleErrors, random: systemRandom };
}

function run(accessLog: ReopenableLog): void {
  const metrics = new MetricRecorder(memory.metrics, index);
  const gates = new Gates(memory.gates);
  const limits = new Limits(memory.limits);
  const plane = new DataPlane({
    metrics,
    gates,
    limits,
    accessLog,
    accessLines: accessLines(),
    random: options.seed === undefined ? systemRandom : seededRandom(options.seed + index),
    clock: systemClock,
    reusePort: true,
    unixSockets: index === 0,
    sampler: options.sampler,
    tickets: new TicketSecret(memory.tickets),
    connections: new ConnectionCounts(memory.connections, index),
    onRefused: (message) => report({ type: "warning", message }),
    onBug: (error) => {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      report({ type: "bug", message });
    },
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
      case "announceDrain":
        plane.announceDrain();
        break;
      case "drain":
        void plane.drain(command.limitMs).then(() => report({ type: "drained" }));
        break;
      case "reopenLog":
        void accessLog.reopen().catch((error: Error) => {
          const message = `Cannot reopen the access log; going on with the old file: ${error.message}`;
          report({ type: "warning", message });
        });
        break;
    }
  });
  beatFor(memory.heartbeats, index);
  report({ type: "ready" });
}

run(openLog());
