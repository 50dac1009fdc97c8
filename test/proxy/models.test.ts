/** LLM routes on sockets: what a provider is told, and what a strange answer may not break. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256 } from "../../src/base/hash.ts";
import type { ModelRoutePart, Part } from "../../src/compile/program.ts";
import { BodyBuffer } from "../../src/proxy/body-buffer.ts";
import { poolPart, SOCKET_KEY, STABLE, testGateway } from "../support/gateway.ts";
import { eventually, origin, RawClient } from "../support/upstream.ts";

const KEYS: readonly Part[] = [
  { type: "keys", key: "keys/k", pages: ["keys/k/0"] },
  { type: "keyPage", key: "keys/k/0", clients: { [sha256("good")]: "alice" } },
];

/** One LLM route with one provider. */
function llmRoute(port: number, more: Partial<ModelRoutePart> = {}): Part[] {
  return [
    {
      type: "socket",
      key: SOCKET_KEY,
      address: "127.0.0.1",
      port: 0,
      listeners: [{ hostname: "", table: "table/t" }],
    },
    { type: "table", key: "table/t", hosts: [{ hostname: "", pages: ["page/p"] }] },
    {
      type: "page",
      key: "page/p",
      entries: [{ path: { type: "PathPrefix", value: "/" }, rule: "models/r" }],
    },
    {
      type: "models",
      key: "models/r",
      route: "default/test",
      rules: [{ models: [], backends: [{ weight: 1, split: "split/s" }] }],
      modelsListed: [],
      bodyBytesMax: 10 * 1024 * 1024,
      ...more,
    },
    {
      type: "split",
      key: "split/s",
      salt: "salt",
      arms: [
        {
          id: STABLE,
          version: "1",
          role: "stable",
          weightBp: 10_000,
          pool: `pool/${STABLE}`,
          provider: { schema: "OpenAI", prefix: "/v1" },
        },
      ],
    },
    poolPart(STABLE, [port]),
    ...KEYS,
  ];
}

function chat(body: string, headers = ""): string {
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

test("a provider sees neither cookies nor the gateway's keys, whatever sanitize says", async () => {
  await using provider = await origin();
  await using gateway = await testGateway({
    parts: llmRoute(provider.port, {
      auth: {
        keys: "keys/k",
        extractFrom: [{ headers: ["X-Api-Key"] }, { cookies: ["key"] }],
        sanitize: false,
      },
    }),
  });
  using client = new RawClient(gateway.port);
  client.send(
    chat(
      '{"model":"m"}',
      "X-Api-Key: good\r\nX_Api_Key: good\r\nCookie: key=good; session=1\r\nX-Kept: 1\r\n",
    ),
  );
  assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
  const { rawHeaders, url } = provider.requests[0] as (typeof provider.requests)[0];
  assert.equal(url, "/v1/chat/completions");
  assert.ok(rawHeaders.includes("X-Kept"));
  const told = rawHeaders.join("\n").toLowerCase();
  for (const secret of ["good", "session", "cookie"]) assert.ok(!told.includes(secret), told);
});

test("a provider gets its own credential, and not what a client says under its name", async () => {
  await using provider = await origin();
  const credential = { header: "X-Provider-Key", prefix: "", ref: "r", digest: "d" };
  const parts = llmRoute(provider.port).map((part) => {
    if (part.type !== "split") return part;
    const wanted = { schema: "OpenAI", prefix: "/v1", credential } as const;
    return { ...part, arms: part.arms.map((arm) => ({ ...arm, provider: wanted })) };
  });
  await using gateway = await testGateway({ parts, credentials: new Map([["r", "ours"]]) });
  using client = new RawClient(gateway.port);
  client.send(chat('{"model":"m"}', "x-provider-key: theirs\r\nX_Provider_Key: theirs\r\n"));
  assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
  const { rawHeaders } = provider.requests[0] as (typeof provider.requests)[0];
  assert.ok(rawHeaders.includes("ours"));
  assert.ok(!rawHeaders.includes("theirs"), rawHeaders.join("\n"));
});

test("chunks of another shape reach the client, and the stream ends as it should", async () => {
  const chunks = 'data: {"choices":[null]}\n\ndata: {"choices":{}}\n\ndata: [DONE]\n\n';
  await using provider = await origin((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(chunks);
  });
  const bugs: unknown[] = [];
  await using gateway = await testGateway({
    parts: llmRoute(provider.port),
    onBug: (error) => bugs.push(error),
  });
  using client = new RawClient(gateway.port);
  client.send(chat('{"model":"m"}'));
  await eventually(() => client.received.includes("[DONE]"));
  assert.match(client.received, /\[null\]/);
  assert.deepEqual(bugs, []);
});

test("a body of nine megabytes in one string is answered, also in chunks of one byte", async () => {
  await using provider = await origin();
  await using gateway = await testGateway({ parts: llmRoute(provider.port) });
  using client = new RawClient(gateway.port);
  const body = JSON.stringify({ model: "m", x: "A".repeat(9 * 1024 * 1024) });
  client.send(chat(body));
  assert.match(await client.responses(1, 20_000), /^HTTP\/1\.1 200/);
  assert.equal(provider.requests[0]?.body, body);
  const cut = '{"model":"m","x":"ä"}';
  const chunks = [...Buffer.from(cut)].map((byte) => `1\r\n${String.fromCharCode(byte)}\r\n`);
  client.send(
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunks.join("")}0\r\n\r\n`,
  );
  await client.responses(2);
  assert.equal(Buffer.from(provider.requests[1]?.body ?? "", "latin1").toString(), cut);
});

test("what is kept of a body is what came, in the memory that it needs", () => {
  const kept = new BodyBuffer();
  const all: Buffer[] = [];
  for (const length of [1, 1, 5000, 1, 4096, 4096, 70_000, 0, 3, 4095, 2]) {
    const bytes = Buffer.alloc(length, all.length + 1);
    all.push(bytes);
    kept.append(bytes);
  }
  assert.equal(kept.length, Buffer.concat(all).length);
  assert.deepEqual(kept.take(), Buffer.concat(all));
  assert.equal(kept.length, 0);
  assert.equal(kept.take().length, 0);

  const byte = Buffer.from("x");
  const before = process.memoryUsage();
  for (let count = 0; count < 1_000_000; count++) kept.append(byte);
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const grownBytes = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers;
  assert.ok(grownBytes < 20_000_000, `${grownBytes} bytes for a million`);
  assert.equal(kept.take().toString(), "x".repeat(1_000_000));
});
