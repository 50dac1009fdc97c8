/** Paths on sockets: no spelling leads around the rule that is meant for a path. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Part } from "../../src/compile/program.ts";
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
