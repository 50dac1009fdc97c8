/**
 * Large bodies: what a megabyte costs, down and up, and whether a gigabyte through a slow peer stays
 * out of the proxy's memory.
 */
import { truncateSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { chosenParts, runOptions, type RunOptions } from "./arguments.ts";
import { wrk, type Load } from "./load.ts";
import { report, say, withBench, type Bench } from "./machine.ts";
import { ratioOf, residentBytes, round, runRounds, table } from "./measure.ts";
import { startFileOrigin, startNginx } from "./nginx.ts";
import { startSluice } from "./sluice.ts";

const MEGABYTE = 2 ** 20;
const GIGABYTE = 2 ** 30;
const CONNECTIONS = 16;
const PARTS = ["cpu", "memory"];
/** A slow peer takes this much, and then nothing for a moment: some 100 MB a second. */
const SLOW_BYTES = 256 * 1024;
const SLOW_PAUSE_MS = 2;
const SAMPLE_MS = 100;
const BLANK_LINE = "\r\n\r\n";

/** Arguments: rounds, seconds per run, and one part of the benchmark. */
export async function benchBodies(args: readonly string[]): Promise<void> {
  const options = runOptions(args, { rounds: 5, seconds: 3 });
  const parts = chosenParts(PARTS, args[2]);
  await withBench(["nginx", "wrk"], async (bench) => {
    report({
      benchmark: "bodies",
      ...options,
      ...(parts.includes("cpu") ? await cpu(bench, options) : {}),
      ...(parts.includes("memory") ? { memory: await memory(bench) } : {}),
    });
  });
}

async function cpu(bench: Bench, options: RunOptions): Promise<object> {
  const file = path.join(bench.directory, "megabyte");
  writeFileSync(file, "");
  truncateSync(file, MEGABYTE);
  const script = path.join(bench.directory, "upload.lua");
  writeFileSync(script, `wrk.method = "POST"\nwrk.body = string.rep("x", ${MEGABYTE})\n`);
  const origin = await startFileOrigin(bench, bench.directory);
  const ports = { stable: origin, canary: origin };
  const runners = [
    await startNginx(bench, { ports, logs: true, passes: "stream" }),
    await startSluice(bench, { ports, logs: true }),
  ];
  const loads: Record<"down" | "up", Load> = {
    down: wrk({ target: "/megabyte", connections: CONNECTIONS }),
    up: wrk({ target: "/upload", connections: CONNECTIONS, script }),
  };
  const figures: Record<string, object> = {};
  for (const [name, load] of Object.entries(loads)) {
    const measured = await runRounds(runners, { load, ...options });
    // An error page is no megabyte.
    if ([...measured.values()].flat().some(({ errors }) => errors > 0)) {
      throw new Error(`Requests of the load "${name}" failed`);
    }
    const cost = ratioOf(measured, "sluice", "nginx");
    // How much Sluice carries in the CPU time in which nginx carries 1.
    figures[name] = { throughputToNginx: round(1 / cost.median), cost, ...table(measured) };
  }
  return figures;
}

/** How much memory a gigabyte takes on its way, above what the proxy has after another one. */
async function memory(bench: Bench): Promise<object> {
  const origin = await slowOrigin();
  const ports = { stable: origin, canary: origin };
  const sluice = await startSluice(bench, { name: "sluice, slow", ports, logs: false });
  const pid = sluice.process.pid as number;
  const figures: Record<string, number> = {};
  for (const [name, carry] of [
    ["down", download],
    ["up", upload],
  ] as const) {
    await carry(sluice.port, GIGABYTE);
    await delay(1000);
    const before = residentBytes(pid);
    let highest = before;
    const sampler = setInterval(() => {
      highest = Math.max(highest, residentBytes(pid));
    }, SAMPLE_MS);
    const startedMs = performance.now();
    await carry(sluice.port, GIGABYTE);
    clearInterval(sampler);
    highest = Math.max(highest, residentBytes(pid));
    const grownMb = round((highest - before) / MEGABYTE, 1);
    figures[`${name}GrownMb`] = grownMb;
    const took = round((performance.now() - startedMs) / 1000, 1);
    say(`1 GB ${name}: ${took} s, ${round(before / MEGABYTE, 1)} MB before, ${grownMb} MB more`);
  }
  return figures;
}

/** Reads slowly until `done` says that all has come. */
function readSlowly(socket: Socket, done: (received: number) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let received = 0;
    let sincePause = 0;
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed too early")));
    socket.on("data", (bytes: Buffer) => {
      received += bytes.length;
      sincePause += bytes.length;
      if (done(received)) {
        resolve();
      } else if (sincePause >= SLOW_BYTES) {
        sincePause = 0;
        socket.pause();
        setTimeout(() => socket.resume(), SLOW_PAUSE_MS);
      }
    });
  });
}

/** Writes `bytes` of nothing in particular as fast as the peer takes them. */
function pour(socket: Socket, bytes: number): void {
  const block = Buffer.alloc(64 * 1024, "x");
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      const now = Math.min(left, block.length);
      left -= now;
      if (!socket.write(now === block.length ? block : block.subarray(0, now))) return;
    }
  };
  socket.on("drain", more);
  more();
}

async function download(port: number, bytes: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.write(`GET /${bytes} HTTP/1.1\r\nHost: bench${BLANK_LINE}`);
  await readSlowly(socket, (received) => received >= bytes);
  socket.destroy();
}

async function upload(port: number, bytes: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.write(`POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: ${bytes}${BLANK_LINE}`);
  pour(socket, bytes);
  await readSlowly(socket, (received) => received > 0);
  socket.destroy();
}

/**
 * Answers `GET /BYTES` at once with so many bytes, and reads the body of a POST slowly; one request a
 * connection.
 */
async function slowOrigin(): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("data", (bytes: Buffer) => void answer(socket, bytes.toString("latin1")));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  server.unref();
  return (server.address() as AddressInfo).port;
}

async function answer(socket: Socket, head: string): Promise<void> {
  const asked = /^GET \/(\d+)/.exec(head)?.[1];
  if (asked !== undefined) {
    socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${asked}${BLANK_LINE}`);
    pour(socket, Number(asked));
    return;
  }
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
  const already = head.length - head.indexOf(BLANK_LINE) - BLANK_LINE.length;
  try {
    await readSlowly(socket, (received) => already + received >= length);
    socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2${BLANK_LINE}ok`);
  } catch {
    socket.destroy();
  }
}
