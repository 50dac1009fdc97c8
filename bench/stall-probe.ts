/**
 * Loaded into Sluice's threads by `--import`: how long a worker's event loop was held at the longest,
 * written down ten times a second. Each line is the wall time in milliseconds and the longest stall
 * since the line before, in milliseconds. Where to is told by SLUICE_STALL_FILE.
 */
import { appendFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { threadId, workerData } from "node:worker_threads";

const NANOSECONDS_PER_MS = 1e6;
const LINES_PER_SECOND = 10;
const file = process.env["SLUICE_STALL_FILE"];
const { role } = (workerData ?? {}) as { readonly role?: string };

if (file !== undefined && role === "worker") {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  setInterval(() => {
    const stallMs = delays.max / NANOSECONDS_PER_MS;
    delays.reset();
    appendFileSync(file, `${Date.now()} ${threadId} ${stallMs.toFixed(2)}\n`);
  }, 1000 / LINES_PER_SECOND).unref();
}
