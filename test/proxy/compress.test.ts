/**
 * Compression of responses: which responses, for whom, and what their heads say. Origins say exactly
 * what they are told; that bodies come through is compressor.test.ts's.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Answer, isCompressible, linkCompression } from "../../src/proxy/compress.ts";
import { COMPRESSION, compressing, decoded, jsonOf } from "../support/compression.ts";
import { testGateway } from "../support/gateway.ts";
import { RawClient, rawOrigin } from "../support/upstream.ts";

describe("which responses can be compressed", () => {
  const BASE = { "content-type": "text/plain" };
  const CASES: readonly (readonly [
    what: string,
    fields: Readonly<Record<string, string>>,
    answer: Partial<Answer>,
    expected: boolean,
  ])[] = [
    ["text", BASE, {}, true],
    ["a type with parameters", { "content-type": "Text/Plain ; charset=utf-8" }, {}, true],
    ["another type", { "content-type": "image/png" }, {}, false],
    ["two types", { "content-type": "text/plain, text/plain" }, {}, false],
    ["no type", {}, {}, false],
    ["gRPC, though it is named", { "content-type": "application/grpc+proto" }, {}, false],
    ["event streams that are not named", { "content-type": "text/event-stream" }, {}, false],
    ["as long as the minimum", BASE, { contentLength: 100 }, true],
    ["shorter than the minimum", BASE, { contentLength: 99 }, false],
    ["empty", BASE, { contentLength: 0 }, false],
    ["an error", BASE, { status: 503 }, true],
    ["an interim response", BASE, { status: 103 }, false],
    ["no content", BASE, { status: 204 }, false],
    ["reset content", BASE, { status: 205 }, false],
    ["a part", BASE, { status: 206 }, false],
    ["not modified", BASE, { status: 304 }, false],
    ["coded already", { ...BASE, "content-encoding": "gzip" }, {}, false],
    ["coded as identity, says who sent it", { ...BASE, "content-encoding": "identity" }, {}, false],
    ["with a range", { ...BASE, "content-range": "bytes 0-9/10" }, {}, false],
    ["not to be transformed", { ...BASE, "cache-control": "No-Transform" }, {}, false],
    [
      "not to be transformed, in a list",
      { ...BASE, "cache-control": "a=1,no-transform " },
      {},
      false,
    ],
    ["other directives", { ...BASE, "cache-control": "no-store, x-no-transform" }, {}, true],
  ];
  const compression = linkCompression({
    ...COMPRESSION,
    contentTypes: [...COMPRESSION.contentTypes, "application/grpc+proto"],
  });
  for (const [what, fields, answer, expected] of CASES) {
    test(`${what}: ${expected ? "yes" : "no"}`, () => {
      const header = (name: string): string | undefined => fields[name];
      const whole: Answer = { status: 200, contentLength: -1, header, ...answer };
      assert.equal(isCompressible(whole, compression), expected);
    });
  }
});

const BODY = jsonOf(400);

/** What a client is told: its head's lines beside status, type and what frames it, sorted. */
async function linesFor(
  origin: { readonly fields?: string; readonly status?: string; readonly body?: string },
  request: { readonly fields?: string; readonly method?: string } = {},
  rule: Parameters<typeof compressing>[1] = {},
): Promise<string[]> {
  const { fields = "", status = "200 OK", body = BODY } = origin;
  const { fields: asked = "accept-encoding: gzip\r\n", method = "GET" } = request;
  const head = `HTTP/1.1 ${status}\r\ndate: now\r\ncontent-type: application/json\r\n${fields}`;
  const none = status.startsWith("304");
  const length = none ? "" : `content-length: ${body.length}\r\n`;
  await using app = await rawOrigin((socket) => {
    socket.write(`${head}${length}\r\n${none || method === "HEAD" ? "" : body}`);
  });
  await using gateway = await testGateway({ parts: compressing(app.port, rule) });
  using client = new RawClient(gateway.port);
  client.send(`${method} / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n${asked}\r\n`);
  const received = await client.until(({ ended }) => ended);
  const [lines = "", ...rest] = received.split("\r\n\r\n");
  const said = lines.split("\r\n").slice(1);
  const coding = said.find((line) => line.startsWith("content-encoding: "))?.slice(18);
  if (method !== "HEAD" && !none) {
    const sent = Buffer.from(rest.join("\r\n\r\n"), "latin1");
    assert.equal(decoded(coding, sent), body);
    assert.ok(said.includes(`content-length: ${sent.length}`));
  }
  const framing = /^(?:date|connection|content-type|content-length):/;
  return said.filter((line) => !framing.test(line)).toSorted();
}

const GZIP = "content-encoding: gzip";
const VARY = "vary: Accept-Encoding";

