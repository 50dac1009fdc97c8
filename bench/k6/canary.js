/**
 * Load while a rollout proceeds, with everything told apart by the version that answered: how many
 * requests each got, how many failed, how long they took. The whole must stay within its limits
 * whatever the canary does, for that is what the gateway is for.
 *
 * The service says its version in a response header. With ROLLOUT the rollout's weight and phase are
 * read from the admin API as well, and how it ended is checked.
 *
 *   k6 run -e TARGET=http://127.0.0.1:8080/ -e VERSION_HEADER=x-app-version -e VERSIONS=1,2 \
 *     -e ROLLOUT=checkout -e EXPECT=Healthy -e DURATION=5m bench/k6/canary.js
 */
import { check, sleep } from "k6";
import http from "k6/http";
import { Counter, Gauge, Rate, Trend } from "k6/metrics";
import { arrivalRate, number, request, text, thresholds } from "./settings.js";

const versionHeader = text("VERSION_HEADER", "x-app-version");
const versions = text("VERSIONS", "").split(",").filter(Boolean);
const admin = text("ADMIN", "http://127.0.0.1:9900");
const rollout = text("ROLLOUT", "");
const namespace = text("NAMESPACE", "default");
/** The phase in which the rollout must be at the end: Healthy (promoted) or Degraded (aborted). */
const expected = text("EXPECT", "Healthy");
/** What a bad version may do to its own requests; the limits for all are ERRORS_MAX and P95_MS_MAX. */
const versionErrorsMax = number("VERSION_ERRORS_MAX", 1);
const versionP95MsMax = number("VERSION_P95_MS_MAX", 60_000);

const requests = new Counter("version_requests");
const failed = new Rate("version_failed");
const latency = new Trend("version_duration", true);
const canaryWeight = new Gauge("rollout_canary_weight");

/** A threshold is what makes k6 show a metric by version in its summary. */
function thresholdsByVersion() {
  const byVersion = {};
  for (const version of versions) {
    byVersion[`version_requests{version:${version}}`] = ["count>=0"];
    byVersion[`version_failed{version:${version}}`] = [`rate<=${versionErrorsMax}`];
    byVersion[`version_duration{version:${version}}`] = [`p(95)<${versionP95MsMax}`];
  }
  return byVersion;
}

const steady = arrivalRate();
const limits = thresholds();

export const options = {
  scenarios: {
    load: { ...steady, exec: "load" },
    ...(rollout !== "" && {
      rollout: {
        executor: "constant-vus",
        vus: 1,
        duration: steady.duration,
        exec: "watchRollout",
      },
    }),
  },
  thresholds: {
    // The admin API's answers are not the gateway's.
    "http_req_failed{scenario:load}": limits.http_req_failed,
    "http_req_duration{scenario:load}": limits.http_req_duration,
    "dropped_iterations{scenario:load}": limits.dropped_iterations,
    ...(rollout !== "" && { "checks{check:the rollout ended as expected}": ["rate==1"] }),
    ...thresholdsByVersion(),
  },
  summaryTrendStats: ["avg", "med", "p(95)", "p(99)", "max"],
};

export function load() {
  const { method, url, body, params } = request();
  const response = http.request(method, url, body, params);
  const { status, headers, timings } = response;
  const tags = { version: headers[headerName(headers)] ?? "unknown" };
  requests.add(1, tags);
  failed.add(status === 0 || status >= 500, tags);
  latency.add(timings.duration, tags);
}

/** k6 writes names as Go does (X-App-Version), whatever was sent. */
function headerName(headers) {
  return Object.keys(headers).find((name) => name.toLowerCase() === versionHeader.toLowerCase());
}

export function watchRollout() {
  const status = readStatus();
  canaryWeight.add(status.canary?.weights?.canary?.weight ?? 0);
  sleep(1);
}

function readStatus() {
  const path = `apis/argoproj.io/v1alpha1/namespaces/${namespace}/rollouts/${rollout}`;
  const response = http.get(`${admin}/${path}`, { tags: { name: "rollout" } });
  return response.status === 200 ? (response.json("status") ?? {}) : {};
}

export function teardown() {
  if (rollout === "") return;
  const { phase, message } = readStatus();
  const tags = { phase: phase ?? "unknown" };
  check(phase, { "the rollout ended as expected": (value) => value === expected }, tags);
  if (phase !== expected) console.error(`Rollout ${rollout}: ${phase} ${message ?? ""}`);
}
