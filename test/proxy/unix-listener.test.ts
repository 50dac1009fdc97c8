/**
 * Listeners on Unix sockets: clients of curl and node:net, what backends and the log are told of them,
 * and whose the file at the path is, from before the gateway begins until after it has ended.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";
import { unixAddress } from "../../src/compile/address.ts";
import type { ClientPart, Part } from "../../src/compile/program.ts";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import {
  oneRoute,
  testGateway,
  type GatewayOptions,
  type TestGateway,
} from "../support/gateway.ts";
import { lacks } from "../support/programs.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { eventually, origin, rawOrigin, type Origin } from "../support/upstream.ts";

const run = promisify(execFile);
const CURL = { skip: lacks("curl") };
/** What the listener says its port is. */
const PORT = 8080;

let folder: string;
let file: string;
let app: Origin;

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "sluice-unix-"));
  app = await origin((seen, response) => response.end(seen.body || "ok"));
});

beforeEach(() => {
  file = path.join(folder, "edge.sock");
  app.requests.length = 0;
});

after(async () => {
  await app[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** The same parts with their socket at `file`. */
function onPath(parts: readonly Part[], client?: ClientPart): Part[] {
  const moved = parts.map((part) => {
    if (part.type !== "socket") return part;
    const policy = client === undefined ? {} : { client: client.key };
    return { ...part, ...policy, address: unixAddress(file), port: PORT };
  });
  return client === undefined ? moved : [...moved, client];
}

function gateway(options: Partial<GatewayOptions> = {}): Promise<TestGateway> {
  return testGateway({ parts: onPath(oneRoute({ stable: [app.port] })), ...options });
}

async function curl(...args: readonly string[]): Promise<string> {
  const { stdout } = await run("curl", ["-sS", "--unix-socket", file, ...args]);
  return stdout;
}

/** What a client of node:net gets for `request`, up to the end. */
async function ask(request: string): Promise<string> {
  const socket = connect({ path: file }).setEncoding("latin1");
  let received = "";
  socket.on("data", (text: string) => (received += text));
  socket.on("error", () => {});
  socket.write(request, "latin1");
  await once(socket, "close");
  return received;
}

describe("clients of a Unix socket", () => {
  test("curl: requests, bodies, one connection for several, HTTP/2", CURL, async () => {
    await using front = await gateway();
    assert.equal(await curl("http://app/"), "ok");
    assert.equal(await curl("--data", "x".repeat(100_000), "http://app/"), "x".repeat(100_000));
    const tell = ["-w", " %{http_version} %{num_connects}\n"];
    assert.equal(await curl(...tell, "http://app/", "http://app/"), "ok 1.1 1\nok 1.1 0\n");
    assert.equal(await curl(...tell, "--http2-prior-knowledge", "http://app/"), "ok 2 1\n");
    assert.equal(front.worker("connections"), 4);
  });

  test("backends are told host and port, and no address, for the client has none", async () => {
    const lines: string[] = [];
    const accessLog = {
      line: (text: string) => lines.push(text),
      dropped: 0,
      close: async () => {},
    };
    await using front = await gateway({ accessLog });
    const forged = "X-Forwarded-For: 192.0.2.1\r\n";
    await ask(`GET / HTTP/1.1\r\nHost: app\r\n${forged}Connection: close\r\n\r\n`);
    await ask("GET / HTTP/1.0\r\n\r\n");
    const [named, nameless] = app.requests.map(({ headers }) => headers);
    assert.equal(named?.["x-forwarded-for"], undefined);
    assert.equal(named?.["x-forwarded-proto"], "http");
    assert.equal(named?.["x-forwarded-port"], String(PORT));
    assert.equal(named?.["x-forwarded-host"], "app");
    assert.equal(nameless?.host, `localhost:${PORT}`);
    assert.equal(nameless?.["x-forwarded-host"], undefined);
    const clients = lines.map((line) => (JSON.parse(line) as { client: string }).client);
    assert.deepEqual(clients, ["unix:", "unix:"]);
    assert.equal(front.worker("connections"), 2);
  });

  test("a PROXY header tells who the client is", async () => {
    const client = { type: "client", key: "client/p", proxyProtocol: "required" } as const;
    await using front = await gateway({
      parts: onPath(oneRoute({ stable: [app.port] }), client),
    });
    const request = "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
    await ask(`PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n${request}`);
    await ask(`PROXY UNKNOWN\r\n${request}`);
    const told = app.requests.map(({ headers }) => headers["x-forwarded-for"]);
    assert.deepEqual(told, ["192.0.2.7", undefined]);
    assert.equal(front.worker("connections"), 2);
  });

  test("TLS ends there as elsewhere", CURL, async () => {
    const certificates = { a: SERVED[0] as TestCertificate };
    const listeners = [{ hostname: "", certificates: ["a"] }];
    const parts = secureParts({ listeners, certificates, route: { stable: [app.port] } });
    const credentials = privateKeys(certificates);
    await using front = await gateway({ parts: onPath(parts), credentials });
    const tell = ["--insecure", "-w", " %{http_version}"];
    assert.equal(await curl(...tell, "https://a.example/"), "ok 2");
    assert.equal(await curl(...tell, "--http1.1", "https://a.example/"), "ok 1.1");
    assert.equal(app.requests[0]?.headers["x-forwarded-proto"], "https");
    assert.equal(front.worker("connections"), 2);
  });

  test("a response that breaks off ends the connection, and nothing else", async () => {
    await using broken = await rawOrigin((socket) => {
      socket.write(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        "latin1",
        () => socket.resetAndDestroy(),
      );
    });
    const bugs: unknown[] = [];
    await using front = await gateway({
      parts: onPath(oneRoute({ stable: [broken.port] })),
      onBug: (error) => bugs.push(error),
    });
    // HTTP/1.0 has no chunks: its body ends with the connection.
    assert.match(await ask("GET / HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 200 OK\r\n/);
    assert.deepEqual(bugs, []);
    await eventually(() => front.plane.connections === 0);
  });
});

describe("the file at the path", () => {
  test("is for its owner and their group, and gone with the gateway", async () => {
    const front = await gateway();
    assert.equal(statSync(file).mode & 0o777, 0o660);
    await front[Symbol.asyncDispose]();
    assert.equal(existsSync(file), false);
  });

  test("what a killed process left behind makes way", async () => {
    const leave = `require("node:net").createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, "SIGKILL"))`;
    await once(spawn(process.execPath, ["-e", leave]), "exit");
    assert.ok(statSync(file).isSocket());
    await using front = await gateway();
    assert.match(await ask("GET / HTTP/1.0\r\n\r\n"), / 200 OK/);
    assert.equal(front.worker("connections"), 1);
  });

  test("one on which somebody answers stays theirs", async () => {
    const other = createServer((socket) => {
      socket.on("error", () => {});
      socket.end("mine");
    }).listen(file);
    await once(other, "listening");
    await assert.rejects(gateway(), /edge\.sock is in use by another program/);
    assert.equal(await ask(""), "mine");
    other.close();
    await once(other, "close");
  });

  test("one that is no socket stays what it is", async () => {
    writeFileSync(file, "a file");
    await assert.rejects(gateway(), /edge\.sock is there and is no socket/);
    assert.equal(statSync(file).isFile(), true);
    rmSync(file);
  });
});
