/**
 * Admission: API keys wherever they may stand, limits and their selectors, and the order of both.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256 } from "../../src/base/hash.ts";
import type { ApiKeyAuth, Part, RateLimit } from "../../src/compile/program.ts";
import { admit, type AdmitDeps } from "../../src/proxy/admit.ts";
import { matchRule } from "../../src/proxy/match.ts";
import { FIELD, METRIC_FIELDS } from "../../src/shared/metrics.ts";
import {
  newBench,
  oneHost,
  prefixOf,
  request,
  rule,
  socketOf,
  type RequestDraft,
} from "../support/linking.ts";

interface Door {
  /** What is answered: "client CLIENT" or "STATUS HEADERS". */
  readonly ask: (draft: RequestDraft, clientAddress?: string) => string;
  /** Moves the clock by hand. */
  readonly pass: (ms: number) => void;
  readonly counted: (field: number) => number;
}

function door(
  guard: { auth?: ApiKeyAuth; limits?: readonly RateLimit[] },
  parts: readonly Part[] = [],
): Door {
  const bench = newBench();
  bench.linker.link([...oneHost([prefixOf("/", "r")], [rule("r", guard)]), ...parts]);
  let nowNs = 1_000_000_000n;
  const deps: AdmitDeps = {
    limits: bench.limits,
    metrics: bench.metrics,
    nowNs: () => nowNs,
    clientId: "",
  };
  return {
    ask(draft, clientAddress = "192.0.2.1") {
      const head = request(draft);
      const found = matchRule(socketOf(bench), head);
      if (found === undefined) return "404";
      const rejection = admit(found.rule, head, clientAddress, deps);
      return rejection === null
        ? `client ${deps.clientId}`
        : `${rejection.status} ${rejection.headers.trim()}`;
    },
    pass(ms) {
      nowNs += BigInt(ms) * 1_000_000n;
    },
    counted: (field) =>
      (bench.reader.read("r", "") ?? new Float64Array(METRIC_FIELDS))[field] as number,
  };
}

const KEYS: readonly Part[] = [
  { type: "keys", key: "keys/k", pages: ["keys/k/0", "keys/k/1"] },
  { type: "keyPage", key: "keys/k/0", clients: { [sha256("secret")]: "mobile" } },
  {
    type: "keyPage",
    key: "keys/k/1",
    clients: { [sha256("geheim")]: "web", [sha256("schlüssel")]: "ü" },
  },
];
const AUTH: ApiKeyAuth = {
  keys: "keys/k",
  extractFrom: [
    { headers: ["X-Api-Key", "Authorization"] },
    { params: ["key"] },
    { cookies: ["key"] },
  ],
  sanitize: false,
};
const CHALLENGE = '401 WWW-Authenticate: ApiKey realm="sluice"';

test("a key is found where the policy says, and the first one found counts", () => {
  const { ask, counted } = door({ auth: AUTH }, KEYS);
  const cases: readonly (readonly [RequestDraft, string])[] = [
    [{ headers: { "x-api-key": "secret" } }, "client mobile"],
    [{ headers: { authorization: "Bearer geheim" } }, "client web"],
    [{ target: "/?key=secret" }, "client mobile"],
    [{ target: "/?key=schl%C3%BCssel" }, "client ü"],
    [{ headers: { "x-api-key": Buffer.from("schlüssel").toString("latin1") } }, "client ü"],
    [{ headers: { cookie: "a=b; key=geheim" } }, "client web"],
    [{}, CHALLENGE],
    [{ headers: { "x-api-key": "" } }, CHALLENGE],
    [{ headers: { "x-api-key": "wrong" } }, CHALLENGE],
    [{ headers: { "x-api-key": "wrong" }, target: "/?key=secret" }, CHALLENGE],
    [{ headers: { "x-api-key": "secret, secret" } }, CHALLENGE],
    [{ headers: { "x-api-key": "__proto__" } }, CHALLENGE],
    [{ headers: { "x-api-key": sha256("secret") } }, CHALLENGE],
  ];
  for (const [draft, answer] of cases) assert.equal(ask(draft), answer, JSON.stringify(draft));
  assert.equal(counted(FIELD.unauthenticated), 7);
});

test("keys that are not there let nobody in", () => {
  const { ask } = door({ auth: AUTH });
  assert.equal(ask({ headers: { "x-api-key": "secret" } }), CHALLENGE);
});

const limit = (more: Partial<RateLimit>): RateLimit => ({
  key: "l",
  requests: 1,
  periodMs: 10_000,
  burst: 2,
  ...more,
});

