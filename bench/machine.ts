/**
 * What a benchmark needs of the machine: programs on one core each, the packages they come in, ports
 * that are free, and what to wait for.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** Each proxy has this core to itself. */
export const PROXY_CORE = "0";
/** Load and origins share the other. */
export const LOAD_CORE = "1";
export const BOTH_CORES = "0,1";

/** Programs of the system, not of a package of ours. */
const PINNED = "taskset";
const INSTALLER = "apt-get";
const PACKAGES: Readonly<Record<string, string>> = {
  h2load: "nghttp2-client",
  taskset: "util-linux",
};

/** A proxy that is running. */
export interface Runner {
  readonly name: string;
  readonly process: ChildProcess;
  readonly port: number;
}

/** A folder of its own and all that was started; both are gone when `run` is over. */
export interface Bench {
  readonly directory: string;
  /** Makes a folder for the program of that name; returns its path. */
  folder(name: string): string;
  /** Keeps a program, to be ended with the others; returns it. */
  start(child: ChildProcess): ChildProcess;
}

/** Installs what `tools` names, where it is missing, and runs a benchmark. */
export async function withBench<T>(
  tools: readonly string[],
  run: (bench: Bench) => Promise<T>,
): Promise<T> {
  for (const tool of ["taskset", ...tools]) install(tool);
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-bench-"));
  // nginx's workers read files as somebody else.
  chmodSync(directory, 0o755);
  const started: ChildProcess[] = [];
  try {
    return await run({
      directory,
      folder(name) {
        const folder = path.join(directory, name.replaceAll(/\W+/g, "-"));
        mkdirSync(folder);
        return folder;
      },
      start(child) {
        started.push(child);
        return child;
      },
    });
  } finally {
    for (const child of started) child.kill("SIGTERM");
    await Promise.all(started.map((child) => gone(child)));
    rmSync(directory, { recursive: true, force: true });
  }
}

function install(tool: string): void {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin"];
  if (folders.some((folder) => existsSync(path.join(folder, tool)))) return;
  say(`installing ${tool}`);
  execFileSync(INSTALLER, ["install", "-y", PACKAGES[tool] ?? tool], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}

export interface PinnedOptions {
  /** More of the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Standard output as a file descriptor; by default it is a pipe. */
  readonly stdout?: number;
}

/** Starts a program that may use the named cores alone. */
export function pinned(
  cores: string,
  [command, ...args]: readonly [string, ...string[]],
  { env, stdout }: PinnedOptions = {},
): ChildProcess {
  return spawn(PINNED, ["-c", cores, command, ...args], {
    stdio: ["ignore", stdout ?? "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
}

/** One of the benchmarks' own programs, on the load's core. */
export function ownProgram(script: string, args: readonly (string | number)[]): ChildProcess {
  const file = path.join(import.meta.dirname, script);
  return pinned(LOAD_CORE, [process.execPath, file, ...args.map(String)]);
}

export function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (more) => {
      text += String(more);
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
    });
    child.once("exit", () => reject(new Error(`ended before it was ready: ${text}`)));
  });
}

/** All that a program writes until it ends. */
export async function outputOf(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout?.on("data", (more) => (text += String(more)));
  await gone(child);
  return text;
}

/** Resolves when a GET of `target` is answered with 200. */
export async function answering(port: number, target = "/api/items"): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}${target}`);
      await response.body?.cancel();
      if (response.status === 200) return;
    } catch {
      // Not listening yet.
    }
    await delay(100);
  }
  throw new Error(`Nothing answers on port ${port}`);
}

/** Resolves when something listens on the port. */
export async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (!(await isFree(port))) return;
    await delay(100);
  }
  throw new Error(`Nothing listens on port ${port}`);
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

export async function freePort(): Promise<number> {
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

export function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("close", () => resolve());
  });
}

/** Progress, on standard error. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** What a benchmark found, as the one line on standard output. */
export function report(figures: unknown): void {
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}
