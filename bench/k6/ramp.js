/**
 * A rising rate, held at its top for a while: where does latency bend, where do errors begin? Ends
 * early once more requests fail than may, for what comes after that tells nothing new.
 *
 *   k6 run -e TARGET=http://127.0.0.1:8080/ -e RATE=5000 -e DURATION=5m bench/k6/ramp.js
 */
import { check } from "k6";
import http from "k6/http";
import { duration, errorsMax, p95MsMax, rate, request, virtualUsers } from "./settings.js";

export const options = {
  scenarios: {
    ramp: {
      executor: "ramping-arrival-rate",
      startRate: Math.max(1, Math.round(rate / 10)),
      timeUnit: "1s",
      ...virtualUsers,
      stages: [
        { target: rate, duration },
        { target: rate, duration },
      ],
    },
  },
  thresholds: {
    http_req_failed: [{ threshold: `rate<${errorsMax}`, abortOnFail: true, delayAbortEval: "10s" }],
    http_req_duration: [`p(95)<${p95MsMax}`],
  },
  summaryTrendStats: ["avg", "med", "p(95)", "p(99)", "max"],
};

export default function ramp() {
  const { method, url, body, params } = request();
  const response = http.request(method, url, body, params);
  check(response, { "status is below 400": ({ status }) => status > 0 && status < 400 });
}
