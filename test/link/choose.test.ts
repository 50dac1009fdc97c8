/**
 * Choice: exact shares of a seeded source, sticky keys that never leave the canary, gates, nobody.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hashToUnit } from "../../src/base/hash.ts";
import { seededRandom, systemRandom, type Random } from "../../src/base/random.ts";
import type { Part, RulePart, SplitHash } from "../../src/compile/program.ts";
import {
  Choice,
  armRow,
  choose,
  openArm,
  otherArm,
  type NoChoice,
} from "../../src/proxy/choose.ts";
import type { LinkedRule } from "../../src/proxy/snapshot.ts";
import { matchRule } from "../../src/proxy/match.ts";
import {
  newBench,
  oneHost,
  pool,
  prefixOf,
  request,
  rule,
  socketOf,
  split,
  type Bench,
} from "../support/linking.ts";

interface Fixture extends Bench {
  readonly rule: LinkedRule;
}

function fixture(parts: readonly Part[], more: Partial<RulePart>): Fixture {
  const bench = newBench();
  bench.linker.link([...oneHost([prefixOf("/", "r")], [rule("r", more)]), ...parts]);
  const found = matchRule(socketOf(bench), request({}));
  if (found === undefined) throw new Error("nothing matches");
  return { ...bench, rule: found.rule };
}

interface Drawn {
  readonly failure: NoChoice | null;
  readonly choice: Choice;
}

function draw(
  one: Fixture,
  random: Random,
  headers: Record<string, string> = {},
  clientAddress = "::1",
): Drawn {
  const choice = new Choice();
  const options = { head: request({ headers }), clientAddress, random, gates: one.gates };
  return { failure: choose(choice, one.rule, one.rule, options), choice };
}

const TURNS = 100_000;

test("a seeded source gives exactly the shares that its numbers fall into", () => {
  for (const [canaryBp, weights] of [
    [500, [1]],
    [3333, [1, 2]],
    [1, [90, 10]],
    [10_000, [1]],
  ] as const) {
    const names = weights.map((_, index) => `b${index}`);
    const backends = weights.map((weight, index) => ({ weight, split: split(`b${index}`, 0).key }));
    const one = fixture(
      names.map((name) => split(name, canaryBp)),
      { backends },
    );
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const expected = new Map<string, number>();
    const seen = new Map<string, number>();
    const count = (map: Map<string, number>, key: string): unknown =>
      map.set(key, (map.get(key) ?? 0) + 1);
    const numbers = seededRandom(42);
    for (let turn = 0; turn < TURNS; turn++) {
      // Said in another way: where the number lies between the cumulated weights.
      let unit = numbers();
      let index = 0;
      let start = 0;
      while (unit * sum >= start + (weights[index] as number)) start += weights[index++] as number;
      unit = (unit * sum - start) / (weights[index] as number);
      count(expected, `Backend/default/b${index}@${unit * 10_000 < canaryBp ? 2 : 1}`);
    }
    const random = seededRandom(42);
    for (let turn = 0; turn < TURNS; turn++) {
      count(seen, draw(one, random).choice.arm?.arm.id ?? "nobody");
    }
    assert.deepEqual(Object.fromEntries(seen), Object.fromEntries(expected));
  }
});

test("an unseeded source stays within four standard deviations", () => {
  for (const canaryBp of [100, 500, 5000, 9000]) {
    const one = fixture([split("b", canaryBp)], {
      backends: [{ weight: 1, split: split("b", 0).key }],
    });
    let canary = 0;
    for (let turn = 0; turn < TURNS; turn++) {
      if (draw(one, systemRandom).choice.arm?.arm.role === "canary") canary += 1;
    }
    const share = canaryBp / 10_000;
    const sigma = Math.sqrt(TURNS * share * (1 - share));
    assert.ok(Math.abs(canary - TURNS * share) <= 4 * sigma, `${canary} at ${canaryBp} bp`);
  }
});

test("of 10,000 keys none leaves the canary while its weight rises", () => {
  const kinds: readonly (readonly [
    SplitHash,
    (key: string) => readonly [Record<string, string>, string],
  ])[] = [
    [{ type: "header", name: "X-User" }, (key) => [{ "x-user": key }, "::1"]],
    [{ type: "cookie", name: "user" }, (key) => [{ cookie: `a=1; user=${key}; b=2` }, "::1"]],
    [{ type: "sourceIP" }, (key) => [{}, key]],
  ];
  const never: Random = () => {
    throw new Error("a request with a key must not draw");
  };
  for (const [splitHash, of] of kinds) {
    const inCanary = new Set<string>();
    for (const percent of [1, 5, 20, 50, 100]) {
      const backends = [{ weight: 1, split: split("b", 0).key }];
      const one = fixture([split("b", percent * 100)], { backends, splitHash });
      let count = 0;
      for (let index = 0; index < 10_000; index++) {
        const key = `10.0.${index >> 8}.${index & 255}`;
        const [headers, address] = of(key);
        const canary = draw(one, never, headers, address).choice.arm?.arm.role === "canary";
        if (canary) count += 1;
        assert.ok(canary || !inCanary.has(key), `${key} left at ${percent} %`);
        if (canary) inCanary.add(key);
      }
      const sigma = Math.sqrt((10_000 * percent * (100 - percent)) / 10_000);
      assert.ok(Math.abs(count - percent * 100) <= 5 * sigma, `${count} keys at ${percent} %`);
    }
  }
});

test("a key's place depends on the salt alone, and a request without the key draws", () => {
  const backends = [{ weight: 1, split: split("b", 0).key }];
  const splitHash = { type: "header", name: "x-user" } as const;
  const one = fixture([split("b", 5000)], { backends, splitHash });
  for (let index = 0; index < 1000; index++) {
    const expected = hashToUnit(`u${index}`, "uid-of-b") < 0.5 ? "canary" : "stable";
    const { choice } = draw(one, () => 0.999, { "x-user": `u${index}` });
    assert.equal(choice.arm?.arm.role, expected);
  }
  assert.equal(draw(one, () => 0.49).choice.arm?.arm.role, "canary");
  assert.equal(draw(one, () => 0.5).choice.arm?.arm.role, "stable");
});

test("who answers is nobody where weights, references or gates leave nobody", () => {
  const key = split("b", 0).key;
  const none = fixture([split("b", 500)], { backends: [] });
  assert.equal(draw(none, systemRandom).failure, "no_backend");
  const zero = fixture([split("b", 500)], { backends: [{ weight: 0, split: key }] });
  assert.equal(draw(zero, systemRandom).failure, "no_backend");
  const dangling = fixture([], { backends: [{ weight: 1, split: key }] });
  assert.equal(draw(dangling, systemRandom).failure, "invalid_backend");

  const half = fixture([split("b", 500)], { backends: [{ weight: 1, split: key }, { weight: 3 }] });
  let invalid = 0;
  const random = seededRandom(1);
  for (let turn = 0; turn < TURNS; turn++) {
    if (draw(half, random).failure === "invalid_backend") invalid += 1;
  }
  assert.ok(Math.abs(invalid - 0.75 * TURNS) < 4 * Math.sqrt(TURNS * 0.75 * 0.25), `${invalid}`);

  const gated = fixture([split("b", 500)], { backends: [{ weight: 1, split: key }] });
  gated.gates.set("Backend/default/b@2", false);
  assert.equal(draw(gated, () => 0).choice.arm?.arm.role, "stable");
  gated.gates.set("Backend/default/b@1", false);
  assert.equal(draw(gated, () => 0).failure, "no_open_arm");
});

test("an arm without weight is never drawn, yet stable takes over from a closed canary", () => {
  const one = fixture([split("b", 10_000)], {
    backends: [{ weight: 1, split: split("b", 0).key }],
  });
  const random = seededRandom(3);
  for (let turn = 0; turn < TURNS; turn++) {
    assert.equal(draw(one, random).choice.arm?.arm.role, "canary");
  }
  const { choice } = draw(one, random);
  if (choice.split === null || choice.arm === null) throw new Error("nobody was chosen");
  assert.equal(otherArm(choice.split, choice.arm, one.gates), null);
  one.gates.set("Backend/default/b@2", false);
  assert.equal(draw(one, random).choice.arm?.arm.role, "stable");
});

test("where all arms that a request knows are gone, the arms of now take it", () => {
  const one = fixture([split("b", 500), pool("p")], {
    backends: [{ weight: 1, split: split("b", 0).key }],
  });
  const { choice } = draw(one, () => 0);
  const arms = [
    { ...split("b", 0).arms[0], id: "Backend/default/b@3", role: "stable", weightBp: 10_000 },
  ];
  one.linker.link([{ ...split("b", 0), arms } as Part]);
  one.gates.set("Backend/default/b@1", false);
  one.gates.set("Backend/default/b@2", false);
  assert.equal(openArm(choice, one.gates)?.arm.id, "Backend/default/b@3");
});

test("an arm's row is its route's own, also after the split was linked anew", () => {
  const one = fixture([split("b", 500)], { backends: [{ weight: 1, split: split("b", 0).key }] });
  const row = (): number => {
    const { arm } = draw(one, () => 0).choice;
    if (arm === null) throw new Error("nobody was chosen");
    return armRow(one.rule, arm, one.metrics);
  };
  const first = row();
  assert.equal(row(), first);
  assert.equal(first, one.metrics.row("r", "Backend/default/b@2"));
  for (let turn = 0; turn < 100; turn++) {
    one.linker.link([split("b", 500 + turn)]);
    assert.equal(row(), first);
  }
  assert.ok(one.rule.armRows.size <= 32);
});
