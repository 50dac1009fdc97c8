/**
 * Traces on real sockets: what goes upstream in `traceparent` and `tracestate`, and which requests
 * leave the worker as records, with every attempt that was made.
 */
import assert from "node:assert/strict";
import { mkdtempDisposableSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { MessageChannel } from "node:worker_threads";
import { systemClock } from "../../src/base/clock.ts";
import type { Part } from "../../src/compile/program.ts";
import { openAccessLog, type AccessLog } from "../../src/proxy/access-log.ts";
import type { SpanMessage } from "../../src/process/messages.ts";
import type { RequestRecord } from "../../src/trace/span-record.ts";
import { parseTraceparent, type Sampler } from "../../src/trace/trace-context.ts";
import {
  CANARY,
  oneRoute,
  type GatewayOptions,
  STABLE,
  testGateway,
  type TestGateway,
} from "../support/gateway.ts";
import { Http2Client, http2Origin } from "../support/http2.ts";
import { closedPort, eventually, origin, type Origin, RawClient } from "../support/upstream.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const CALLER = "b7ad6b7169203331";
const ALL: Sampler = { parentBased: true, ratio: 1 };
const NONE: Sampler = { parentBased: true, ratio: 0 };

interface Traced extends TestGateway {
  readonly records: RequestRecord[];
  /** The records, once there are so many. */
  recorded(count: number): Promise<readonly RequestRecord[]>;
}

async function traced(options: GatewayOptions): Promise<Traced> {
  const gateway = await testGateway(options);
  const { port1, port2 } = new MessageChannel();
  const records: RequestRecord[] = [];
  port2.on("message", (message: SpanMessage) => {
    records.push(...message);
    port2.postMessage(null);
  });
  gateway.plane.exportSpansTo(port1);
  return {
    ...gateway,
    records,
    async recorded(count) {
      await eventually(() => records.length >= count);
      assert.equal(records.length, count);
      return records;
    },
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      port2.close();
    },
  };
}

async function get(gateway: TestGateway, lines: readonly string[] = []): Promise<string> {
  using client = new RawClient(gateway.port);
  client.send(["GET /items?key=secret HTTP/1.1", "Host: shop:81", ...lines, "", ""].join("\r\n"));
  return await client.responses(1);
}

/** The trace headers of the last request that came, as they were written. */
function arrived(app: Origin): string[] {
  const { rawHeaders = [] } = app.requests.at(-1) ?? {};
  const lines: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const line = `${rawHeaders[at]}: ${rawHeaders[at + 1]}`;
    if (/^trace/i.test(line)) lines.push(line);
  }
  return lines;
}

const KEPT: readonly (readonly string[])[] = [
  [`traceparent: 00-${TRACE}-${CALLER}-01`, "tracestate: foo=1,bar=2"],
  [`Traceparent: 00-${TRACE}-${CALLER}-00`, "TraceState: foo=1", "tracestate: bar=2"],
  ["traceparent: nonsense", "tracestate: Also Nonsense"],
];

test("where nothing is traced, trace headers pass as they came", async () => {
  await using app = await origin();
  await using gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
  for (const lines of KEPT) {
    await get(gateway, lines);
    assert.deepEqual(arrived(app), lines);
  }
});

