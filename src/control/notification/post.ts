/**
 * Posts one announcement to one webhook, once: with a limit on the time it takes, without following
 * redirects, and without reading an answer for longer than it takes to know it. What it says of a
 * failure holds neither the URL nor a header, for secrets may stand in both.
 */
import { request } from "undici";
import type { Dispatcher } from "undici";
import type { Clock } from "../../base/clock.ts";
import { sha256 } from "../../base/hash.ts";
import type { JsonObject } from "../../base/json.ts";
import type { Webhook } from "./configuration.ts";
import { renderTemplate } from "./template.ts";

export const POST_TIMEOUT_MS = 10_000;
/** A receiver that says more is not listened to. */
const ANSWER_BYTES_MAX = 64 * 1024;

export interface PostOptions {
  /** The outbox record's key: the same for every try of one announcement. */
  readonly key: string;
  /** What the default body is and what templates are filled in from. */
  readonly data: JsonObject;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly dispatcher: Dispatcher;
}

/** Undefined where the receiver has accepted it, else why not, in words without secrets. */
export async function post(webhook: Webhook, options: PostOptions): Promise<string | undefined> {
  const timeout = new AbortController();
  const cancel = options.clock.after(POST_TIMEOUT_MS, () => timeout.abort());
  const signal = AbortSignal.any([timeout.signal, options.signal]);
  try {
    const { statusCode, body } = await request(targetOf(webhook, options.data), {
      method: webhook.template?.method ?? "POST",
      headers: headersOf(webhook, options.key),
      body: bodyOf(webhook, options.data),
      dispatcher: options.dispatcher,
      signal,
    });
    // The status is the answer; a body that does not end must not undo it.
    await body.dump({ limit: ANSWER_BYTES_MAX, signal }).catch(() => undefined);
    return statusProblem(statusCode);
  } catch (error) {
    if (timeout.signal.aborted) return `no answer within ${POST_TIMEOUT_MS / 1000} s`;
    if (options.signal.aborted) return "interrupted";
    return `cannot be reached (${codeOf(error)})`;
  } finally {
    cancel();
  }
}

function statusProblem(statusCode: number): string | undefined {
  if (statusCode >= 200 && statusCode < 300) return undefined;
  const redirect = statusCode >= 300 && statusCode < 400 ? "; redirects are not followed" : "";
  return `answered ${statusCode}${redirect}`;
}

/** The path is appended, so that what a template fills in cannot lead to another host. */
function targetOf(webhook: Webhook, data: JsonObject): string {
  const path = renderTemplate(webhook.template?.path ?? "", data);
  if (path === "") return webhook.url;
  return `${webhook.url.replace(/\/+$/, "")}/${path.replace(/^\/+/, "")}`;
}

function bodyOf(webhook: Webhook, data: JsonObject): string {
  const template = webhook.template?.body ?? "";
  return template === "" ? JSON.stringify(data) : renderTemplate(template, data);
}

/** A receiver that sees a key twice has seen the same announcement twice. */
function headersOf(webhook: Webhook, key: string): Record<string, string> {
  return {
    "content-type": "application/json",
    "user-agent": "sluice",
    ...Object.fromEntries(webhook.headers),
    "idempotency-key": sha256(key).slice(0, 32),
  };
}

function codeOf(error: unknown): string {
  if (error instanceof Error && "code" in error) return String(error.code);
  return error instanceof Error ? error.name : "unknown error";
}
