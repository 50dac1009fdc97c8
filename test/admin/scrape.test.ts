/** `/metrics` over HTTP: streamed, compressed where that is asked for, and bounded. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { openAdmin, type TestAdmin } from "../support/admin.ts";
import { VirtualClock } from "../support/clock.ts";

const LINE = `sluice_requests_total{route="shop/web"} 1\n`;

async function* many(count: number): AsyncGenerator<string> {
  for (let index = 0; index < count; index++) yield LINE.repeat(1000);
}

function exposing(pieces: () => AsyncIterable<string>) {
  return { metrics: () => ({ contentType: "text/plain; version=0.0.4", pieces: pieces() }) };
}

async function scrape(
  admin: TestAdmin,
  { method = "GET", accept }: { readonly method?: string; readonly accept?: string } = {},
): Promise<IncomingMessage> {
  const headers = accept === undefined ? {} : { "accept-encoding": accept };
  const asked = request(`${admin.url}/metrics`, { method, headers, agent: false });
  asked.end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  return response;
}

test("gzip goes to whoever takes it, and the text is the same", async () => {
  await using admin = await openAdmin(exposing(() => many(20)));
  const cases: readonly (readonly [accept: string | undefined, zipped: boolean])[] = [
    ["gzip", true],
    ["deflate, GZIP;q=0.5, *;q=0", true],
    ["*", true],
    [undefined, false],
    ["", false],
    ["identity", false],
    ["gzip;q=0, *", false],
    ["br;q=1.0", false],
  ];
  for (const [accept, zipped] of cases) {
    const response = await scrape(admin, accept === undefined ? {} : { accept });
    const body = await buffer(response);
    assert.equal(response.statusCode, 200);
    assert.equal(response.headers["content-encoding"], zipped ? "gzip" : undefined, accept);
    assert.equal(response.headers.vary, "accept-encoding");
    assert.match(response.headers["content-type"] ?? "", /version=0\.0\.4/);
    const text = (zipped ? gunzipSync(body) : body).toString();
    assert.equal(text, LINE.repeat(20_000));
    if (zipped) assert.ok(body.length * 20 < text.length);
  }
  const head = await scrape(admin, { method: "HEAD", accept: "gzip" });
  assert.equal(head.statusCode, 200);
  assert.equal((await buffer(head)).length, 0);
});

test("a scraper that does not read is waited for, and given up after a minute", async () => {
  const clock = new VirtualClock();
  let made = 0;
  const ended = Promise.withResolvers<undefined>();
  const pieces = async function* () {
    try {
      for await (const piece of many(1000)) {
        made++;
        yield piece;
      }
    } finally {
      ended.resolve(undefined);
    }
  };
  await using admin = await openAdmin({ clock, ...exposing(pieces) });
  const socket = connect(admin.port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await once(socket, "readable");
  clock.advance(60_000);
  await ended.promise;
  assert.ok(made < 1000, "no more is made than the socket takes");
  socket.resume();
  await once(socket, "close");
  assert.deepEqual(admin.faults, []);
});

test("of too many scrapes at once the last is asked to come back", async () => {
  const go = Promise.withResolvers<undefined>();
  const waiting = async function* () {
    yield LINE;
    await go.promise;
  };
  await using admin = await openAdmin(exposing(waiting));
  const running = await Promise.all(Array.from({ length: 16 }, () => scrape(admin)));
  const refused = await scrape(admin);
  assert.equal(refused.statusCode, 429);
  assert.equal(refused.headers["retry-after"], "1");
  await buffer(refused);
  go.resolve(undefined);
  await Promise.all(running.map((response) => buffer(response)));
  assert.equal((await scrape(admin)).statusCode, 200, "later there is room again");
});

test("what goes wrong in the middle breaks the answer off and is told", async () => {
  const broken = async function* () {
    yield LINE;
    throw new Error("a row is missing");
  };
  await using admin = await openAdmin(exposing(broken));
  const response = await scrape(admin);
  await assert.rejects(buffer(response), /aborted/);
  assert.deepEqual(admin.faults, ["GET /metrics failed: Error: a row is missing"]);
});
