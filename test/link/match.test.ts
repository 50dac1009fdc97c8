/** Matching: Gateway API's rules by example, and against a naive matcher on generated routes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { MatchEntry, Part, ValueMatch } from "../../src/compile/program.ts";
import { matchRule } from "../../src/proxy/match.ts";
import type { RequestFields } from "../../src/proxy/request-fields.ts";
import {
  SOCKET_KEY,
  newBench,
  oneHost,
  request,
  rule,
  socketOf,
  type RequestDraft,
} from "../support/linking.ts";

interface Host {
  readonly hostname: string;
  /** Route name and match, in order of precedence among equals. */
  readonly entries: readonly (readonly [string, Omit<MatchEntry, "rule">])[];
}

/** A Program with one listener and these hosts; each path has a page of its own. */
function programOf(hosts: readonly Host[]): Part[] {
  const parts: Part[] = [];
  const rules = new Set<string>();
  const table = hosts.map(({ hostname, entries }) => {
    const pages = Map.groupBy(entries, ([, { path }]) =>
      path.type === "RegularExpression" ? "regex" : `path ${path.value}`,
    );
    const keys = [...pages].map(([page, inPage]) => {
      const key = `page/${hostname}/${page}`;
      const linked = inPage.map(([name, match]) => ({ ...match, rule: rule(name).key }));
      parts.push({ type: "page", key, entries: linked });
      return key;
    });
    for (const [name] of entries) rules.add(name);
    return { hostname, pages: keys };
  });
  parts.push(
    { type: "table", key: "table/t", hosts: table },
    ...[...rules].map((name) => rule(name)),
  );
  const listeners = [{ hostname: "", table: "table/t" }];
  parts.push({ type: "socket", key: SOCKET_KEY, address: "127.0.0.1", port: 80, listeners });
  return parts;
}

function matcherOf(hosts: readonly Host[]): (head: RequestFields) => string | undefined {
  const bench = newBench();
  bench.linker.link(programOf(hosts));
  const socket = socketOf(bench);
  return (head) => matchRule(socket, head)?.rule.route;
}

const exact = (value: string): MatchEntry["path"] => ({ type: "Exact", value });
const prefix = (value: string): MatchEntry["path"] => ({ type: "PathPrefix", value });
const regex = (value: string): MatchEntry["path"] => ({ type: "RegularExpression", value });

const HOSTS: readonly Host[] = [
  {
    hostname: "a.example.com",
    entries: [
      ["exact", { path: exact("/exact") }],
      ["escaped", { path: prefix("/esc%41ped/%c3%a4/a@b") }],
      ["deep", { path: prefix("/one/two/") }],
      ["one", { path: prefix("/one") }],
      ["post", { path: prefix("/method"), method: "POST" }],
      ["regex", { path: regex("/users/[0-9]+") }],
      [
        "json",
        { path: prefix("/header"), headers: [{ name: "accept", type: "Exact", value: "a, b" }] },
      ],
      [
        "version",
        {
          path: prefix("/header"),
          headers: [{ name: "version", type: "RegularExpression", value: "v[12]" }],
        },
      ],
      [
        "query",
        { path: prefix("/query"), queryParams: [{ name: "q", type: "Exact", value: "x y" }] },
      ],
    ],
  },
  {
    hostname: "*.example.com",
    entries: [
      ["wild", { path: prefix("/") }],
      ["wild-header", { path: exact("/header") }],
    ],
  },
  { hostname: "*.b.example.com", entries: [["wild-b", { path: prefix("/b") }]] },
  { hostname: "", entries: [["any", { path: prefix("/any") }]] },
];

