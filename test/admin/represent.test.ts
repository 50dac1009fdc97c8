/** Ages as kubectl prints them, warnings as headers, and what an Accept header asks for. */
import assert from "node:assert/strict";
import test from "node:test";
import { viewOf } from "../../src/admin/accept.ts";
import { ApiError } from "../../src/admin/api-error.ts";
import { formatAge } from "../../src/admin/represent.ts";
import { warningHeaders } from "../../src/admin/warning.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The table of apimachinery's TestHumanDuration. */
const AGES: readonly (readonly [number, string])[] = [
  [-5 * SECOND, "0s"],
  [0, "0s"],
  [SECOND, "1s"],
  [70 * SECOND, "70s"],
  [190 * SECOND, "3m10s"],
  [70 * MINUTE, "70m"],
  [47 * HOUR, "47h"],
  [49 * HOUR, "2d1h"],
  [(8 * 24 + 2) * HOUR, "8d"],
  [367 * DAY, "367d"],
  [(365 * 2 * 24 + 25) * HOUR, "2y1d"],
  [(365 * 8 * 24 + 2) * HOUR, "8y"],
  [2 * MINUTE, "2m"],
  [3 * HOUR, "3h"],
  [3 * HOUR + 5 * MINUTE, "3h5m"],
];

test("ages", () => {
  for (const [ageMs, text] of AGES) assert.equal(formatAge(ageMs), text);
});

test("views", () => {
  const meta = "v=v1;g=meta.k8s.io";
  const rows: readonly (readonly [string | undefined, string])[] = [
    [undefined, "object"],
    ["", "object"],
    ["*/*", "object"],
    ["application/json", "object"],
    ["application/json; charset=utf-8", "object"],
    ["text/html,application/xhtml+xml,*/*;q=0.8", "object"],
    ["application/vnd.kubernetes.protobuf,application/json", "object"],
    [`application/json;as=Table;${meta},application/json`, "table"],
    ["application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "object"],
    [`application/json;as=PartialObjectMetadata;${meta}`, "metadata"],
    [`application/json;as=toString;${meta},application/json`, "object"],
  ];
  for (const [accept, view] of rows) assert.equal(viewOf(accept), view, accept);
  assert.throws(
    () => viewOf("application/vnd.kubernetes.protobuf"),
    (error) => error instanceof ApiError && error.code === 406,
  );
});

test("warnings fit a header and stay within their bounds", () => {
  assert.deepEqual(warningHeaders([]), {});
  assert.deepEqual(warningHeaders(["a", "a", 'b"\\']), {
    warning: ['299 - "a"', String.raw`299 - "b\"\\"`],
  });
  const many = Array.from({ length: 100 }, (_, index) => `${index} ${"x".repeat(1000)}`);
  const { warning = [] } = warningHeaders(many);
  assert.ok(warning.join("").length <= 4096);
  assert.ok(warning.every((value) => value.length < 300));
});
