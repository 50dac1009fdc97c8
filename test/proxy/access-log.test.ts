/**
 * The access log says of every request how it ended, who ended it, in which phase, and how long each
 * phase took; as JSON or by a template; all requests or a share; through a rotation of its file.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { type AccessLog, openAccessLog } from "../../src/proxy/access-log.ts";
import { ACCESS_FIELDS, parseAccessTemplate } from "../../src/proxy/access-template.ts";
import { VirtualClock } from "../support/clock.ts";
import { oneRoute, testGateway, type GatewayOptions } from "../support/gateway.ts";
import { closedPort, eventually, origin, RawClient, rawOrigin } from "../support/upstream.ts";

const GET = "GET /x HTTP/1.1\r\nHost: app\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/** Long enough to see on any machine that it was waited for. */
const SHORT_MS = 100;

type Line = Readonly<Record<string, unknown>>;

function lineLog(): { lines: string[]; accessLog: AccessLog } {
  const lines: string[] = [];
  const accessLog = {
    line: (text: string) => lines.push(text),
    dropped: 0,
    close: () => Promise.resolve(),
  };
  return { lines, accessLog };
}

interface Case {
  readonly name: string;
  /** What the origin writes for each read; "close" and "reset" do that. */
  readonly origin?: readonly string[];
  readonly client: (client: RawClient, origin: { reads: number }) => void | Promise<void>;
  readonly timeouts?: GatewayOptions["timeouts"];
  readonly stable?: () => Promise<readonly number[]>;
  readonly ended: readonly [reason: string, endedBy: string, phase: string];
  /** Timers that are numbers; the others are null. */
  readonly timed: readonly string[];
}

const WAITED = ["requestHeadUs", "waitUs"];
const CONNECTED = [...WAITED, "connectUs"];
const ANSWERED = [...CONNECTED, "upstreamUs", "bodyUs"];

const CASES: readonly Case[] = [
  {
    name: "a whole answer",
    origin: [OK],
    client: (client) => client.send(GET),
    ended: ["ok", "backend", "done"],
    timed: ANSWERED,
  },
  {
    name: "a head that cannot be parsed",
    client: (client) => client.send("BAD\r\n\r\n"),
    ended: ["head_malformed", "gateway", "requestHead"],
    timed: ["requestHeadUs"],
  },
  {
    name: "a head that does not come to its end",
    client: (client) => client.send("GET / HTTP/1.1\r\nHo"),
    timeouts: { requestHeadMs: SHORT_MS },
    ended: ["request_timed_out", "client", "requestHead"],
    timed: ["requestHeadUs"],
  },
  {
    name: "no connection to be had",
    client: (client) => client.send(GET),
    stable: async () => [await closedPort()],
    ended: ["upstream_connect_failed", "backend", "connect"],
    timed: WAITED,
  },
  {
    name: "a route without endpoints",
    client: (client) => client.send(GET),
    stable: async () => [],
    ended: ["no_endpoint", "gateway", "wait"],
    timed: ["requestHeadUs"],
  },
  {
    name: "a backend that closes instead of answering",
    origin: ["close"],
    client: (client) => client.send(GET),
    ended: ["upstream_reset", "backend", "upstream"],
    timed: CONNECTED,
  },
  {
    name: "a client that leaves before the answer",
    origin: [""],
    client: async (client, app) => {
      client.send(GET);
      await eventually(() => app.reads === 1);
      client.socket.end();
    },
    ended: ["client_gone", "client", "upstream"],
    timed: CONNECTED,
  },
  {
    name: "a backend that breaks off its body",
    origin: ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "close"],
    client: async (client) => {
      client.send(`POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\na`);
      await client.until(({ received }) => received.includes("half"));
      client.send("b");
    },
    ended: ["response_truncated", "backend", "body"],
    timed: ANSWERED,
  },
];

