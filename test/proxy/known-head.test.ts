/** Heads that repeat on a connection: what is kept of them, and what is each request's own. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { NO_ACCESS_LOG, openAccessLog } from "../../src/proxy/access-log.ts";
import { CANARY, oneRoute, poolPart, splitPart, STABLE, testGateway } from "../support/gateway.ts";
import { origin, RawClient, rawOrigin, type RawOrigin, settled } from "../support/upstream.ts";

const GET = "GET /a?b=1 HTTP/1.1\r\nHost: app\r\nAccept: */*\r\n\r\n";
/** From the third time on a head is known by its bytes. */
const UNTIL_KNOWN = 4;

async function ask(client: RawClient, head: string, times = 1): Promise<string> {
  let text = "";
  for (let count = 0; count < times; count++) {
    client.received = "";
    client.send(head);
    text = await client.responses(1);
  }
  return text;
}

/** An origin that sends each answer exactly as `answer` says. */
async function scripted(answer: (request: number, socket: Socket) => string): Promise<RawOrigin> {
  let request = 0;
  return rawOrigin((socket) => {
    const text = answer(request++, socket);
    if (text !== "") socket.write(text, "latin1");
  });
}

function plain(body: string, more = ""): string {
  return `HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
}

describe("requests that repeat", () => {
  test("each has an id of its own, and all else is the same", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    await ask(client, GET.replace("Accept", "Connection: keep-alive, x\r\nX: 1\r\nAccept"), 600);
    const ids = app.requests.map(({ headers }) => String(headers["x-request-id"]));
    assert.equal(new Set(ids).size, 600);
    assert.ok(ids.every((id) => /^[0-9a-f]{32}$/.test(id)));
    // They count up, also where the last digits begin anew.
    const counts = ids.map((id) => Number.parseInt(id.slice(20), 16));
    assert.ok(
      counts.every((count, index) => index === 0 || count === (counts[index - 1] ?? 0) + 1),
    );
    const rest = app.requests.map(({ rawHeaders }, index) =>
      rawHeaders.map((text) => (text === ids[index] ? "" : text)).join("\n"),
    );
    assert.equal(new Set(rest).size, 1);
    assert.doesNotMatch(rest[0] ?? "", /\nX\n/);
  });

  test("an answer that ends its connection ends it each time", async () => {
    const seen: number[] = [];
    await using app = await rawOrigin((socket, _text, connection) => {
      seen.push(connection);
      socket.write(plain("ok", "Connection: close\r\n"));
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    await ask(client, GET, 6);
    assert.deepEqual(seen, [0, 1, 2, 3, 4, 5]);
  });

  test("an answer to try again after is tried again after each time", async () => {
    const retry = {
      attempts: 1,
      statusCodes: [[404, 404]],
      grpcCodes: [],
      on: [],
      backoffBaseMs: 1,
      backoffMaxMs: 1,
    } as const;
    let seen = 0;
    await using app = await scripted(() => {
      seen++;
      return plain("no").replace("200 OK", "404 Not Found");
    });
    const parts = oneRoute({ stable: [app.port], rule: { retry } });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    assert.match(await ask(client, GET, 6), /^HTTP\/1\.1 404 /);
    assert.equal(seen, 12);
  });

  test("a byte more, less or other is another request", async () => {
    await using app = await origin((request, response) => response.end(request.url));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    for (let round = 0; round < 3; round++) {
      assert.match(await ask(client, GET, UNTIL_KNOWN), /\/a\?b=1$/);
      assert.match(await ask(client, GET.replace("b=1", "b=2"), round + 1), /\/a\?b=2$/);
      assert.match(await ask(client, GET, UNTIL_KNOWN), /\/a\?b=1$/);
      assert.match(await ask(client, GET.replace("b=1", "b=12")), /\/a\?b=12$/);
      assert.match(await ask(client, GET, UNTIL_KNOWN), /\/a\?b=1$/);
      await ask(client, GET.replace("Accept: */*", "Accept: *"));
      assert.equal(app.requests.at(-1)?.headers.accept, "*");
    }
    // The last bytes fill no word of memory.
    for (const tail of ["X: 1", "X: 12", "X: 123", "X: 1234"]) {
      const head = GET.replace("Accept: */*", tail);
      await ask(client, head, UNTIL_KNOWN);
      assert.equal(app.requests.at(-1)?.headers["x"], tail.slice(3));
    }
    assert.match(await ask(client, `${GET.slice(0, -2)}bad\r\n\r\n`), /^HTTP\/1\.1 400 /);
  });

  test("in pieces, in a pipeline and after an empty line they are answered as ever", async () => {
    await using app = await origin((request, response) => response.end(request.url));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    await ask(client, GET, UNTIL_KNOWN);
    client.received = "";
    client.send(GET.slice(0, 20));
    // Half a head asks for nothing.
    // The gateway reads half of it.
    await settled(() => app.requests.length, 20);
    client.send(GET.slice(20));
    await client.responses(1);
    await ask(client, GET, UNTIL_KNOWN);
    await ask(client, `\r\n${GET}`);
    await ask(client, GET, UNTIL_KNOWN);
    client.received = "";
    client.send(GET + GET.replace("/a", "/c") + GET);
    const text = await client.responses(3);
    assert.deepEqual(text.match(/\/[ac]\?b=1/g), ["/a?b=1", "/c?b=1", "/a?b=1"]);
    const body = GET.replace("GET", "POST").replace("Accept: */*", "Content-Length: 2");
    await ask(client, body + "hi", UNTIL_KNOWN);
    assert.equal(app.requests.at(-1)?.body, "hi");
  });

  test("a new generation is served from the next request on", async () => {
    await using one = await origin((_request, response) => response.end("one"));
    await using two = await origin((_request, response) => response.end("two"));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [one.port] }) });
    using client = new RawClient(gateway.port);
    assert.match(await ask(client, GET, UNTIL_KNOWN), /one$/);
    await gateway.link([poolPart(STABLE, [two.port])]);
    assert.match(await ask(client, GET, UNTIL_KNOWN), /two$/);
    const edits = { set: [["x-new", "1"]], remove: ["accept"] } as const;
    const rule = { filters: { requestHeaders: edits, responseHeaders: edits } };
    await gateway.link(oneRoute({ stable: [two.port], rule }));
    for (let count = 0; count < UNTIL_KNOWN; count++) {
      assert.match(await ask(client, GET), /\r\nx-new: 1\r\n/i);
      assert.equal(two.requests.at(-1)?.headers["x-new"], "1");
      assert.equal(two.requests.at(-1)?.headers.accept, undefined);
    }
    await gateway.link(oneRoute({ stable: [two.port] }));
    assert.doesNotMatch(await ask(client, GET, UNTIL_KNOWN), /x-new/i);
    assert.equal(two.requests.at(-1)?.headers.accept, "*/*");
    const redirect = { scheme: "https", statusCode: 302 } as const;
    await gateway.link(oneRoute({ stable: [two.port], rule: { filters: { redirect } } }));
    assert.match(await ask(client, GET), /^HTTP\/1\.1 302 /);
  });

  test("arms are chosen and gates are read for each", async () => {
    await using stable = await origin((_request, response) => response.end("stable"));
    await using canary = await origin((_request, response) => response.end("canary"));
    const route = { stable: [stable.port], canary: [canary.port], weightBp: 5000 };
    await using gateway = await testGateway({ parts: oneRoute(route) });
    using client = new RawClient(gateway.port);
    await ask(client, GET, 60);
    assert.ok(canary.requests.length > 10 && stable.requests.length > 10);
    gateway.gates.set(CANARY, false);
    const before = canary.requests.length;
    await ask(client, GET, 20);
    assert.equal(canary.requests.length, before);
    gateway.gates.set(CANARY, true);
    await gateway.link([splitPart(10_000)]);
    assert.match(await ask(client, GET, UNTIL_KNOWN), /canary$/);
  });
});

test("limits count each, and each has a line in the log", async () => {
  const lines: { requestId: string; status: number; path: string }[] = [];
  const accessLog = { ...NO_ACCESS_LOG, line: (text: string) => lines.push(JSON.parse(text)) };
  await using app = await origin();
  const limits = [{ key: "limit", requests: 20, periodMs: 3_600_000, burst: 20 }];
  const parts = oneRoute({ stable: [app.port], rule: { limits } });
  await using gateway = await testGateway({ parts, accessLog });
  using client = new RawClient(gateway.port);
  await ask(client, GET, 25);
  assert.deepEqual(
    lines.map(({ status }) => status),
    Array.from({ length: 25 }, (_, index) => (index < 20 ? 200 : 429)),
  );
  assert.equal(new Set(lines.map(({ requestId }) => requestId)).size, 25);
  assert.deepEqual(
    lines.slice(0, 20).map(({ requestId }) => requestId),
    app.requests.map(({ headers }) => headers["x-request-id"]),
  );
  assert.ok(lines.every(({ path }) => path === "/a"));
});

for (const rule of [{}, { name: "pay" }]) {
  test(`a line that is written as bytes says what one of text says ${rule.name ?? ""}`, async () => {
    await comparesLines(rule);
  });
}

async function comparesLines(rule: { readonly name?: string }): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-known-"));
  const file = join(folder, "access.log");
  const accessLog = openAccessLog(file, systemClock);
  const statusOf = (count: number): number => (count === 10 ? 404 : 200);
  let count = 0;
  await using app = await scripted(() =>
    plain("x".repeat(count % 12)).replace("200", String(statusOf(count++))),
  );
  {
    const parts = oneRoute({ stable: [app.port], rule });
    await using gateway = await testGateway({ parts, accessLog });
    using client = new RawClient(gateway.port);
    for (let asked = 0; asked < 30; asked++) await ask(client, GET.replace("?b=1", "?secret=1"));
  }
  const lines = readFileSync(file, "latin1").trimEnd().split("\n");
  rmSync(folder, { recursive: true });
  const shape = (line: string): string =>
    line
      .replace(/"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/, "TIME")
      .replace(/"requestId":"[0-9a-f]{32}"/, "ID")
      .replace(/("durationUs").*("bodyUs"):\d+/, (times) => times.replaceAll(/\d+/g, "US"))
      .replace(/"bytesOut":\d+}$/, "OUT");
  assert.equal(lines.length, 30);
  assert.equal(new Set(lines.filter((_, at) => at !== 10).map(shape)).size, 1);
  assert.match(shape(lines[29] ?? ""), /^\{TIME,ID,.*"bodyUs":US,.*OUT$/);
  for (const [at, line] of lines.entries()) {
    const said = JSON.parse(line) as Record<string, number> & { rule?: string };
    assert.equal(said["status"], statusOf(at));
    assert.equal(said["bytesOut"], at % 12);
    assert.ok((said["upstreamUs"] ?? 0) <= (said["durationUs"] ?? -1));
    assert.equal(said["rule"], rule.name);
  }
}

describe("answers that repeat", () => {
  test("bodies are each answer's own, and so is a head with another byte", async () => {
    const answers = ["one", "two", "six", "ten", "dog", "four", "cat", "end"];
    const heads = ["", "", "", "", "", "", "X: 1\r\n", "X: 2\r\n"];
    await using app = await scripted((request) => plain(answers[request] ?? "", heads[request]));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    for (const [index, body] of answers.entries()) {
      const text = await ask(client, GET);
      assert.equal(text, plain(body, heads[index]));
    }
    assert.equal(app.sockets.length, 1);
  });

  test("one that comes in pieces is put together, one with more behind it is the last", async () => {
    await using app = await scripted((request, socket) => {
      if (request !== 5) return plain("hello") + (request === 7 ? "more" : "");
      socket.write(plain("hello").slice(0, 30));
      void settled(() => 0, 20).then(() => socket.write(plain("hello").slice(30)));
      return "";
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    for (let count = 0; count < 10; count++) assert.equal(await ask(client, GET), plain("hello"));
    assert.equal(app.sockets.length, 2);
  });

  test("one that closes is not taken for one that does not", async () => {
    await using app = await origin((_request, response) => {
      response.setHeader("connection", "close");
      response.end("bye");
    });
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    await ask(client, GET, UNTIL_KNOWN);
    assert.equal(app.connections(), UNTIL_KNOWN);
  });

  test("a canary that fails in between is shielded, and counted", async () => {
    await using stable = await scripted(() => plain("stable"));
    let canaryAsked = 0;
    await using canary = await scripted(() => {
      canaryAsked++;
      return "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
    });
    const route = { stable: [stable.port], canary: [canary.port], weightBp: 3000 };
    await using gateway = await testGateway({ parts: oneRoute(route) });
    using client = new RawClient(gateway.port);
    for (let count = 0; count < 40; count++) assert.equal(await ask(client, GET), plain("stable"));
    assert.ok(canaryAsked > 3);
    assert.equal(gateway.metric("status5xx", CANARY), canaryAsked);
    assert.equal(gateway.metric("ok", STABLE), 40);
  });

  test("HEAD has no body, whatever its answer's head says", async () => {
    await using app = await scripted(() => plain("hello").slice(0, -5));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    const head = GET.replace("GET", "HEAD");
    for (let count = 0; count < 6; count++) {
      client.received = "";
      client.send(head);
      await client.until(({ received }) => received.endsWith("\r\n\r\n"));
      assert.equal(client.received, plain("hello").slice(0, -5));
    }
  });

  test("a client that does not read them gets all of them in the end", async () => {
    const body = "x".repeat(3000);
    await using app = await scripted((request) => plain(`${String(request).padStart(6)}${body}`));
    await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
    using client = new RawClient(gateway.port);
    await ask(client, GET, UNTIL_KNOWN);
    client.received = "";
    client.socket.pause();
    const count = 3000;
    for (let sent = 0; sent < count; sent++) {
      client.send(GET);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.socket.resume();
    const bytes = count * plain(`      ${body}`).length;
    const text = await client.until(({ received }) => received.length >= bytes, 20_000);
    const numbers = [...text.matchAll(/\r\n\r\n *(\d+)x/g)].map((match) => Number(match[1]));
    assert.deepEqual(
      numbers,
      Array.from({ length: count }, (_, index) => index + UNTIL_KNOWN),
    );
  });
});
