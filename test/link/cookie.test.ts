/** Single cookies of a Cookie header: found, and taken out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cookieValue, cookieWithout } from "../../src/proxy/cookie.ts";

const CASES: readonly (readonly [cookies: string, value: string | undefined, without: string])[] = [
  ["key=1", "1", ""],
  ["a=b; key=1; c=d", "1", "a=b; c=d"],
  ["a=b;key=1;c=d", "1", "a=b; c=d"],
  // Several lines of a head are joined so.
  ["a=b, key=1, c=d", "1", "a=b; c=d"],
  ['key="quoted"', "quoted", ""],
  ["key=1; key=2", "1", ""],
  ["key=a=b", "a=b", ""],
  ["key=", "", ""],
  ["akey=1; keys=2; KEY=3; key", undefined, "akey=1; keys=2; KEY=3; key"],
];

for (const [cookies, value, without] of CASES) {
  test(cookies, () => {
    assert.equal(cookieValue(cookies, "key"), value);
    assert.equal(cookieWithout(cookies, ["key"]), without);
  });
}

test("no header", () => assert.equal(cookieValue(undefined, "key"), undefined));
