/**
 * What all scripts take from the command line (`-e NAME=VALUE`), and what they make of it. The
 * README lists the names.
 */

function text(name, fallback) {
  return __ENV[name] === undefined || __ENV[name] === "" ? fallback : __ENV[name];
}

function number(name, fallback) {
  const value = Number(text(name, fallback));
  if (!Number.isFinite(value) || value < 0) {
    throw new Error(`${name} must be a number, is ${JSON.stringify(__ENV[name])}`);
  }
  return value;
}

export const target = text("TARGET", "http://127.0.0.1:8080/");
/** Requests a second, offered whether or not the answers keep up. */
export const rate = number("RATE", 100);
export const duration = text("DURATION", "30s");
/** The share of requests that may fail. */
export const errorsMax = number("ERRORS_MAX", 0.01);
export const p95MsMax = number("P95_MS_MAX", 500);

/** As many as are under way at once: the rate times how long an answer takes. */
export const virtualUsers = {
  preAllocatedVUs: number("VUS", Math.max(10, Math.ceil(rate / 5))),
  maxVUs: number("VUS_MAX", Math.max(100, rate * 2)),
};

/** An open loop: a slow gateway is offered no less. */
export function arrivalRate() {
  return {
    executor: "constant-arrival-rate",
    rate,
    timeUnit: "1s",
    duration,
    ...virtualUsers,
  };
}

export function thresholds() {
  return {
    http_req_failed: [`rate<${errorsMax}`],
    http_req_duration: [`p(95)<${p95MsMax}`],
    // Requests that were never sent, because all virtual users waited: the figures would be too good.
    dropped_iterations: [`count<${Math.max(1, Math.ceil(rate / 10))}`],
  };
}

/** HEADERS is a JSON object, such as {"host":"shop.example.com","x-api-key":"…"}. */
export function request() {
  return {
    method: text("METHOD", "GET"),
    url: target,
    body: text("BODY", null),
    params: { headers: JSON.parse(text("HEADERS", "{}")), redirects: 0 },
  };
}

export { number, text };
