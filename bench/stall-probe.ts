/**
 * Loaded into Sluice's threads by `--import`: how long a worker's event loop was held at the longest,
 * written down ten times a second. Each line is the wall time in milliseconds and the longest stall
 * since the line before, in milliseconds: once by the clock, with all that the system had the thread
 * wait for its core, and once in CPU time of the thread, which is its own doing. Where to is told by
 * SLUICE_STALL_FILE.
 */
import { appendFileSync } from "node:fs";
import { workerData } from "node:worker_threads";

const TICKS_PER_LINE = 100;
const file = process.env["SLUICE_STALL_FILE"];
const { role } = (workerData ?? {}) as { readonly role?: string };

if (file !== undefined && role === "worker") {
  let lastMs = performance.now();
  let lastCpuMs = cpuMs();
  let stallMs = 0;
  let cpuStallMs = 0;
  let ticks = 0;
  setInterval(() => {
    const nowMs = performance.now();
    const nowCpuMs = cpuMs();
    stallMs = Math.max(stallMs, nowMs - lastMs);
    cpuStallMs = Math.max(cpuStallMs, nowCpuMs - lastCpuMs);
    lastMs = nowMs;
    lastCpuMs = nowCpuMs;
    ticks += 1;
    if (ticks % TICKS_PER_LINE !== 0) return;
    appendFileSync(file, `${Date.now()} ${stallMs.toFixed(2)} ${cpuStallMs.toFixed(2)}\n`);
    stallMs = 0;
    cpuStallMs = 0;
    // Writing the line is no stall of Sluice's.
    lastMs = performance.now();
    lastCpuMs = cpuMs();
  }, 1).unref();
}

/** CPU time of this thread. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
