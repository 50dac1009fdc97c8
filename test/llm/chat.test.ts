/** The OpenAI chat slice: what is read of requests, what is counted in answers, however they are cut. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import * as fc from "fast-check";
import { parseChatRequest, replaceModel } from "../../src/llm/chat-request.ts";
import { createChatScanner } from "../../src/llm/chat-scanner.ts";
import { DEPTH_MAX, readMembers } from "../../src/llm/json-members.ts";

const CASES = "../shared/cases/llm-streams";

type Read = { ok: true; model: string; stream: boolean } | { ok: false; message: string };

const ONCE: Read = { ok: false, message: '"model" must be given once' };
const NO_MODEL: Read = { ok: false, message: '"model" must name the model to use' };
const INVALID: Read = { ok: false, message: "The body is not valid JSON" };

const REQUESTS: readonly (readonly [string, Read])[] = [
  ['{"model":"m","messages":[]}', { ok: true, model: "m", stream: false }],
  [
    '{"messages":[{"model":"inner"}],"model":"m","stream":true}',
    { ok: true, model: "m", stream: true },
  ],
  ['{"model":"m","x":"\\"model\\":"}', { ok: true, model: "m", stream: false }],
  ["{", INVALID],
  ['{"model":"m"}}', INVALID],
  ['{"model":"m",}', INVALID],
  ["", INVALID],
  ["[]", { ok: false, message: "The body must be a JSON object" }],
  ['"model"', { ok: false, message: "The body must be a JSON object" }],
  ['{"messages":[]}', NO_MODEL],
  ['{"model":""}', NO_MODEL],
  ['{"model":5}', NO_MODEL],
  ['{"MODEL":"m"}', NO_MODEL],
  ['{"model":"a","model":"b"}', ONCE],
  ['{"model":"a","mod\\u0065l":"b"}', ONCE],
  ['{"model":5,"model":"b"}', ONCE],
  // Go's decoder takes any case for the field, and the last of several.
  ['{"model":"cheap","MODEL":"expensive"}', ONCE],
  ['{"model":"cheap","\\u004dodE\\u004C":"expensive"}', ONCE],
  ['{"mod\\u0065l":"m"}', { ok: true, model: "m", stream: false }],
  ['{"n":1, "model" :\n"b", "user":"model"}', { ok: true, model: "b", stream: false }],
  ['{"model":"a\\u0062"}', { ok: true, model: "ab", stream: false }],
  ['{"model":"a","stream":null}', { ok: true, model: "a", stream: false }],
  ['{"model":"a","stream":false}', { ok: true, model: "a", stream: false }],
  ['{"model":"a","Stream":"yes"}', { ok: true, model: "a", stream: false }],
  ['{"model":"a","stream":"yes"}', { ok: false, message: '"stream" must be true or false' }],
  [
    '{"model":"a","stream":true,"stream":false}',
    { ok: false, message: '"stream" must be given once' },
  ],
];

for (const [body, expected] of REQUESTS) {
  test(`request ${body}`, () => {
    const { modelSpan: _span, ...read } = { modelSpan: null, ...parseChatRequest(body) };
    assert.deepEqual(read, expected);
  });
}

test("a model that nobody can have is not repeated", () => {
  const request = parseChatRequest(JSON.stringify({ model: "m".repeat(300) }));
  assert.deepEqual(request, {
    ok: false,
    message: '"model" must not have more than 256 characters',
  });
});

test("depth has a limit", () => {
  const nested = (depth: number): string =>
    `{"model":"m","x":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  assert.ok(parseChatRequest(nested(DEPTH_MAX - 1)).ok);
  assert.deepEqual(parseChatRequest(nested(DEPTH_MAX)), {
    ok: false,
    message: "The body is nested too deeply",
  });
  assert.ok(!parseChatRequest("[".repeat(5_000_000)).ok);
});

test("long strings are read whole", () => {
  const bytes = 9.5 * 1024 * 1024;
  for (const long of ["A".repeat(bytes), String.raw`\n`.repeat(bytes / 2)]) {
    const request = parseChatRequest(`{"messages":[{"content":"${long}"}],"model":"m"}`);
    assert.ok(request.ok && request.model === "m");
  }
});

test("millions of values are read in far less time than JSON.parse makes them", () => {
  const body = `{"model":"m","x":[${"{},".repeat(3_000_000)}{}]}`;
  const timed = (act: () => unknown): number => {
    const startedMs = performance.now();
    act();
    return performance.now() - startedMs;
  };
  const readMs = timed(() => assert.ok(parseChatRequest(body).ok));
  const parsedMs = timed(() => JSON.parse(body) as unknown);
  assert.ok(readMs < parsedMs / 2, `${readMs} ms, JSON.parse ${parsedMs} ms`);
});

/** Texts that are nearly JSON: a valid one with a character more, less or other. */
const nearlyJson = fc
  .tuple(
    fc.json(),
    fc.nat(),
    fc.constantFrom(...'{}[]",:\\u0e+-.1tfn \n\u0000/ü'.split("")),
    fc.nat(2),
  )
  .map(([json, at, char, change]) => {
    const place = at % (json.length + 1);
    return json.slice(0, place) + (change === 0 ? "" : char) + json.slice(place + (change % 2));
  });

