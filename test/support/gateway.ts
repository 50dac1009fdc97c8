/**
 * A data plane in the test's own process, serving Program parts on real sockets: the compiler and the
 * threads are left out, all else is what runs in production.
 */
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { seededRandom, type Random } from "../../src/base/random.ts";
import type { Part, PoolPart, RulePart, SplitPart } from "../../src/compile/program.ts";
import type { PartFailure } from "../../src/process/messages.ts";
import { NO_ACCESS_LOG, type AccessLog } from "../../src/proxy/access-log.ts";
import { Linker } from "../../src/proxy/link.ts";
import type { Timeouts } from "../../src/proxy/plane.ts";
import { DataPlane, type DataPlaneOptions } from "../../src/proxy/server.ts";
import { ConnectionCounts } from "../../src/shared/connections.ts";
import { Gates } from "../../src/shared/gates.ts";
import { Limits } from "../../src/shared/limits.ts";
import type { Sampler } from "../../src/trace/trace-context.ts";
import {
  FIELD,
  MetricReader,
  MetricRecorder,
  REFUSALS,
  type Refusal,
  WORKER_FIELD,
  WORKER_KEY,
} from "../../src/shared/metrics.ts";
import { allocateSharedMemory, type SharedMemory } from "../../src/shared/memory.ts";
import { TicketSecret } from "../../src/shared/tickets.ts";

export interface GatewayOptions {
  readonly parts: readonly Part[];
  readonly random?: Random;
  readonly clock?: Clock;
  readonly accessLog?: AccessLog;
  readonly accessLines?: DataPlaneOptions["accessLines"];
  readonly timeouts?: Partial<Timeouts>;
  readonly onBug?: (error: unknown) => void;
  readonly onRefused?: (message: string) => void;
  readonly credentials?: ReadonlyMap<string, string>;
  readonly sampler?: Sampler;
  /** Shared with other gateways, as workers of one process share it. */
  readonly memory?: SharedMemory;
  /** Which worker of that memory; 0 if absent. */
  readonly worker?: number;
}

export interface TestGateway extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly plane: DataPlane;
  readonly gates: Gates;
  /** Links further parts, as a new generation would; resolves to the sockets that failed. */
  link(
    parts: readonly Part[],
    credentials?: ReadonlyMap<string, string>,
  ): Promise<readonly PartFailure[]>;
  /** One field of the row of (route, arm); 0 where there is no row. */
  metric(field: keyof typeof FIELD, arm?: string, route?: string): number;
  /** One field of what concerns no route. */
  worker(field: Exclude<keyof typeof WORKER_FIELD, "refused">): number;
  /** Connections that were refused, by reason; only those that were. */
  refused(): Partial<Record<Refusal, number>>;
}

export const SOCKET_KEY = "socket/127.0.0.1:0";

export async function testGateway(options: GatewayOptions): Promise<TestGateway> {
  const memory = options.memory ?? allocateSharedMemory(1);
  const worker = options.worker ?? 0;
  const gates = new Gates(memory.gates);
  const limits = new Limits(memory.limits);
  const metrics = new MetricRecorder(memory.metrics, worker);
  const reader = new MetricReader(memory.metrics);
  const linker = new Linker({ metrics, gates, limitSeed: limits.seed });
  const plane = new DataPlane({
    metrics,
    gates,
    limits,
    accessLog: options.accessLog ?? NO_ACCESS_LOG,
    random: options.random ?? seededRandom(1),
    clock: options.clock ?? systemClock,
    sampler: options.sampler,
    ...(options.accessLines === undefined ? {} : { accessLines: options.accessLines }),
    tickets: new TicketSecret(memory.tickets),
    connections: new ConnectionCounts(memory.connections, worker),
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.onBug === undefined ? {} : { onBug: options.onBug }),
    ...(options.onRefused === undefined ? {} : { onRefused: options.onRefused }),
  });
  const failures = await plane.apply(linker.link(options.parts, options.credentials));
  if (failures.length > 0) throw new Error(failures[0]?.message);
  const port = plane.port(SOCKET_KEY) as number;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    plane,
    gates,
    link: (parts, credentials) => plane.apply(linker.link(parts, credentials)),
    metric(field, arm = "", route = "default/test") {
      return reader.read(route, arm)?.[FIELD[field]] ?? 0;
    },
    worker(field) {
      return reader.read(WORKER_KEY.route, WORKER_KEY.armId)?.[WORKER_FIELD[field]] ?? 0;
    },
    refused() {
      const sums = reader.read(WORKER_KEY.route, WORKER_KEY.armId);
      const counts = REFUSALS.map(
        (reason, index) => [reason, sums?.[WORKER_FIELD.refused + index] ?? 0] as const,
      );
      return Object.fromEntries(counts.filter(([, count]) => count > 0));
    },
    [Symbol.asyncDispose]: () => plane.drain(0),
  };
}

export const STABLE = "Backend/default/app@1";
export const CANARY = "Backend/default/app@2";

export interface RouteOptions {
  /** Ports of the stable arm's endpoints. */
  readonly stable: readonly number[];
  readonly canary?: readonly number[];
  /** Basis points of the canary. */
  readonly weightBp?: number;
  readonly rule?: Partial<RulePart>;
  readonly pool?: Partial<PoolPart>;
}

/** The parts of one route for every host and path, split between a stable and a canary arm. */
export function oneRoute(options: RouteOptions): Part[] {
  const { canary, weightBp = 0 } = options;
  const pools = [poolPart(STABLE, options.stable, options.pool)];
  if (canary !== undefined) pools.push(poolPart(CANARY, canary, options.pool));
  const rule: RulePart = {
    type: "rule",
    key: "rule/HTTPRoute/default/test/0",
    route: "default/test",
    filters: {},
    backends: [{ weight: 1, split: "split/Backend/default/app" }],
    ...options.rule,
  };
  return [
    {
      type: "socket",
      key: SOCKET_KEY,
      address: "127.0.0.1",
      port: 0,
      listeners: [{ hostname: "", table: "table/127.0.0.1:0/" }],
    },
    { type: "table", key: "table/127.0.0.1:0/", hosts: [{ hostname: "", pages: ["page/0"] }] },
    {
      type: "page",
      key: "page/0",
      entries: [{ path: { type: "PathPrefix", value: "/" }, rule: rule.key }],
    },
    rule,
    splitPart(canary === undefined ? -1 : weightBp),
    ...pools,
  ];
}

/** The split of `oneRoute`; a negative weight leaves the canary out. */
export function splitPart(weightBp: number): SplitPart {
  const stable = {
    id: STABLE,
    version: "1",
    role: "stable",
    weightBp: 10_000 - Math.max(weightBp, 0),
    pool: `pool/${STABLE}`,
  } as const;
  const canary = {
    id: CANARY,
    version: "2",
    role: "canary",
    weightBp,
    pool: `pool/${CANARY}`,
  } as const;
  return {
    type: "split",
    key: "split/Backend/default/app",
    salt: "salt",
    arms: weightBp < 0 ? [stable] : [canary, stable],
  };
}

export function poolPart(
  arm: string,
  ports: readonly number[],
  overrides: Partial<PoolPart> = {},
): PoolPart {
  return {
    type: "pool",
    key: `pool/${arm}`,
    endpoints: ports.map((port) => ({ host: "127.0.0.1", port })),
    connectTimeoutMs: 5000,
    idleTimeoutMs: 4000,
    responseHeadTimeoutMs: 60_000,
    connectionsPerEndpointMax: 1024,
    ...overrides,
  };
}
