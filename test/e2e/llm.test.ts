/**
 * LLM traffic as its clients see it: the official openai client streams through a route split over
 * two providers, leaves early, and a provider that fails half its calls is rolled back.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import OpenAI from "openai";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import type { Rollout } from "../../src/resource/rollout.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

/** A provider that speaks OpenAI's recorded protocol: ten words a stream, usage at the end. */
async function mockProvider(name: string, options: { failHalf?: boolean; endless?: boolean } = {}) {
  const seen: { authorization: string | undefined; model: string; url: string }[] = [];
  let calls = 0;
  let cancelledAtMs = 0;
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (text) => (body += String(text)));
    request.on("end", () => {
      calls += 1;
      const { model, stream } = JSON.parse(body) as { model: string; stream?: boolean };
      seen.push({ authorization: request.headers.authorization, model, url: request.url ?? "" });
      response.on("close", () => {
        if (!response.writableFinished) cancelledAtMs = performance.now();
      });
      if (options.failHalf === true && calls % 2 === 0) {
        response.writeHead(500, { "content-type": "application/json" });
        response.end('{"error":{"message":"overloaded","type":"server_error"}}');
      } else if (stream === true) streamAnswer(response, name, options.endless === true);
      else response.end(wholeAnswer(response, name));
    });
  });
  server.keepAliveTimeout = 30_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    name,
    port: (server.address() as AddressInfo).port,
    seen,
    cancelledAtMs: () => cancelledAtMs,
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function wholeAnswer(response: ServerResponse, name: string): string {
  response.setHeader("content-type", "application/json");
  const message = { role: "assistant", content: `hello from ${name}` };
  return JSON.stringify({
    id: "chatcmpl-1",
    object: "chat.completion",
    choices: [{ index: 0, message, finish_reason: "stop" }],
    usage: { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 },
  });
}

function streamAnswer(response: ServerResponse, name: string, endless: boolean): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  const send = (chunk: object): void => {
    response.write(
      `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", ...chunk })}\n\n`,
    );
  };
  const delta = (content: object): object => ({ choices: [{ index: 0, delta: content }] });
  send(delta({ role: "assistant", content: "" }));
  let words = 0;
  const beat = setInterval(() => {
    send(delta({ content: `${name}${words++} ` }));
    if (words < 10 || endless) return;
    clearInterval(beat);
    send({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 10, total_tokens: 17 } });
    response.end("data: [DONE]\n\n");
  }, 5);
  response.on("close", () => clearInterval(beat));
}

const API = "sluice.dev/v1alpha1";

function resource(kind: string, name: string, spec: object, apiVersion = API): ResourceDraft {
  return { apiVersion, kind, metadata: { name, namespace: "default" }, spec };
}

function provider(name: string, port: number): ResourceDraft[] {
  return [
    resource("Backend", `${name}-endpoint`, {
      endpoints: [{ ip: { address: "127.0.0.1", port } }],
    }),
    resource("AIServiceBackend", name, {
      schema: { name: "OpenAI" },
      backendRef: { group: "sluice.dev", kind: "Backend", name: `${name}-endpoint` },
    }),
    {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: `${name}-key`, namespace: "default" },
      stringData: { apiKey: `key-of-${name}` },
    },
    resource("BackendSecurityPolicy", name, {
      targetRefs: [{ group: "sluice.dev", kind: "AIServiceBackend", name }],
      type: "APIKey",
      apiKey: { secretRef: { name: `${name}-key` } },
    }),
  ];
}

function gatewayAndRoute(port: number, backendRefs: readonly object[]): ResourceDraft[] {
  return [
    resource(
      "Gateway",
      "edge",
      {
        gatewayClassName: "sluice",
        addresses: [{ type: "IPAddress", value: "127.0.0.1" }],
        listeners: [{ name: "http", protocol: "HTTP", port }],
      },
      "gateway.networking.k8s.io/v1",
    ),
    resource("AIGatewayRoute", "chat", {
      parentRefs: [{ name: "edge" }],
      rules: [
        { matches: [{ headers: [{ name: "x-ai-eg-model", value: "gpt-4o-mini" }] }], backendRefs },
      ],
    }),
  ];
}

function openai(port: number): OpenAI {
  return new OpenAI({
    apiKey: "client-key",
    baseURL: `http://127.0.0.1:${port}/v1`,
    maxRetries: 0,
  });
}

const QUESTION = { model: "gpt-4o-mini", messages: [{ role: "user" as const, content: "hello" }] };

