/** Paths on sockets: no spelling leads around the rule that is meant for a path. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type IncomingHttpHeaders } from "node:http2";
import { test } from "node:test";
import type { ClientPart, Part } from "../../src/compile/program.ts";
import type { PathReading } from "../../src/http1/path.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { origin, RawClient, statuses } from "../support/upstream.ts";

/** "/" is open, "/admin" asks for a key that nobody has, "/moved" is rewritten to "/here". */
function guarded(port: number): Part[] {
  const route = oneRoute({ stable: [port] });
  const open = route.find((part) => part.type === "rule") as Part & { readonly type: "rule" };
  const page = route.find((part) => part.type === "page") as Part & { readonly type: "page" };
  const auth = { keys: "keys/none", extractFrom: [{ headers: ["x-api-key"] }], sanitize: true };
  const moved = { type: "ReplacePrefixMatch", prefix: "/moved", value: "/here" } as const;
  return [
    ...route.filter((part) => part !== page),
    { ...open, key: "rule/guarded", auth },
    { ...open, key: "rule/moved", filters: { rewrite: { path: moved } } },
    {
      ...page,
      entries: [
        { path: { type: "PathPrefix", value: "/admin" }, rule: "rule/guarded" },
        { path: { type: "PathPrefix", value: "/moved" }, rule: "rule/moved" },
        ...page.entries,
      ],
    },
    { type: "keys", key: "keys/none", pages: [] },
  ];
}

/** Target, status, and what the upstream sees. */
const CASES: readonly (readonly [target: string, status: number, seen?: string])[] = [
  ["/admin", 401],
  ["/%61dmin", 401],
  ["/%61%64%6D%69%6e/x", 401],
  ["//admin", 401],
  ["/admin//x", 401],
  ["http://app//%61dmin", 401],
  ["/admin%2f", 400],
  ["/admin%2Fx", 400],
  ["/%2Fadmin", 400],
  ["/admin%5cx", 400],
  ["/x/..;/admin", 400],
  ["/x%2f..%2fadmin", 400],
  ["/x/%2%65%2%65/admin", 400],
  ["/x/.%2%65/admin", 400],
  ["/x%2%46..%2%46admin", 400],
  ["/admin%2%46x", 400],
  ["/x%5%63admin", 400],
  ["/%6%31dmin", 400],
  ["/%%36%31dmin", 400],
  ["/a%2%zz%", 200, "/a%2%zz%"],
  ["/a%41%31%2", 200, "/aA1%2"],
  ["/@scope%2fname", 200, "/@scope%2fname"],
  ["/a%20b//%7Ec?d=//%7E", 200, "/a%20b/~c?d=//%7E"],
  ["/plain/%C3%A4?", 200, "/plain/%C3%A4?"],
  ["//moved//x", 200, "/here/x"],
  ["/mo%76ed/%41", 200, "/here/A"],
];

test("a path is matched, forwarded and rewritten in one spelling", async () => {
  await using app = await origin();
  await using gateway = await testGateway({ parts: guarded(app.port) });
  for (const [target, status, seen] of CASES) {
    using client = new RawClient(gateway.port);
    client.send(`GET ${target} HTTP/1.1\r\nHost: app\r\n\r\n`);
    assert.deepEqual(statuses(await client.responses(1)), [status], target);
    assert.equal(app.requests.splice(0)[0]?.url, seen, target);
  }
});

/** What a policy of the listener makes of them (Envoy Gateway `ClientTrafficPolicy.path`). */
const READINGS: readonly (readonly [
  reading: PathReading,
  cases: readonly (readonly [target: string, status: number, seenOrLocation?: string])[],
])[] = [
  [
    {},
    [
      ["/a%2Fb", 200, "/a%2Fb"],
      ["/x%2F..%2Fadmin", 400],
      ["/%2fadmin", 400],
      ["//a", 200, "/a"],
    ],
  ],
  [
    { escapedSlashes: "KeepUnchanged" },
    [
      ["/a%2Fb", 200, "/a%2Fb"],
      ["/admin%2Fx", 200, "/admin%2Fx"],
      ["/%2fadmin", 200, "/%2fadmin"],
      ["/admin/a%2Fb", 401],
      ["/x%2F..%2Fadmin", 400],
      ["/a%5Cb", 400],
      ["/%61dmin", 401],
      ["//admin", 401],
    ],
  ],
  [
    { escapedSlashes: "RejectRequest" },
    [
      ["/a%2Fb", 400],
      ["/a%2fb?c=%2F", 400],
      ["/a%2%46b", 400],
      ["/a%5Cb", 400],
      ["/a?c=%2F", 200, "/a?c=%2F"],
      ["/a%20b", 200, "/a%20b"],
    ],
  ],
  [
    { escapedSlashes: "UnescapeAndForward" },
    [
      ["/a%2Fb", 200, "/a/b"],
      ["/a%2fb%20c?d=%2F", 200, "/a/b%20c?d=%2F"],
      ["/admin%2Fx", 401],
      ["/%2fadmin", 401],
      ["/a%2F%2Fb/%2F/c", 200, "/a/b/c"],
      ["/moved%2Fx", 200, "/here/x"],
      ["/x%2F..%2Fadmin", 400],
      ["/x%2F%2e%2e/admin", 400],
      ["http://app/%2Fadmin", 401],
    ],
  ],
  [
    { escapedSlashes: "UnescapeAndRedirect" },
    [
      ["/a%2Fb", 307, "/a/b"],
      ["/a%2fb%20%63?d=%2F", 307, "/a/b%20c?d=%2F"],
      ["/%2Fevil.example/x", 307, "/evil.example/x"],
      ["/admin%2Fx", 307, "/admin/x"],
      ["/x%2F..%2Fadmin", 400],
      ["/a/b", 200, "/a/b"],
    ],
  ],
  [
    { escapedSlashes: "UnescapeAndRedirect", keepsRepeatedSlashes: true },
    [
      ["/%2Fevil.example/x", 307, "/.//evil.example/x"],
      ["/a%2F/b", 307, "/a//b"],
    ],
  ],
  [
    { keepsRepeatedSlashes: true },
    [
      ["/fetch/http://other/x", 200, "/fetch/http://other/x"],
      ["/a//b", 200, "/a//b"],
      ["//a", 200, "//a"],
      ["/admin//x", 401],
      ["//admin", 400],
      ["/x//%2Fadmin", 200, "/x//%2Fadmin"],
      ["//%2Fadmin", 400],
      ["/moved//x", 200, "/here//x"],
    ],
  ],
];

