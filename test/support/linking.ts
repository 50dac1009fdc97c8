/** A linker on memory of its own, and requests and parts for it, without sockets. */
import type {
  Arm,
  MatchEntry,
  Part,
  PoolPart,
  RulePart,
  SplitPart,
} from "../../src/compile/program.ts";
import { Linker } from "../../src/proxy/link.ts";
import type { RequestFields } from "../../src/proxy/request-fields.ts";
import type { LinkedSocket } from "../../src/proxy/snapshot.ts";
import { Gates } from "../../src/shared/gates.ts";
import { Limits } from "../../src/shared/limits.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { MetricReader, MetricRecorder } from "../../src/shared/metrics.ts";

export interface Bench {
  readonly linker: Linker;
  readonly gates: Gates;
  readonly limits: Limits;
  readonly metrics: MetricRecorder;
  readonly reader: MetricReader;
}

export function newBench(): Bench {
  const memory = allocateSharedMemory(1);
  const gates = new Gates(memory.gates);
  const limits = new Limits(memory.limits);
  const metrics = new MetricRecorder(memory.metrics, 0);
  const reader = new MetricReader(memory.metrics);
  const linker = new Linker({ metrics, gates, limitSeed: limits.seed });
  return { linker, gates, limits, metrics, reader };
}

export interface RequestDraft {
  readonly method?: string;
  readonly target?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What the parser would make of a request. Header names are given in lower case. */
export function request(draft: RequestDraft): RequestFields {
  const target = draft.target ?? "/";
  const mark = target.indexOf("?");
  return {
    method: draft.method ?? "GET",
    path: mark === -1 ? target : target.slice(0, mark),
    query: mark === -1 ? "" : target.slice(mark + 1),
    host: draft.host ?? "example.com",
    header: (name) => draft.headers?.[name],
  };
}

export function rule(name: string, more: Partial<RulePart> = {}): RulePart {
  return {
    type: "rule",
    key: `rule/HTTPRoute/${name}/0`,
    route: name,
    filters: {},
    backends: [],
    ...more,
  };
}

export const SOCKET_KEY = "socket/127.0.0.1:80";

/** One socket, one listener, one host: what most tests need around their rules. */
export function oneHost(entries: readonly MatchEntry[], rules: readonly RulePart[]): Part[] {
  return [
    {
      type: "socket",
      key: SOCKET_KEY,
      address: "127.0.0.1",
      port: 80,
      listeners: [{ hostname: "", table: "table/t" }],
    },
    { type: "table", key: "table/t", hosts: [{ hostname: "", pages: ["page/p"] }] },
    { type: "page", key: "page/p", entries },
    ...rules,
  ];
}

export function prefixOf(path: string, name: string): MatchEntry {
  return { path: { type: "PathPrefix", value: path }, rule: rule(name).key };
}

export function pool(key: string): PoolPart {
  return {
    type: "pool",
    key,
    endpoints: [{ host: "127.0.0.1", port: 9 }],
    connectTimeoutMs: 1,
    idleTimeoutMs: 1,
    responseHeadTimeoutMs: 1,
    connectionsPerEndpointMax: 1,
  };
}

/** A split of a Backend: a canary with `canaryBp` basis points and the stable arm with the rest. */
export function split(name: string, canaryBp: number, more: Partial<Arm> = {}): SplitPart {
  const arm = (version: string, role: "canary" | "stable", weightBp: number): Arm => ({
    id: `Backend/default/${name}@${version}`,
    version,
    role,
    weightBp,
    pool: `pool/Backend/default/${name}@${version}`,
    ...more,
  });
  const arms = [arm("2", "canary", canaryBp), arm("1", "stable", 10_000 - canaryBp)];
  return { type: "split", key: `split/Backend/default/${name}`, salt: `uid-of-${name}`, arms };
}

export function socketOf(bench: Bench): LinkedSocket {
  const socket = bench.linker.snapshot.sockets.get(SOCKET_KEY)?.value;
  if (socket === undefined) throw new Error("no socket is linked");
  return socket;
}