test("what is JSON and what its members are is what JSON.parse says", () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), nearlyJson), (json) => {
      const members: [unknown, unknown][] = [];
      const read = readMembers(json, ({ keyStart, keyEnd, valueStart, valueEnd }) =>
        members.push([
          JSON.parse(json.slice(keyStart, keyEnd)),
          JSON.parse(json.slice(valueStart, valueEnd)),
        ]),
      );
      let parsed: unknown;
      try {
        parsed = JSON.parse(json);
      } catch {
        assert.equal(read, "invalid", json);
        return;
      }
      const isObject = typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
      assert.equal(read, isObject ? "object" : "no_object", json);
      if (isObject) assert.deepEqual(Object.fromEntries(members), parsed);
    }),
    { numRuns: 3000 },
  );
});

test("another model is written into the body, and nothing else changes", () => {
  const body = '{ "seed": 12345678901234567890, "model" : "a", "messages":[{"content":"model"}] }';
  const request = parseChatRequest(body);
  assert.ok(request.ok);
  assert.equal(
    replaceModel(body, request, 'b"'),
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

const delta = (value: unknown, more = ""): string =>
  `{"choices":[{"index":0,"delta":${JSON.stringify(value)}}]${more}}`;

const STREAMS: readonly (readonly [
  string,
  readonly string[],
  { input?: number; output: number; reported?: boolean },
])[] = [
  [
    "an empty last delta",
    [delta({ content: "a" }), delta({ content: "b" }), delta({})],
    { output: 2 },
  ],
  [
    "a last delta of a role and empty values",
    [
      delta({ content: "a" }),
      '{"choices":[{"delta": {"role" : "assistant", "content":"", "refusal":null } }]}',
      '{"choices":[{"delta":null}]}',
      delta({ role: "assistant", content: "b" }),
    ],
    { output: 2 },
  ],
  [
    "usage with blanks",
    [delta({ content: "a" }), '{"choices":[],"usage" : {"prompt_tokens":3,"completion_tokens":4}}'],
    { input: 3, output: 4, reported: true },
  ],
  [
    "usage without choices first",
    ['{"usage":{"prompt_tokens":3,"completion_tokens":1}}'],
    { input: 3, output: 1, reported: true },
  ],
  [
    "numbers that cannot be",
    ['{"usage":{"prompt_tokens":1e308,"completion_tokens":-1}}'],
    { output: 0, reported: true },
  ],
  [
    "chunks of another shape",
    [
      "null",
      "[]",
      "5",
      "{",
      '{"choices":[null]}',
      '{"choices":{}}',
      '{"choices":"x"}',
      '{"choices":[{"delta":null}],"usage":5}',
    ],
    { output: 0 },
  ],
];

for (const [name, chunks, { input = 0, output, reported = false }] of STREAMS) {
  test(`a stream with ${name}`, () => {
    const scanner = createChatScanner("Text/Event-Stream;charset=utf-8");
    assert.ok(scanner);
    scanner.push(sse(chunks), 1);
    assert.deepEqual(scanner.usage(), { inputTokens: input, outputTokens: output, reported });
  });
}

test("whatever a provider sends, counting does not throw", () => {
  const shape = fc.oneof(fc.json(), fc.string());
  fc.assert(
    fc.property(
      fc.array(shape),
      fc.constantFrom("application/JSON", "text/event-stream"),
      (all, type) => {
        const scanner = createChatScanner(type);
        assert.ok(scanner);
        for (const each of all) {
          scanner.push(Buffer.from(`data: {"choices":${each},"usage":${each}}\n\n`), 1);
          scanner.push(Buffer.from(`data: {"choices":[${each},{"delta":${each}}]}\n\n`), 1);
        }
        const { inputTokens, outputTokens } = scanner.usage();
        assert.ok(Number.isFinite(inputTokens) && Number.isFinite(outputTokens));
      },
    ),
  );
});