describe("heads of responses that are compressed", () => {
  const CASES: readonly (readonly [what: string, fields: string, expected: readonly string[]])[] = [
    ["nothing of the kind", "", [GZIP, VARY]],
    [
      "other fields stay",
      "x-a: 1\r\nSet-Cookie: a=1\r\n",
      ["Set-Cookie: a=1", GZIP, VARY, "x-a: 1"],
    ],
    ["Vary is merged", "Vary: Origin\r\n", [GZIP, "vary: Origin, Accept-Encoding"]],
    ["Vary of two lines", "vary: a\r\nVary: b\r\n", [GZIP, "vary: a, b, Accept-Encoding"]],
    ["Vary says it", "Vary: a, accept-encoding\r\n", ["Vary: a, accept-encoding", GZIP]],
    ["Vary says all", "Vary: *\r\n", ["Vary: *", GZIP]],
    ["a strong tag becomes weak", 'ETag: "a"\r\n', [GZIP, 'etag: W/"a"', VARY]],
    ["a weak tag stays", 'ETag: W/"a"\r\n', ['ETag: W/"a"', GZIP, VARY]],
    ["what is no tag goes", "ETag: a\r\n", [GZIP, VARY]],
    ["parts are not offered", "Accept-Ranges: bytes\r\n", [GZIP, VARY]],
    [
      "digests are of other bytes",
      "Content-MD5: a\r\nDigest: a\r\nContent-Digest: a\r\nRepr-Digest: a\r\nUnencoded-Digest: a\r\n",
      ["Unencoded-Digest: a", GZIP, VARY],
    ],
  ];
  for (const [what, fields, expected] of CASES) {
    test(what, async () => {
      assert.deepEqual(await linesFor({ fields }), expected.toSorted());
    });
    test(`${what}: the same for HEAD`, async () => {
      assert.deepEqual(await linesFor({ fields }, { method: "HEAD" }), expected.toSorted());
    });
  }

  test("where this client does not get it, caches hear that another might", async () => {
    const fields = 'ETag: "a"\r\nAccept-Ranges: bytes\r\nVary: b\r\n';
    const expected = ["Accept-Ranges: bytes", 'ETag: "a"', "vary: b, Accept-Encoding"];
    for (const asked of [
      "",
      "accept-encoding: identity\r\n",
      "accept-encoding: gzip;q=0\r\naccept-encoding: deflate\r\n",
      "accept-encoding: gzip\r\ncache-control: no-transform\r\n",
    ]) {
      assert.deepEqual(await linesFor({ fields }, { fields: asked }), expected, asked);
    }
  });

  for (const [what, fields, status] of [
    ["coded by the backend", "Content-Encoding: x\r\n", "200 OK"],
    ["not to be transformed", "Cache-Control: no-transform\r\n", "200 OK"],
    ["a part", "Content-Range: bytes 0-1/2\r\n", "206 Partial Content"],
    ["a part that does not say so", "Content-Range: bytes 0-1/2\r\n", "200 OK"],
  ] as const) {
    test(`${what}: nothing is changed`, async () => {
      const all = `${fields}ETag: "a"\r\nContent-MD5: a\r\n`;
      const expected = ["Content-MD5: a", 'ETag: "a"', fields.trim()].toSorted();
      await using app = await rawOrigin((socket) => {
        socket.write(
          `HTTP/1.1 ${status}\r\ncontent-type: text/plain\r\n${all}content-length: 200\r\n\r\n${"a".repeat(200)}`,
        );
      });
      await using gateway = await testGateway({ parts: compressing(app.port) });
      using client = new RawClient(gateway.port);
      client.send("GET / HTTP/1.1\r\nhost: app\r\naccept-encoding: gzip\r\n\r\n");
      const [head = "", body = ""] = (await client.responses(1)).split("\r\n\r\n");
      const said = head.split("\r\n").slice(1);
      const own = /^(?:date|content-type|content-length):/;
      assert.deepEqual(said.filter((line) => !own.test(line)).toSorted(), expected);
      assert.equal(body, "a".repeat(200));
    });
  }

  test("a client that revalidates what it got compressed is told the tag that it has", async () => {
    const origin = { status: "304 Not Modified", fields: 'ETag: "a"\r\n' };
    const asked = (tags: string) => ({
      fields: `accept-encoding: gzip\r\nif-none-match: ${tags}\r\n`,
    });
    assert.deepEqual(await linesFor(origin, asked('"b", W/"a"')), ['etag: W/"a"', VARY]);
    assert.deepEqual(await linesFor(origin, asked('"a"')), ['ETag: "a"']);
    assert.deepEqual(await linesFor(origin, asked('"a", W/"a"')), ['ETag: "a"']);
    assert.deepEqual(await linesFor(origin, asked("*")), ['ETag: "a"']);
  });
});

describe("a rule's own edits come before", () => {
  const edited = (responseHeaders: object) => ({ rule: { filters: { responseHeaders } } });

  test("what they say of type, caching and validators is what counts", async () => {
    const set = (...pairs: [string, string][]) => edited({ set: pairs });
    assert.deepEqual(await linesFor({}, {}, set(["Cache-Control", "no-transform"])), [
      "Cache-Control: no-transform",
    ]);
    assert.deepEqual(await linesFor({}, {}, set(["ETag", '"own"'], ["Vary", "x"], ["X-A", "1"])), [
      "X-A: 1",
      GZIP,
      'etag: W/"own"',
      "vary: x, Accept-Encoding",
    ]);
    const fields = 'ETag: "a"\r\nCache-Control: no-transform\r\n';
    const removed = edited({ remove: ["etag", "cache-control"] });
    assert.deepEqual(await linesFor({ fields }, {}, removed), [GZIP, VARY]);
  });

  test("a type that they set makes a response one that is compressed, or none", async () => {
    const set = (type: string) => edited({ set: [["content-type", type]] });
    assert.deepEqual(await linesFor({}, {}, set("image/png")), []);
    assert.deepEqual(await linesFor({}, {}, set("text/plain")), [GZIP, VARY]);
  });
});
