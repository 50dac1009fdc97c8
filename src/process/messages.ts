/**
 * What the threads say to one another. Two arrows cross between the planes, both plain data: the
 * Program down, and what was observed up (counters go through shared memory, records in batches).
 */
import type { MessagePort } from "node:worker_threads";
import type { Part, PartKey } from "../compile/program.ts";
import type { SharedMemory } from "../shared/memory.ts";

/** Each message stays below this, so that no receiver's event loop stalls on one of them. */
export const MESSAGE_BYTES_MAX = 64 * 1024;

/** Control thread → worker: one generation is begun, filled in any number of messages, committed. */
export type ProgramMessage =
  | {
      readonly type: "parts";
      readonly generation: number;
      readonly parts: readonly PartEnvelope[];
    }
  | { readonly type: "remove"; readonly generation: number; readonly keys: readonly PartKey[] }
  | {
      readonly type: "credentials";
      readonly generation: number;
      readonly values: Readonly<Record<string, string>>;
    }
  | { readonly type: "commit"; readonly generation: number };

export interface PartEnvelope {
  readonly part: Part;
  readonly hash: string;
}

/** Worker → control thread. */
export type WorkerMessage =
  /** First on every new port, possibly in several messages: what the worker already holds. */
  | {
      readonly type: "have";
      readonly hashes: readonly (readonly [PartKey, string])[];
      readonly last: boolean;
    }
  /** The worker has swapped: from now on it serves this generation. */
  | {
      readonly type: "ack";
      readonly generation: number;
      readonly failures: readonly PartFailure[];
    };

/** A part that a worker could not put to work: a port taken meanwhile, a certificate it cannot load. */
export interface PartFailure {
  readonly key: PartKey;
  readonly message: string;
}

/** Main → worker thread. */
export type WorkerCommand =
  /** A (new) control thread's end of the channel. */
  | { readonly type: "control"; readonly port: MessagePort }
  /** Stop accepting, finish what is in flight within the grace period, then exit. */
  | { readonly type: "drain"; readonly graceMs: number };

/** Main → control thread. */
export type ControlCommand =
  | { readonly type: "worker"; readonly index: number; readonly port: MessagePort }
  | { readonly type: "drain" };

/** Worker or control thread → main. */
export type ThreadReport =
  | { readonly type: "ready"; readonly adminPort?: number }
  | { readonly type: "drained" }
  /** The thread cannot do its work at all and says why: the process exits with this message. */
  | { readonly type: "fatal"; readonly message: string };

export interface WorkerThreadData {
  readonly role: "worker";
  readonly index: number;
  readonly memory: SharedMemory;
  readonly options: WorkerOptions;
}

export interface WorkerOptions {
  /** Where access-log lines go: a path, "-" for standard output, "" for nowhere. */
  readonly accessLog: string;
  /** Seeds the worker's random source, for tests that count exactly; undefined in production. */
  readonly seed?: number;
}

export interface ControlThreadData {
  readonly role: "control";
  readonly memory: SharedMemory;
  readonly options: ControlOptions;
}

export interface ControlOptions {
  readonly files: readonly string[];
  readonly dataDirectory: string;
  /** "HOST:PORT" of the admin API; port 0 takes a free one, told by `ready`. */
  readonly adminAddress: string;
}
