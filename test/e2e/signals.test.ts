/**
 * What a real `sluice up` does when it is signalled: SIGTERM ends it in order, a second one at once,
 * Ctrl-C without the pause for load balancers, and SIGHUP reopens the access log under load.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { spawn } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Load } from "../support/load.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice, type SluiceOptions } from "../support/sluice.ts";
import { origin, RawClient } from "../support/upstream.ts";

const MAIN = path.resolve(import.meta.dirname, "../../src/cli/main.ts");
const GET = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
/** Far longer than what a test does meanwhile, and shorter than it waits for an exit. */
const DELAY = ["--drain-delay", "3s"];

/** A gateway before an origin that answers at once, and holds /slow, and streams /events. */
async function serving(options: SluiceOptions) {
  const held: ServerResponse[] = [];
  const app = await origin((request, response) => {
    if (request.url === "/") {
      response.end("ok");
      return;
    }
    held.push(response);
    if (request.url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: 1\n\n");
    }
  });
  const port = await freePort();
  const sluice = await Sluice.start({ workers: 2, ...options });
  await sluice.apply(shop.gateway(port), shop.route(), shop.backend("1", app.port));
  await eventually("it serves", async () => (await fetch(`http://127.0.0.1:${port}/`)).ok);
  const exit = once(sluice.child, "exit") as Promise<[number | null, string | null]>;
  return {
    app,
    held,
    port,
    sluice,
    exit,
    [Symbol.asyncDispose]: async () => {
      await sluice[Symbol.asyncDispose]();
      await app[Symbol.asyncDispose]();
    },
  };
}

async function readiness(sluice: Sluice): Promise<number> {
  return (await fetch(`${sluice.adminUrl}/readyz`)).status;
}

/** Whether a connection to the port is refused. */
async function refused(port: number): Promise<true | undefined> {
  const socket = connect(port, "127.0.0.1");
  const answer = await Promise.race([
    once(socket, "connect").then(() => "open"),
    once(socket, "error").then(() => "refused"),
  ]).catch(() => "refused");
  socket.destroy();
  return answer === "refused" ? true : undefined;
}

test("SIGTERM: readiness fails, all is served on, then what is in flight ends whole", async () => {
  await using running = await serving({ args: DELAY });
  const { held, port, sluice, exit } = running;
  using slow = new RawClient(port);
  using events = new RawClient(port);
  slow.send(GET.replace("/", "/slow"));
  events.send(GET.replace("/", "/events"));
  await events.until(({ received }) => received.includes("data: 1"));
  await eventually("both are in flight", () => held.length === 2);
  sluice.child.kill("SIGTERM");
  await eventually("readiness fails", async () => (await readiness(sluice)) === 503);
  {
    using late = new RawClient(port);
    late.send(GET);
    await late.until(({ ended }) => ended);
    assert.match(late.received, /^HTTP\/1\.1 200 .*\r\nconnection: close\r\n.*ok$/is);
  }
  assert.equal(await readiness(sluice), 503);
  await eventually("no connection is taken any more", () => refused(port));
  assert.equal(await readiness(sluice), 503, "the admin API outlives the listeners");
  for (const response of held) {
    response.write(response.headersSent ? "data: 2\n\n" : "slow");
    response.end();
  }
  await Promise.all([slow, events].map((client) => client.until(({ ended }) => ended)));
  for (const client of [slow, events]) client.socket.end();
  assert.match(slow.received, /^HTTP\/1\.1 200 .*\r\nconnection: close\r\n.*slow/is);
  assert.match(events.received, /data: 1.*data: 2\n\n\r\n0\r\n\r\n$/s);
  assert.deepEqual(await exit, [0, null]);
});

test("SIGTERM: an HTTP/2 client is sent GOAWAY, and its streams end whole", async () => {
  await using running = await serving({});
  const { held, port, sluice, exit } = running;
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const streams = [1, 2].map(() => session.request({ ":path": "/slow" }));
  let [texts, goaway] = ["", -1];
  for (const stream of streams) {
    stream.setEncoding("latin1");
    stream.on("data", (text: string) => (texts += text));
  }
  session.on("goaway", (code) => (goaway = code));
  await eventually("both are in flight", () => held.length === 2);
  sluice.child.kill("SIGTERM");
  await eventually("the client is told", () => goaway === 0);
  for (const response of held) response.end("slow");
  await Promise.all(streams.map((stream) => once(stream, "close")));
  assert.equal(texts, "slowslow");
  assert.deepEqual(await exit, [0, null]);
  session.close();
});

