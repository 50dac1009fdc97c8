/** Which coding a client gets, of those that a rule offers, by what it says it accepts. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { chooseEncoding } from "../../src/proxy/accept-encoding.ts";

const ALL = ["br", "zstd", "gzip"];

/** What the client says, what the rule offers in its order, and what the client gets. */
const CASES: readonly (readonly [accepted: string | undefined, offered: string[], got: string])[] =
  [
    // Nobody who says nothing is sent what old clients cannot read.
    [undefined, ALL, "none"],
    ["", ALL, "none"],
    ["identity", ALL, "none"],
    ["compress, deflate", ALL, "none"],
    // One coding is accepted.
    ["gzip", ALL, "gzip"],
    ["GZip", ALL, "gzip"],
    ["x-gzip", ALL, "gzip"],
    ["gzip", ["br"], "none"],
    // Among equals the rule's order counts, not the client's.
    ["gzip, br, zstd", ALL, "br"],
    ["gzip, deflate, br, zstd", ["zstd", "gzip"], "zstd"],
    ["br;q=0.8, gzip;q=0.8", ["gzip", "br"], "gzip"],
    // Weights come before it.
    ["gzip;q=1.0, br;q=0.9", ALL, "gzip"],
    ["br;q=0.1, zstd;q=0.11, gzip;q=0.109", ALL, "zstd"],
    ["gzip ; q=0.5 ,\tbr ;\tQ=0.4", ALL, "gzip"],
    ["gzip;q=0.001", ALL, "gzip"],
    // What is excluded is never taken.
    ["gzip;q=0", ALL, "none"],
    ["gzip;q=0.000, br;q=0.", ALL, "none"],
    ["br;q=0, gzip", ALL, "gzip"],
    // "*" is whatever is not named, what is not coded included.
    ["*", ALL, "br"],
    ["*;q=0", ALL, "none"],
    ["gzip, *;q=0", ALL, "gzip"],
    ["br;q=0, zstd;q=0, *", ALL, "gzip"],
    ["gzip;q=0.2, *;q=0.5", ["gzip"], "none"],
    ["gzip;q=0.5, *;q=0.5", ["gzip"], "gzip"],
    ["*;q=0.5, gzip", ALL, "gzip"],
    // Not coded at all: preferred where that is said, excluded where that is.
    ["identity, gzip;q=0.5", ALL, "none"],
    ["identity;q=0.5, gzip;q=0.5", ALL, "gzip"],
    ["identity;q=0.5, *;q=0.1", ALL, "none"],
    ["identity;q=0, gzip;q=0.1", ALL, "gzip"],
    ["identity;q=0", ALL, "none"],
    // What is malformed says nothing; the first mention of a coding counts.
    ["gzip;q=2", ALL, "none"],
    ["gzip;q=0.1234", ALL, "none"],
    ["gzip;q=-1, br;q=x, zstd;level=3", ALL, "none"],
    [", ,gzip,,", ALL, "gzip"],
    ["gzip;q=0, gzip", ALL, "none"],
    ["x-gzip;q=0, gzip", ALL, "none"],
    ["gzip br", ALL, "none"],
    ["br\u0000", ALL, "none"],
  ];

describe("Accept-Encoding (RFC 9110 §12.5.3)", () => {
  for (const [accepted, offered, got] of CASES) {
    test(`${accepted === undefined ? "absent" : JSON.stringify(accepted)} of ${offered.join(", ")}: ${got}`, () => {
      const encodings = offered.map((name) => ({ name }));
      assert.equal(chooseEncoding(accepted, encodings)?.name ?? "none", got);
    });
  }

  test("a list as long as a head may be is read in little time", () => {
    const startedMs = performance.now();
    chooseEncoding(" ;q=0\t".repeat(5000) + "gzip,".repeat(400), [{ name: "gzip" }]);
    chooseEncoding(`${"a".repeat(16_000)};q=0.${" ".repeat(14_000)}x`, [{ name: "gzip" }]);
    assert.ok(performance.now() - startedMs < 200);
  });
});
