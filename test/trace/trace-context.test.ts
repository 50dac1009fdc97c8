/** What is read of other people's trace headers, by W3C Trace Context Level 2, and who is sampled. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../src/base/random.ts";
import {
  isInRatio,
  isSampled,
  isTracestate,
  parseTraceparent,
  traceFlags,
} from "../../src/trace/trace-context.ts";
import { TRACE_DIGITS, TraceIds } from "../../src/trace/trace-ids.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

/** The cases of W3C's validator (w3c/trace-context, test/test.py), and some more. */
const TRACEPARENTS: readonly (readonly [name: string, text: string, flags: string | null])[] = [
  ["not sampled", `00-${TRACE}-${PARENT}-00`, "00"],
  ["sampled", `00-${TRACE}-${PARENT}-01`, "01"],
  ["random", `00-${TRACE}-${PARENT}-02`, "02"],
  ["sampled and random", `00-${TRACE}-${PARENT}-03`, "03"],
  ["unknown flags are not passed on", `00-${TRACE}-${PARENT}-ff`, "03"],
  ["unknown flags alone", `00-${TRACE}-${PARENT}-fc`, "00"],
  ["a later version", `cc-${TRACE}-${PARENT}-01`, "01"],
  ["a later version that says more", `cc-${TRACE}-${PARENT}-01-what-the-future-has`, "01"],
  ["a later version that ends in a hyphen", `cc-${TRACE}-${PARENT}-01-`, "01"],
  ["a later version that goes on without a hyphen", `cc-${TRACE}-${PARENT}-01.what`, null],
  ["version 00 that says more", `00-${TRACE}-${PARENT}-01-what`, null],
  ["version 00 that ends in a hyphen", `00-${TRACE}-${PARENT}-01-`, null],
  ["version ff", `ff-${TRACE}-${PARENT}-01`, null],
  ["a version that is no number", `.0-${TRACE}-${PARENT}-01`, null],
  ["a version of one digit", `0-${TRACE}-${PARENT}-01`, null],
  ["a version of three digits", `000-${TRACE}-${PARENT}-01`, null],
  ["a trace id of zeros", `00-${"0".repeat(32)}-${PARENT}-01`, null],
  ["a parent id of zeros", `00-${TRACE}-${"0".repeat(16)}-01`, null],
  ["upper case", `00-${TRACE.toUpperCase()}-${PARENT}-01`, null],
  ["a trace id with a letter too many", `00-${TRACE.slice(1)}g-${PARENT}-01`, null],
  ["a trace id that is short", `00-${TRACE.slice(1)}-${PARENT}-01`, null],
  ["a trace id that is long", `00-${TRACE}0-${PARENT}-01`, null],
  ["a parent id that is short", `00-${TRACE}-${PARENT.slice(1)}-01`, null],
  ["flags of one digit", `00-${TRACE}-${PARENT}-1`, null],
  ["flags in upper case", `00-${TRACE}-${PARENT}-0F`, null],
  ["flags that are no number", `00-${TRACE}-${PARENT}-.0`, null],
  ["two values", `00-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`, null],
  ["nothing", "", null],
  ["hyphens", "---", null],
];

for (const [name, text, flags] of TRACEPARENTS) {
  test(`traceparent: ${name}`, () => {
    const read = parseTraceparent(text);
    if (flags === null) {
      assert.equal(read, null);
      return;
    }
    assert.ok(read);
    assert.deepEqual([read.traceId, read.parentId], [TRACE, PARENT]);
    assert.equal(traceFlags(read.sampled, read.random), flags);
  });
}

const members = (count: number): string =>
  Array.from({ length: count }, (_, index) => `k${index}=1`).join(",");