const PROPAGATED: readonly (readonly [
  name: string,
  sampler: Sampler,
  lines: readonly string[],
  /** "*" is an id of the gateway's own. */
  parent: readonly [trace: string, flags: string],
  state: readonly string[],
])[] = [
  ["a trace begins, sampled", ALL, [], ["*", "03"], []],
  ["a trace begins, not sampled", NONE, [], ["*", "02"], []],
  [
    "a caller's trace goes on, sampled",
    NONE,
    [`traceparent: 00-${TRACE}-${CALLER}-01`, "tracestate: foo=1,bar=2"],
    [TRACE, "01"],
    ["tracestate: foo=1,bar=2"],
  ],
  [
    "a caller's trace goes on, not sampled, its random bit too",
    ALL,
    [`Traceparent: 00-${TRACE}-${CALLER}-02`, "Tracestate: foo=1", "tracestate: bar=2"],
    [TRACE, "02"],
    ["Tracestate: foo=1", "tracestate: bar=2"],
  ],
  [
    "the ratio alone decides",
    { parentBased: false, ratio: 0 },
    [`traceparent: 00-${TRACE}-${CALLER}-01`],
    [TRACE, "00"],
    [],
  ],
  [
    "a traceparent that is not valid counts for nothing, and its tracestate neither",
    ALL,
    [`traceparent: 00-${TRACE}-${CALLER}`, "tracestate: foo=1"],
    ["*", "03"],
    [],
  ],
  [
    "two traceparents count for nothing",
    ALL,
    [`traceparent: 00-${TRACE}-${CALLER}-01`, `traceparent: 00-${TRACE}-${CALLER}-01`],
    ["*", "03"],
    [],
  ],
  ["a tracestate alone is dropped", ALL, ["tracestate: foo=1"], ["*", "03"], []],
  [
    "a tracestate that is not valid is dropped",
    ALL,
    [`traceparent: 00-${TRACE}-${CALLER}-01`, "tracestate: foo=1, Bar=2"],
    [TRACE, "01"],
    [],
  ],
];

for (const [name, sampler, lines, [trace, flags], state] of PROPAGATED) {
  test(name, async () => {
    await using app = await origin();
    await using gateway = await traced({ parts: oneRoute({ stable: [app.port] }), sampler });
    await get(gateway, lines);
    const all = arrived(app);
    const line = all.find((each) => /^traceparent: /i.test(each)) ?? "";
    const read = parseTraceparent(line.slice("traceparent: ".length));
    assert.ok(read, line);
    if (trace !== "*") assert.equal(read.traceId, trace);
    else assert.notEqual(read.traceId, TRACE);
    assert.notEqual(read.parentId, CALLER);
    assert.ok(line.endsWith(`-${flags}`), line);
    assert.deepEqual(
      all.filter((each) => each !== line),
      state,
    );
  });
}

test("a sampled request leaves a record of itself and its attempt", async () => {
  const lines: string[] = [];
  const accessLog: AccessLog = {
    line: (text) => void lines.push(text),
    dropped: 0,
    close: () => Promise.resolve(),
  };
  await using app = await origin();
  await using gateway = await traced({
    parts: oneRoute({ stable: [app.port] }),
    sampler: ALL,
    accessLog,
  });
  const before = Date.now();
  await get(gateway, [
    `traceparent: 00-${TRACE}-${CALLER}-01`,
    "tracestate: foo=1",
    "User-Agent: test",
    "X-Request-Id: r-1",
  ]);
  const [record] = await gateway.recorded(1);
  assert.ok(record);
  const [attempt] = record.attempts;
  assert.ok(attempt);
  const told = parseTraceparent(String(app.requests[0]?.headers["traceparent"]));
  assert.deepEqual(
    { ...record, spanId: "", startMs: 0, endMs: 0, attempts: record.attempts.length },
    {
      traceId: TRACE,
      spanId: "",
      parentId: CALLER,
      traceState: "foo=1",
      startMs: 0,
      endMs: 0,
      method: "GET",
      scheme: "http",
      host: "shop",
      port: 81,
      path: "/items",
      pathRule: "/*",
      protocol: "1.1",
      clientAddress: "127.0.0.1",
      peerAddress: "127.0.0.1",
      userAgent: "test",
      status: 200,
      error: "",
      endedBy: "backend",
      requestId: "r-1",
      route: "default/test",
      shielded: false,
      attempts: 1,
    },
  );
  assert.deepEqual(
    { ...attempt, startMs: 0, sentMs: 0, headMs: 0, endMs: 0 },
    {
      spanId: told?.parentId,
      startMs: 0,
      sentMs: 0,
      headMs: 0,
      endMs: 0,
      address: "127.0.0.1",
      port: app.port,
      scheme: "http",
      protocol: "1.1",
      path: "/items",
      status: 200,
      error: "",
      arm: STABLE,
      version: "1",
      role: "stable",
    },
  );
  // Wall time may be read up to a tick of the wheel later.
  assert.ok(record.startMs >= before - 100 && record.endMs <= Date.now() + 100);
  assert.ok(record.startMs <= attempt.startMs && attempt.startMs <= attempt.sentMs);
  assert.ok(attempt.sentMs <= attempt.headMs);
  assert.ok(attempt.headMs <= attempt.endMs && attempt.endMs <= record.endMs);
  assert.match(record.spanId, /^[0-9a-f]{16}$/);
  assert.equal((JSON.parse(lines[0] ?? "") as { traceId: string }).traceId, TRACE);
});