const CASES: readonly (readonly [RequestDraft, string | undefined])[] = [
  [{ host: "a.example.com", target: "/exact" }, "exact"],
  [{ host: "a.example.com", target: "/exact?q=1" }, "exact"],
  // An escape makes no difference, nor does its case, on either side.
  [{ host: "a.example.com", target: "/escAped/%C3%A4/a@b" }, "escaped"],
  [{ host: "a.example.com", target: "/escAped/%c3%a4/a%40b/c" }, "escaped"],
  [{ host: "a.example.com", target: "/escAped/%c3%a4/a%2540b" }, "wild"],
  [{ host: "a.example.com", target: "/one%2Ftwo" }, "wild"],
  [{ host: "a.example.com", target: "/users/%342" }, "regex"],
  [{ host: "a.example.com", target: "/exact/" }, "wild"],
  [{ host: "a.example.com", target: "/EXACT" }, "wild"],
  [{ host: "a.example.com", target: "/one/two" }, "deep"],
  [{ host: "a.example.com", target: "/one/two/three" }, "deep"],
  [{ host: "a.example.com", target: "/one/twofold" }, "one"],
  [{ host: "a.example.com", target: "/one" }, "one"],
  [{ host: "a.example.com", target: "/one/" }, "one"],
  [{ host: "a.example.com", target: "/oneself" }, "wild"],
  [{ host: "a.example.com", target: "/method" }, "wild"],
  [{ host: "a.example.com", target: "/method", method: "POST" }, "post"],
  [{ host: "a.example.com", target: "/users/42" }, "regex"],
  [{ host: "a.example.com", target: "/users/42/x" }, "wild"],
  [{ host: "a.example.com", target: "/header", headers: { accept: "a, b" } }, "json"],
  [{ host: "a.example.com", target: "/header", headers: { accept: "b, a" } }, "wild-header"],
  [{ host: "a.example.com", target: "/header", headers: { version: "v2" } }, "version"],
  [{ host: "a.example.com", target: "/header/x", headers: { version: "v22" } }, "wild"],
  [{ host: "a.example.com", target: "/query?q=x%20y" }, "query"],
  [{ host: "a.example.com", target: "/query?q=x+y&q=z" }, "query"],
  [{ host: "a.example.com", target: "/query?%71=x+y" }, "query"],
  [{ host: "a.example.com", target: "/query?q=z&q=x+y" }, "wild"],
  [{ host: "a.example.com", target: "/query?q=%zz" }, "wild"],
  [{ host: "c.example.com", target: "/x" }, "wild"],
  [{ host: "x.b.example.com", target: "/b/c" }, "wild-b"],
  [{ host: "x.b.example.com", target: "/other" }, "wild"],
  [{ host: "x.y.b.example.com", target: "/b" }, "wild-b"],
  [{ host: "example.com", target: "/x" }, undefined],
  [{ host: "example.com", target: "/any" }, "any"],
  [{ host: ".example.com", target: "/any" }, "any"],
  [{ host: "", target: "/any/x" }, "any"],
  [{ host: "a.example.com", target: "*" }, undefined],
];

test("Gateway API's matching by example", () => {
  const match = matcherOf(HOSTS);
  for (const [draft, expected] of CASES) {
    assert.equal(match(request(draft)), expected, JSON.stringify(draft));
  }
});

test("the most specific listener takes a request, even without a route for it", () => {
  const bench = newBench();
  const page = (name: string): Part => ({
    type: "page",
    key: `page/${name}`,
    entries: [{ path: prefix(`/${name}`), rule: rule(name).key }],
  });
  const table = (name: string): Part => ({
    type: "table",
    key: `table/${name}`,
    hosts: [{ hostname: "", pages: [`page/${name}`] }],
  });
  const names = ["exact", "wild", "any"];
  const listeners = [
    { hostname: "a.example.com", table: "table/exact" },
    { hostname: "*.example.com", table: "table/wild" },
    { hostname: "", table: "table/any" },
  ];
  bench.linker.link([
    ...names.flatMap((name) => [page(name), table(name), rule(name)]),
    { type: "socket", key: SOCKET_KEY, address: "127.0.0.1", port: 80, listeners },
  ]);
  const route = (host: string, target: string): string | undefined =>
    matchRule(socketOf(bench), request({ host, target }))?.rule.route;
  assert.equal(route("a.example.com", "/exact"), "exact");
  assert.equal(route("a.example.com", "/wild"), undefined);
  assert.equal(route("b.example.com", "/wild"), "wild");
  assert.equal(route("b.example.com", "/any"), undefined);
  assert.equal(route("elsewhere.org", "/any"), "any");
});

test("a match of calls takes no other request to its path", () => {
  const match = matcherOf([
    {
      hostname: "",
      entries: [
        ["calls", { path: exact("/shop.Cart/Add"), method: "POST", grpc: true }],
        ["rest", { path: prefix("/") }],
      ],
    },
  ]);
  const taken = (type: string | undefined): string | undefined => {
    const headers = type === undefined ? {} : { "content-type": type };
    return match(request({ method: "POST", target: "/shop.Cart/Add", headers }));
  };
  for (const type of ["application/grpc", "application/grpc+proto", "application/grpc; a=b"]) {
    assert.equal(taken(type), "calls", type);
  }
  for (const type of [undefined, "application/json", "application/grpc-web", "application/grpcs"]) {
    assert.equal(taken(type), "rest", type);
  }
});

test("an expression that does not compile fits nothing and is reported", () => {
  const bench = newBench();
  const entries = [
    { path: regex("/a(?=b)"), rule: rule("broken").key },
    { path: prefix("/"), rule: rule("rest").key },
  ];
  bench.linker.link(oneHost(entries, [rule("broken"), rule("rest")]));
  assert.equal(matchRule(socketOf(bench), request({ target: "/ab" }))?.rule.route, "rest");
  assert.match(bench.linker.failures[0]?.message ?? "", /Cannot compile/);
});

test("an expression takes time in proportion to its input", () => {
  const match = matcherOf([{ hostname: "", entries: [["evil", { path: regex("/(a+)+$") }]] }]);
  const head = request({ target: `/${"a".repeat(20_000)}b` });
  const startMs = performance.now();
  assert.equal(match(head), undefined);
  assert.ok(performance.now() - startMs < 2000);
});

