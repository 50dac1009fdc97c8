/**
 * The driver of LLM routes. It collects the request's body, chooses by the model that the body names,
 * and then goes the road of every other request (attempt.ts), with a head of its own for each arm: a
 * provider's credential never reaches another provider. The answer is relayed as it comes and only
 * looked at, to count tokens.
 */
import { parseChatRequest, replaceModel } from "../llm/chat-request.ts";
import { type ChatScanner, createChatScanner } from "../llm/chat-scanner.ts";
import { FIELD } from "../shared/metrics.ts";
import { startAttempt } from "./attempt.ts";
import { BodyBuffer } from "./body-buffer.ts";
import { armRow, choose } from "./choose.ts";
import type { BodyCollector, Exchange, ResponseTap } from "./exchange.ts";
import { upstreamHead } from "./forward.ts";
import { respond, respondError } from "./respond.ts";
import type { LinkedArm, LinkedModelRule, LinkedRule } from "./snapshot.ts";
import type { ModelRoutePart } from "../compile/program.ts";

const MODELS_PATH = "/v1/models";
/**
 * What a client says to the gateway and must not say to a provider, and what would keep us from
 * counting tokens.
 */
const DROPPED = ["authorization", "cookie", "accept-encoding", "x-ai-eg-model"] as const;

/** Takes a request of an LLM route, of whose body `x.held` is what has come. */
export function handleModels(x: Exchange, rule: LinkedRule): void {
  const part = rule.part as ModelRoutePart;
  if (x.head.path === MODELS_PATH) {
    if (x.head.method === "GET" || x.head.method === "HEAD") respondModels(x, part.modelsListed);
    else respondError(x, "method_refused");
    return;
  }
  if (x.head.method !== "POST") {
    respondError(x, "method_refused");
    return;
  }
  if ((x.head.header("content-encoding") ?? "identity") !== "identity") {
    respondInvalid(x, { status: 415, message: "The body must not be compressed" });
    return;
  }
  const collector = new ChatCollector(rule, part.bodyBytesMax);
  const held = x.held ?? [];
  x.held = null;
  x.heldBytes = 0;
  x.collector = collector;
  for (const slice of held) collector.slice(x, slice);
  if (x.bodyEnded) collector.end(x);
}

/** The answer of `GET /v1/models`, in OpenAI's shape. */
function respondModels(x: Exchange, models: readonly string[]): void {
  const data = models.map((id) => ({ id, object: "model", created: 0, owned_by: "sluice" }));
  respond(x, {
    status: 200,
    headers: "",
    contentType: "application/json",
    body: escapeNonLatin(JSON.stringify({ object: "list", data })),
  });
}

/** An error of the request's body, in OpenAI's shape, which its clients show to people. */
function respondInvalid(x: Exchange, answer: { status: number; message: string }): void {
  x.reason = "request_invalid";
  const { message, status } = answer;
  const error = {
    message,
    type: "invalid_request_error",
    param: null,
    code: status === 404 ? "model_not_found" : "request_invalid",
    requestId: x.requestId,
  };
  const body = escapeNonLatin(JSON.stringify({ error }));
  respond(x, { status, headers: "", contentType: "application/json", body });
}

