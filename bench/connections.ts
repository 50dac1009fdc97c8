/**
 * What an idle keep-alive connection keeps in memory: the proxy's resident memory with 10,000 of them
 * above that with none. Each has made three requests, so that all that is remembered of a connection
 * is there. The garbage of opening them is no part of it, so
 * the same load runs before both measurements, long enough to turn over V8's young generation.
 */
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { chosenParts, wholeNumber } from "./arguments.ts";
import { makeCertificate, type Certificate } from "./certificate.ts";
import { h2load, HEADERS, TARGET, wrk, type Load } from "./load.ts";
import { report, say, withBench, type Bench, type Runner } from "./machine.ts";
import { residentBytes, round } from "./measure.ts";
import { startNginx, startOrigins, type Ports } from "./nginx.ts";
import { startSluice } from "./sluice.ts";

const CONNECTIONS = 10_000;
const REQUESTS = 3;
/** Opened at a time. */
const BATCH = 200;
const LOAD_SECONDS = 6;
/** For timers and collectors that work in the background. */
const SETTLE_MS = 3000;
const PARTS = ["plain", "tls"];

/** Arguments: connections, and one part of the benchmark. */
export async function benchConnections([count, only]: readonly string[]): Promise<void> {
  const parts = chosenParts(PARTS, only);
  const connections = wholeNumber("connections", count, CONNECTIONS);
  await withBench(["nginx", "wrk", "h2load", "openssl"], async (bench) => {
    const ports = await startOrigins(bench);
    const figures: Record<string, object> = {};
    if (parts.includes("plain")) figures["plain"] = await compare(bench, { ports, connections });
    if (parts.includes("tls")) {
      const certificate = makeCertificate(bench.directory);
      figures["tls"] = await compare(bench, { ports, connections, certificate });
    }
    report({ benchmark: "connections", connections, ...figures });
  });
}

interface Options {
  readonly ports: Ports;
  readonly connections: number;
  readonly certificate?: Certificate;
}

async function compare(bench: Bench, options: Options): Promise<object> {
  const { ports, certificate } = options;
  const tls = certificate === undefined ? "" : ", tls";
  const same = { ports, logs: false, ...(certificate === undefined ? {} : { certificate }) };
  const nginx = await startNginx(bench, { ...same, name: `nginx${tls}` });
  const sluice = await startSluice(bench, { ...same, name: `sluice${tls}` });
  return {
    sluiceBytes: await bytesPerConnection(sluice, options),
    nginxBytes: await bytesPerConnection(nginx, options),
  };
}

async function bytesPerConnection(runner: Runner, options: Options): Promise<number> {
  const { connections, certificate } = options;
  const load: Load = certificate === undefined ? wrk() : h2load({ http1: true });
  // Once to grow to its working size, once as it is after the connections have come.
  await load(runner, LOAD_SECONDS);
  await load(runner, LOAD_SECONDS);
  await delay(SETTLE_MS);
  const before = residentOf(runner);
  const sockets = await openAll(runner.port, connections, certificate !== undefined);
  await load(runner, LOAD_SECONDS);
  await delay(SETTLE_MS);
  const open = sockets.filter((socket) => !socket.destroyed).length;
  if (open < connections) throw new Error(`${connections - open} connections were closed`);
  const bytes = round((residentOf(runner) - before) / connections, 0);
  say(`${runner.name}: ${Math.round(before / 2 ** 20)} MB before, ${bytes} bytes a connection`);
  for (const socket of sockets) socket.destroy();
  return bytes;
}

/** nginx's connections are its worker's. */
function residentOf({ process: child }: Runner): number {
  return residentBytes(child.pid as number, { withChildren: true });
}

async function openAll(port: number, count: number, secure: boolean): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const batch = Array.from({ length: Math.min(BATCH, count - sockets.length) }, () =>
      openOne(port, secure),
    );
    sockets.push(...(await Promise.all(batch)));
  }
  return sockets;
}

/** Opens a connection and makes its requests, one after another; resolves when all are answered. */
function openOne(port: number, secure: boolean): Promise<Socket> {
  let left = REQUESTS;
  const request = `GET ${TARGET} HTTP/1.1\r\nHost: bench\r\n${HEADERS.join("\r\n")}\r\n\r\n`;
  return new Promise((resolve, reject) => {
    const host = "127.0.0.1";
    const socket = secure
      ? connectTls({ port, host, servername: "localhost", rejectUnauthorized: false })
      : connect({ port, host });
    socket.once("error", reject);
    // The answers are small enough to come whole.
    socket.on("data", () => {
      left -= 1;
      if (left > 0) {
        socket.write(request);
        return;
      }
      socket.removeAllListeners("data");
      socket.removeListener("error", reject);
      socket.on("error", () => socket.destroy());
      socket.resume();
      resolve(socket);
    });
    socket.write(request);
  });
}
