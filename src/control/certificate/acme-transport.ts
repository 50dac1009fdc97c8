/**
 * How requests to a CA are carried: by undici, with the issuer's idea of whom to trust, limits on
 * time and size, and no retries, which are the controller's. acme-client speaks through axios, one
 * instance for the whole process; which call a request belongs to is found by its asynchronous
 * context, so that no issuer's trust can be another's.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { Agent, type Dispatcher, request } from "undici";
import { axios } from "acme-client";
import { isJsonObject } from "../../base/json.ts";
import { AcmeError, type Problem, RETRY_AFTER_MS_MAX } from "./acme-error.ts";

interface Call {
  readonly dispatcher: Dispatcher;
  readonly signal: AbortSignal;
  /** The last answer that was not a success. */
  problem: Problem | undefined;
}

const REQUEST_TIMEOUT_MS = 30_000;
const ANSWER_BYTES_MAX = 1024 * 1024;
const DETAIL_CHARACTERS_MAX = 1024;

const calls = new AsyncLocalStorage<Call>();

export interface Trust {
  /** PEM; the system's roots where absent. */
  readonly caBundle: string | undefined;
  readonly skipVerify: boolean;
}

/** Connections to one CA. */
export function createTransport({ caBundle, skipVerify }: Trust): Dispatcher {
  return new Agent({
    connect: {
      ...(caBundle !== undefined && { ca: caBundle }),
      rejectUnauthorized: !skipVerify,
      timeout: REQUEST_TIMEOUT_MS,
    },
    headersTimeout: REQUEST_TIMEOUT_MS,
    bodyTimeout: REQUEST_TIMEOUT_MS,
    maxResponseSize: ANSWER_BYTES_MAX,
  });
}

/** Runs what acme-client does for `action` over `dispatcher`. Throws AcmeError. */
export async function withTransport<T>(
  options: { readonly dispatcher: Dispatcher; readonly signal: AbortSignal },
  action: () => Promise<T>,
): Promise<T> {
  const call: Call = { ...options, problem: undefined };
  try {
    return await calls.run(call, action);
  } catch (error) {
    if (error instanceof AcmeError) throw error;
    if (call.problem !== undefined) throw new AcmeError(call.problem.message, call.problem);
    const message = error instanceof Error ? error.message : String(error);
    // An answer that the library could not make sense of: another may be better.
    throw new AcmeError(message, { type: "", status: 0, retryAfterMs: 0 });
  }
}

type Adapter = Extract<typeof axios.defaults.adapter, (...given: never[]) => unknown>;

/** One request of the library. Its redirects are not followed: RFC 8555 knows none. */
const carry: Adapter = async (config) => {
  const call = calls.getStore();
  if (call === undefined) throw new Error("no issuer asked for this request");
  const answer = await request(config.url ?? "", {
    method: (config.method ?? "get").toUpperCase(),
    headers: headersOf(config.headers.toJSON()),
    body: config.data === undefined || config.data === null ? null : String(config.data),
    dispatcher: call.dispatcher,
    signal: call.signal,
  }).catch((error: unknown) => {
    throw unreachable(error);
  });
  const data = await answer.body.text().catch((error: unknown) => {
    throw unreachable(error);
  });
  call.problem = answer.statusCode < 400 ? undefined : problemOf(answer, data);
  return {
    data,
    status: answer.statusCode,
    statusText: "",
    headers: headersOf(answer.headers),
    config,
  };
};

/** As one text each; Link may occur several times. */
function headersOf(headers: object): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers) as [string, unknown][]) {
    if (typeof value === "string") texts[name] = value;
    else if (Array.isArray(value)) texts[name] = value.join(", ");
  }
  return texts;
}

function unreachable(error: unknown): AcmeError {
  const { code, message } = error as { readonly code?: unknown; readonly message?: string };
  const why = typeof code === "string" ? code : (message ?? "unknown");
  const nothing = { type: "", status: 0, retryAfterMs: 0 };
  return new AcmeError(`the server cannot be reached (${why})`, nothing);
}

/** RFC 7807. */
function problemOf({ statusCode, headers }: Dispatcher.ResponseData, text: string): Problem {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    document = undefined;
  }
  const { type, detail } = isJsonObject(document) ? document : {};
  const said = typeof detail === "string" ? detail.slice(0, DETAIL_CHARACTERS_MAX) : "";
  return {
    type: typeof type === "string" ? type : "",
    status: statusCode,
    message: said === "" ? `the server answered ${statusCode}` : said,
    retryAfterMs: retryAfterMs(headers),
  };
}

/** RFC 9110 §10.2.3: seconds, or a date, which is measured by the CA's own clock. */
function retryAfterMs(headers: Dispatcher.ResponseData["headers"]): number {
  const value = headers["retry-after"];
  if (typeof value !== "string") return 0;
  const dateMs = Date.parse(String(headers["date"]));
  const waitMs = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - dateMs;
  return waitMs > 0 ? Math.min(waitMs, RETRY_AFTER_MS_MAX) : 0;
}

axios.defaults.adapter = carry;