test("a limit says when to come again, and counts what it refuses", () => {
  const { ask, pass, counted } = door({ limits: [limit({})] });
  assert.deepEqual([ask({}), ask({}), ask({})], ["client ", "client ", "429 Retry-After: 10"]);
  pass(9001);
  assert.equal(ask({}), "429 Retry-After: 1");
  pass(999);
  assert.equal(ask({}), "client ");
  assert.equal(counted(FIELD.limited), 2);
  const slow = door({ limits: [limit({ periodMs: 3_600_000, burst: 1 })] });
  assert.deepEqual([slow.ask({}), slow.ask({})], ["client ", "429 Retry-After: 3600"]);
});

test("those without a key use up nobody's tokens", () => {
  const { ask } = door({ auth: AUTH, limits: [limit({ burst: 1 })] }, KEYS);
  for (let turn = 0; turn < 10; turn++) assert.equal(ask({}), CHALLENGE);
  assert.equal(ask({ headers: { "x-api-key": "secret" } }), "client mobile");
});

test("selectors say whom a limit counts, and Distinct gives each value a bucket", () => {
  const one = { burst: 1 };
  const header = (more: object): RateLimit =>
    limit({ ...one, headers: [{ name: "X-Plan", type: "Exact", value: "free", ...more }] });
  const free = { headers: { "x-plan": "free" } };
  const paid = { headers: { "x-plan": "paid" } };
  const tables: readonly (readonly [
    RateLimit,
    readonly (readonly [RequestDraft, string, boolean])[],
  ])[] = [
    [
      header({}),
      [
        [free, "a", true],
        [free, "b", false],
        [paid, "a", true],
        [paid, "a", true],
        [{}, "a", true],
      ],
    ],
    [
      header({ invert: true }),
      [
        [paid, "a", true],
        [{}, "a", false],
        [free, "a", true],
        [free, "a", true],
      ],
    ],
    [
      header({ type: "RegularExpression", value: "fr.*" }),
      [
        [free, "a", true],
        [free, "a", false],
        [paid, "a", true],
      ],
    ],
    [
      header({ type: "Distinct" }),
      [
        [free, "a", true],
        [paid, "a", true],
        [free, "a", false],
        [paid, "a", false],
        [{}, "a", true],
        [{}, "a", true],
      ],
    ],
    [
      limit({ ...one, sourceCidr: { value: "192.0.2.0/24", type: "Distinct" } }),
      [
        [{}, "192.0.2.1", true],
        [{}, "192.0.2.2", true],
        [{}, "192.0.2.1", false],
        [{}, "198.51.100.1", true],
        [{}, "198.51.100.1", true],
      ],
    ],
    [
      limit({ ...one, sourceCidr: { value: "2001:db8::/32", type: "Exact" } }),
      [
        [{}, "2001:db8::1", true],
        [{}, "2001:db8::2", false],
        [{}, "192.0.2.1", true],
        [{}, "192.0.2.1", true],
      ],
    ],
  ];
  for (const [rateLimit, asks] of tables) {
    const { ask } = door({ limits: [rateLimit] });
    for (const [index, [draft, address, passes]] of asks.entries()) {
      assert.equal(
        ask(draft, address) === "client ",
        passes,
        `${JSON.stringify(rateLimit)} ${index}`,
      );
    }
  }
});

test("when the table of buckets is full, newcomers share one bucket and this is counted", () => {
  const { ask, counted } = door({
    limits: [limit({ periodMs: 1e9, headers: [{ name: "x-user", type: "Distinct" }] })],
  });
  let limited = 0;
  for (let user = 0; user < 120_000; user++) {
    if (ask({ headers: { "x-user": `${user}` } }) !== "client ") limited += 1;
  }
  assert.ok(counted(FIELD.limitOverflow) > 10_000);
  assert.ok(limited > 10_000);
  assert.equal(
    ask({ headers: { "x-user": "0" } }),
    "client ",
    "a client that has a bucket keeps it",
  );
});

test("a limit that cannot be linked lets nobody through", () => {
  const bench = newBench();
  const broken = limit({ headers: [{ name: "x", type: "RegularExpression", value: "(" }] });
  bench.linker.link(oneHost([prefixOf("/", "r")], [rule("r", { limits: [broken] })]));
  const found = matchRule(socketOf(bench), request({}));
  assert.equal(found?.rule.weightSum, 0);
  assert.equal(bench.linker.failures.length, 1);
});