/** Answers are written as latin1: other characters stand as JSON escapes. */
function escapeNonLatin(json: string): string {
  return json.replaceAll(
    /[\u0080-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Keeps a request's body until all of it is there. */
class ChatCollector implements BodyCollector {
  readonly #rule: LinkedRule;
  readonly #bytesMax: number;
  readonly #body = new BodyBuffer();

  constructor(rule: LinkedRule, bytesMax: number) {
    this.#rule = rule;
    this.#bytesMax = bytesMax;
  }

  slice(x: Exchange, bytes: Buffer): void {
    if (x.finished) return;
    if (this.#body.length + bytes.length > this.#bytesMax) respondError(x, "body_too_large");
    else this.#body.append(bytes);
  }

  end(x: Exchange): void {
    if (x.finished) return;
    x.collector = null;
    forwardChat(x, this.#rule, this.#body.take().toString("utf8"));
  }
}

function forwardChat(x: Exchange, rule: LinkedRule, body: string): void {
  const request = parseChatRequest(body);
  if (!request.ok) {
    respondInvalid(x, { status: 400, message: request.message });
    return;
  }
  const set = (rule.models ?? []).find((each) => takes(each, request.model));
  if (set === undefined) {
    respondInvalid(x, { status: 404, message: `The model "${request.model}" is not served here` });
    return;
  }
  limitTime(x, set);
  const { gates, random } = x.plane;
  const options = { head: x.head, clientAddress: x.peer.clientAddress, random, gates };
  const none = choose(x.choice, rule, set, options);
  if (none !== null) {
    respondError(x, none === "no_open_arm" ? "no_arm" : "no_backend");
    return;
  }
  const override = x.choice.backend?.modelNameOverride ?? null;
  const sent = override === null ? body : replaceModel(body, request, override);
  const bytes = Buffer.from(sent, "utf8");
  x.held = [bytes];
  x.heldBytes = bytes.length;
  x.headFor = (arm) => providerHead(x, arm, bytes.length);
  x.tap = new ChatTap(x, rule);
  startAttempt(x, x.choice.arm as LinkedArm);
}

function takes(rule: LinkedModelRule, model: string): boolean {
  return (
    rule.models.length === 0 ||
    rule.models.some(({ regex, value }) =>
      regex === null ? value === model : regex.testExact(model),
    )
  );
}

function limitTime(x: Exchange, set: LinkedModelRule): void {
  x.requestTimeoutMs = set.requestTimeoutMs;
  x.backendRequestTimeoutMs = set.backendRequestTimeoutMs;
  if (x.requestTimeoutMs > 0) x.deadlineMs = x.startedMs + x.requestTimeoutMs;
}

/** The head for the provider behind `arm`; undefined where its credential is missing. */
function providerHead(x: Exchange, arm: LinkedArm, contentLength: number): string | undefined {
  const { provider } = arm.arm;
  if (provider === undefined || arm.credentialMissing) return undefined;
  const { credential } = arm;
  const endpoint = arm.pool.value?.part.endpoints[0];
  const host = arm.pool.value?.part.tls?.serverName ?? authorityOf(endpoint);
  return upstreamHead(x, {
    target: `${provider.prefix}/chat/completions`,
    ...(host === undefined ? {} : { host }),
    contentLength,
    drop: credential === null ? DROPPED : [...DROPPED, credential.name.toLowerCase()],
    append: credential === null ? "" : `${credential.name}: ${credential.value}\r\n`,
  });
}

/** Providers look at Host: it must be theirs, not the gateway's. */
function authorityOf(endpoint: object | undefined): string | undefined {
  if (endpoint === undefined || !("host" in endpoint) || !("port" in endpoint)) return undefined;
  const host = String(endpoint.host);
  return `${host.includes(":") ? `[${host}]` : host}:${String(endpoint.port)}`;
}

/** Watches an answer pass and counts it for the arm that gave it. */
class ChatTap implements ResponseTap {
  readonly #exchange: Exchange;
  readonly #rule: LinkedRule;
  #scanner: ChatScanner | undefined;

  constructor(exchange: Exchange, rule: LinkedRule) {
    this.#exchange = exchange;
    this.#rule = rule;
  }

  head(status: number, contentType: string | undefined): void {
    this.#scanner = status === 200 ? createChatScanner(contentType ?? "") : undefined;
  }

  bytes(buffer: Buffer, start: number, end: number): void {
    try {
      this.#scanner?.push(buffer.subarray(start, end), performance.now());
    } catch (error) {
      // Who looks on must not break what it looks at.
      this.#scanner = undefined;
      this.#exchange.plane.onBug(error);
    }
  }

  finish(): void {
    const { arm, plane, startedMs } = this.#exchange;
    const scanner = this.#scanner;
    if (scanner === undefined || arm === null) return;
    const row = armRow(this.#rule, arm, plane.metrics);
    const { inputTokens, outputTokens } = scanner.usage();
    plane.metrics.add(row, FIELD.inputTokens, inputTokens);
    plane.metrics.add(row, FIELD.outputTokens, outputTokens);
    if (scanner.firstTokenAtMs !== undefined) {
      plane.metrics.firstToken(row, scanner.firstTokenAtMs - startedMs);
    }
  }
}
