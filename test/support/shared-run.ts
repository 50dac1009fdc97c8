/** Runs tasks of shared-worker.ts at the same time, each in a thread of its own. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { SharedTask } from "./shared-worker.ts";

/** The results of `tasks`, in order. */
export async function runTogether<T>(tasks: readonly SharedTask[]): Promise<readonly T[]> {
  const script = new URL("./shared-worker.ts", import.meta.url);
  const workers = tasks.map((workerData) => new Worker(script, { workerData }));
  await Promise.all(workers.map((worker) => once(worker, "message")));
  const results = Promise.all(workers.map((worker) => once(worker, "message")));
  for (const worker of workers) start(worker);
  return (await results).map(([message]) => (message as { result: T }).result);
}

function start(worker: Worker): void {
  worker.postMessage("start");
}
