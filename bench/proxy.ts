/**
 * What a proxied request costs: CPU per request on the same work — 64 keep-alive connections, 1 KB
 * answers, a 90/10 split over two origins — in two classes: bare proxying, and with a request id and
 * an access log. Then what requests take at a rate that is the same for all, and what a second worker
 * costs. See README.md.
 */
import { chosenParts, runOptions, type RunOptions } from "./arguments.ts";
import { openLoop } from "./latency.ts";
import { startHaproxy } from "./haproxy.ts";
import { CONNECTIONS, wrk } from "./load.ts";
import {
  BOTH_CORES,
  firstLine,
  pinned,
  PROXY_CORE,
  report,
  say,
  withBench,
  type Bench,
  type Runner,
} from "./machine.ts";
import { median, ratioOf, round, runRounds, spread, table } from "./measure.ts";
import { startNginx, startOrigins, type Ports } from "./nginx.ts";
import { startSluice } from "./sluice.ts";
import path from "node:path";

/** What a latency run offers, a third of what the slower of the two bears. */
const RATE = 10_000;
const PARTS = ["cpu", "varied", "latency", "workers"];

interface Options extends RunOptions {
  readonly ports: Ports;
}

/** Arguments: rounds, seconds per run, and one part of the benchmark. */
export async function benchProxy(args: readonly string[]): Promise<void> {
  const runs = runOptions(args);
  const parts = chosenParts(PARTS, args[2]);
  await withBench(["nginx", "wrk", "haproxy"], async (bench) => {
    const ports = await startOrigins(bench);
    const options = { ports, ...runs };
    report({
      benchmark: "proxy",
      rounds: options.rounds,
      secondsPerRun: options.seconds,
      ...(parts.includes("cpu") ? await cpu(bench, options) : {}),
      ...(parts.includes("varied") ? { varied: await varied(bench, options) } : {}),
      ...(parts.includes("latency") ? { latency: await latency(bench, options) } : {}),
      ...(parts.includes("workers") ? { workers: await workers(bench, options) } : {}),
    });
  });
}

async function cpu(bench: Bench, { ports, rounds, seconds }: Options): Promise<object> {
  const bare = [
    await startNginx(bench, { name: "nginx, bare", ports, logs: false }),
    await startSluice(bench, { name: "sluice, bare", ports, logs: false }),
    await startHaproxy(bench, { name: "haproxy, bare", ports, logs: false }),
  ];
  const full = [
    await startNginx(bench, { name: "nginx", ports, logs: true }),
    await startSluice(bench, { name: "sluice", ports, logs: true }),
    await startHaproxy(bench, { name: "haproxy", ports, logs: true }),
  ];
  const ofNode = [
    await startNodeProxy(bench, { name: "node:http and undici", ports }, "node-http-undici.ts"),
    await startNodeProxy(bench, { name: "http-proxy, bare", ports }, "http-proxy.ts"),
    await startNodeProxy(
      bench,
      { name: "http-proxy", ports },
      "http-proxy.ts",
      path.join(bench.directory, "http-proxy.log"),
    ),
  ];
  const measured = await runRounds([...bare, ...full, ...ofNode], {
    load: wrk(),
    rounds,
    seconds,
  });
  return {
    bareToNginx: ratioOf(measured, "sluice, bare", "nginx, bare"),
    fullToNginx: ratioOf(measured, "sluice", "nginx"),
    bareToHaproxy: ratioOf(measured, "sluice, bare", "haproxy, bare"),
    fullToHaproxy: ratioOf(measured, "sluice", "haproxy"),
    httpProxyToBare: ratioOf(measured, "http-proxy, bare", "sluice, bare"),
    httpProxyToFull: ratioOf(measured, "http-proxy", "sluice"),
    undiciToBare: ratioOf(measured, "node:http and undici", "sluice, bare"),
    ...table(measured),
  };
}

/**
 * The same where no two requests of a connection have the same head, so that nothing that Sluice
 * remembers of heads is of any use.
 */
async function varied(bench: Bench, { ports, rounds, seconds }: Options): Promise<object> {
  const script = path.join(import.meta.dirname, "varied.lua");
  const runners = [
    await startNginx(bench, { name: "nginx, bare, varied", ports, logs: false }),
    await startSluice(bench, { name: "sluice, bare, varied", ports, logs: false }),
    await startNginx(bench, { name: "nginx, varied", ports, logs: true }),
    await startSluice(bench, { name: "sluice, varied", ports, logs: true }),
  ];
  const measured = await runRounds(runners, { load: wrk({ script }), rounds, seconds });
  return {
    bareToNginx: ratioOf(measured, "sluice, bare, varied", "nginx, bare, varied"),
    fullToNginx: ratioOf(measured, "sluice, varied", "nginx, varied"),
    ...table(measured),
  };
}

/** With a file to log to it logs and sets a request id, as the others do; else it only proxies. */
async function startNodeProxy(
  bench: Bench,
  { name, ports }: { readonly name: string; readonly ports: Ports },
  script: string,
  ...more: readonly string[]
): Promise<Runner> {
  const file = path.join(import.meta.dirname, script);
  const origins = [ports.stable, ports.canary].map(String);
  const child = bench.start(pinned(PROXY_CORE, [process.execPath, file, ...origins, ...more]));
  return { name, process: child, port: Number(await firstLine(child)) };
}

async function latency(bench: Bench, { ports, rounds, seconds }: Options): Promise<object> {
  const nginx = await startNginx(bench, { name: "nginx, timed", ports, logs: true });
  const sluice = await startSluice(bench, { name: "sluice, timed", ports, logs: true });
  await runRounds([nginx, sluice], { load: wrk(), rounds: 0, seconds: 2 });
  const p99s: Record<string, number[]> = { nginx: [], sluice: [] };
  const differences: number[] = [];
  for (let turn = 0; turn < rounds; turn++) {
    const runners = turn % 2 === 0 ? [nginx, sluice] : [sluice, nginx];
    for (const runner of runners) {
      const load = { rate: RATE, seconds, connections: CONNECTIONS };
      const took = await openLoop(runner, load);
      p99s[runner === nginx ? "nginx" : "sluice"]?.push(took.p99);
      say(`${runner.name}: ${JSON.stringify(took)}`);
    }
    differences.push((p99s["sluice"]?.at(-1) ?? 0) - (p99s["nginx"]?.at(-1) ?? 0));
  }
  return {
    requestsPerSecond: RATE,
    nginxP99Ms: round(median(p99s["nginx"] ?? [])),
    sluiceP99Ms: round(median(p99s["sluice"] ?? [])),
    differenceMs: spread(differences),
  };
}

/**
 * One worker against two, on the one core and on both. On both the load has to share one of them, so
 * that the CPU per request is what counts and not how much is done.
 */
async function workers(bench: Bench, { ports, rounds, seconds }: Options): Promise<object> {
  const start = (name: string, count: number, cores: string): Promise<Runner> =>
    startSluice(bench, { name, ports, logs: true, workers: count, cores });
  const runners = [
    await start("one worker", 1, PROXY_CORE),
    await start("two workers, one core", 2, PROXY_CORE),
    await start("one worker, both cores", 1, BOTH_CORES),
    await start("two workers, both cores", 2, BOTH_CORES),
  ];
  const measured = await runRounds(runners, { load: wrk(), rounds, seconds });
  return {
    twoToOneOnOneCore: ratioOf(measured, "two workers, one core", "one worker"),
    twoToOneOnBothCores: ratioOf(measured, "two workers, both cores", "one worker, both cores"),
    ...table(measured),
  };
}
