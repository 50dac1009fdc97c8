/**
 * Traces of a running Sluice, as a collector receives them; and that a collector which is not there
 * costs spans and nothing else.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { request } from "undici";
import { parseTraceparent } from "../../src/trace/trace-context.ts";
import { collector, type RecordedSpan } from "../support/otlp.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice, type SluiceOptions } from "../support/sluice.ts";
import { closedPort, origin } from "../support/upstream.ts";

/** A Sluice that serves `shop` from `port`, and where. */
async function serving(
  port: number,
  options: SluiceOptions,
): Promise<{ sluice: Sluice; url: string } & AsyncDisposable> {
  const sluice = await Sluice.start(options);
  const edge = await freePort();
  await sluice.apply(shop.gateway(edge), shop.backend("1", port), shop.route());
  const url = `http://127.0.0.1:${edge}`;
  await eventually("the route is served", async () => (await statusOf(sluice, url)) === 200);
  return { sluice, url, [Symbol.asyncDispose]: () => sluice[Symbol.asyncDispose]() };
}

async function statusOf(
  sluice: Sluice,
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { statusCode, body } = await request(url, { dispatcher: sluice.agent, headers });
  await body.dump();
  return statusCode;
}

async function metric(sluice: Sluice, outcome: string): Promise<number> {
  const { body } = await request(`${sluice.adminUrl}/metrics`, { dispatcher: sluice.agent });
  const found = new RegExp(`^sluice_spans_total\\{outcome="${outcome}"\\} (\\d+)$`, "m");
  return Number(found.exec(await body.text())?.[1] ?? 0);
}

const byPath =
  (path: string) =>
  ({ attributes, kind }: RecordedSpan): boolean =>
    kind === "server" && attributes["url.path"] === path;

for (const protocol of ["http/protobuf", "http/json"] as const) {
  test(`errors and what the caller samples reach the collector, by ${protocol}`, async () => {
    await using otlp = await collector();
    await using app = await origin(({ url }, response) => {
      response.statusCode = url.startsWith("/broken") ? 500 : 200;
      response.end();
    });
    await using running = await serving(app.port, {
      args: ["--otlp-endpoint", otlp.url, "--trace-ratio", "0"],
      env: {
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=blue",
        OTEL_SERVICE_NAME: "edge",
        OTEL_BSP_SCHEDULE_DELAY: "50",
      },
    });
    const { sluice, url } = running;
    const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert.equal(await statusOf(sluice, `${url}/fine`), 200);
    assert.equal(await statusOf(sluice, `${url}/sampled?key=secret`, { traceparent: caller }), 200);
    assert.equal(await statusOf(sluice, `${url}/broken`), 500);
    await eventually("both are exported", () => otlp.spans.filter(byPath("/broken")).length === 1);
    await eventually("both are exported", () => otlp.spans.filter(byPath("/sampled")).length === 1);
    assert.equal(otlp.exports[0]?.path, "/v1/traces");
    assert.equal(otlp.exports[0]?.headers["x-tenant"], "blue");
    assert.deepEqual(otlp.spans.filter(byPath("/fine")), []);
    const sampled = otlp.spans.find(byPath("/sampled"));
    assert.equal(sampled?.traceId, "0af7651916cd43dd8448eb211c80319c");
    assert.equal(sampled.parentId, "b7ad6b7169203331");
    assert.equal(sampled.name, "GET /*");
    assert.equal(sampled.status, "unset");
    assert.equal(sampled.resource["service.name"], "edge");
    assert.doesNotMatch(JSON.stringify(otlp.spans), /secret/);
    const broken = otlp.spans.find(byPath("/broken"));
    assert.equal(broken?.status, "error");
    assert.equal(broken.attributes["error.type"], "500");
    const attempt = otlp.spans.find(({ parentId }) => parentId === broken.spanId);
    assert.equal(attempt?.kind, "client");
    assert.equal(attempt.status, "error");
    assert.equal(attempt.attributes["server.port"], app.port);
    const told = app.requests.find(({ url: path }) => path === "/broken")?.headers["traceparent"];
    assert.equal(parseTraceparent(String(told))?.parentId, attempt.spanId);
    const { spans } = otlp;
    await eventually("they are counted", async () => (await metric(sluice, "exported")) === 4);
    assert.equal(spans.length, 4);
  });
}

test("the spans of the last requests are exported before the process ends", async () => {
  await using otlp = await collector();
  await using app = await origin();
  await using running = await serving(app.port, {
    // Nothing would be exported before the end.
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: otlp.url, OTEL_BSP_SCHEDULE_DELAY: "60000" },
  });
  const { sluice, url } = running;
  for (let sent = 0; sent < 20; sent++) await statusOf(sluice, `${url}/last`);
  assert.equal(await sluice.stop(), 0);
  assert.equal(otlp.spans.filter(byPath("/last")).length, 20);
});

test("a collector that is not there is told of once, counted, and found when it comes", async () => {
  const port = await closedPort();
  await using app = await origin();
  await using running = await serving(app.port, {
    args: ["--otlp-endpoint", `http://127.0.0.1:${port}`],
    env: { OTEL_EXPORTER_OTLP_TIMEOUT: "200", OTEL_BSP_SCHEDULE_DELAY: "10" },
  });
  const { sluice, url } = running;
  for (let sent = 0; sent < 50; sent++) assert.equal(await statusOf(sluice, url), 200);
  await eventually("they are counted", async () => (await metric(sluice, "failed")) >= 100);
  await eventually("it is told", () => sluice.output.includes("takes no spans"));
  assert.equal(sluice.output.match(/takes no spans/g)?.length, 1);
  await using otlp = await collector(port);
  await eventually("it is found", async () => {
    await statusOf(sluice, `${url}/found`);
    return otlp.spans.some(byPath("/found"));
  });
  // The collector has them before Sluice has its answer.
  await eventually("it is told", () => sluice.output.includes("the collector takes spans again"));
});

test("a collector that never answers holds up neither traffic nor the end", async () => {
  await using otlp = await collector();
  otlp.silent = true;
  await using app = await origin();
  await using running = await serving(app.port, {
    args: ["--otlp-endpoint", otlp.url],
    env: { OTEL_BSP_SCHEDULE_DELAY: "10" },
  });
  const { sluice, url } = running;
  for (let sent = 0; sent < 20; sent++) assert.equal(await statusOf(sluice, url), 200);
  const start = performance.now();
  assert.equal(await sluice.stop(), 0);
  assert.ok(performance.now() - start < 9000, "the stop waited for the collector");
});

test("settings that cannot be end the start, by name", async () => {
  for (const [options, message] of [
    [{ args: ["--otlp-endpoint", "otel:4318"] }, /--otlp-endpoint: must be a URL such as/],
    [{ args: ["--trace-ratio", "2"] }, /--trace-ratio <share>.*must be a number from 0 to 1/],
    [{ args: ["--trace-ratio", "0.5"] }, /--trace-ratio: spans go nowhere/],
    [
      {
        env: {
          OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318",
          OTEL_TRACES_SAMPLER: "everything",
        },
      },
      /OTEL_TRACES_SAMPLER is "everything": must be one of always_on/,
    ],
  ] satisfies [SluiceOptions, RegExp][]) {
    await using sluice = await Sluice.spawn(options);
    await eventually("it has ended", () => sluice.child.exitCode !== null);
    assert.equal(sluice.child.exitCode, 2);
    assert.match(sluice.output, message);
  }
});
