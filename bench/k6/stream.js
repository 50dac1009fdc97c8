/**
 * Streamed chat completions through an AIGatewayRoute: time to the first byte of the stream, time to
 * its end, and tokens a second as the provider counts them. A stream counts as failed unless it ends
 * with [DONE].
 *
 * k6 hands over a body when it is complete, so what lies between the first byte and the last is not
 * looked at; the first byte is the response's head, which the gateway passes on at once.
 *
 *   k6 run -e TARGET=http://127.0.0.1:8080/v1 -e MODEL=gpt-4o-mini -e RATE=5 bench/k6/stream.js
 */
import { check } from "k6";
import http from "k6/http";
import { Counter, Rate, Trend } from "k6/metrics";
import { arrivalRate, errorsMax, number, request, target, text } from "./settings.js";

const firstByteMsMax = number("FIRST_BYTE_MS_MAX", 2000);

const firstByte = new Trend("stream_first_byte", true);
const wholeStream = new Trend("stream_duration", true);
const broken = new Rate("stream_failed");
const events = new Counter("stream_events");
const tokens = new Counter("stream_tokens");

export const options = {
  scenarios: { stream: arrivalRate() },
  thresholds: {
    stream_failed: [`rate<${errorsMax}`],
    stream_first_byte: [`p(95)<${firstByteMsMax}`],
  },
  summaryTrendStats: ["avg", "med", "p(95)", "p(99)", "max"],
};

const chat = JSON.stringify({
  model: text("MODEL", "gpt-4o-mini"),
  stream: true,
  stream_options: { include_usage: true },
  messages: [{ role: "user", content: text("PROMPT", "Count to ten.") }],
});

export default function stream() {
  const { params } = request();
  const headers = { "content-type": "application/json", ...params.headers };
  const response = http.post(`${target}/chat/completions`, chat, { headers, timeout: "300s" });
  const lines = String(response.body ?? "")
    .split("\n")
    .filter((line) => line.startsWith("data: "));
  const complete = check(response, {
    "status is 200": ({ status }) => status === 200,
    "the stream is complete": () => lines.at(-1) === "data: [DONE]",
  });
  broken.add(!complete);
  if (!complete) return;
  firstByte.add(response.timings.waiting);
  wholeStream.add(response.timings.waiting + response.timings.receiving);
  events.add(lines.length - 1);
  tokens.add(completionTokens(lines));
}

/** Of the last event that has a usage. */
function completionTokens(lines) {
  const last = lines.findLast((line) => line.includes('"completion_tokens"'));
  return last === undefined ? 0 : (JSON.parse(last.slice(6)).usage?.completion_tokens ?? 0);
}
