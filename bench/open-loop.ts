/**
 * Load at a rate that the proxy does not choose. Requests are due by the clock, whatever has become
 * of those before; each is timed from the moment it was due, also where it had to wait for a
 * connection, so that a proxy that stalls pays for all that it kept waiting (no coordinated
 * omission). A program of its own. Arguments: port, requests a second, seconds, connections, path.
 * Its output is one line of JSON (`Latency`).
 */
import { connect, type Socket } from "node:net";
import { HEADERS, TARGET, type Latency } from "./load.ts";

const WARM_UP_MS = 500;
/** Requests may wait this long for an answer when the time is over. */
const TAIL_MS = 2000;
const BLANK_LINE = "\r\n\r\n";

const [port = 0, rate = 0, seconds = 0, connections = 0] = process.argv.slice(2, 6).map(Number);
const target = process.argv[6] ?? TARGET;
const REQUEST = Buffer.from(
  `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${HEADERS.join("\r\n")}${BLANK_LINE}`,
);

const latencies: number[] = [];
const lateness: number[] = [];
const free: Connection[] = [];
/** When the requests were due that wait for a connection. */
const waiting: number[] = [];
let errors = 0;
let sent = 0;

/** One connection with one request at a time; answers have a content-length. */
class Connection {
  readonly #socket: Socket;
  #dueMs = 0;
  #bodyLeft = -1;
  #partial = "";

  constructor() {
    const buffer = Buffer.alloc(64 * 1024);
    this.#socket = connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      onread: { buffer, callback: (length) => this.#read(buffer, length) },
    });
    this.#socket.once("connect", () => this.#next());
    this.#socket.on("error", () => {
      errors += 1;
    });
  }

  send(dueMs: number): void {
    this.#dueMs = dueMs;
    this.#bodyLeft = -1;
    this.#socket.write(REQUEST);
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(buffer: Buffer, length: number): boolean {
    let at = 0;
    if (this.#bodyLeft === -1) {
      const before = this.#partial.length;
      this.#partial += buffer.toString("latin1", 0, length);
      const end = this.#partial.indexOf(BLANK_LINE);
      if (end === -1) return true;
      const size = /content-length: (\d+)/i.exec(this.#partial)?.[1];
      if (size === undefined || this.#partial.charCodeAt(9) !== 0x32) errors += 1;
      this.#bodyLeft = Number(size ?? 0);
      this.#partial = "";
      at = end + BLANK_LINE.length - before;
    }
    this.#bodyLeft -= length - at;
    if (this.#bodyLeft <= 0) this.#done();
    return true;
  }

  #done(): void {
    const nowMs = performance.now();
    if (this.#dueMs >= countFromMs) latencies.push(nowMs - this.#dueMs);
    this.#next();
  }

  #next(): void {
    const dueMs = waiting.shift();
    if (dueMs === undefined) free.push(this);
    else this.send(dueMs);
  }
}

const all = Array.from({ length: connections }, () => new Connection());
while (free.length < connections) {
  await new Promise((resolve) => setTimeout(resolve, 5));
}
const startMs = performance.now();
const countFromMs = startMs + WARM_UP_MS;
const endMs = countFromMs + seconds * 1000;
/** Requests are due on the clock's whole milliseconds, some at a time, for timers have no finer one. */
let dueMs = Math.ceil(startMs);
let owed = 0;

function tick(): void {
  const nowMs = performance.now();
  while (dueMs <= nowMs && dueMs < endMs) {
    owed += rate / 1000;
    if (dueMs >= countFromMs) lateness.push(nowMs - dueMs);
    for (; owed >= 1; owed--) {
      sent += 1;
      const connection = free.shift();
      if (connection === undefined) waiting.push(dueMs);
      else connection.send(dueMs);
    }
    dueMs += 1;
  }
  if (dueMs < endMs) setTimeout(tick, 1);
  else setTimeout(finish, TAIL_MS);
}

function finish(): void {
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (values: readonly number[], share: number): number =>
    Number(
      (values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0).toFixed(3),
    );
  const unanswered = waiting.length + (connections - free.length);
  const latency: Latency = {
    sent,
    p50: at(sorted, 0.5),
    p90: at(sorted, 0.9),
    p99: at(sorted, 0.99),
    p999: at(sorted, 0.999),
    max: at(sorted, 1),
    lateP99: at(
      lateness.toSorted((a, b) => a - b),
      0.99,
    ),
    errors: errors + unanswered,
  };
  process.stdout.write(`${JSON.stringify(latency)}\n`);
  for (const connection of all) connection.close();
}

tick();
