/**
 * The worker side of the tests of shared memory: does one named task on the buffers it was given
 * and posts what came of it. Not a test by itself.
 */
import { parentPort, workerData } from "node:worker_threads";
import { hash64 } from "../../src/base/hash.ts";
import { IndexTable } from "../../src/shared/index-table.ts";
import { Limits } from "../../src/shared/limits.ts";
import type { SharedMemory } from "../../src/shared/memory.ts";
import { FIELD, MetricRecorder } from "../../src/shared/metrics.ts";

export type SharedTask =
  | {
      readonly type: "insert";
      readonly buffer: SharedArrayBuffer;
      readonly keys: readonly string[];
    }
  | {
      readonly type: "count";
      readonly memory: SharedMemory["metrics"];
      readonly worker: number;
      readonly rounds: number;
    }
  | {
      readonly type: "take";
      readonly buffer: SharedArrayBuffer;
      readonly keys: readonly string[];
      readonly intervalNs: bigint;
      readonly burst: number;
      /** How long, from when the worker begins. */
      readonly forNs: bigint;
    };

/** One admission: the key's position, and when it was asked for and known. */
export type Admission = readonly [key: number, beforeNs: bigint, afterNs: bigint];

function insert(buffer: SharedArrayBuffer, keys: readonly string[]): readonly number[] {
  const table = new IndexTable(buffer);
  return keys.map((key) => table.findOrInsert(key));
}

function count(memory: SharedMemory["metrics"], worker: number, rounds: number): null {
  const recorder = new MetricRecorder(memory, worker);
  const row = recorder.row("default/a", "Backend/default/a@1");
  for (let round = 0; round < rounds; round++) {
    recorder.attempt(row, 0, 3);
    recorder.add(row, FIELD.limited, 2);
  }
  return null;
}

function take(task: SharedTask & { readonly type: "take" }): readonly Admission[] {
  const limits = new Limits(task.buffer);
  const keys = task.keys.map((key) => hash64(key));
  const rate = {
    nowNs: () => process.hrtime.bigint(),
    intervalNs: task.intervalNs,
    burst: task.burst,
  };
  const admissions: Admission[] = [];
  const untilNs = process.hrtime.bigint() + task.forNs;
  for (let turn = 0; ; turn++) {
    const beforeNs = process.hrtime.bigint();
    if (beforeNs > untilNs) return admissions;
    const index = turn % keys.length;
    if (limits.take(keys[index] as bigint, rate) !== "admitted") continue;
    admissions.push([index, beforeNs, process.hrtime.bigint()]);
  }
}

function work(task: SharedTask): unknown {
  switch (task.type) {
    case "insert":
      return insert(task.buffer, task.keys);
    case "count":
      return count(task.memory, task.worker, task.rounds);
    case "take":
      break;
  }
  return take(task);
}

// The task starts when it is told to, so that all workers run it at the same time.
parentPort?.on("message", () => {
  const result = work(workerData as SharedTask);
  parentPort?.postMessage({ result });
  parentPort?.close();
});
parentPort?.postMessage({ ready: true });