const TRACESTATES: readonly (readonly [name: string, text: string, passed: boolean])[] = [
  ["one member", "foo=1", true],
  ["two members", "foo=1,bar=2", true],
  ["spaces around members", "foo=1 \t , \t bar=2, \t baz=3", true],
  ["empty members", "foo=1,,bar=2,", true],
  ["32 members", members(32), true],
  ["33 members", members(33), false],
  ["only empty members", " , ", false],
  ["nothing", "", false],
  ["a key with every character", "a0_-*/@z=1", true],
  ["a key that begins with a digit", "0a=1", true],
  ["a key in upper case", "Foo=1", false],
  ["a key with a space", "foo =1", false],
  ["a key with a dot", "foo.bar=1", false],
  ["a key of 256 characters", `${"z".repeat(256)}=1`, true],
  ["a key of 257 characters", `${"z".repeat(257)}=1`, false],
  ["no key", "=1", false],
  ["no value", "foo=", false],
  ["no equals sign", "foo", false],
  ["a value with a space inside", "foo=a b", true],
  ["a value with an equals sign", "foo=bar=baz", false],
  ["a value with a tab", "foo=bar\tbaz", false],
  ["a value of 256 characters", `t=${"v".repeat(256)}`, true],
  ["a value of 257 characters", `t=${"v".repeat(257)}`, false],
  ["a value in latin1", "foo=é", false],
  ["512 characters", `a=${"v".repeat(253)},b=${"v".repeat(254)}`, true],
  ["513 characters", `a=${"v".repeat(254)},b=${"v".repeat(254)}`, false],
];

for (const [name, text, passed] of TRACESTATES) {
  test(`tracestate: ${name}`, () => assert.equal(isTracestate(text), passed));
}

test("the share of new traces that is sampled is the ratio, and a higher one has all of a lower", () => {
  const ids = new TraceIds(seededRandom(7));
  const drawn = Array.from({ length: 20_000 }, () => {
    const at = ids.take(TRACE_DIGITS);
    return ids.digits.toString("latin1", at, at + TRACE_DIGITS);
  });
  assert.equal(new Set(drawn).size, drawn.length);
  for (const id of drawn) assert.match(id, /^[0-9a-f]{32}$/);
  const inRatio = (ratio: number): Set<string> =>
    new Set(drawn.filter((id) => isInRatio(id, ratio)));
  assert.equal(inRatio(0).size, 0);
  assert.equal(inRatio(1).size, drawn.length);
  const tenth = inRatio(0.1);
  const half = inRatio(0.5);
  // Five standard deviations.
  assert.ok(Math.abs(tenth.size - 2000) < 215, `${tenth.size} of 20,000 at 0.1`);
  assert.ok(Math.abs(half.size - 10_000) < 355, `${half.size} of 20,000 at 0.5`);
  for (const id of tenth) assert.ok(half.has(id));
});

test("only the random end of a trace id decides", () => {
  const low = `${"f".repeat(18)}${"0".repeat(14)}`;
  const high = `${"0".repeat(17)}1${"f".repeat(14)}`;
  assert.equal(isInRatio(low, 0.999), false);
  assert.equal(isInRatio(high, 0.001), true);
});

const parent = (sampled: boolean) => ({ traceId: TRACE, parentId: PARENT, sampled, random: true });

const DECISIONS: readonly (readonly [
  name: string,
  parentBased: boolean,
  ratio: number,
  caller: boolean | null,
  sampled: boolean,
])[] = [
  ["parentbased_always_on, root", true, 1, null, true],
  ["parentbased_always_on, caller not sampled", true, 1, false, false],
  ["parentbased_always_off, root", true, 0, null, false],
  ["parentbased_always_off, caller sampled", true, 0, true, true],
  ["always_on, caller not sampled", false, 1, false, true],
  ["always_off, caller sampled", false, 0, true, false],
];

for (const [name, parentBased, ratio, caller, sampled] of DECISIONS) {
  test(`sampler: ${name}`, () => {
    const decided = isSampled(
      { parentBased, ratio },
      { traceId: TRACE },
      caller === null ? null : parent(caller),
    );
    assert.equal(decided, sampled);
  });
}
