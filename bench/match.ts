/**
 * What finding a rule costs: 5,000 routes against ten, on one host and on a host for each route,
 * measured in alternation so that a busy machine disturbs both alike. The last line is one JSON
 * object; `ratio` is the median of the pairs' ratios.
 */
import type { MatchEntry, Part } from "../src/compile/program.ts";
import { Linker } from "../src/proxy/link.ts";
import { matchRule } from "../src/proxy/match.ts";
import type { RequestFields } from "../src/proxy/request-fields.ts";
import type { LinkedSocket } from "../src/proxy/snapshot.ts";
import { Gates } from "../src/shared/gates.ts";
import { allocateSharedMemory } from "../src/shared/memory.ts";
import { MetricRecorder } from "../src/shared/metrics.ts";
import { report } from "./machine.ts";
import { median } from "./measure.ts";

const SOCKET = "socket/127.0.0.1:80";
const MATCHES = 300_000;
const PAIRS = 15;
/** As many as one client population asks for at a time; more would measure the cache. */
const REQUESTS = 8;

/** Names of one length, for hashing a longer one takes longer whatever the number of routes. */
function appOf(route: number): string {
  return `app-${String(route).padStart(4, "0")}`;
}

type Shape = "one host" | "a host each";

function program(routes: number, shape: Shape): Part[] {
  const parts: Part[] = [];
  const hosts: { hostname: string; pages: string[] }[] = [];
  if (shape === "one host") hosts.push({ hostname: "", pages: [] });
  for (let index = 0; index < routes; index++) {
    const rule = `rule/HTTPRoute/default/r${index}/0`;
    const entry: MatchEntry = {
      path: { type: "PathPrefix", value: `/team/${appOf(index)}` },
      rule,
    };
    parts.push({ type: "rule", key: rule, route: `default/r${index}`, filters: {}, backends: [] });
    parts.push({ type: "page", key: `page/${index}`, entries: [entry] });
    if (shape === "one host") hosts[0]?.pages.push(`page/${index}`);
    else hosts.push({ hostname: `${appOf(index)}.example.com`, pages: [`page/${index}`] });
  }
  parts.push({ type: "table", key: "table/t", hosts });
  const listeners = [{ hostname: "", table: "table/t" }];
  parts.push({ type: "socket", key: SOCKET, address: "127.0.0.1", port: 80, listeners });
  return parts;
}

function link(parts: readonly Part[]): LinkedSocket {
  const memory = allocateSharedMemory(1);
  const metrics = new MetricRecorder(memory.metrics, 0);
  const linker = new Linker({ metrics, gates: new Gates(memory.gates), limitSeed: 0 });
  const socket = linker.link(parts).sockets.get(SOCKET)?.value;
  if (socket === undefined) throw new Error("The socket was not linked");
  return socket;
}

/** Requests for routes spread over all of them. */
function requests(routes: number): readonly RequestFields[] {
  return Array.from({ length: REQUESTS }, (_, index) => {
    const route = Math.floor((index * routes) / REQUESTS);
    const path = `/team/${appOf(route)}/orders/42`;
    return {
      method: "GET",
      path,
      query: "",
      host: `${appOf(route)}.example.com`,
      header: () => undefined,
    };
  });
}

function nanosecondsPerMatch(socket: LinkedSocket, heads: readonly RequestFields[]): number {
  const startMs = performance.now();
  let hits = 0;
  for (let turn = 0; turn < MATCHES; turn++) {
    if (matchRule(socket, heads[turn % REQUESTS] as RequestFields) !== undefined) hits += 1;
  }
  if (hits !== MATCHES) throw new Error(`${MATCHES - hits} requests found no rule`);
  return ((performance.now() - startMs) * 1e6) / MATCHES;
}

function compare(shape: Shape): { tenNs: number; fiveThousandNs: number; ratio: number } {
  const [few, many] = [link(program(10, shape)), link(program(5000, shape))];
  const [fewHeads, manyHeads] = [requests(10), requests(5000)];
  for (let warm = 0; warm < 3; warm++) {
    nanosecondsPerMatch(few, fewHeads);
    nanosecondsPerMatch(many, manyHeads);
  }
  const pairs = Array.from({ length: PAIRS }, () => {
    const tenNs = nanosecondsPerMatch(few, fewHeads);
    return { tenNs, fiveThousandNs: nanosecondsPerMatch(many, manyHeads) };
  });
  return {
    tenNs: Math.round(median(pairs.map((pair) => pair.tenNs))),
    fiveThousandNs: Math.round(median(pairs.map((pair) => pair.fiveThousandNs))),
    ratio: Number(median(pairs.map((pair) => pair.fiveThousandNs / pair.tenNs)).toFixed(2)),
  };
}

export function benchMatch(): void {
  report({ oneHost: compare("one host"), aHostEach: compare("a host each") });
}
