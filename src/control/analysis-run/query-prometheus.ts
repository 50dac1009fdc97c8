/**
 * Asks a Prometheus server. Whatever goes wrong — no connection, too slow, too large an answer — is
 * an outcome, never an exception; neither headers nor the address' credentials reach a message.
 */
import { Agent, request } from "undici";
import {
  type PrometheusRequest,
  readPrometheusAnswer,
} from "../../analysis/provider/prometheus.ts";
import type { Outcome } from "../../analysis/plan-run.ts";
import type { Clock } from "../../base/clock.ts";
import { formatDuration } from "../../base/duration.ts";

const ANSWER_BYTES_MAX = 1024 * 1024;

const trusting = new Agent({ connect: { rejectUnauthorized: false } });

/** One query. `signal` ends it early; the outcome is then an error that nobody reads. */
export async function queryPrometheus(
  asked: PrometheusRequest,
  { signal, clock }: { readonly signal: AbortSignal; readonly clock: Clock },
): Promise<Outcome> {
  const timeout = new AbortController();
  const cancelTimer = clock.after(asked.timeoutMs, () => timeout.abort());
  try {
    const { statusCode, body } = await request(asked.url, {
      method: "POST",
      headers: asked.headers,
      body: asked.body,
      signal: AbortSignal.any([signal, timeout.signal]),
      ...(asked.insecure ? { dispatcher: trusting } : {}),
    });
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > ANSWER_BYTES_MAX) {
        return {
          kind: "error",
          message: `prometheus answered more than ${ANSWER_BYTES_MAX} bytes`,
        };
      }
      chunks.push(chunk);
    }
    return readPrometheusAnswer(statusCode, Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    if (timeout.signal.aborted) {
      const limit = formatDuration(asked.timeoutMs);
      return { kind: "error", message: `prometheus did not answer within ${limit}` };
    }
    return { kind: "error", message: `prometheus could not be asked: ${reasonOf(error)}` };
  } finally {
    cancelTimer();
  }
}

/** The system's word for it (ECONNREFUSED) where there is one. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" ? code : error.message.slice(0, 200);
}