test("of requests that are not sampled, errors alone leave records", async () => {
  await using app = await origin(({ url }, response) => {
    response.statusCode = Number(url.slice(1, 4));
    response.end();
  });
  await using gateway = await traced({ parts: oneRoute({ stable: [app.port] }), sampler: NONE });
  for (const status of [200, 404, 500, 302, 503]) {
    using client = new RawClient(gateway.port);
    client.send(`GET /${status} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.responses(1);
  }
  const records = await gateway.recorded(2);
  assert.deepEqual(
    records.map(({ status, error }) => [status, error]),
    [
      [500, ""],
      [503, ""],
    ],
  );
});

test("a gateway's own error is recorded with its code", async () => {
  const port = await closedPort();
  await using gateway = await traced({ parts: oneRoute({ stable: [port] }), sampler: NONE });
  await get(gateway);
  const [record] = await gateway.recorded(1);
  assert.equal(record?.status, 502);
  assert.equal(record.error, "upstream_connect_failed");
  assert.deepEqual(
    record.attempts.map(({ port: to, status, error, headMs }) => ({ to, status, error, headMs })),
    [{ to: port, status: -1, error: "upstream_connect_failed", headMs: -1 }],
  );
});

test("a canary is always recorded, and its backend told so", async () => {
  await using stable = await origin();
  await using canary = await origin();
  await using gateway = await traced({
    parts: oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 10_000 }),
    sampler: NONE,
  });
  await get(gateway, [`traceparent: 00-${TRACE}-${CALLER}-00`]);
  const [record] = await gateway.recorded(1);
  assert.deepEqual(
    record?.attempts.map(({ arm, role }) => [arm, role]),
    [[CANARY, "canary"]],
  );
  assert.match(
    String(canary.requests[0]?.headers["traceparent"]),
    new RegExp(`^00-${TRACE}-.*-01`),
  );
});

test("a failure that the shield hid shows as an attempt of its own", async () => {
  await using stable = await origin();
  await using canary = await origin((_request, response) => {
    response.statusCode = 500;
    response.end();
  });
  await using gateway = await traced({
    parts: oneRoute({ stable: [stable.port], canary: [canary.port], weightBp: 9999 }),
    sampler: NONE,
  });
  await get(gateway);
  const [record] = await gateway.recorded(1);
  assert.ok(record);
  assert.equal(record.status, 200);
  assert.equal(record.shielded, true);
  assert.deepEqual(
    record.attempts.map(({ role, status, error }) => [role, status, error]),
    [
      ["canary", 500, ""],
      ["stable", 200, ""],
    ],
  );
  const told = [canary, stable].map((app) =>
    parseTraceparent(String(app.requests[0]?.headers["traceparent"])),
  );
  assert.deepEqual(
    told.map((each) => [each?.traceId, each?.parentId]),
    record.attempts.map(({ spanId }) => [record.traceId, spanId]),
  );
  assert.notEqual(told[0]?.parentId, told[1]?.parentId);
});

test("a failure that a retry hid is recorded, though the request went well", async () => {
  let count = 0;
  await using app = await origin((_request, response) => {
    response.statusCode = count++ === 0 ? 503 : 200;
    response.end();
  });
  const retry = {
    attempts: 1,
    statusCodes: [[503, 503]],
    grpcCodes: [],
    on: [],
    backoffBaseMs: 1,
    backoffMaxMs: 1,
  } as const;
  const parts = oneRoute({ stable: [app.port], rule: { retry } });
  await using gateway = await traced({ parts, sampler: NONE });
  await get(gateway);
  const [record] = await gateway.recorded(1);
  assert.equal(record?.status, 200);
  assert.deepEqual(
    record.attempts.map(({ status }) => status),
    [503, 200],
  );
});

for (const [name, sent, weightBp] of [
  ["a head that repeats", [], -1],
  ["a head that repeats, with its caller", [`traceparent: 00-${TRACE}-${CALLER}-01`], -1],
  ["a head that repeats to a canary that fails", [], 9999],
] as const) {
  test(`${name} has ids of its own each time`, async () => {
    await using stable = await origin();
    await using canary = await origin((_request, response) => {
      response.statusCode = 500;
      response.end();
    });
    const canaries = weightBp < 0 ? {} : { canary: [canary.port], weightBp };
    using directory = mkdtempDisposableSync(path.join(tmpdir(), "sluice-traces-"));
    const log = path.join(directory.path, "access.log");
    await using gateway = await traced({
      parts: oneRoute({ stable: [stable.port], ...canaries }),
      sampler: ALL,
      accessLog: openAccessLog(log, systemClock),
    });
    using client = new RawClient(gateway.port);
    const count = 6;
    for (let turn = 1; turn <= count; turn++) {
      client.send(["GET /items?a=1 HTTP/1.1", "Host: shop", ...sent, "", ""].join("\r\n"));
      await client.responses(turn);
    }
    const records = await gateway.recorded(count);
    await gateway.plane.drain(0);
    const lines = readFileSync(log, "utf8").trim().split("\n");
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { traceId: string }).traceId),
      records.map(({ traceId }) => traceId),
    );
    const told = (app: Origin) =>
      app.requests.map(({ headers }) => parseTraceparent(String(headers["traceparent"])));
    const arms = weightBp < 0 ? [stable] : [canary, stable];
    for (const [index, app] of arms.entries()) {
      assert.deepEqual(
        told(app).map((each) => [each?.traceId, each?.parentId, each?.sampled]),
        records.map(({ traceId, attempts }) => [traceId, attempts[index]?.spanId, true]),
      );
    }
    const spans = records.flatMap(({ spanId, attempts }) => [
      spanId,
      ...attempts.map((attempt) => attempt.spanId),
    ]);
    assert.equal(new Set(spans).size, count * (1 + arms.length));
    const traces = new Set(records.map(({ traceId }) => traceId));
    assert.equal(traces.size, sent.length === 0 ? count : 1);
    for (const record of records) {
      assert.deepEqual([record.pathRule, record.path, record.status], ["/*", "/items", 200]);
      assert.deepEqual(
        record.attempts.map((attempt) => [attempt.path, attempt.status, attempt.headMs > 0]),
        weightBp < 0
          ? [["/items", 200, true]]
          : [
              ["/items", 500, true],
              ["/items", 200, true],
            ],
      );
    }
  });
}

test("HTTP/2 carries traces on both sides, each request its own", async () => {
  await using app = await http2Origin((_request, stream) => {
    stream.respond({ ":status": 200 });
    stream.end("ok");
  });
  await using gateway = await traced({
    parts: oneRoute({ stable: [app.port], pool: { protocol: "h2c" } }),
    sampler: ALL,
  });
  using client = new Http2Client(gateway.port);
  const caller = { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: "foo=1" };
  for (const headers of [caller, {}, {}]) await client.get({ ":path": "/items", ...headers });
  // The same head again and again, over HTTP/1.1.
  using other = new RawClient(gateway.port);
  for (let turn = 1; turn <= 4; turn++) {
    other.send("GET /items HTTP/1.1\r\nHost: a\r\n\r\n");
    await other.responses(turn);
  }
  const records = await gateway.recorded(7);
  assert.deepEqual(
    records.map(({ protocol, attempts }) => [protocol, attempts[0]?.protocol]),
    [
      ...Array.from({ length: 3 }, () => ["2", "2"]),
      ...Array.from({ length: 4 }, () => ["1.1", "2"]),
    ],
  );
  assert.deepEqual(
    app.requests.map(({ headers }) => {
      const told = parseTraceparent(String(headers["traceparent"]));
      return [told?.traceId, told?.parentId];
    }),
    records.map(({ traceId, attempts }) => [traceId, attempts[0]?.spanId]),
  );
  assert.equal(new Set(records.map(({ traceId }) => traceId)).size, 7);
  assert.equal(records[0]?.traceId, TRACE);
  assert.equal(app.requests[0]?.headers["tracestate"], "foo=1");
});

test("an LLM request that another provider answers tells each of its own attempt", async () => {
  await using provider = await origin();
  const parts = oneRoute({
    stable: [provider.port],
    canary: [await closedPort()],
    weightBp: 9999,
  }).map((part): Part => {
    if (part.type === "rule") {
      const { key, route, backends } = part;
      const rules = [{ models: [], backends }];
      return { type: "models", key, route, rules, modelsListed: [], bodyBytesMax: 1024 };
    }
    if (part.type !== "split") return part;
    const provided = { schema: "OpenAI", prefix: "/v1" } as const;
    return { ...part, arms: part.arms.map((arm) => ({ ...arm, provider: provided })) };
  });
  await using gateway = await traced({ parts, sampler: NONE });
  using client = new RawClient(gateway.port);
  const body = '{"model":"m"}';
  const lines = [`traceparent: 00-${TRACE}-${CALLER}-00`, `Content-Length: ${body.length}`];
  client.send(["POST /v1/chat/completions HTTP/1.1", "Host: a", ...lines, "", body].join("\r\n"));
  await client.responses(1);
  const [record] = await gateway.recorded(1);
  assert.deepEqual(
    record?.attempts.map(({ role, status, error, path: target }) => [role, status, error, target]),
    [
      ["canary", -1, "upstream_connect_failed", "/v1/chat/completions"],
      ["stable", 200, "", "/v1/chat/completions"],
    ],
  );
  const told = parseTraceparent(String(provider.requests[0]?.headers["traceparent"]));
  assert.deepEqual([told?.traceId, told?.parentId], [TRACE, record.attempts[1]?.spanId]);
});

test("a filter that sets or removes the header has the last word", async () => {
  await using app = await origin();
  const rule = {
    filters: { requestHeaders: { set: [["traceparent", "mine"]], remove: ["tracestate"] } },
  } as const;
  await using gateway = await traced({
    parts: oneRoute({ stable: [app.port], rule }),
    sampler: ALL,
  });
  await get(gateway, [`traceparent: 00-${TRACE}-${CALLER}-00`, "tracestate: foo=1"]);
  assert.deepEqual(arrived(app), ["traceparent: mine"]);
});

test("a request that is not readable is no error of the server's", async () => {
  await using app = await origin();
  await using gateway = await traced({ parts: oneRoute({ stable: [app.port] }), sampler: ALL });
  using client = new RawClient(gateway.port);
  client.send("GET / HTTP/1.1\r\n\r\n");
  await client.responses(1);
  const [record] = await gateway.recorded(1);
  assert.equal(record?.status, 400);
  assert.equal(record.error, "");
  assert.deepEqual(record.attempts, []);
});

test("what finds no room is dropped and counted, and never waited for", async () => {
  await using app = await origin();
  await using gateway = await testGateway({
    parts: oneRoute({ stable: [app.port] }),
    sampler: ALL,
  });
  // A port that never says that there is room again.
  const { port1, port2 } = new MessageChannel();
  let received = 0;
  port2.on("message", (message: SpanMessage) => (received += message.length));
  gateway.plane.exportSpansTo(port1);
  using client = new RawClient(gateway.port);
  const count = 2000;
  for (let sent = 0; sent < count; sent += 100) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100));
    await client.responses(sent + 100, 20_000);
  }
  const dropped = (): number => gateway.worker("spansDropped");
  // 1,024 records wait; sixteen messages are under way, some of them not full.
  await eventually(() => dropped() > 0 && dropped() === 2 * (count - received - 1024));
  assert.ok(received > 0 && received <= 512, `${received} were sent`);
  port2.close();
});
