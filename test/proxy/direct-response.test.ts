/** Answers that a route gives itself: status, type and body as written, and nobody behind them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DirectResponse } from "../../src/compile/rule-part.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { origin, RawClient } from "../support/upstream.ts";

/** What is answered, to GET and to HEAD: the head's lines beside date, and the body in latin1. */
const CASES: readonly (readonly [DirectResponse, lines: readonly string[], body: string])[] = [
  [{ statusCode: 200, body: "ok" }, ["HTTP/1.1 200 OK", "content-length: 2"], "ok"],
  [
    { statusCode: 503, contentType: "text/plain; charset=utf-8", body: "später" },
    [
      "HTTP/1.1 503 Service Unavailable",
      "content-type: text/plain; charset=utf-8",
      "content-length: 7",
    ],
    Buffer.from("später").toString("latin1"),
  ],
  [{ statusCode: 404 }, ["HTTP/1.1 404 Not Found", "content-length: 0"], ""],
  [{ statusCode: 204, body: "none" }, ["HTTP/1.1 204 No Content"], ""],
  [{ statusCode: 304, body: "none" }, ["HTTP/1.1 304 Not Modified", "content-length: 0"], ""],
];

for (const [directResponse, lines, body] of CASES) {
  test(`direct response ${JSON.stringify(directResponse)}`, async () => {
    await using upstream = await origin();
    const parts = oneRoute({ stable: [upstream.port] }).map((part) =>
      part.type === "rule" ? { ...part, filters: { directResponse } } : part,
    );
    await using gateway = await testGateway({ parts });
    for (const [method, expected] of [
      ["GET", body],
      ["HEAD", ""],
    ] as const) {
      using client = new RawClient(gateway.port);
      client.send(`${method} / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n`);
      const received = await client.until(({ ended }) => ended);
      const [head = "", ...rest] = received.split("\r\n\r\n");
      const kept = head.split("\r\n").filter((line) => !/^(?:date|connection):/.test(line));
      assert.deepEqual(kept, lines, method);
      assert.equal(rest.join("\r\n\r\n"), expected, method);
    }
    assert.equal(upstream.requests.length, 0);
  });
}
