/**
 * The trace thread's composition root: takes records of requests from the workers and exports them as
 * spans. Started only where a collector is configured, so that OpenTelemetry is loaded nowhere else;
 * it can be ended and started again, which costs the spans that it held.
 */
import {
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  workerData,
} from "node:worker_threads";
import { assert } from "../base/assert.ts";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/log.ts";
import { TraceCounts } from "../shared/trace-counts.ts";
import { ExportLoop } from "../trace/export-loop.ts";
import { createSpanExporter } from "../trace/exporter.ts";
import { sdkEnvironment } from "../trace/settings.ts";
import type { SpanMessage, TraceCommand, TraceThreadData } from "./messages.ts";
import { VERSION } from "./version.ts";

assert(parentPort !== null, "the trace thread has a parent");
const main: MessagePort = parentPort;
const { memory, settings, logLevel } = workerData as TraceThreadData;
const log = createLogger("trace", logLevel);

/** The SDK may say the same with every export: each complaint is passed on once. */
const COMPLAINTS_MAX = 20;
const complaints = new Set<string>();

// This thread's own copy, which the SDK reads.
Object.assign(process.env, sdkEnvironment(settings, process.env, VERSION));
const exporter = createSpanExporter({ version: VERSION, onWarning });
const loop = new ExportLoop({
  send: (records) => exporter.export(records),
  counts: new TraceCounts(memory.traces),
  clock: systemClock,
  log,
  url: settings.url,
  delayMs: settings.delayMs,
});
const ports = new Set<MessagePort>();

function onWarning(message: string): void {
  if (complaints.has(message) || complaints.size >= COMPLAINTS_MAX) return;
  complaints.add(message);
  log.warn({ message }, "OpenTelemetry complains");
}

function take(port: MessagePort, records: SpanMessage): void {
  loop.add(records, () => port.postMessage(null));
}

main.on("message", (command: TraceCommand) => {
  if (command.type === "stop") {
    void stop();
    return;
  }
  const { port } = command;
  ports.add(port);
  port.on("message", (records: SpanMessage) => take(port, records));
  port.on("close", () => ports.delete(port));
});

/** What workers sent before they ended may still lie in the ports. */
async function stop(): Promise<void> {
  for (const port of ports) {
    for (;;) {
      const waiting = receiveMessageOnPort(port);
      if (waiting === undefined) break;
      take(port, waiting.message as SpanMessage);
    }
  }
  await loop.flush();
  await exporter.close();
  process.exit();
}
