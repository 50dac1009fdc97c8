/**
 * A worker thread with a real linker and receiver and, in place of sockets, a load that never
 * stops: in every turn of its event loop it matches a request and looks whether what it finds
 * belongs together. Not a test by itself.
 */
import { parentPort, workerData, type MessagePort } from "node:worker_threads";
import { systemClock } from "../../src/base/clock.ts";
import { Linker } from "../../src/proxy/link.ts";
import { matchRule } from "../../src/proxy/match.ts";
import { Receiver } from "../../src/proxy/receiver.ts";
import { Gates } from "../../src/shared/gates.ts";
import type { SharedMemory } from "../../src/shared/memory.ts";
import { MetricRecorder } from "../../src/shared/metrics.ts";
import { SOCKET_KEY, request } from "./linking.ts";

export interface DeliveryWorkerData {
  readonly memory: SharedMemory;
  readonly index: number;
}

export type DeliveryWorkerCommand =
  | { readonly type: "attach"; readonly port: MessagePort }
  | { readonly type: "report" };

export interface DeliveryWorkerReport {
  readonly ready?: true;
  /** The most processor time between two turns of the event loop since the last report. */
  readonly stallMsMax: number;
  readonly requests: number;
  /** Values of g that a request saw in all three places. */
  readonly seen: readonly string[];
  /** Requests that found different values in the three places, or nothing at all. */
  readonly mixed: number;
  readonly generation: number;
}

const { memory, index } = workerData as DeliveryWorkerData;
const linker = new Linker({
  metrics: new MetricRecorder(memory.metrics, index),
  gates: new Gates(memory.gates),
  limitSeed: 0,
});
const receiver = new Receiver({ linker, clock: systemClock, apply: () => Promise.resolve([]) });
const HEAD = request({ host: "example.com", target: "/swap/x" });

let stallMsMax = 0;
let requests = 0;
let mixed = 0;
let seen = new Set<string>();
let lastMs = busyMs();

/** Time that this thread has run, so that a crowded machine does not look like a stall. */
function busyMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

function serve(): void {
  const nowMs = busyMs();
  stallMsMax = Math.max(stallMsMax, nowMs - lastMs);
  lastMs = nowMs;
  const socket = linker.snapshot.sockets.get(SOCKET_KEY)?.value;
  if (socket !== undefined) look(socket);
  setImmediate(serve);
}

function look(socket: Parameters<typeof matchRule>[0]): void {
  const rule = matchRule(socket, HEAD)?.rule;
  const backend = rule?.backends[0];
  requests += 1;
  const value = backend?.requestEdits?.appended[0]?.[1];
  const path = backend?.pathEdits[0]?.value;
  if (
    value !== undefined &&
    path === `/${value}` &&
    rule?.responseEdits?.appended[0]?.[1] === value
  ) {
    seen.add(value);
  } else {
    mixed += 1;
  }
}

function report(): void {
  const { generation } = linker.snapshot;
  const told: DeliveryWorkerReport = { stallMsMax, requests, seen: [...seen], mixed, generation };
  parentPort?.postMessage(told);
  stallMsMax = 0;
  requests = 0;
  mixed = 0;
  seen = new Set();
}

parentPort?.on("message", (command: DeliveryWorkerCommand) => {
  if (command.type === "attach") receiver.attach(command.port);
  else report();
});
serve();
parentPort?.postMessage({ ready: true });
