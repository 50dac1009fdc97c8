/**
 * What a proxied request costs: CPU per request of Sluice, nginx and http-proxy on the same work — 64
 * keep-alive connections, 1 KB answers, a 90/10 split over two origins. Each proxy has one core to
 * itself; load (wrk) and origins (an nginx that answers by itself) have the other, and are cheap
 * enough to leave it idle part of the time. nginx and Sluice log JSON to a file and set a request id,
 * and take turns, so that what disturbs the machine disturbs both; the ratio of each pair counts.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const HERE = import.meta.dirname;
const MAIN = path.resolve(HERE, "../src/cli/main.ts");
const PROXY_CORE = "0";
const LOAD_CORE = "1";
/** Programs of the system, not of a package. */
const PINNED = "taskset";
const INSTALLER = "apt-get";
const CONNECTIONS = 64;
const BASELINE_RUNS_MAX = 3;
const ANSWER_BYTES = 1024;
const HEADERS = ["User-Agent: bench", "Accept: */*", "Cookie: session=0123456789"];
/** Clock ticks of /proc per second (USER_HZ, fixed at 100 on Linux). */
const TICKS_PER_SECOND = 100;

interface Measured {
  readonly microseconds: number;
  readonly requestsPerSecond: number;
  /** Share of the proxy's core that the proxy used. */
  readonly busy: number;
  /** Share of the other core that was used, by load, origins and whatever else runs. */
  readonly loadBusy: number;
  readonly errors: number;
}

interface Ports {
  readonly stable: number;
  readonly canary: number;
}

interface Runner {
  readonly name: string;
  readonly process: ChildProcess;
  readonly port: number;
}

/** Arguments: pairs (default 7) and seconds per run (default 4). */
async function benchProxy(args: readonly string[]): Promise<unknown> {
  const pairs = Number(args[0] ?? 7);
  const seconds = Number(args[1] ?? 4);
  for (const tool of ["nginx", "wrk", "taskset"]) install(tool);
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-bench-"));
  const started: ChildProcess[] = [];
  try {
    const ports = { stable: await freePort(), canary: await freePort() };
    started.push(await startOrigins(directory, ports));
    const sluice = await startSluice(directory, ports);
    started.push(sluice.process);
    const nginx = await startNginx(directory, ports);
    started.push(nginx.process);
    const bare = await startHttpProxy(ports);
    started.push(bare.process);
    const equal = await startHttpProxy(ports, path.join(directory, "http-proxy.log"));
    started.push(equal.process);
    for (const runner of [sluice, nginx, bare, equal]) await measure(runner, 2);
    return await compare({ sluice, nginx, bare, equal }, pairs, seconds);
  } finally {
    for (const child of started) child.kill("SIGTERM");
    await Promise.all(started.map((child) => gone(child)));
    rmSync(directory, { recursive: true, force: true });
  }
}

async function compare(
  { sluice, nginx, bare, equal }: Record<"sluice" | "nginx" | "bare" | "equal", Runner>,
  pairs: number,
  seconds: number,
): Promise<unknown> {
  const ratios: number[] = [];
  const all: { sluice: Measured[]; nginx: Measured[] } = { sluice: [], nginx: [] };
  for (let pair = 0; pair < pairs; pair++) {
    // Which of the two begins takes turns as well.
    const first = pair % 2 === 0 ? sluice : nginx;
    const one = await measure(first, seconds);
    const two = await measure(first === sluice ? nginx : sluice, seconds);
    const [ours, theirs] = first === sluice ? [one, two] : [two, one];
    all.sluice.push(ours);
    all.nginx.push(theirs);
    ratios.push(ours.microseconds / theirs.microseconds);
    say(
      `pair ${pair + 1}: sluice ${show(ours)}, nginx ${show(theirs)}, ratio ${round(ratios.at(-1) ?? 0)}`,
    );
  }
  const slow: { bare: Measured[]; equal: Measured[] } = { bare: [], equal: [] };
  for (let run = 0; run < Math.min(pairs, BASELINE_RUNS_MAX); run++) {
    slow.bare.push(await measure(bare, seconds));
    slow.equal.push(await measure(equal, seconds));
    say(`http-proxy bare ${show(slow.bare.at(-1) as Measured)}`);
    say(`http-proxy with log and request id ${show(slow.equal.at(-1) as Measured)}`);
  }
  return summary({ ...all, ...slow }, ratios, seconds);
}

