/**
 * What the threads say to one another. Two arrows cross between the planes, both plain data: the
 * Program down, and what was observed up (counters go through shared memory, records in batches).
 */
import type { MessagePort } from "node:worker_threads";
import type { LogLevel } from "../base/log.ts";
import type { Part, PartKey } from "../compile/program.ts";
import type { SharedMemory } from "../shared/memory.ts";
import type { TraceSettings } from "../trace/settings.ts";
import type { RequestRecord } from "../trace/span-record.ts";
import type { Sampler } from "../trace/trace-context.ts";

/** Each message stays below this, so that no receiver's event loop stalls on one of them. */
export const MESSAGE_BYTES_MAX = 64 * 1024;

/** Control thread → worker: one generation is begun, filled in any number of messages, committed. */
export type ProgramMessage =
  | {
      readonly type: "parts";
      readonly generation: number;
      readonly parts: readonly PartEnvelope[];
    }
  /** A part that is larger than a message: JSON text in pieces, in order. */
  | {
      readonly type: "piece";
      readonly generation: number;
      readonly hash: string;
      readonly text: string;
      readonly last: boolean;
    }
  | { readonly type: "remove"; readonly generation: number; readonly keys: readonly PartKey[] }
  /** Null: the credential is no longer needed. */
  | {
      readonly type: "credentials";
      readonly generation: number;
      readonly values: readonly (readonly [ref: string, value: string | null])[];
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
      /** What it serves now; 0 if nothing. */
      readonly generation: number;
      readonly last: boolean;
    }
  /** One message has been taken in, and the event loop has been round since. */
  | { readonly type: "received" }
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

/** Worker → trace thread; answered with null once there is room for another one. */
export type SpanMessage = readonly RequestRecord[];

/** Main → worker thread. */
export type WorkerCommand =
  /** A (new) control thread's end of the channel. */
  | { readonly type: "control"; readonly port: MessagePort }
  /** A (new) trace thread's end of the channel for spans. */
  | { readonly type: "traces"; readonly port: MessagePort }
  /** The process will stop soon: answers ask their clients to come back on other connections. */
  | { readonly type: "announceDrain" }
  /** Stop accepting, and finish what is in flight within `limitMs`. */
  | { readonly type: "drain"; readonly limitMs: number }
  /** The file of the access log was renamed: go on in a new one of the same name. */
  | { readonly type: "reopenLog" };

/** Main → control thread. */
export type ControlCommand =
  | { readonly type: "worker"; readonly index: number; readonly port: MessagePort }
  /** Readiness fails from now on; everything else goes on. */
  | { readonly type: "drain" }
  /** Close the store and the admin API, then exit. */
  | { readonly type: "stop" };

/** Main → trace thread. */
export type TraceCommand =
  | { readonly type: "worker"; readonly port: MessagePort }
  /** Export what has come, then exit. */
  | { readonly type: "stop" };

/** Worker or control thread → main. */
export type ThreadReport =
  /** A worker can take a control thread; the control thread answers the API and traffic is served. */
  | { readonly type: "ready"; readonly adminPort?: number }
  | { readonly type: "drained" }
  /** What its operator should know and the thread can live with. */
  | { readonly type: "warning"; readonly message: string }
  /** An exception that a request raised, and that cost it alone; for whoever mends Sluice. */
  | { readonly type: "bug"; readonly message: string }
  /**
   * The thread cannot do its work, says why, and ends. At the start the process exits with this
   * message; later the thread is started again.
   */
  | { readonly type: "fatal"; readonly message: string };

export interface WorkerThreadData {
  readonly role: "worker";
  readonly index: number;
  readonly memory: SharedMemory;
  readonly options: WorkerOptions;
}

export interface WorkerOptions {
  readonly accessLog: AccessLogOptions;
  /** Seeds the worker's random source, for tests that count exactly; undefined in production. */
  readonly seed?: number;
  /** Whose spans are exported; absent where nothing is traced. */
  readonly sampler?: Sampler;
}

export interface TraceThreadData {
  readonly role: "trace";
  readonly memory: SharedMemory;
  readonly settings: TraceSettings;
  readonly logLevel: LogLevel;
}

/** What stands in the access log, and where. */
export interface AccessLogOptions {
  /** A path, "-" for standard output, "" for nowhere. */
  readonly destination: string;
  /** "json" or a template (proxy/access-template.ts); "json" where absent. */
  readonly format?: string;
  /** The share of requests that are logged, in (0, 1]; all where absent. */
  readonly sample?: number;
  /** The same for requests that failed (`AccessLines.shareOf` says which); all where absent. */
  readonly sampleErrors?: number;
}

export interface ControlThreadData {
  readonly role: "control";
  readonly memory: SharedMemory;
  readonly options: ControlOptions;
  /**
   * Whether traffic is served already, so that this thread follows one that died: what would be
   * refused at a start is then borne, for the start cannot be called off.
   */
  readonly resumes: boolean;
}

export interface ControlOptions {
  readonly files: readonly string[];
  readonly dataDirectory: string;
  /** "HOST:PORT" of the admin API; port 0 takes a free one, told by `ready`. */
  readonly adminAddress: string;
  readonly logLevel: LogLevel;
}
