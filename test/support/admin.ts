/**
 * A real admin server for tests: SQLite in memory, the writer, a free port on loopback; and the real
 * kubectl against it, with caches and configuration in a directory of its own.
 */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdminServer } from "../../src/admin/server.ts";
import type { AdminOptions } from "../../src/admin/server.ts";
import { kubeconfigText } from "../../src/admin/kubeconfig.ts";
import { createWriter } from "../../src/admission/writer.ts";
import type { AdmissionRule, Writer } from "../../src/admission/writer.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { Clock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { Store } from "../../src/store/store.ts";

export interface TestAdmin extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly store: Store;
  readonly writer: Writer;
  /** Errors that the server called faults: a test that expects none asserts that it is empty. */
  readonly faults: string[];
  close(): Promise<void>;
}

export interface TestAdminOptions extends Partial<AdminOptions> {
  readonly clock?: Clock;
  readonly rules?: readonly AdmissionRule[];
  readonly host?: string;
  readonly port?: number;
}

export async function openAdmin(options: TestAdminOptions = {}): Promise<TestAdmin> {
  const { rules = [], host = "127.0.0.1", port: asked = 0, clock = systemClock, ...rest } = options;
  const store = rest.store ?? openSqliteStore({ path: ":memory:", clock });
  const writer = rest.writer ?? createWriter({ store, rules, clock });
  const faults: string[] = [];
  const server = createAdminServer({
    random: seededRandom(1),
    metrics: () => ({ contentType: "text/plain; version=0.0.4", pieces: piecesOf("up 1\n") }),
    ready: () => ({ ok: true, reasons: [] }),
    version: "0.0.0",
    onFault: (message, error) => faults.push(`${message}: ${String(error)}`),
    ...rest,
    clock,
    store,
    writer,
  });
  const { port } = await server.listen({ host, port: asked });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= server.close().then(() => store.close()));
  const url = `http://127.0.0.1:${port}`;
  return { url, port, store, writer, faults, close, [Symbol.asyncDispose]: close };
}

async function* piecesOf(...pieces: readonly string[]): AsyncGenerator<string> {
  yield* pieces;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; undefined where it is none. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface RequestOptions {
  readonly body?: unknown;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One request; a body that is no string is sent as JSON. */
export async function ask(
  admin: Pick<TestAdmin, "url">,
  line: string,
  options: RequestOptions = {},
): Promise<Answer> {
  const [method = "GET", path = "/"] = line.split(" ", 2);
  const { body, type = "application/json", headers = {} } = options;
  const response = await fetch(admin.url + path, {
    method,
    headers: { ...(body !== undefined && { "content-type": type }), ...headers },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  return { status: response.status, headers: response.headers, text, body: parsed as never };
}

export interface Kubectl extends Disposable {
  /** Runs to the end; `input` goes to its standard input. */
  run(args: readonly string[], input?: string): Promise<KubectlResult>;
  /** Starts one that goes on, such as `get -w`. */
  start(args: readonly string[]): ChildProcessWithoutNullStreams;
  /** Writes a file and returns its path. */
  file(name: string, text: string): string;
}

export interface KubectlResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The minor version of the kubectl on PATH, or undefined where there is none. */
export function kubectlMinor(): number | undefined {
  const result = spawnSync("kubectl", ["version", "--client", "-o", "json"], { encoding: "utf8" });
  const minor = /"minor":\s*"(\d+)/.exec(result.stdout ?? "")?.[1];
  return minor === undefined ? undefined : Number(minor);
}

export function openKubectl(url: string): Kubectl {
  const directory = mkdtempSync(join(tmpdir(), "sluice-kubectl-"));
  const kubeconfig = join(directory, "config");
  writeFileSync(kubeconfig, kubeconfigText(url));
  const env = {
    PATH: process.env["PATH"],
    HOME: directory,
    KUBECACHEDIR: join(directory, "cache"),
    KUBECONFIG: kubeconfig,
  };
  const start = (args: readonly string[]): ChildProcessWithoutNullStreams =>
    spawn("kubectl", args, { env, cwd: directory });
  return {
    start,
    run(args, input = "") {
      const child = start(args);
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
      child.stdin.end(input);
      return new Promise((resolve, reject) => {
        child.once("error", reject);
        child.once("close", (code) => resolve({ code, stdout, stderr }));
      });
    },
    file(name, text) {
      const path = join(directory, name);
      writeFileSync(path, text);
      return path;
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