describe("how a request ended", () => {
  for (const { name, client: talk, ended, timed, ...given } of CASES) {
    test(name, async () => {
      const answers = [...(given.origin ?? [])];
      const seen = { reads: 0 };
      await using app = await rawOrigin((socket) => {
        seen.reads++;
        const answer = answers.shift() ?? "";
        if (answer === "close") socket.destroy();
        else socket.write(answer);
      });
      const { lines, accessLog } = lineLog();
      await using gateway = await testGateway({
        parts: oneRoute({ stable: (await given.stable?.()) ?? [app.port] }),
        accessLog,
        ...(given.timeouts === undefined ? {} : { timeouts: given.timeouts }),
      });
      using client = new RawClient(gateway.port);
      await talk(client, seen);
      await eventually(() => lines.length === 1);
      const line = JSON.parse(lines[0] ?? "") as Line;
      assert.deepEqual([line["reason"], line["endedBy"], line["phase"]], ended);
      const numbers = [...ANSWERED].filter((timer) => typeof line[timer] === "number");
      assert.deepEqual(numbers, timed);
    });
  }

  test("the timers add up to the duration, and each is that of its phase", async () => {
    await using app = await rawOrigin((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    });
    const { lines, accessLog } = lineLog();
    const parts = oneRoute({ stable: [app.port] });
    await using gateway = await testGateway({ parts, accessLog });
    using client = new RawClient(gateway.port);
    client.send(GET.slice(0, 10));
    const sinceMs = performance.now();
    await eventually(() => performance.now() - sinceMs > SHORT_MS);
    client.send(GET.slice(10));
    await client.until(({ received }) => received.includes("\r\n\r\n"));
    app.sockets[0]?.write("body");
    await client.responses(1);
    await eventually(() => lines.length === 1);
    const line = JSON.parse(lines[0] ?? "") as Record<string, number>;
    const { durationUs, requestHeadUs, waitUs, connectUs, upstreamUs, bodyUs } = line;
    const sum = (waitUs ?? 0) + (connectUs ?? 0) + (upstreamUs ?? 0) + (bodyUs ?? 0);
    assert.ok(Math.abs(sum - (durationUs ?? 0)) <= 4, lines[0]);
    assert.ok((requestHeadUs ?? 0) > (SHORT_MS / 2) * 1000, lines[0]);
    assert.ok((connectUs ?? 0) > 0 && (bodyUs ?? 0) > 0, lines[0]);
  });
});

describe("a template", () => {
  test("names every member of the JSON line in the same order, and those that few lines have", async () => {
    await using app = await origin();
    const { lines, accessLog } = lineLog();
    const accessLines = { template: null, sample: 1, sampleErrors: 0.5, random: () => 0 };
    const parts = oneRoute({ stable: [app.port], rule: { name: "all" } });
    await using gateway = await testGateway({ parts, accessLog, accessLines });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.responses(1);
    const members = Object.keys(JSON.parse(lines[0] ?? "") as Line);
    assert.deepEqual(
      members,
      ACCESS_FIELDS.filter((field) => !["clientSubject", "traceId"].includes(field)),
    );
  });

  test("makes lines that no request can forge", async () => {
    const template = parseAccessTemplate('%{method} "%{path}" %{status} %{clientId} 100%%');
    assert.ok(typeof template !== "string");
    await using app = await origin();
    const { lines, accessLog } = lineLog();
    const accessLines = { template, sample: 1, sampleErrors: 1, random: () => 0 };
    const parts = oneRoute({ stable: [app.port] });
    await using gateway = await testGateway({ parts, accessLog, accessLines });
    using client = new RawClient(gateway.port);
    client.send(`GET /a"b?key=secret HTTP/1.1\r\nHost: app\r\n\r\n`);
    await client.responses(1);
    assert.deepEqual(lines, ['GET "/a\\"b" 200 - 100%\n']);
  });

  for (const [text, says] of [
    ["%{stats}", /^%\{stats\} is not a field; fields are time, requestId, client,.* sample$/],
    ["%{constructor}", /is not a field/],
    ["%{status", /has a % that begins neither/],
    ["50% of %{status}", /has a % that begins neither/],
    ["plain text", /names no field/],
    ["%{status}\n%{path}", /one line of printable ASCII/],
    ["%{status}".repeat(1000), /longer than 4096/],
  ] as const) {
    test(`${JSON.stringify(text.slice(0, 20))} is refused, with what would be valid`, () => {
      const fault = parseAccessTemplate(text);
      assert.ok(typeof fault === "string");
      assert.match(fault, says);
    });
  }
});