async function untilServed(port: number): Promise<void> {
  await eventually("the model is served", async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/models`);
    return answer.ok && JSON.stringify(await answer.json()).includes("gpt-4o-mini");
  });
}

test("the openai client streams through a split over two providers", async () => {
  using a = await mockProvider("a");
  using b = await mockProvider("b");
  const port = await freePort();
  await using sluice = await Sluice.start();
  await sluice.apply(
    ...provider("a", a.port),
    ...provider("b", b.port),
    ...gatewayAndRoute(port, [
      { name: "a", weight: 50 },
      { name: "b", weight: 50, modelNameOverride: "llama-3.3-70b" },
    ]),
  );
  await untilServed(port);
  const client = openai(port);
  for (let call = 0; call < 40; call++) {
    const stream = await client.chat.completions.create({
      ...QUESTION,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = 0;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage?.completion_tokens ?? usage;
    }
    assert.match(text, /^(a0 a1|b0 b1).*(a9|b9) $/);
    assert.equal(usage, 10);
  }
  assert.ok(a.seen.length > 5 && b.seen.length > 5, `${a.seen.length} and ${b.seen.length}`);
  for (const { authorization, model, url } of a.seen) {
    assert.deepEqual(
      [authorization, model, url],
      ["Bearer key-of-a", "gpt-4o-mini", "/v1/chat/completions"],
    );
  }
  for (const { authorization, model } of b.seen) {
    assert.deepEqual([authorization, model], ["Bearer key-of-b", "llama-3.3-70b"]);
  }
  const whole = await client.chat.completions.create(QUESTION);
  assert.match(whole.choices[0]?.message.content ?? "", /^hello from [ab]$/);
  const metrics = await (await fetch(`${sluice.adminUrl}/metrics`)).text();
  const output = [
    ...metrics.matchAll(/^sluice_llm_tokens_total\{.*direction="output".*\} (\d+)$/gm),
  ];
  const tokens = output.reduce((sum, match) => sum + Number(match[1]), 0);
  assert.equal(tokens, 40 * 10 + 3);
});

test("wrong requests are answered in OpenAI's shape", async () => {
  using a = await mockProvider("a");
  const port = await freePort();
  await using sluice = await Sluice.start();
  await sluice.apply(...provider("a", a.port), ...gatewayAndRoute(port, [{ name: "a" }]));
  await untilServed(port);
  const post = async (body: string) => {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      body,
    });
    const { error } = (await answer.json()) as { error: { message: string; type: string } };
    return { status: answer.status, message: error.message };
  };
  assert.equal((await post("{")).status, 400);
  const unknown = await post('{"model":"none","messages":[]}');
  assert.equal(unknown.status, 404);
  assert.match(unknown.message, /none/);
  assert.equal((await post(`{"model":"gpt-4o-mini","x":"${"y".repeat(11_000_000)}"}`)).status, 413);
  assert.equal(a.seen.length, 0);
});

test("when the client leaves, the provider's stream is cancelled within 100 ms", async () => {
  using a = await mockProvider("a", { endless: true });
  const port = await freePort();
  await using sluice = await Sluice.start();
  await sluice.apply(...provider("a", a.port), ...gatewayAndRoute(port, [{ name: "a" }]));
  await untilServed(port);
  const stream = await openai(port).chat.completions.create({ ...QUESTION, stream: true });
  let words = 0;
  let leftAtMs = 0;
  for await (const { choices } of stream) {
    words += choices.length;
    if (words < 5) continue;
    leftAtMs = performance.now();
    break;
  }
  stream.controller.abort();
  const cancelledAtMs = await eventually("cancelled", () => a.cancelledAtMs() || undefined);
  assert.ok(cancelledAtMs - leftAtMs < 100, `cancelled after ${cancelledAtMs - leftAtMs} ms`);
});

test("an AIServiceBackend edited to a provider that fails half its calls is rolled back", async () => {
  using good = await mockProvider("good");
  using bad = await mockProvider("bad", { failHalf: true });
  const port = await freePort();
  await using sluice = await Sluice.start();
  const workload = (endpoint: string): ResourceDraft =>
    resource("AIServiceBackend", "model", {
      version: endpoint,
      schema: { name: "OpenAI" },
      backendRef: { group: "sluice.dev", kind: "Backend", name: endpoint },
    });
  const [goodEndpoint] = provider("good", good.port);
  const [badEndpoint] = provider("bad", bad.port);
  const sluicePlugin = {
    metric: "success-rate",
    arm: "canary",
    window: "5s",
    minSamples: 5,
    noData: "wait",
  };
  await sluice.apply(
    goodEndpoint as ResourceDraft,
    badEndpoint as ResourceDraft,
    workload("good-endpoint"),
    resource(
      "AnalysisTemplate",
      "healthy",
      {
        metrics: [
          {
            name: "success-rate",
            interval: "1s",
            failureCondition: "result < 0.9",
            provider: { plugin: { sluice: sluicePlugin } },
          },
        ],
      },
      "argoproj.io/v1alpha1",
    ),
    resource(
      "Rollout",
      "model",
      {
        workloadRef: { apiVersion: API, kind: "AIServiceBackend", name: "model" },
        strategy: {
          canary: {
            analysis: { templates: [{ templateName: "healthy" }] },
            steps: [{ setWeight: 50 }, { pause: {} }],
          },
        },
      },
      "argoproj.io/v1alpha1",
    ),
    ...gatewayAndRoute(port, [{ name: "model" }]),
  );
  await untilServed(port);
  await sluice.apply(workload("bad-endpoint"));
  const client = openai(port);
  await eventually("it is rolled back", async () => {
    await client.chat.completions.create(QUESTION).catch(() => undefined);
    const { status } = (await sluice.get("rollout", "model")) as Rollout;
    return status?.abort === true && status.canary?.weights?.canary.weight === 0;
  });
  const before = bad.seen.length;
  for (let call = 0; call < 20; call++) await client.chat.completions.create(QUESTION);
  assert.equal(bad.seen.length, before);
});
