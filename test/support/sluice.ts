/**
 * A real `sluice up` in a process of its own, with a data directory and ports of its own, and what a
 * test asks of it. Everything is gone when the test ends: `await using`.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Agent, request } from "undici";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";
import { findKind, pathOf } from "../../src/cli/client.ts";

const MAIN = path.resolve(import.meta.dirname, "../../src/cli/main.ts");
const READY_MS_MAX = 20_000;

export interface SluiceOptions {
  readonly files?: readonly string[];
  readonly workers?: number;
  readonly accessLog?: string;
  /** Further options of `sluice up`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Kept between runs where given; else fresh and removed at the end. */
  readonly dataDirectory?: string;
  readonly adminPort?: number;
}

/** A TCP port that was free a moment ago, for listeners whose number must be known beforehand. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Asks again every 10 ms until `probe` gives a value; fails with `what` at the deadline. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  deadlineMs = 15_000,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  let lastError: unknown;
  while (performance.now() < end) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      lastError = error;
    }
    await delay(10);
  }
  throw new Error(`Not within ${deadlineMs} ms: ${what}`, { cause: lastError });
}

/** What a test asks of the admin API. */
export class Api {
  readonly adminUrl: string;
  readonly agent = new Agent();

  constructor(adminUrl: string) {
    this.adminUrl = adminUrl;
  }
  async api(
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    url: string,
    body?: unknown,
  ): Promise<{ status: number; body: Resource & { items: Resource[]; message: string } }> {
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const response = await request(`${this.adminUrl}${url}`, {
      method,
      dispatcher: this.agent,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: body === undefined ? {} : { "content-type": type },
    });
    const json = (await response.body.json()) as Resource & { items: Resource[]; message: string };
    return { status: response.statusCode, body: json };
  }

  /** Creates or replaces; fails the test where the API refuses. */
  async apply(...resources: readonly ResourceDraft[]): Promise<Resource[]> {
    const stored: Resource[] = [];
    for (const resource of resources) {
      const kind = findKind(resource.kind);
      const { namespace, name } = resource.metadata;
      let answer = await this.api("PUT", pathOf(kind, namespace, name), resource);
      if (answer.status === 404) answer = await this.api("POST", pathOf(kind, namespace), resource);
      assert.ok(answer.status < 300, `${resource.kind} ${name}: ${answer.body.message}`);
      stored.push(answer.body);
    }
    return stored;
  }

  async get(kind: string, name: string, namespace = "default"): Promise<Resource> {
    const answer = await this.api("GET", pathOf(findKind(kind), namespace, name));
    assert.equal(answer.status, 200, answer.body.message);
    return answer.body;
  }
}

export class Sluice extends Api implements AsyncDisposable {
  readonly dataDirectory: string;
  readonly child: ChildProcess;
  readonly #temporary: boolean;
  #output = "";

  private constructor(
    child: ChildProcess,
    adminUrl: string,
    data: { path: string; temporary: boolean },
  ) {
    super(adminUrl);
    this.child = child;
    this.dataDirectory = data.path;
    this.#temporary = data.temporary;
    child.stdout?.on("data", (text) => (this.#output += String(text)));
    child.stderr?.on("data", (text) => (this.#output += String(text)));
  }

  /** Starts Sluice and waits for `/readyz` to answer 200. */
  static async start(options: SluiceOptions = {}): Promise<Sluice> {
    const sluice = await Sluice.spawn(options);
    await sluice.untilReady();
    return sluice;
  }

  /** Starts Sluice and waits for nothing. */
  static async spawn(options: SluiceOptions = {}): Promise<Sluice> {
    const temporary = options.dataDirectory === undefined;
    const data = options.dataDirectory ?? mkdtempSync(path.join(tmpdir(), "sluice-test-"));
    const admin = `127.0.0.1:${options.adminPort ?? (await freePort())}`;
    const args = [
      MAIN,
      "up",
      ...(options.files ?? []).flatMap((file) => ["-f", file]),
      "--data",
      data,
      "--admin",
      admin,
      "--workers",
      String(options.workers ?? 2),
      "--access-log",
      options.accessLog ?? "off",
      "--drain-delay",
      "0s",
      ...(options.args ?? []),
    ];
    const child = spawn(process.execPath, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...options.env },
    });
    return new Sluice(child, `http://${admin}`, { path: data, temporary });
  }

  /** What it wrote to standard output and standard error so far. */
  get output(): string {
    return this.#output;
  }

  async untilReady(): Promise<void> {
    await eventually(
      "Sluice is ready",
      async () => {
        assert.equal(this.child.exitCode, null, this.#output);
        const answer = await request(`${this.adminUrl}/readyz`, { dispatcher: this.agent });
        await answer.body.dump();
        return answer.statusCode === 200;
      },
      READY_MS_MAX,
    );
  }

  /** SIGTERM, then the exit code. */
  async stop(): Promise<number | null> {
    if (this.child.exitCode !== null) return this.child.exitCode;
    const exit = once(this.child, "exit");
    this.child.kill("SIGTERM");
    const [code] = (await exit) as [number | null];
    return code;
  }

  /** kill -9, as a power cut for the process. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent.destroy();
    await this.kill();
    if (this.#temporary) rmSync(this.dataDirectory, { recursive: true, force: true });
  }
}