test("what is still in flight after the drain timeout is cut, and the exit code is 0", async () => {
  await using running = await serving({ args: ["--drain-timeout", "300ms"] });
  const { held, port, sluice, exit } = running;
  using client = new RawClient(port);
  client.send(GET.replace("/", "/slow"));
  await eventually("it is in flight", () => held.length === 1);
  const askedMs = performance.now();
  sluice.child.kill("SIGTERM");
  await client.until(({ ended, closed }) => ended || closed);
  assert.match(client.received, /^HTTP\/1\.1 503 .*"draining"/s);
  assert.deepEqual(await exit, [0, null]);
  assert.ok(performance.now() - askedMs < 5000);
});

test("a second SIGTERM ends the process at once", async () => {
  await using running = await serving({ args: DELAY });
  const { held, port, sluice, exit } = running;
  using client = new RawClient(port);
  client.send(GET.replace("/", "/slow"));
  await eventually("it is in flight", () => held.length === 1);
  sluice.child.kill("SIGTERM");
  await eventually("readiness fails", async () => (await readiness(sluice)) === 503);
  sluice.child.kill("SIGTERM");
  assert.deepEqual(await exit, [143, null]);
});

test("Ctrl-C does not wait for load balancers", async () => {
  await using running = await serving({ args: ["--drain-delay", "20s"] });
  const askedMs = performance.now();
  running.sluice.child.kill("SIGINT");
  assert.deepEqual(await running.exit, [0, null]);
  assert.ok(performance.now() - askedMs < 10_000);
});

test("SIGHUP reopens the access log: through five rotations under load no line is lost", async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-rotate-"));
  const file = path.join(directory, "access.log");
  try {
    await using running = await serving({ accessLog: file });
    const { port, sluice, exit } = running;
    await using load = new Load(`http://127.0.0.1:${port}`, { perSecond: 500 });
    for (let rotation = 1; rotation <= 5; rotation++) {
      const before = load.results.length;
      await eventually("some load", () => load.results.length > before + 100);
      renameSync(file, `${file}.${rotation}`);
      sluice.child.kill("SIGHUP");
      await eventually("the new file is written to", () => readFileSync(file, "latin1") !== "");
    }
    await load.stop();
    assert.deepEqual(load.failed, []);
    sluice.child.kill("SIGTERM");
    assert.deepEqual(await exit, [0, null]);
    const text = globSync(`${file}*`).map((each) => readFileSync(each, "latin1"));
    assert.equal(text.length, 6);
    const lines = text.flatMap((each) => each.split("\n").filter((line) => line !== ""));
    const ids = new Set(lines.map((line) => (JSON.parse(line) as { requestId: string }).requestId));
    // One request more found out whether it serves.
    assert.ok(ids.size >= load.results.length + 1);
    assert.equal(ids.size, lines.length);
    assert.equal(ids.size, running.app.requests.length + lines.filter(isUnserved).length);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

const SCRIPT = "/usr/bin/script";

test(
  "in a terminal, SIGHUP reopens the log while the terminal is there, and ends where it is closed",
  { skip: existsSync(SCRIPT) ? false : "script makes the terminal" },
  async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "sluice-terminal-"));
    const file = path.join(directory, "access.log");
    const admin = `127.0.0.1:${await freePort()}`;
    const args = ["up", "--workers", "1", "--admin", admin, "--data", directory];
    const command = ["exec", process.execPath, MAIN, ...args, "--access-log", file].join(" ");
    const terminal = spawn(SCRIPT, ["-qc", command, "/dev/null"], { stdio: "ignore" });
    const ready = async (): Promise<boolean> => (await fetch(`http://${admin}/readyz`)).ok;
    try {
      await eventually("it is ready", ready);
      const children = `/proc/${terminal.pid}/task/${terminal.pid}/children`;
      const pid = Number(readFileSync(children, "utf8").trim());
      renameSync(file, `${file}.1`);
      process.kill(pid, "SIGHUP");
      await eventually("the file is there again", () => existsSync(file));
      assert.ok(await ready());
      terminal.kill("SIGKILL");
      await eventually("the process has ended", () => !existsSync(`/proc/${pid}`));
    } finally {
      terminal.kill("SIGKILL");
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

/** A line of a request before there was a route. */
function isUnserved(line: string): boolean {
  return (JSON.parse(line) as { status: number }).status === 404;
}

test("wrong flags are refused by name, with what would be valid", async () => {
  for (const [args, says] of [
    [["--access-log-format", "%{stats}"], /%\{stats\} is not a field; fields are time, requestId/],
    [["--access-log-sample", "0"], /above 0 and at most 1/],
    [["--access-log-sample-errors", "2"], /above 0 and at most 1/],
    [["--drain-delay", "30s"], /--drain-delay: must not be longer than --drain-timeout/],
    [["--drain-timeout", "soon"], /must be a duration/],
  ] as const) {
    await using sluice = await Sluice.spawn({ args });
    const [code] = (await once(sluice.child, "exit")) as [number];
    assert.equal(code, 2);
    assert.match(sluice.output, says);
  }
});