for (const [reading, cases] of READINGS) {
  test(`paths as a policy has them read: ${JSON.stringify(reading)}`, async () => {
    await using app = await origin();
    const policy: ClientPart = { type: "client", key: "client/default/p", path: reading };
    const parts = guarded(app.port).map((part) =>
      part.type === "socket" ? { ...part, client: policy.key } : part,
    );
    await using gateway = await testGateway({ parts: [...parts, policy] });
    for (const [target, status, seen] of cases) {
      using client = new RawClient(gateway.port);
      // Of three that are alike the last may be known by its bytes.
      for (let count = 0; count < 3; count++) {
        client.received = "";
        client.send(`GET ${target} HTTP/1.1\r\nHost: app\r\n\r\n`);
        const answer = await client.responses(1);
        assert.deepEqual(statuses(answer), [status], target);
        const location = /\r\nlocation: ([^\r]*)/i.exec(answer)?.[1];
        assert.equal(location ?? app.requests.splice(0)[0]?.url, seen, target);
        if (status === 400) break;
      }
    }
  });

  test(`over HTTP/2: ${JSON.stringify(reading)}`, async () => {
    await using app = await origin();
    const policy: ClientPart = { type: "client", key: "client/default/p", path: reading };
    const parts = guarded(app.port).map((part) =>
      part.type === "socket" ? { ...part, client: policy.key } : part,
    );
    await using gateway = await testGateway({ parts: [...parts, policy] });
    const session = connect(gateway.url);
    for (const [target, status, seen] of cases.filter(([one]) => one.startsWith("/"))) {
      const stream = session.request({ ":path": target });
      const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
      stream.resume();
      assert.equal(Number(headers[":status"]), status, target);
      assert.equal(headers.location ?? app.requests.splice(0)[0]?.url, seen, target);
    }
    session.destroy();
  });
}

/** Pattern, substitution, target; status, and what the upstream sees. */
const REWRITTEN: readonly (readonly [
  pattern: string,
  value: string,
  target: string,
  status: number,
  seen?: string,
])[] = [
  ["^/api(.*)$", String.raw`/\1`, "/api/users?q=/..", 200, "//users?q=/.."],
  ["^/api(.*)$", String.raw`/\1`, "/api../admin", 400],
  ["^/api(.*)$", String.raw`/\1`, "/api%2E./admin", 400],
  ["x", "", "/.x./admin", 400],
  ["x", "", "/a/.x", 400],
  ["x", "", "/%2xe%2xe/admin", 400],
  ["x", "", "/%0x0", 400],
  ["x", "", "/a.x.b", 200, "/a..b"],
  ["a", "b".repeat(1024), `/${"a".repeat(17)}`, 400],
];

for (const [pattern, value, target, status, seen] of REWRITTEN) {
  const name = `${target} rewritten by ${pattern}`;
  test(`${name}: ${seen ?? `${status}, for no such path may be sent`}`, async () => {
    await using app = await origin();
    const path = { type: "ReplaceRegexMatch", pattern, value } as const;
    const parts = oneRoute({ stable: [app.port], rule: { filters: { rewrite: { path } } } });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    client.send(`GET ${target} HTTP/1.1\r\nHost: app\r\n\r\n`);
    assert.deepEqual(statuses(await client.responses(1)), [status]);
    assert.deepEqual(
      app.requests.map(({ url }) => url),
      seen === undefined ? [] : [seen],
    );
    if (status === 400) assert.match(client.received, /target_invalid/);
  });
}
