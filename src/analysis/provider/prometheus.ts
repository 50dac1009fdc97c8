/**
 * The `prometheus` provider without its connection: which request a metric stands for, and what an
 * answer means. A scalar is a float, a vector the list of its values, a matrix all values of all its
 * series (Argo: metricproviders/prometheus).
 */
import { authorizationIn } from "../../base/basic-auth.ts";
import { parseDurationOrSeconds } from "../../base/duration.ts";
import { type JsonValue, isJsonObject } from "../../base/json.ts";
import { parseFloatAsGo } from "../expr/convert.ts";
import { ExprError } from "../expr/syntax.ts";
import { floatText } from "../expr/value.ts";
import { evaluateTime } from "../judge.ts";
import type { Outcome } from "../plan-run.ts";
import type { Resolved } from "../resolve-args.ts";

/** A metric's `provider.prometheus`, as its schema has it. */
export interface PrometheusMetric {
  readonly address: string;
  readonly query: string;
  /** Seconds. */
  readonly timeout?: number;
  readonly insecure?: boolean;
  readonly headers?: readonly { readonly key: string; readonly value: string }[];
  readonly rangeQuery?: { readonly start: string; readonly end: string; readonly step: string };
}

export interface PrometheusRequest {
  readonly url: string;
  /** The form that is posted: queries may be longer than a URL. */
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly insecure: boolean;
}

const TIMEOUT_DEFAULT_S = 30;
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** The request that `spec` stands for at `nowMs`, or what is wrong with it. */
export function prometheusRequest(
  spec: PrometheusMetric,
  nowMs: number,
): Resolved<PrometheusRequest> {
  const address = addressOf(spec.address);
  if (address === undefined) {
    return { ok: false, message: "prometheus address must be an http or https URL" };
  }
  const headers: Record<string, string> = { ...address.headers };
  for (const { key, value } of spec.headers ?? []) {
    if (!HEADER_NAME.test(key) || !HEADER_VALUE.test(value)) {
      return { ok: false, message: `prometheus header ${JSON.stringify(key)} cannot be sent` };
    }
    headers[key.toLowerCase()] = value;
  }
  const form = formOf(spec, nowMs);
  if (!form.ok) return form;
  const path = spec.rangeQuery === undefined ? "query" : "query_range";
  const value = {
    url: `${address.url}/api/v1/${path}`,
    body: form.value.toString(),
    headers: { ...headers, "content-type": "application/x-www-form-urlencoded" },
    timeoutMs: (spec.timeout ?? TIMEOUT_DEFAULT_S) * 1000,
    insecure: spec.insecure === true,
  };
  return { ok: true, value };
}

/** The address without credentials in it; these become the header that they stand for. */
function addressOf(
  text: string,
): { readonly url: string; readonly headers: Record<string, string> } | undefined {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return undefined;
  const authorization = authorizationIn(url);
  if (authorization === undefined) return undefined;
  const headers: Record<string, string> = authorization === "" ? {} : { authorization };
  return { url: `${url.origin}${url.pathname.replace(/\/+$/, "")}`, headers };
}

function formOf(spec: PrometheusMetric, nowMs: number): Resolved<URLSearchParams> {
  const form = new URLSearchParams({ query: spec.query });
  if (spec.rangeQuery === undefined) {
    form.set("time", String(nowMs / 1000));
    return { ok: true, value: form };
  }
  for (const bound of ["start", "end"] as const) {
    const time = evaluateTime(spec.rangeQuery[bound], nowMs);
    if (!time.ok) {
      return { ok: false, message: `failed to parse rangeQuery.${bound}: ${time.message}` };
    }
    form.set(bound, String(time.value / 1000));
  }
  const stepMs = parseDurationOrSeconds(spec.rangeQuery.step);
  if (stepMs === undefined || stepMs <= 0) {
    return { ok: false, message: "rangeQuery.step must be a duration such as 30s" };
  }
  form.set("step", String(stepMs / 1000));
  return { ok: true, value: form };
}

/** What an answer of Prometheus' HTTP API means (its `data` object, or its error). */
export function readPrometheusAnswer(status: number, body: string): Outcome {
  const answer = parseJson(body);
  if (!isJsonObject(answer) || typeof answer["status"] !== "string") {
    return { kind: "error", message: `prometheus answered ${status}, not in the form of its API` };
  }
  const { data } = answer;
  if (answer["status"] !== "success" || !isJsonObject(data)) {
    const why = typeof answer["error"] === "string" ? answer["error"].slice(0, 500) : "no data";
    return { kind: "error", message: `prometheus answered ${status}: ${why}` };
  }
  try {
    return readData(data["resultType"], data["result"]);
  } catch (error) {
    if (error instanceof ExprError) return { kind: "error", message: error.message };
    throw error;
  }
}

function parseJson(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return undefined;
  }
}

function readData(type: JsonValue | undefined, result: JsonValue | undefined): Outcome {
  if (type === "scalar") {
    const value = pointOf(result);
    return { kind: "value", value, text: floatText(value), description: "" };
  }
  if ((type !== "vector" && type !== "matrix") || !Array.isArray(result)) {
    return { kind: "error", message: "Prometheus metric type not supported" };
  }
  const values = (result as readonly JsonValue[]).flatMap((series) => {
    if (!isJsonObject(series)) throw new ExprError("prometheus sent a series that is none");
    if (type === "vector") return [pointOf(series["value"])];
    const points = series["values"];
    return Array.isArray(points) ? points.map((point: JsonValue) => pointOf(point)) : [];
  });
  const text = `[${values.map((value) => floatText(value)).join(",")}]`;
  return { kind: "value", value: values, text, description: "" };
}

/** The value of a point, which is [seconds, "value"]. */
function pointOf(point: JsonValue | undefined): number {
  const text = Array.isArray(point) ? (point as readonly JsonValue[])[1] : undefined;
  if (typeof text !== "string") throw new ExprError("prometheus sent a point without a value");
  return parseFloatAsGo(text);
}