function summary(
  all: Record<"sluice" | "nginx" | "bare" | "equal", Measured[]>,
  ratios: number[],
  seconds: number,
): unknown {
  const compared = [...all.sluice, ...all.nginx];
  const bare = median(all.bare.map(({ microseconds }) => microseconds));
  const equal = median(all.equal.map(({ microseconds }) => microseconds));
  const ours = median(all.sluice.map(({ microseconds }) => microseconds));
  return {
    benchmark: "proxy",
    pairs: ratios.length,
    secondsPerRun: seconds,
    sluiceMicroseconds: round(ours),
    nginxMicroseconds: round(median(all.nginx.map(({ microseconds }) => microseconds))),
    ratio: round(median(ratios)),
    ratioMin: round(Math.min(...ratios)),
    ratioMax: round(Math.max(...ratios)),
    httpProxyMicroseconds: round(bare),
    timesFewerThanHttpProxy: round(bare / ours),
    httpProxyEqualWorkMicroseconds: round(equal),
    timesFewerThanHttpProxyOnEqualWork: round(equal / ours),
    busyMin: round(Math.min(...compared.map(({ busy }) => busy))),
    loadBusyMax: round(Math.max(...compared.map(({ loadBusy }) => loadBusy))),
    errors: [...compared, ...all.bare, ...all.equal].reduce((sum, { errors }) => sum + errors, 0),
  };
}

async function measure(runner: Runner, seconds: number): Promise<Measured> {
  const pid = runner.process.pid as number;
  const before = cpuTicks(pid);
  const loadBefore = coreTicks(LOAD_CORE);
  const startedMs = performance.now();
  const url = `http://127.0.0.1:${runner.port}/api/items?page=2`;
  const load = pinned(LOAD_CORE, "wrk", [
    ...HEADERS.flatMap((header) => ["-H", header]),
    ...`-t 1 -c ${CONNECTIONS} -d ${seconds}s ${url}`.split(" "),
  ]);
  let output = "";
  load.stdout?.on("data", (text) => (output += String(text)));
  await gone(load);
  const elapsed = (performance.now() - startedMs) / 1000;
  const loadAfter = coreTicks(LOAD_CORE);
  const cpuSeconds = (cpuTicks(pid) - before) / TICKS_PER_SECOND;
  const requests = Number(/(\d+) requests in/.exec(output)?.[1] ?? 0);
  if (requests === 0) throw new Error(`${runner.name} answered nothing: ${output}`);
  const failed = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
  const broken = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(
    output,
  );
  const sockets = (broken ?? []).slice(1).reduce((sum, count) => sum + Number(count), 0);
  return {
    microseconds: (cpuSeconds * 1e6) / requests,
    requestsPerSecond: requests / elapsed,
    busy: cpuSeconds / seconds,
    loadBusy: 1 - (loadAfter.idle - loadBefore.idle) / (loadAfter.all - loadBefore.all),
    errors: failed + sockets,
  };
}

/** User and system time of a process and its children, all threads, in clock ticks. */
function cpuTicks(pid: number): number {
  let ticks = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const fields = statFields(entry);
    if (fields === undefined) continue;
    // proc(5): state is the first field after the name, ppid the second, utime and stime follow.
    const isOurs = Number(entry) === pid || Number(fields[1]) === pid;
    if (isOurs) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks;
}

/** How long a core has been idle and has existed, in clock ticks (proc_stat(5)). */
function coreTicks(core: string): { idle: number; all: number } {
  const lines = readFileSync("/proc/stat", "utf8").split("\n");
  const fields =
    lines
      .find((line) => line.startsWith(`cpu${core} `))
      ?.split(" ")
      .map(Number) ?? [];
  // user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user's already.
  const times = fields.slice(1, 9);
  return {
    idle: (times[3] ?? 0) + (times[4] ?? 0),
    all: times.reduce((sum, ticks) => sum + ticks, 0),
  };
}

function statFields(pid: string): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    // The process has ended since the folder was listed.
    return undefined;
  }
}

/** Two origins in one nginx, each of which answers every request with the same 1 KB. */
async function startOrigins(directory: string, ports: Ports): Promise<ChildProcess> {
  const server = (port: number): string =>
    `server { listen 127.0.0.1:${port} backlog=4096; location / { return 200 "${"x".repeat(ANSWER_BYTES)}"; } }`;
  const child = runNginx(LOAD_CORE, path.join(directory, "origins"), [
    "access_log off;",
    "default_type text/plain;",
    server(ports.stable),
    server(ports.canary),
  ]);
  await answering(ports.stable);
  return child;
}

/** An nginx of one worker; `http` are lines of its http block. */
function runNginx(core: string, home: string, http: readonly string[]): ChildProcess {
  mkdirSync(home);
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const conf = `worker_processes 1;
daemon off;
pid ${home}/pid;
error_log ${home}/error.log;
events { worker_connections 4096; }
http {
  ${kinds.map((kind) => `${kind}_temp_path ${home}/${kind};`).join(" ")}
  keepalive_requests 1000000000;
  ${http.join("\n  ")}
}
`;
  const file = path.join(home, "nginx.conf");
  writeFileSync(file, conf);
  return pinned(core, "nginx", ["-c", file, "-e", `${home}/error.log`]);
}

