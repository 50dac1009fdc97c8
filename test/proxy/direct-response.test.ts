/** Answers that a route gives itself: status, type and body as written, and nobody behind them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { RulePart } from "../../src/compile/program.ts";
import type { DirectResponse } from "../../src/compile/rule-part.ts";
import { compressing, decoded, jsonOf } from "../support/compression.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { Http2Client } from "../support/http2.ts";
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
  [{ statusCode: 304, body: "none" }, ["HTTP/1.1 304 Not Modified"], ""],
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

describe("direct responses of a rule that compresses", () => {
  const body = "hällo ".repeat(100);
  const text: DirectResponse = { statusCode: 404, contentType: "text/plain", body };
  const bytes = Buffer.byteLength(body);
  const VARY = "vary: Accept-Encoding";
  const NO_TRANSFORM = { set: [["Cache-Control", "no-transform"]] } as const;

  /** Without the length of what is coded, which is checked against its bytes. */
  const COMPRESSED: readonly (readonly [
    what: string,
    accepted: string,
    rule: { readonly direct: DirectResponse; readonly filters?: Partial<RulePart["filters"]> },
    lines: readonly string[],
  ])[] = [
    ["asked for", "gzip", { direct: text }, [VARY, "content-encoding: gzip"]],
    ["the rule's choice", "gzip, br, zstd", { direct: text }, [VARY, "content-encoding: br"]],
    ["not asked for", "identity", { direct: text }, [`content-length: ${bytes}`, VARY]],
    ["short", "gzip", { direct: { ...text, body: "short" } }, ["content-length: 5"]],
    [
      "another type",
      "gzip",
      { direct: { ...text, contentType: "image/svg" } },
      [`content-length: ${bytes}`],
    ],
    [
      "the rule makes it another type",
      "gzip",
      { direct: text, filters: { responseHeaders: { set: [["Content-Type", "image/svg"]] } } },
      [`content-length: ${bytes}`],
    ],
    [
      "the rule sets what the coding adds to",
      "gzip",
      { direct: text, filters: { responseHeaders: { set: [["Vary", "Origin"]] } } },
      [VARY, "content-encoding: gzip", "Vary: Origin"],
    ],
    [
      "the rule forbids to transform",
      "gzip",
      { direct: text, filters: { responseHeaders: NO_TRANSFORM } },
      [`content-length: ${bytes}`, "Cache-Control: no-transform"],
    ],
  ];
  for (const [what, accepted, { direct, filters }, expected] of COMPRESSED) {
    test(what, async () => {
      const parts = compressing(9).map((part) =>
        part.type === "rule" ? { ...part, filters: { ...filters, directResponse: direct } } : part,
      );
      await using gateway = await testGateway({ parts });
      for (const method of ["GET", "HEAD"]) {
        using client = new RawClient(gateway.port);
        const head = `${method} / HTTP/1.1\r\nhost: app\r\naccept-encoding: ${accepted}\r\n`;
        client.send(`${head}connection: close\r\n\r\n`);
        const received = await client.until(({ ended }) => ended);
        const blank = received.indexOf("\r\n\r\n");
        const lines = received.slice(0, blank).split("\r\n").slice(1);
        const coding = /^content-encoding: (\w+)$/m.exec(lines.join("\n"))?.[1];
        const length = coding === undefined ? "" : "|content-length";
        const own = new RegExp(`^(?:date|connection|content-type${length}):`, "i");
        assert.deepEqual(
          lines.filter((line) => !own.test(line)),
          expected,
          method,
        );
        if (method === "HEAD") continue;
        const sent = Buffer.from(received.slice(blank + 4), "latin1");
        assert.ok(lines.includes(`content-length: ${sent.length}`));
        const got = Buffer.from(decoded(coding, sent), "latin1").toString();
        assert.equal(got, direct.body);
      }
    });
  }

  test("at its heaviest level it holds nobody up", async () => {
    const direct = { ...text, body: jsonOf(3900) };
    for (const [name, level] of [
      ["gzip", 9],
      ["br", 11],
      ["zstd", 22],
    ] as const) {
      const compression = { encodings: [{ name, level }] };
      const rule = { filters: { directResponse: direct } };
      await using gateway = await testGateway({ parts: compressing(9, { compression, rule }) });
      using client = new RawClient(gateway.port);
      client.send(`GET / HTTP/1.1\r\nhost: app\r\naccept-encoding: ${name}\r\n\r\n`);
      const [head = "", sent = ""] = (await client.responses(1)).split(/\r\n\r\n(.*)/s);
      assert.match(head, new RegExp(`content-encoding: ${name}`));
      assert.equal(decoded(name, Buffer.from(sent, "latin1")), direct.body);
    }
  });

  test("gRPC clients are answered in their own terms", async () => {
    const rule = { filters: { directResponse: text } };
    await using gateway = await testGateway({ parts: compressing(9, { rule }) });
    using client = new Http2Client(gateway.port);
    const answer = await client.get({
      ":method": "POST",
      "content-type": "application/grpc",
      "accept-encoding": "gzip",
    });
    assert.equal(answer.headers["content-encoding"], undefined);
    assert.equal(answer.headers["content-type"], "application/grpc");
    assert.equal(answer.body, "");
  });
});