describe("a sample", () => {
  test("holds its share of what went well, every failure, and says what a line stands for", async () => {
    await using app = await origin((request, response) => {
      response.statusCode = request.url === "/bad" ? 500 : 200;
      response.end("x");
    });
    const { lines, accessLog } = lineLog();
    const random = seededRandom(3);
    const accessLines = { template: null, sample: 0.1, sampleErrors: 1, random };
    const parts = oneRoute({ stable: [app.port] });
    await using gateway = await testGateway({ parts, accessLog, accessLines });
    using client = new RawClient(gateway.port);
    const rounds = 40;
    for (let round = 1; round <= rounds; round++) {
      client.send(`${GET.repeat(10)}${GET.replace("/x", "/bad")}`);
      await client.responses(round * 11);
    }
    const seen = lines.map((line) => JSON.parse(line) as Line);
    const failures = seen.filter(({ status }) => status === 500);
    assert.equal(failures.length, rounds);
    assert.ok(failures.every(({ sample }) => sample === 1));
    const good = seen.filter(({ status }) => status === 200);
    assert.ok(good.every(({ sample }) => sample === 0.1));
    assert.ok(good.length > 20 && good.length < 65, `${good.length} of ${rounds * 10}`);
  });

  test("counts an answer that broke off among the failures, whatever its status is", async () => {
    const half = OK.replace("Length: 2", "Length: 9");
    await using broken = await rawOrigin((socket) => socket.end(half));
    const { lines, accessLog } = lineLog();
    const accessLines = { template: null, sample: 0.1, sampleErrors: 1, random: () => 0.5 };
    const parts = oneRoute({ stable: [broken.port] });
    await using gateway = await testGateway({ parts, accessLog, accessLines });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await eventually(() => client.closed || client.ended);
    const seen = lines.map((line) => JSON.parse(line) as Line);
    assert.deepEqual(
      seen.map(({ status, reason, sample }) => [status, reason, sample]),
      [[200, "response_truncated", 1]],
    );
  });

  test("counts a canary that stable stood in for among the failures", async () => {
    await using good = await origin();
    await using bad = await origin((_request, response) => {
      response.statusCode = 500;
      response.end();
    });
    const { lines, accessLog } = lineLog();
    const accessLines = { template: null, sample: 0.1, sampleErrors: 1, random: () => 0.5 };
    const parts = oneRoute({ stable: [good.port], canary: [bad.port], weightBp: 9999 });
    await using gateway = await testGateway({ parts, accessLog, accessLines, random: () => 0.5 });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.responses(1);
    const seen = lines.map((line) => JSON.parse(line) as Line);
    assert.deepEqual(
      seen.map(({ status, shielded, sample }) => [status, shielded, sample]),
      [[200, true, 1]],
    );
  });

  test("of failures is taken where that is asked for", async () => {
    const { lines, accessLog } = lineLog();
    const accessLines = { template: null, sample: 1, sampleErrors: 0.5, random: () => 0.7 };
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [] }),
      accessLog,
      accessLines,
    });
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.responses(1);
    assert.deepEqual(lines, []);
  });
});