test("a path of ten thousand elements costs no more than the deepest prefix", () => {
  const match = matcherOf([{ hostname: "", entries: [["p", { path: prefix("/a/a/a") }]] }]);
  const head = request({ target: "/a".repeat(10_000) });
  const startMs = performance.now();
  for (let turn = 0; turn < 1000; turn++) assert.equal(match(head), "p");
  assert.ok(performance.now() - startMs < 1000);
});

// The naive matcher: every match of every host is tried, and the best by Gateway API's order wins.

function naive(hosts: readonly Host[], head: RequestFields): string | undefined {
  const fitting = hosts.flatMap(({ hostname, entries }) =>
    entries
      .filter(([, entry]) => hostFits(hostname, head.host) && entryFits(entry, head))
      .map(([name, entry], order) => ({ name, rank: rankOf(hostname, entry), order })),
  );
  fitting.sort((a, b) => compare(b.rank, a.rank) || a.order - b.order);
  return fitting[0]?.name;
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at === -1 ? 0 : (a[at] as number) - (b[at] as number);
}

function hostFits(hostname: string, host: string): boolean {
  if (hostname === "") return true;
  if (!hostname.startsWith("*.")) return hostname === host;
  return host.endsWith(hostname.slice(1)) && host.length > hostname.length - 1;
}

function entryFits(entry: Omit<MatchEntry, "rule">, head: RequestFields): boolean {
  const { type, value } = entry.path;
  const plain = value.replace(/\/$/, "");
  const path =
    type === "Exact"
      ? head.path === value
      : head.path === plain || head.path.startsWith(`${plain}/`);
  const params = new URLSearchParams(head.query);
  return (
    path &&
    (entry.method === undefined || entry.method === head.method) &&
    (entry.headers ?? []).every((wanted) => head.header(wanted.name) === wanted.value) &&
    (entry.queryParams ?? []).every((wanted) => params.get(wanted.name) === wanted.value)
  );
}

function rankOf(hostname: string, entry: Omit<MatchEntry, "rule">): readonly number[] {
  return [
    hostname === "" ? 0 : hostname.startsWith("*.") ? 1 : 2,
    hostname.length,
    entry.path.type === "Exact" ? 1 : 0,
    entry.path.value.length,
    entry.method === undefined ? 0 : 1,
    entry.headers?.length ?? 0,
    entry.queryParams?.length ?? 0,
  ];
}

const word = fc.constantFrom("a", "b", "c");
const path = fc
  .tuple(fc.array(word, { maxLength: 3 }), fc.boolean())
  .map(([words, slash]) => `/${words.join("/")}${slash && words.length > 0 ? "/" : ""}`);
const values = (names: readonly string[]): fc.Arbitrary<readonly ValueMatch[]> =>
  fc
    .subarray([...names])
    .chain((some) =>
      fc.tuple(
        ...some.map((name) => word.map((value): ValueMatch => ({ name, type: "Exact", value }))),
      ),
    );
const entry = fc.record(
  {
    path: fc.oneof(path.map(exact), path.map(prefix)),
    method: fc.constantFrom("GET", "POST"),
    headers: values(["h1", "h2"]),
    queryParams: values(["q1", "q2"]),
  },
  { requiredKeys: ["path"] },
);
const hosts = fc
  .subarray(["a.b.c", "b.c", "*.b.c", "*.c", ""], { minLength: 1 })
  .chain((names) =>
    fc.tuple(
      ...names.map((hostname) =>
        fc.array(entry, { maxLength: 12 }).map((entries) => ({ hostname, entries })),
      ),
    ),
  )
  .map((drafts): readonly Host[] =>
    drafts.map(({ hostname, entries }) => ({
      hostname,
      // As the compiler delivers them: by precedence, the order of the list among equals.
      entries: entries
        .map((one, at) => [`${hostname || "any"} ${at}`, one] as const)
        .toSorted(([, a], [, b]) => compare(rankOf(hostname, b), rankOf(hostname, a))),
    })),
  );
const heads = fc.record({
  host: fc.constantFrom("a.b.c", "x.b.c", "b.c", "c", "x.c", "elsewhere"),
  path,
  method: fc.constantFrom("GET", "POST", "PUT"),
  headers: fc.dictionary(fc.constantFrom("h1", "h2"), word),
  query: fc.array(fc.tuple(fc.constantFrom("q1", "q2"), word), { maxLength: 3 }),
});

test("on generated routes the matcher agrees with a naive one", () => {
  fc.assert(
    fc.property(hosts, fc.array(heads, { minLength: 1, maxLength: 20 }), (routes, drafts) => {
      const match = matcherOf(routes);
      for (const draft of drafts) {
        const query = draft.query.map(([name, value]) => `${name}=${value}`).join("&");
        const head = request({ ...draft, target: `${draft.path}${query && `?${query}`}` });
        assert.equal(match(head), naive(routes, head));
      }
    }),
    { numRuns: 400 },
  );
});
