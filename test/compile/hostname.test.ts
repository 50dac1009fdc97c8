/** Hostnames: which hosts a listener and a route have in common, and which name is asked first. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressCovers, canonicalAddress } from "../../src/compile/address.ts";
import { compareHostnames, intersectHostnames } from "../../src/compile/hostname.ts";

const INTERSECTIONS: readonly (readonly [string, string, string | undefined])[] = [
  ["", "", ""],
  ["", "a.example.com", "a.example.com"],
  ["*.example.com", "", "*.example.com"],
  ["*.example.com", "a.example.com", "a.example.com"],
  ["*.example.com", "a.b.example.com", "a.b.example.com"],
  ["*.example.com", "example.com", undefined],
  ["*.example.com", "*.b.example.com", "*.b.example.com"],
  ["*.com", "*.example.com", "*.example.com"],
  ["*.example.com", "*.example.org", undefined],
  ["*.example.com", "badexample.com", undefined],
  ["a.example.com", "b.example.com", undefined],
];

test("hosts that two hostnames have in common", () => {
  for (const [a, b, common] of INTERSECTIONS) {
    assert.equal(intersectHostnames(a, b), common, `${a} and ${b}`);
    assert.equal(intersectHostnames(b, a), common, `${b} and ${a}`);
  }
});

test("exact names come before wildcards, longer before shorter, any host last", () => {
  const sorted = ["b.example.com", "very.long.example.com", "*.b.example.com", "*.example.com", ""];
  assert.deepEqual(sorted.toReversed().toSorted(compareHostnames), [
    "very.long.example.com",
    "b.example.com",
    "*.b.example.com",
    "*.example.com",
    "",
  ]);
});

test("addresses have one spelling, and wildcards cover their family", () => {
  const spellings: readonly (readonly [string, string | undefined])[] = [
    ["127.0.0.1", "127.0.0.1"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:DB8::0001", "2001:db8::1"],
    ["256.0.0.1", undefined],
    ["01.2.3.4", undefined],
    ["localhost", undefined],
    ["1.2.3", undefined],
    [":::", undefined],
    ["", undefined],
  ];
  for (const [text, canonical] of spellings) assert.equal(canonicalAddress(text), canonical, text);
  assert.equal(addressCovers("::", "127.0.0.1"), true);
  assert.equal(addressCovers("0.0.0.0", "127.0.0.1"), true);
  assert.equal(addressCovers("0.0.0.0", "::1"), false);
  assert.equal(addressCovers("127.0.0.1", "0.0.0.0"), false);
});
