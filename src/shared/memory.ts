/**
 * The shared memory of one process: allocated once by the main thread, handed to every thread when
 * it starts, and kept when a thread is replaced. Pages that are never touched cost nothing.
 */
import { allocateConnectionCounts, type ConnectionCountBuffers } from "./connections.ts";
import { allocateLimits } from "./limits.ts";
import { METRIC_FIELDS } from "./metrics.ts";
import { allocateTraceCounts } from "./trace-counts.ts";
import { TICKETS_BYTES } from "./tickets.ts";

export interface SharedMemory {
  readonly workers: number;
  readonly metrics: {
    readonly index: SharedArrayBuffer;
    /** One per worker, written by that worker alone. */
    readonly stripes: readonly SharedArrayBuffer[];
  };
  readonly gates: { readonly index: SharedArrayBuffer; readonly flags: SharedArrayBuffer };
  readonly limits: SharedArrayBuffer;
  readonly traces: SharedArrayBuffer;
  /** One number a worker, which it moves on while its event loop goes round. */
  readonly heartbeats: SharedArrayBuffer;
  readonly connections: ConnectionCountBuffers;
  /** See TicketSecret. */
  readonly tickets: SharedArrayBuffer;
}

/** Slots of metrics: pairs of route and revision that can be told apart. A power of two. */
export const METRIC_SLOTS_MAX = 16_384;
/** Arms that can be gated. A power of two. */
export const GATES_MAX = 16_384;
/** Buckets of rate limits that can be alive at once. A power of two. */
export const LIMIT_CELLS_MAX = 65_536;

export function allocateSharedMemory(workers: number): SharedMemory {
  const stripe = (): SharedArrayBuffer =>
    new SharedArrayBuffer(METRIC_SLOTS_MAX * METRIC_FIELDS * 8);
  return {
    workers,
    metrics: {
      index: new SharedArrayBuffer(METRIC_SLOTS_MAX * 8),
      stripes: Array.from({ length: workers }, stripe),
    },
    gates: {
      index: new SharedArrayBuffer(GATES_MAX * 8),
      flags: new SharedArrayBuffer(GATES_MAX * 4),
    },
    limits: allocateLimits(LIMIT_CELLS_MAX),
    traces: allocateTraceCounts(),
    heartbeats: new SharedArrayBuffer(workers * 4),
    connections: allocateConnectionCounts(workers),
    tickets: new SharedArrayBuffer(TICKETS_BYTES),
  };
}
