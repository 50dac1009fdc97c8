/** Spans as a collector gets them, in both encodings, and what a collector that fails costs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createSpanExporter } from "../../src/trace/exporter.ts";
import { sdkEnvironment, traceSettings } from "../../src/trace/settings.ts";
import type { AttemptRecord, RequestRecord } from "../../src/trace/span-record.ts";
import { collector } from "../support/otlp.ts";

const ATTEMPT: AttemptRecord = {
  spanId: "c000000000000001",
  startMs: 1_790_000_000_000.25,
  sentMs: 1_790_000_000_001,
  headMs: 1_790_000_000_004.5,
  endMs: 1_790_000_000_005,
  address: "10.0.0.7",
  port: 9001,
  scheme: "http",
  protocol: "1.1",
  path: "/api/items",
  status: 200,
  error: "",
  arm: "Backend/default/app@2",
  version: "2",
  role: "canary",
};

const RECORD: RequestRecord = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b000000000000001",
  parentId: "a000000000000001",
  traceState: "congo=t61rcWkgMzE",
  startMs: 1_790_000_000_000,
  endMs: 1_790_000_000_005.125,
  method: "GET",
  scheme: "http",
  host: "shop.example",
  port: 8080,
  path: "/items",
  pathRule: "/items/*",
  protocol: "1.1",
  clientAddress: "192.0.2.1",
  peerAddress: "192.0.2.2",
  userAgent: "curl/8",
  status: 200,
  error: "",
  endedBy: "backend",
  requestId: "r-1",
  route: "default/shop",
  shielded: false,
  attempts: [ATTEMPT],
};

/** Runs with the variables that the trace thread would have. */
async function withEnvironment(
  env: Readonly<Record<string, string>>,
  run: () => Promise<void>,
): Promise<void> {
  const settings = traceSettings(env, {});
  assert.ok(settings);
  const variables = { ...env, ...sdkEnvironment(settings, env, "9.9") };
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    await run();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

for (const protocol of ["http/protobuf", "http/json"] as const) {
  test(`a request and its attempts arrive as spans, by ${protocol}`, async () => {
    await using otlp = await collector();
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: otlp.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Basic%20c2VjcmV0",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    };
    await withEnvironment(env, async () => {
      const exporter = createSpanExporter({ version: "9.9", onWarning: assert.fail });
      await exporter.export([RECORD]);
      assert.equal(otlp.exports.length, 1);
      await exporter.close();
    });
    assert.equal(otlp.exports[0]?.path, "/v1/traces");
    assert.equal(otlp.exports[0]?.headers.authorization, "Basic c2VjcmV0");
    assert.equal(otlp.spans.length, 2);
    const [attempt, request] = otlp.spans;
    assert.ok(attempt && request);
    const { "service.instance.id": instance, ...resource } = request.resource;
    assert.match(String(instance), /^[0-9a-f-]{36}$/);
    assert.equal(resource["service.name"], "sluice");
    assert.equal(resource["service.version"], "9.9");
    assert.equal(resource["deployment.environment.name"], "test");
    assert.equal(resource["process.command_args"], undefined);
    assert.deepEqual(
      { ...request, resource: undefined },
      {
        traceId: RECORD.traceId,
        spanId: RECORD.spanId,
        parentId: RECORD.parentId,
        traceState: "congo=t61rcWkgMzE",
        name: "GET /items/*",
        kind: "server",
        startMs: 1_790_000_000_000,
        endMs: 1_790_000_000_005.125,
        attributes: {
          "http.request.method": "GET",
          "url.scheme": "http",
          "url.path": "/items",
          "http.route": "/items/*",
          "http.response.status_code": 200,
          "network.protocol.version": "1.1",
          "server.address": "shop.example",
          "server.port": 8080,
          "client.address": "192.0.2.1",
          "network.peer.address": "192.0.2.2",
          "user_agent.original": "curl/8",
          "sluice.request_id": "r-1",
          "sluice.ended_by": "backend",
          "sluice.route": "default/shop",
          "sluice.arm": "Backend/default/app@2",
          "sluice.revision": "2",
          "sluice.role": "canary",
        },
        events: [],
        status: "unset",
        resource: undefined,
      },
    );
    assert.deepEqual(
      { ...attempt, resource: undefined },
      {
        traceId: RECORD.traceId,
        spanId: ATTEMPT.spanId,
        parentId: RECORD.spanId,
        traceState: "congo=t61rcWkgMzE",
        name: "GET",
        kind: "client",
        startMs: 1_790_000_000_000.25,
        endMs: 1_790_000_000_005,
        attributes: {
          "http.request.method": "GET",
          "url.full": "http://10.0.0.7:9001/api/items",
          "server.address": "10.0.0.7",
          "server.port": 9001,
          "network.protocol.version": "1.1",
          "http.response.status_code": 200,
          "sluice.arm": "Backend/default/app@2",
          "sluice.revision": "2",
          "sluice.role": "canary",
        },
        events: ["request.sent", "response.head"],
        status: "unset",
        resource: undefined,
      },
    );
  });
}

test("a root has no parent, and an export that is refused is rejected with the reason", async () => {
  await using otlp = await collector();
  await withEnvironment({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${otlp.url}/take` }, async () => {
    const exporter = createSpanExporter({ version: "9.9", onWarning: () => {} });
    otlp.status = 400;
    await assert.rejects(exporter.export([RECORD]), /Bad Request|400/);
    otlp.status = 200;
    await exporter.export([{ ...RECORD, parentId: "", traceState: "", attempts: [] }]);
    await exporter.close();
  });
  assert.deepEqual(
    otlp.spans.map(({ traceId, spanId, parentId }) => ({ traceId, spanId, parentId })),
    [{ traceId: RECORD.traceId, spanId: RECORD.spanId, parentId: "" }],
  );
  assert.equal(otlp.exports[0]?.path, "/take");
});
