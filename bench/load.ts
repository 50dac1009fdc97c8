/** Load: what is sent to a proxy, by wrk and h2load, and what came of it. */
import { LOAD_CORE, outputOf, pinned, type Runner } from "./machine.ts";

export interface Done {
  /** How many of what is counted were done. */
  readonly done: number;
  readonly errors: number;
}

export type Load = (runner: Runner, seconds: number) => Promise<Done>;

export const CONNECTIONS = 64;
export const TARGET = "/api/items?page=2";
export const HEADERS = ["User-Agent: bench", "Accept: */*", "Cookie: session=0123456789"];
/** The one cipher that both sides of a comparison use; OpenSSL's own order differs between programs. */
export const CIPHER = "TLS_AES_128_GCM_SHA256";

export interface WrkOptions {
  readonly target?: string;
  readonly connections?: number;
  /** A file in Lua that makes the requests. */
  readonly script?: string;
}

/** HTTP/1.1 with keep-alive, as much as the proxy bears. */
export function wrk(options: WrkOptions = {}): Load {
  const { target = TARGET, connections = CONNECTIONS, script } = options;
  return async (runner, seconds) => {
    const child = pinned(LOAD_CORE, [
      "wrk",
      ...HEADERS.flatMap((header) => ["-H", header]),
      ...(script === undefined ? [] : ["-s", script]),
      ...`-t 1 -c ${connections} -d ${seconds}s http://127.0.0.1:${runner.port}${target}`.split(
        " ",
      ),
    ]);
    const output = await outputOf(child);
    const done = Number(/(\d+) requests in/.exec(output)?.[1] ?? 0);
    if (done === 0) throw new Error(`${runner.name} answered nothing: ${output}`);
    const failed = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
    const broken = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(
      output,
    );
    const sockets = (broken ?? []).slice(1).reduce((sum, count) => sum + Number(count), 0);
    return { done, errors: failed + sockets };
  };
}

export interface H2loadOptions {
  readonly target?: string;
  readonly scheme?: "http" | "https";
  /** HTTP/1.1 in place of HTTP/2. */
  readonly http1?: boolean;
  readonly connections?: number;
  /** Streams of one connection at a time. */
  readonly streams?: number;
  readonly headers?: readonly string[];
  /** File that is sent as the body of each request. */
  readonly bodyFile?: string;
}

/** HTTP/2, or HTTP/1.1 over TLS, as much as the proxy bears. */
export function h2load(options: H2loadOptions): Load {
  const { target = TARGET, scheme = "https", http1 = false, bodyFile } = options;
  const { connections = CONNECTIONS, streams = 1, headers = HEADERS } = options;
  return async (runner, seconds) => {
    const protocol = http1 ? ["--h1"] : [];
    const child = pinned(LOAD_CORE, [
      "h2load",
      ...protocol,
      ...(bodyFile === undefined ? [] : ["-d", bodyFile]),
      ...headers.flatMap((header) => ["-H", header]),
      ...`--tls13-ciphers=${CIPHER} -c ${connections} -m ${streams} -D ${seconds}`.split(" "),
      `${scheme}://localhost:${runner.port}${target}`,
    ]);
    const output = await outputOf(child);
    const counts =
      /requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(
        output,
      );
    const [done = 0, succeeded = 0] = (counts ?? []).slice(1).map(Number);
    if (succeeded === 0) throw new Error(`${runner.name} answered nothing: ${output}`);
    return { done: succeeded, errors: done - succeeded };
  };
}

/** What requests took at a rate that the proxy does not choose, in milliseconds. */
export interface Latency {
  readonly sent: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** 99th percentile of how late the load itself was. */
  readonly lateP99: number;
  readonly errors: number;
}
