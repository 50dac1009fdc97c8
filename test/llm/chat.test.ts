/** The OpenAI chat slice: what is read of requests, what is counted in answers, however they are cut. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { parseChatRequest, replaceModel } from "../../src/llm/chat-request.ts";
import { createChatScanner } from "../../src/llm/chat-scanner.ts";

const CASES = "../shared/cases/llm-streams";

const REQUESTS: readonly (readonly [string, ReturnType<typeof parseChatRequest>])[] = [
  ['{"model":"m","messages":[]}', { ok: true, model: "m", stream: false }],
  [
    '{"messages":[{"model":"inner"}],"model":"m","stream":true}',
    { ok: true, model: "m", stream: true },
  ],
  ['{"model":"m","x":"\\"model\\":"}', { ok: true, model: "m", stream: false }],
  ["{", { ok: false, message: "The body is not valid JSON" }],
  ["[]", { ok: false, message: "The body must be a JSON object" }],
  ['{"messages":[]}', { ok: false, message: '"model" must name the model to use' }],
  ['{"model":"a","model":"b"}', { ok: false, message: '"model" must be given once' }],
  ['{"model":"a","mod\\u0065l":"b"}', { ok: false, message: '"model" must be given once' }],
  ['{"model":5,"model":"b"}', { ok: false, message: '"model" must be given once' }],
  ['{"n":1, "model" :\n"b", "user":"model"}', { ok: true, model: "b", stream: false }],
  ['{"model":"a","stream":"yes"}', { ok: false, message: '"stream" must be true or false' }],
];

for (const [body, expected] of REQUESTS) {
  test(`request ${body}`, () => assert.deepEqual(parseChatRequest(body), expected));
}

test("another model is written into the body, and nothing else changes", () => {
  const body = '{ "seed": 12345678901234567890, "model" : "a", "messages":[{"content":"model"}] }';
  assert.equal(
    replaceModel(body, 'b"'),
    '{ "seed": 12345678901234567890, "model" : "b\\"", "messages":[{"content":"model"}] }',
  );
});

function sse(chunks: readonly string[]): Buffer {
  return Buffer.from([...chunks, "[DONE]"].map((chunk) => `data: ${chunk}\n\n`).join(""));
}

/** Chat recordings with the usage their last chunk states. */
function recordings(): { file: string; bytes: Buffer; input: number; output: number }[] {
  if (!existsSync(CASES)) return [];
  const index = JSON.parse(readFileSync(`${CASES}/index.json`, "utf8")) as {
    file: string;
    api: string;
    stream: boolean;
  }[];
  return index
    .filter(({ api, stream }) => api === "chat" && stream)
    .flatMap(({ file }) => {
      const lines = readFileSync(`${CASES}/${file}`, "utf8").split("\n").filter(Boolean);
      const usage = lines
        .map((line) => (JSON.parse(line) as { usage?: Record<string, number> }).usage)
        .findLast((each) => each !== undefined && each !== null);
      if (!usage) return [];
      const [input, output] = [usage["prompt_tokens"], usage["completion_tokens"]];
      return [{ file, bytes: sse(lines), input: input as number, output: output as number }];
    });
}

for (const { file, bytes, input, output } of recordings()) {
  test(`${file}: usage and first token, whole and cut into small pieces`, () => {
    for (const size of [bytes.length, 1000, 7]) {
      const scanner = createChatScanner("text/event-stream; charset=utf-8");
      assert.ok(scanner);
      for (let at = 0; at < bytes.length; at += size) {
        scanner.push(bytes.subarray(at, at + size), at);
      }
      assert.deepEqual(scanner.usage(), {
        inputTokens: input,
        outputTokens: output,
        reported: true,
      });
      assert.ok(scanner.firstTokenAtMs !== undefined);
    }
  });
}

test("a stream without usage is counted by its deltas, the role alone is no token", () => {
  const scanner = createChatScanner("text/event-stream");
  assert.ok(scanner);
  const chunk = (delta: object): string => JSON.stringify({ choices: [{ index: 0, delta }] });
  scanner.push(sse([chunk({ role: "assistant", content: "" })]), 5);
  assert.equal(scanner.firstTokenAtMs, undefined);
  scanner.push(sse([chunk({ content: "a" }), chunk({ content: "b" })]), 9);
  assert.equal(scanner.firstTokenAtMs, 9);
  assert.deepEqual(scanner.usage(), { inputTokens: 0, outputTokens: 2, reported: false });
});

test("a body's usage is found behind any length of choices", () => {
  const usage = { prompt_tokens: 11, completion_tokens: 22, total_tokens: 33 };
  for (const content of ["short", "x".repeat(100_000)]) {
    const scanner = createChatScanner("application/json");
    assert.ok(scanner);
    scanner.push(Buffer.from(JSON.stringify({ choices: [{ message: { content } }], usage })), 0);
    assert.deepEqual(scanner.usage(), { inputTokens: 11, outputTokens: 22, reported: true });
  }
});
