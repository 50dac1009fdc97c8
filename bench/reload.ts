/**
 * What a change of a large configuration takes: 5,000 routes and 500 backends in one file, from the
 * file's replacement until every worker serves it, and how long a worker's event loop is held
 * meanwhile, under a light load and without. Also one edited route and one edited backend among the 5,000, by
 * file and by the API, and a start.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { wholeNumber } from "./arguments.ts";
import { openLoop } from "./latency.ts";
import { BOTH_CORES, report, say, withBench } from "./machine.ts";
import { median, residentBytes, round } from "./measure.ts";
import { startOrigins } from "./nginx.ts";
import { backend, gateway, startSluice, type SluiceRunner } from "./sluice.ts";

const ROUTES = 5000;
const BACKENDS = 500;
const WORKERS = 2;
const LOAD_PER_SECOND = 1000;
/** Leaves both cores to the change. */
const IDLE_PER_SECOND = 10;
/** Connections that must all be answered as wanted: with two workers one is missed in 2^-15 cases. */
const PROBES = 16;
const PROBE_EVERY_MS = 5;
const GIVE_UP_MS = 60_000;
/** Before a change, for what the one before has left to do. */
const SETTLE_MS = 3000;

interface Change {
  readonly name: string;
  /** Makes the change; resolves when it is asked for. */
  readonly make: () => Promise<void>;
  /** A path that is answered with `status` once the change is served. */
  readonly target: string;
  readonly status: number;
}

/** Arguments: how often each edit is made. */
export async function benchReload([count]: readonly string[]): Promise<void> {
  const edits = wholeNumber("edits", count, 5);
  await withBench(["nginx"], async (bench) => {
    const { stable } = await startOrigins(bench);
    const stallFile = path.join(bench.directory, "stalls");
    writeFileSync(stallFile, "");
    const sluice = await startSluice(bench, {
      ports: { stable, canary: stable },
      logs: true,
      prefix: "/api",
      workers: WORKERS,
      cores: BOTH_CORES,
      env: {
        NODE_OPTIONS: `--import ${path.join(import.meta.dirname, "stall-probe.ts")}`,
        SLUICE_STALL_FILE: stallFile,
      },
    });
    const changes = new Changes(sluice, stable, stallFile);
    // Young code is slow code: a worker that has just started is not what is asked about.
    await openLoop(sluice, { rate: LOAD_PER_SECOND, seconds: 3, connections: 16 });
    const all = await changes.measure(changes.all(ROUTES));
    const memory = Math.round(residentBytes(sluice.process.pid as number) / 2 ** 20);
    const rounds = Array.from({ length: edits }, (_, index) => index);
    const perEdit: Record<string, Measured[]> = {};
    for (const index of rounds) {
      for (const change of [changes.routeInFile(index), changes.routeByApi(index)]) {
        (perEdit[change.name] ??= []).push(await changes.measure(change));
      }
    }
    const again = await changes.measure(changes.allAgain("team", "squad"));
    const idle = await changes.measure(changes.allAgain("squad", "crew"), IDLE_PER_SECOND);
    report({
      benchmark: "reload",
      routes: ROUTES,
      backends: BACKENDS,
      all,
      again,
      idle,
      edits: Object.fromEntries(
        Object.entries(perEdit).map(([name, measured]) => [name, summary(measured)]),
      ),
      residentMb: memory,
    });
  });
}

interface Measured {
  /** From the change until every worker serves it. */
  readonly servedMs: number;
  /** The longest that a worker's event loop was held, from the change until it is settled. */
  readonly stallMs: number;
  /** The same in CPU time: without what the thread had to wait for a core. */
  readonly cpuStallMs: number;
  /** What the load saw: the slowest of its requests, and their 99th percentile. */
  readonly loadMaxMs: number;
  readonly loadP99Ms: number;
  readonly errors: number;
}

function summary(measured: readonly Measured[]): object {
  return {
    servedMs: round(median(measured.map(({ servedMs }) => servedMs)), 1),
    servedMaxMs: Math.max(...measured.map(({ servedMs }) => servedMs)),
    stallMaxMs: Math.max(...measured.map(({ stallMs }) => stallMs)),
    cpuStallMaxMs: Math.max(...measured.map(({ cpuStallMs }) => cpuStallMs)),
    loadP99Ms: round(median(measured.map(({ loadP99Ms }) => loadP99Ms))),
    errors: measured.reduce((sum, { errors }) => sum + errors, 0),
  };
}

class Changes {
  readonly #sluice: SluiceRunner;
  readonly #origin: number;
  readonly #stallFile: string;

  constructor(sluice: SluiceRunner, origin: number, stallFile: string) {
    this.#sluice = sluice;
    this.#origin = origin;
    this.#stallFile = stallFile;
  }

