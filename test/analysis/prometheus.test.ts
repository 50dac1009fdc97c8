/** The `prometheus` provider against a real HTTP server that answers as Prometheus does. */
import assert from "node:assert/strict";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { text } from "node:stream/consumers";
import type { Outcome } from "../../src/analysis/plan-run.ts";
import {
  type PrometheusMetric,
  prometheusRequest,
  readPrometheusAnswer,
} from "../../src/analysis/provider/prometheus.ts";
import { systemClock } from "../../src/base/clock.ts";
import { queryPrometheus } from "../../src/control/analysis-run/query-prometheus.ts";
import { VirtualClock } from "../support/clock.ts";

const NOW_MS = Date.UTC(2026, 0, 1);

interface Asked {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly form: URLSearchParams;
}

/** A server on a free port; `answer` sees each request once its body is there. */
async function serve(
  answer: (asked: Asked, response: ServerResponse) => void,
): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { method, url, headers } = request;
      return answer({ method, url, headers, form: new URLSearchParams(body) }, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function ask(spec: PrometheusMetric, clock = systemClock): Promise<Outcome> {
  const asked = prometheusRequest(spec, NOW_MS);
  assert.ok(asked.ok, asked.ok ? "" : asked.message);
  return queryPrometheus(asked.value, { signal: new AbortController().signal, clock });
}

function success(resultType: string, result: unknown): string {
  return JSON.stringify({ status: "success", data: { resultType, result } });
}

const series = (...values: string[]): unknown[] =>
  values.map((value) => ({ metric: {}, value: [NOW_MS / 1000, value] }));

test("a query is posted with its headers, and a vector is the list of its values", async () => {
  const seen: Asked[] = [];
  await using server = await serve((asked, response) => {
    seen.push(asked);
    response.end(success("vector", series("0.95", "1")));
  });
  const outcome = await ask({
    address: `${server.url}/prom/`,
    query: 'sum(rate(x{a="b"}[1m]))',
    headers: [{ key: "X-Scope-OrgID", value: "tenant" }],
  });
  assert.deepEqual(outcome, {
    kind: "value",
    value: [0.95, 1],
    text: "[0.95,1]",
    description: "",
  });
  const [asked] = seen;
  assert.equal(asked?.method, "POST");
  assert.equal(asked?.url, "/prom/api/v1/query");
  assert.equal(asked?.headers["x-scope-orgid"], "tenant");
  assert.equal(asked?.form.get("query"), 'sum(rate(x{a="b"}[1m]))');
  assert.equal(Number(asked?.form.get("time")), NOW_MS / 1000);
});

test("a range query asks for its range, and a matrix is all its values", async () => {
  const seen: Asked[] = [];
  await using server = await serve((asked, response) => {
    seen.push(asked);
    const values = [
      [1, "0.5"],
      [2, "NaN"],
      [3, "+Inf"],
    ];
    response.end(
      success("matrix", [
        { metric: {}, values },
        { metric: {}, values: [[1, "2"]] },
      ]),
    );
  });
  const rangeQuery = { start: 'now() - duration("5m")', end: "now()", step: "30s" };
  const outcome = await ask({ address: server.url, query: "up", rangeQuery });
  assert.ok(outcome.kind === "value");
  assert.deepEqual(outcome.value, [0.5, NaN, Infinity, 2]);
  assert.equal(outcome.text, "[0.5,NaN,+Inf,2]");
  const [asked] = seen;
  assert.equal(asked?.url, "/api/v1/query_range");
  assert.equal(Number(asked?.form.get("end")) - Number(asked?.form.get("start")), 300);
  assert.equal(asked?.form.get("step"), "30");
});

const ANSWERS: readonly (readonly [string, number, string, unknown])[] = [
  ["scalar", 200, success("scalar", [1, "0.5"]), 0.5],
  ["empty vector", 200, success("vector", []), []],
  ["string", 200, success("string", [1, "x"]), /metric type not supported/],
  ["bad value", 200, success("scalar", [1, "many"]), /ParseFloat: parsing "many"/],
  ["bad shape", 200, success("vector", [1]), /sent a series that is none/],
  [
    "error",
    400,
    JSON.stringify({ status: "error", errorType: "bad_data", error: "parse error at char 4" }),
    /answered 400: parse error at char 4/,
  ],
  ["not JSON", 502, "<html>", /answered 502, not in the form of its API/],
  ["JSON of another kind", 200, "[]", /not in the form/],
  ["no data", 200, JSON.stringify({ status: "success" }), /no data/],
];

test("what an answer means", () => {
  for (const [name, status, body, expected] of ANSWERS) {
    const outcome = readPrometheusAnswer(status, body);
    if (expected instanceof RegExp) {
      assert.ok(outcome.kind === "error", name);
      assert.match(outcome.message, expected);
    } else {
      assert.ok(outcome.kind === "value", name);
      assert.deepEqual(outcome.value, expected);
    }
  }
});

test("a server that is not there, or answers with too much, is an error", async () => {
  const url = await (async () => {
    await using closed = await serve(() => undefined);
    return closed.url;
  })();
  assert.deepEqual(await ask({ address: url, query: "up" }), {
    kind: "error",
    message: "prometheus could not be asked: ECONNREFUSED",
  });
  await using server = await serve((_, response) => response.end("x".repeat(2 * 1024 * 1024)));
  const outcome = await ask({ address: server.url, query: "up" });
  assert.ok(outcome.kind === "error");
  assert.match(outcome.message, /more than 1048576 bytes/);
});

test("a server that is too slow is given up", async () => {
  const clock = new VirtualClock();
  await using server = await serve(() => clock.advance(2000));
  const outcome = await ask({ address: server.url, query: "up", timeout: 2 }, clock);
  assert.deepEqual(outcome, { kind: "error", message: "prometheus did not answer within 2s" });
  assert.equal(clock.pendingCount, 0);
});

test("what cannot be asked is said without the values of headers", () => {
  const bad: readonly (readonly [Partial<PrometheusMetric>, RegExp])[] = [
    [{ address: "file:///etc/passwd" }, /must be an http or https URL/],
    [{ address: "http://secret%zz@p" }, /must be an http or https URL/],
    [{ headers: [{ key: "authorization", value: "secret\r\nx: y" }] }, /"authorization" cannot be/],
    [
      { rangeQuery: { start: "hello", end: "now()", step: "1s" } },
      /rangeQuery\.start: unknown name/,
    ],
    [{ rangeQuery: { start: "now()", end: "1", step: "1s" } }, /rangeQuery\.end: expected time/],
    [{ rangeQuery: { start: "now()", end: "now()", step: "x" } }, /rangeQuery\.step must be/],
  ];
  for (const [part, message] of bad) {
    const asked = prometheusRequest({ address: "http://p", query: "up", ...part }, NOW_MS);
    assert.ok(!asked.ok);
    assert.match(asked.message, message);
    assert.doesNotMatch(asked.message, /secret/);
  }
});

test("credentials in an address become a header", async () => {
  const seen: Asked[] = [];
  await using server = await serve((asked, response) => {
    seen.push(asked);
    response.end(success("scalar", [1, "1"]));
  });
  const address = server.url.replace("//", "//user:p%40ss@");
  assert.equal((await ask({ address, query: "up" })).kind, "value");
  const basic = `Basic ${Buffer.from("user:p@ss").toString("base64")}`;
  assert.equal(seen[0]?.headers.authorization, basic);
});
