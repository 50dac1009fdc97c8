/** The head that goes upstream: what the gateway writes, no client can write in its place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256 } from "../../src/base/hash.ts";
import type { RulePart } from "../../src/compile/program.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { origin, RawClient } from "../support/upstream.ts";

/** Sends these header lines through a rule; returns what arrived, names in lower case. */
async function forwarded(rule: Partial<RulePart>, lines: readonly string[]): Promise<string[]> {
  await using app = await origin();
  await using gateway = await testGateway({
    parts: [
      ...oneRoute({ stable: [app.port], rule }),
      { type: "keys", key: "keys/k", pages: ["keys/k/0"] },
      { type: "keyPage", key: "keys/k/0", clients: { [sha256("good")]: "alice" } },
    ],
  });
  using client = new RawClient(gateway.port);
  client.send(["GET / HTTP/1.1", "Host: a", ...lines, "", ""].join("\r\n"));
  await client.responses(1);
  const { rawHeaders = [] } = app.requests[0] ?? {};
  const arrived: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    arrived.push(`${rawHeaders[at]?.toLowerCase()}: ${rawHeaders[at + 1]}`);
  }
  return arrived.filter((line) => !/^(?:host|connection|x-forwarded-|x-request-id)/.test(line));
}

const auth = (more: object): Partial<RulePart> => ({
  auth: { keys: "keys/k", extractFrom: [{ headers: ["x-api-key"] }], sanitize: true, ...more },
});

const CASES: readonly (readonly [
  name: string,
  rule: Partial<RulePart>,
  lines: readonly string[],
  arrives: readonly string[],
])[] = [
  [
    "the client's id, however the name is written",
    auth({ forwardClientIdHeader: "X-Client-Id" }),
    ["X-Api-Key: good", "X_Client_Id: admin", "x-client_id: admin", "X-Client-Id: a", "A_B: 1"],
    ["x-client-id: alice", "a_b: 1"],
  ],
  [
    "a header that is set",
    { filters: { requestHeaders: { set: [["x-role", "user"]] } } },
    ["X_Role: admin", "x-roles: 1", "A_B: 1"],
    ["x-roles: 1", "a_b: 1", "x-role: user"],
  ],
  [
    "a header with an underscore that is set",
    { filters: { requestHeaders: { set: [["x_role", "user"]] } } },
    ["X-Role: admin", "X_role: admin"],
    ["x_role: user"],
  ],
  [
    "a header that is removed",
    { filters: { requestHeaders: { remove: ["x-debug"] } } },
    ["X_Debug: 1"],
    [],
  ],
  [
    "cookies without the key, unless they are removed",
    {
      ...auth({ extractFrom: [{ cookies: ["key"] }] }),
      filters: { requestHeaders: { remove: ["cookie"] } },
    },
    ["Cookie: key=good; a=1"],
    [],
  ],
  [
    "cookies without the key",
    auth({ extractFrom: [{ cookies: ["key"] }] }),
    ["Cookie: key=good; a=1"],
    ["cookie: a=1"],
  ],
];

for (const [name, rule, lines, arrives] of CASES) {
  test(name, async () => {
    assert.deepEqual((await forwarded(rule, lines)).toSorted(), arrives.toSorted());
  });
}