  /** The file with so many routes in place of the few that there were. */
  all(routes: number): Change {
    const text = resources(this.#sluice.port, this.#origin, routes);
    return {
      name: "all",
      make: async () => this.#replace(text),
      target: `/team/${appOf(routes - 1)}`,
      status: 200,
    };
  }

  /** Every route of the file with another path. */
  allAgain(from: string, to: string): Change {
    const text = readFileSync(this.#sluice.file, "utf8").replaceAll(`/${from}/`, `/${to}/`);
    return {
      name: `all again, as ${to}`,
      make: async () => this.#replace(text),
      target: `/${to}/${appOf(ROUTES - 1)}`,
      status: 200,
    };
  }

  /** One route of the file is given another path. */
  routeInFile(index: number): Change {
    const before = readFileSync(this.#sluice.file, "utf8");
    const text = before.replace(`/team/${appOf(1000 + index)}`, `/moved/${index}`);
    return {
      name: "one route in the file",
      make: async () => this.#replace(text),
      target: `/moved/${index}`,
      status: 200,
    };
  }

  /** One route is added through the API. */
  routeByApi(index: number): Change {
    const body = JSON.stringify({
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "HTTPRoute",
      metadata: { name: `by-api-${index}` },
      spec: {
        parentRefs: [{ name: "edge" }],
        rules: [
          {
            matches: [{ path: { type: "PathPrefix", value: `/by-api/${index}` } }],
            backendRefs: [{ group: "sluice.dev", kind: "Backend", name: backendOf(index) }],
          },
        ],
      },
    });
    const collection = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
    return {
      name: "one route by the API",
      make: async () => {
        const response = await fetch(`http://127.0.0.1:${this.#sluice.adminPort}${collection}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body,
        });
        const said = await response.text();
        if (!response.ok) throw new Error(`The API refused the route: ${said}`);
      },
      target: `/by-api/${index}`,
      status: 200,
    };
  }

  /** A file is replaced whole, as editors and config maps do. */
  #replace(text: string): void {
    const { file } = this.#sluice;
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  }

  async measure({ name, make, target, status }: Change, rate = LOAD_PER_SECOND): Promise<Measured> {
    await delay(SETTLE_MS);
    const seconds = name.startsWith("all") ? 8 : 2;
    const load = openLoop(this.#sluice, { rate, seconds, connections: 16 });
    await delay(1000);
    const startedMs = performance.now();
    const startedAt = Date.now();
    await make();
    const servedMs = round((await this.#served(target, status)) - startedMs, 1);
    const { p99, max, errors } = await load;
    await delay(200);
    const [stallMs, cpuStallMs] = this.#longestStalls(startedAt);
    say(
      `${name}: served after ${servedMs} ms, stall ${stallMs} ms (CPU ${cpuStallMs} ms), load p99 ${p99} max ${max} ms`,
    );
    return { servedMs, stallMs, cpuStallMs, loadMaxMs: max, loadP99Ms: p99, errors };
  }

  /** When the first probe of a row that was answered as wanted was, on performance.now()'s scale. */
  async #served(target: string, status: number): Promise<number> {
    const untilMs = performance.now() + GIVE_UP_MS;
    let firstMs = 0;
    for (let inRow = 0; inRow < PROBES;) {
      if (performance.now() > untilMs) throw new Error(`${target} is not served`);
      if ((await statusOf(this.#sluice.port, target)) === status) {
        if (inRow === 0) firstMs = performance.now();
        inRow += 1;
      } else {
        inRow = 0;
        await delay(PROBE_EVERY_MS);
      }
    }
    return firstMs;
  }

  #longestStalls(sinceMs: number): readonly [stallMs: number, cpuStallMs: number] {
    const lines = readFileSync(this.#stallFile, "utf8").trim().split("\n");
    const stalls = lines
      .map((line) => line.split(" ").map(Number) as [number, number, number])
      .filter(([at]) => at >= sinceMs);
    const longest = (index: 1 | 2): number => Math.max(...stalls.map((stall) => stall[index]));
    return [longest(1), longest(2)];
  }
}

/** The status of a GET on a connection of its own, which some worker gets. */
function statusOf(port: number, target: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: "127.0.0.1", path: target, agent: false }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? 0));
    });
    sent.once("error", reject);
    sent.end();
  });
}

/** Names of one length. */
function appOf(route: number): string {
  return `app-${String(route).padStart(4, "0")}`;
}

function backendOf(index: number): string {
  return `backend-${String(index % BACKENDS).padStart(3, "0")}`;
}

function resources(port: number, origin: number, routes: number): string {
  const documents = [gateway(port)];
  // What the load asks for.
  documents.push(httpRoute("api", "/api", [backendOf(0), backendOf(1)]));
  for (let index = 0; index < BACKENDS; index++) documents.push(backend(backendOf(index), origin));
  for (let index = 0; index < routes; index++) {
    const backends = [backendOf(index), backendOf(index + 1)] as const;
    documents.push(httpRoute(appOf(index), `/team/${appOf(index)}`, backends));
  }
  return documents.join("---\n");
}

function httpRoute(
  name: string,
  prefix: string,
  [first, second]: readonly [string, string],
): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: ${name}
  labels:
    team: checkout
spec:
  parentRefs:
    - name: edge
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: ${prefix}
      backendRefs:
        - group: sluice.dev
          kind: Backend
          name: ${first}
          weight: 90
        - group: sluice.dev
          kind: Backend
          name: ${second}
          weight: 10
`;
}
