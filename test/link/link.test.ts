/** Linking: cells, credentials, filters, and nothing left behind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Part, SplitPart } from "../../src/compile/program.ts";
import { chooseArm } from "../../src/proxy/choose.ts";
import { matchRule } from "../../src/proxy/match.ts";
import type { LinkedRule } from "../../src/proxy/snapshot.ts";
import { GATES_MAX } from "../../src/shared/memory.ts";
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

function ruleOf(bench: Bench): LinkedRule {
  const found = matchRule(socketOf(bench), request({}));
  if (found === undefined) throw new Error("nothing matches");
  return found.rule;
}

function change(bench: Bench, parts: readonly (Part | string)[]): void {
  const batch = new Map(
    parts.map((part) =>
      typeof part === "string" ? [part, null] : [part.key, { part, hash: JSON.stringify(part) }],
    ),
  );
  const generation = bench.linker.snapshot.generation + 1;
  const steps = bench.linker.prepare({ generation, parts: batch, credentials: new Map() });
  for (;;) {
    const step = steps.next();
    if (step.done === true) return void bench.linker.commit(step.value);
  }
}

const TO_B = rule("r", { backends: [{ weight: 1, split: split("b", 0).key }] });

test("parts may come in any order and go again", () => {
  const bench = newBench();
  const parts = [...oneHost([prefixOf("/", "r")], [TO_B]), split("b", 0), pool("p")];
  for (const part of parts.toReversed()) change(bench, [part]);
  const linked = ruleOf(bench);
  assert.equal(linked.backends[0]?.split?.value?.part.key, split("b", 0).key);
  change(bench, [split("b", 0).key]);
  assert.equal(
    linked.backends[0]?.split?.value,
    undefined,
    "a request that holds the rule sees it",
  );
});

test("nothing is put in place before the commit", () => {
  const bench = newBench();
  bench.linker.link([...oneHost([prefixOf("/", "r")], [TO_B]), split("b", 100)]);
  const cell = ruleOf(bench).backends[0]?.split;
  const before = cell?.value;
  const part = split("b", 200);
  const batch = new Map([[part.key, { part, hash: "2" }]]);
  const steps = bench.linker.prepare({ generation: 9, parts: batch, credentials: new Map() });
  let step = steps.next();
  while (step.done !== true) {
    assert.equal(cell?.value, before);
    step = steps.next();
  }
  assert.equal(cell?.value, before);
  bench.linker.commit(step.value);
  assert.equal(cell?.value?.arms[0]?.arm.weightBp, 200);
  assert.equal(bench.linker.snapshot.generation, 9);
});

test("revisions that come and go leave no keys behind", () => {
  const bench = newBench();
  bench.linker.link([...oneHost([prefixOf("/", "r")], [TO_B])]);
  const known: number[] = [];
  for (let revision = 1; revision <= 50; revision++) {
    const arms = split("b", 0).arms.map((arm) => ({ ...arm, pool: `${arm.pool}-${revision}` }));
    const next: SplitPart = { ...split("b", 0), arms };
    // The pools of one revision in two are missing, as references that dangle.
    const pools = revision % 2 === 0 ? [] : arms.map((arm) => pool(arm.pool));
    const gone = split("b", 0).arms.map((arm) => `${arm.pool}-${revision - 1}`);
    change(bench, [...gone, next, ...pools]);
    known.push(bench.linker.keyCount);
  }
  assert.equal(new Set(known).size, 1, known.join(" "));
});

test("a credential reaches its arm, and is missed where it is not there or cannot be sent", () => {
  const credential = { header: "authorization", prefix: "Bearer ", ref: "Secret/s", digest: "d" };
  const provider = { schema: "OpenAI" as const, prefix: "/v1", credential };
  const cases = [
    [new Map([["Secret/s", "key"]]), { name: "authorization", value: "Bearer key" }],
    [new Map<string, string>(), null],
    [new Map([["Secret/s", "a\r\nb: c"]]), null],
  ] as const;
  for (const [credentials, expected] of cases) {
    const bench = newBench();
    const parts = [...oneHost([prefixOf("/", "r")], [TO_B]), split("b", 0, { provider })];
    bench.linker.link(parts, credentials);
    const arm = ruleOf(bench).backends[0]?.split?.value?.arms[1];
    assert.deepEqual(arm?.credential, expected);
    assert.equal(arm?.credentialMissing, expected === null);
  }
});

test("filters of a rule and of its backend are merged once, when linked", () => {
  const bench = newBench();
  const path = { type: "ReplaceFullPath" as const, value: "/outer" };
  const inner = { type: "ReplacePrefixMatch" as const, prefix: "/outer", value: "/inner" };
  const linked = rule("r", {
    filters: { requestHeaders: { set: [["x-a", "1"]] }, rewrite: { hostname: "outer", path } },
    backends: [
      {
        weight: 1,
        split: "s",
        filters: { requestHeaders: { remove: ["x-a"] }, rewrite: { path: inner } },
      },
      { weight: 1, filters: { rewrite: { hostname: "inner" } } },
    ],
    requestTimeoutMs: 5,
  });
  bench.linker.link(oneHost([prefixOf("/", "r")], [linked]));
  const [first, second] = ruleOf(bench).backends;
  assert.equal(first?.requestEdits?.append, "");
  assert.deepEqual(first?.pathEdits, [path, inner]);
  assert.equal(first?.rewriteHost, "outer");
  assert.equal(second?.rewriteHost, "inner");
  assert.deepEqual(second?.pathEdits, [path]);
  assert.equal(second?.split, null);
  assert.equal(ruleOf(bench).requestTimeoutMs, 5);
  assert.equal(ruleOf(bench).backendRequestTimeoutMs, 0);
});

test("an LLM route has its choices per model", () => {
  const bench = newBench();
  const backends = [{ weight: 3, split: split("b", 0).key, modelNameOverride: "other" }];
  bench.linker.link(
    oneHost([{ path: { type: "Exact", value: "/" }, rule: "models/m" }], []).concat({
      type: "models",
      key: "models/m",
      route: "default/m",
      rules: [{ models: [{ name: "x-ai-eg-model", type: "Exact", value: "gpt" }], backends }],
      modelsListed: ["gpt"],
      bodyBytesMax: 10,
    }),
  );
  const linked = ruleOf(bench);
  assert.equal(linked.weightSum, 0);
  assert.equal(linked.models?.[0]?.weightSum, 3);
  assert.equal(linked.models?.[0]?.backends[0]?.modelNameOverride, "other");
});

test("a canary that cannot be stopped is not started, and that is said", () => {
  const bench = newBench();
  for (let index = 0; index < GATES_MAX; index++) bench.gates.gateOf(`arm ${index}`);
  const to = (canaryBp: number): Part[] => [
    ...oneHost([prefixOf("/", "r")], [TO_B]),
    split("b", canaryBp),
  ];
  for (const canaryBp of [5000, 10_000]) {
    bench.linker.link(to(canaryBp));
    assert.match(bench.linker.failures[0]?.message ?? "", /no gate is free for Backend/i);
    const found = ruleOf(bench).backends[0]?.split?.value;
    assert.ok(found);
    assert.equal(chooseArm(found, 0, bench.gates)?.arm.role, "stable");
  }
  bench.gates.remove("arm 1");
  bench.gates.remove("arm 2");
  for (const { id } of split("b", 0).arms) bench.gates.reserve(id);
  bench.linker.link(to(5000));
  assert.deepEqual(bench.linker.failures, []);
  const found = ruleOf(bench).backends[0]?.split?.value;
  assert.equal(found === undefined ? "" : chooseArm(found, 0, bench.gates)?.arm.role, "canary");
});