async function startSluice(directory: string, ports: Ports): Promise<Runner> {
  const port = await freePort();
  const admin = await freePort();
  const backend = (name: string, to: number): string =>
    `apiVersion: sluice.dev/v1alpha1\nkind: Backend\nmetadata: {name: ${name}}\nspec:\n  endpoints: [{ip: {address: 127.0.0.1, port: ${to}}}]\n`;
  const file = path.join(directory, "sluice.yaml");
  const route = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, protocol: HTTP, port: ${port}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /api}}]
    backendRefs:
    - {group: sluice.dev, kind: Backend, name: stable, weight: 90}
    - {group: sluice.dev, kind: Backend, name: canary, weight: 10}
`;
  writeFileSync(
    file,
    [route, backend("stable", ports.stable), backend("canary", ports.canary)].join("---\n"),
  );
  const log = path.join(directory, "sluice.log");
  const child = pinned(PROXY_CORE, process.execPath, [
    MAIN,
    ...`up -f ${file} --data ${directory}/data --admin 127.0.0.1:${admin}`.split(" "),
    ...`--workers 1 --access-log ${log}`.split(" "),
  ]);
  await answering(port);
  return { name: "sluice", process: child, port };
}

async function startNginx(directory: string, ports: Ports): Promise<Runner> {
  const port = await freePort();
  const home = path.join(directory, "nginx");
  const upstream = (name: string, to: number): string =>
    `upstream ${name} { server 127.0.0.1:${to}; keepalive ${CONNECTIONS}; keepalive_requests 1000000000; }`;
  const fields = [
    '"time":"$time_iso8601","requestId":"$request_id","client":"$remote_addr","method":"$request_method"',
    '"host":"$host","path":"$uri","status":$status,"duration":$request_time,"upstream":"$upstream_response_time"',
    '"arm":"$arm","endpoint":"$upstream_addr","bytesIn":$request_length,"bytesOut":$body_bytes_sent',
  ].join(",");
  const child = runNginx(PROXY_CORE, home, [
    `log_format json escape=json '{${fields}}';`,
    `access_log ${home}/access.log json buffer=64k flush=1s;`,
    'split_clients "$request_id" $arm { 10% canary; * stable; }',
    upstream("stable", ports.stable),
    upstream("canary", ports.canary),
    `server {
    listen 127.0.0.1:${port} backlog=4096;
    location /api {
      proxy_pass http://$arm;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
    }
  }`,
  ]);
  await answering(port);
  return { name: "nginx", process: child, port };
}

/** With `logPath` it sets a request id and logs, as the others do; else it only proxies. */
async function startHttpProxy(ports: Ports, logPath?: string): Promise<Runner> {
  const script = path.join(HERE, "http-proxy.ts");
  const args = [script, String(ports.stable), String(ports.canary)];
  const child = pinned(
    PROXY_CORE,
    process.execPath,
    logPath === undefined ? args : [...args, logPath],
  );
  return { name: "http-proxy", process: child, port: Number(await firstLine(child)) };
}

function pinned(core: string, command: string, args: readonly string[]): ChildProcess {
  return spawn(PINNED, ["-c", core, command, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (more) => {
      text += String(more);
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
    });
    child.once("exit", () => reject(new Error(`ended before it was ready: ${text}`)));
  });
}

async function answering(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}/api/items`);
      if (response.status === 200) return;
    } catch {
      // Not listening yet.
    }
    await delay(100);
  }
  throw new Error(`Nothing answers on port ${port}`);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}

function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("close", () => resolve());
  });
}

function install(tool: string): void {
  const folders = (process.env["PATH"] ?? "").split(":");
  if (folders.some((folder) => existsSync(path.join(folder, tool)))) return;
  say(`installing ${tool}`);
  const name = tool === "taskset" ? "util-linux" : tool;
  execFileSync(INSTALLER, ["install", "-y", name], { stdio: ["ignore", "ignore", "inherit"] });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function percent(share: number): number {
  return Math.round(share * 100);
}

function show({ microseconds, requestsPerSecond, busy, loadBusy }: Measured): string {
  return `${round(microseconds)} µs (${Math.round(requestsPerSecond)}/s, core ${percent(busy)} %, load ${percent(loadBusy)} %)`;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

process.stdout.write(`${JSON.stringify(await benchProxy(process.argv.slice(3)))}\n`);