test("workers that share a standard output tear none of each other's lines", async () => {
  // A pipe, whose reader does not keep up: writes of any length would be cut where it is full.
  const script = fileURLToPath(new URL("../support/log-writer.ts", import.meta.url));
  const child = spawn("sh", ["-c", '"$0" "$1" | cat', process.execPath, script]);
  child.stdout.setEncoding("latin1");
  child.stderr.setEncoding("latin1");
  let text = "";
  let dropped = "";
  child.stderr.on("data", (more: string) => (dropped += more));
  child.stdout.on("data", (more: string) => {
    text += more;
    child.stdout.pause();
    setImmediate(() => child.stdout.resume());
  });
  await once(child, "close");
  const lines = text.trimEnd().split("\n");
  for (const line of lines) assert.doesNotThrow(() => JSON.parse(line), line);
  const droppedSum = dropped.split("\n").reduce((sum, count) => sum + Number(count), 0);
  assert.equal(lines.length + droppedSum, 24_000);
});

test("a destination that takes nothing costs lines, and no more memory than the log has", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-log-"));
  const pipe = path.join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  const reader = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  const log = openAccessLog(pipe, systemClock);
  const line = `${"x".repeat(999)}\n`;
  const { arrayBuffers } = process.memoryUsage();
  for (let count = 0; count < 20_000; count++) log.line(line);
  assert.ok(log.dropped > 14_000 && log.dropped < 17_000, `${log.dropped} of 20 MB`);
  assert.ok(process.memoryUsage().arrayBuffers - arrayBuffers < 6_000_000);
  const taken = Buffer.alloc(65_536);
  let closed = false;
  const closing = log.close().then(() => (closed = true));
  await eventually(() => {
    try {
      while (readSync(reader, taken) > 0);
    } catch {
      // Nothing is there for now.
    }
    return closed;
  });
  await closing;
  closeSync(reader);
  rmSync(folder, { recursive: true });
});

describe("reopening", () => {
  function place() {
    const directory = mkdtempSync(path.join(tmpdir(), "sluice-log-"));
    return {
      file: path.join(directory, "access.log"),
      [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
    };
  }

  test("ten rotations while lines are written: none is lost, torn or out of order", async () => {
    using where = place();
    const log = openAccessLog(where.file, systemClock);
    const rotations = 10;
    let next = 0;
    for (let rotation = 0; rotation < rotations; rotation++) {
      renameSync(where.file, `${where.file}.${rotation}`);
      let reopened = false;
      void log.reopen().then(() => (reopened = true));
      const untilLine = next + 3000;
      while (!reopened || next < untilLine) {
        for (let burst = 0; burst < 200; burst++) log.line(`line ${next++} ${"x".repeat(100)}\n`);
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      }
    }
    await log.close();
    assert.equal(log.dropped, 0);
    const files = [...Array(rotations).keys()].map((rotation) => `${where.file}.${rotation}`);
    const text = [...files, where.file].map((file) => readFileSync(file, "latin1"));
    assert.ok(
      text.every((part) => part === "" || part.endsWith("\n")),
      "lines are whole",
    );
    const numbers = [...text.join("").matchAll(/^line (\d+) x{100}$/gm)].map(([, n]) => Number(n));
    assert.deepEqual(numbers, [...Array(next).keys()]);
  });

  test("a file that cannot be opened leaves the log in the old one, and is told", async () => {
    using where = place();
    const log = openAccessLog(where.file, systemClock);
    const moved = `${path.dirname(where.file)}-moved`;
    renameSync(path.dirname(where.file), moved);
    await assert.rejects(log.reopen(), /ENOENT/);
    log.line("still here\n");
    await log.close();
    assert.equal(readFileSync(path.join(moved, "access.log"), "latin1"), "still here\n");
    rmSync(moved, { recursive: true });
  });

  test("after the end opens nothing", async () => {
    using where = place();
    const clock = new VirtualClock();
    const log = openAccessLog(where.file, clock);
    await log.close();
    unlinkSync(where.file);
    await log.reopen();
    assert.equal(existsSync(where.file), false);
  });
});
