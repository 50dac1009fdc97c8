/**
 * A steady rate of requests against one route: does it hold, and how fast is it?
 *
 *   k6 run -e TARGET=http://127.0.0.1:8080/checkout -e RATE=500 -e DURATION=1m bench/k6/route.js
 */
import { check } from "k6";
import http from "k6/http";
import { arrivalRate, request, thresholds } from "./settings.js";

export const options = {
  scenarios: { route: arrivalRate() },
  thresholds: thresholds(),
  summaryTrendStats: ["avg", "med", "p(95)", "p(99)", "max"],
};

export default function route() {
  const { method, url, body, params } = request();
  const response = http.request(method, url, body, params);
  check(response, { "status is below 400": ({ status }) => status > 0 && status < 400 });
}
