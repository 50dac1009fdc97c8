/**
 * What a rule answers or refuses by itself: preflights, bodies that are too long; and hosts that are
 * taken from a header.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Filters, RulePart } from "../../src/compile/program.ts";
import type { Cors } from "../../src/compile/rule-part.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { answerOf, Http2Client } from "../support/http2.ts";
import { eventually, origin, RawClient, statuses } from "../support/upstream.ts";

async function ask(port: number, text: string): Promise<string> {
  using client = new RawClient(port);
  client.send(text);
  return await client.responses(1);
}

function get(headers = "", method = "GET"): string {
  return `${method} /a HTTP/1.1\r\nHost: app\r\n${headers}\r\n`;
}

function partsWith(port: number, filters: Filters, rule: Partial<RulePart> = {}) {
  return oneRoute({ stable: [port], rule: { ...rule, filters } });
}

describe("CORS", () => {
  const CORS: Cors = {
    allowOrigins: [
      { type: "Exact", value: "https://a.example" },
      { type: "Wildcard", prefix: "https://", suffix: ".b.example" },
    ],
    allowCredentials: true,
    allowMethods: ["*"],
    allowHeaders: ["*"],
    exposeHeaders: ["*", "x-one"],
    maxAgeSeconds: 7,
  };
  const preflight = (origin_: string, more = ""): string =>
    get(`Origin: ${origin_}\r\nAccess-Control-Request-Method: PUT\r\n${more}`, "OPTIONS");

  test("a preflight is answered without a key, the request itself is asked for one", async () => {
    await using app = await origin();
    const auth = { keys: "keys/none", extractFrom: [{ headers: ["x-key"] }], sanitize: true };
    await using gateway = await testGateway({
      parts: partsWith(app.port, { cors: CORS }, { auth }),
    });
    const asked = "Access-Control-Request-Headers: x-a, x-b\r\n";
    const answer = await ask(gateway.port, preflight("https://A.example", asked));
    assert.match(answer, /^HTTP\/1.1 200 /);
    assert.match(answer, /access-control-allow-origin: https:\/\/A.example\r\n/);
    assert.match(answer, /access-control-allow-methods: PUT\r\n/);
    assert.match(answer, /access-control-allow-headers: x-a, x-b\r\n/);
    assert.match(answer, /access-control-expose-headers: x-one\r\n/);
    assert.match(answer, /access-control-max-age: 7\r\n/);
    assert.match(answer, /vary: Origin/);
    const refused = await ask(gateway.port, get("Origin: https://a.example\r\n"));
    assert.match(refused, /^HTTP\/1.1 401 /);
    assert.match(refused, /access-control-allow-origin: https:\/\/a.example\r\n/);
    assert.equal(app.requests.length, 0);
  });

  for (const other of [
    "https://b.example",
    "https://.b.example",
    "http://x.b.example",
    "null",
    "https://a.example.evil.example",
    "https://a.example, https://x.b.example",
  ]) {
    test(`nothing is said to ${other}`, async () => {
      await using gateway = await testGateway({ parts: partsWith(1, { cors: CORS }) });
      const answer = await ask(gateway.port, preflight(other));
      assert.match(answer, /^HTTP\/1.1 200 /);
      assert.doesNotMatch(answer, /access-control/);
    });
  }

  test("what is no list of tokens is not echoed", async () => {
    await using gateway = await testGateway({ parts: partsWith(1, { cors: CORS }) });
    const odd = 'Access-Control-Request-Headers: x-a; <script>"\r\n';
    const answer = await ask(gateway.port, preflight("https://a.example", odd));
    assert.doesNotMatch(answer, /allow-headers|script/);
  });

  test("the gateway's word stands in place of the backend's where the origin is allowed", async () => {
    await using app = await origin((_request, response) => {
      response.setHeader("Access-Control-Allow-Origin", "*");
      response.end("ok");
    });
    await using gateway = await testGateway({ parts: partsWith(app.port, { cors: CORS }) });
    const answer = await ask(gateway.port, get("Origin: https://x.b.example\r\n"));
    assert.equal(answer.match(/access-control-allow-origin/gi)?.length, 1);
    assert.match(answer, /access-control-allow-origin: https:\/\/x.b.example\r\n/);
    assert.match(answer, /vary: Origin\r\n/);
  });

  test("the word of a backendRef stands in place of its rule's", async () => {
    await using app = await origin();
    const cors: Cors = {
      ...CORS,
      allowOrigins: [{ type: "Exact", value: "https://c.example" }],
      maxAgeSeconds: 9,
    };
    const split = "split/Backend/default/app";
    const backends = [{ weight: 1, split, filters: { cors } }];
    const parts = partsWith(app.port, { cors: CORS }, { backends });
    await using gateway = await testGateway({ parts });
    const allowed = /access-control-allow-origin/;
    assert.match(await ask(gateway.port, get("Origin: https://c.example\r\n")), allowed);
    assert.doesNotMatch(await ask(gateway.port, get("Origin: https://a.example\r\n")), allowed);
  });

  test("caches are told that origins differ where they do, also by an answer to none", async () => {
    await using app = await origin();
    const any = [{ type: "Any" }] as const;
    for (const [cors, varies] of [
      [CORS, true],
      [{ ...CORS, allowOrigins: any }, true],
      [{ ...CORS, allowOrigins: any, allowCredentials: false }, false],
    ] as const) {
      await using gateway = await testGateway({ parts: partsWith(app.port, { cors }) });
      assert.equal(/vary: Origin\r\n/.test(await ask(gateway.port, get())), varies);
    }
  });
});

describe("edits of response headers hold for the gateway's own answers", () => {
  const EDITS = { set: [["Content-Type", "text/html"]], remove: ["location"] } as const;
  const CASES: readonly (readonly [what: string, rule: Partial<RulePart>])[] = [
    [
      "a direct response",
      {
        filters: {
          directResponse: { statusCode: 200, contentType: "text/plain", body: "ok" },
          responseHeaders: EDITS,
        },
      },
    ],
    [
      "a direct response of the backendRef",
      {
        backends: [
          {
            weight: 1,
            filters: {
              directResponse: { statusCode: 200, contentType: "text/plain", body: "ok" },
              responseHeaders: EDITS,
            },
          },
        ],
      },
    ],
    [
      "a redirect",
      { filters: { redirect: { statusCode: 302, scheme: "https" }, responseHeaders: EDITS } },
    ],
    ["an error", { filters: { responseHeaders: EDITS }, backends: [] }],
    [
      "an error of a backendRef",
      { backends: [{ weight: 1, filters: { responseHeaders: EDITS } }] },
    ],
  ];
  for (const [what, rule] of CASES) {
    test(what, async () => {
      const parts = oneRoute({ stable: [1], rule });
      await using gateway = await testGateway({ parts });
      const [head = ""] = (await ask(gateway.port, get())).split("\r\n\r\n");
      assert.deepEqual(head.match(/^content-type.*$|^location.*$/gim), ["Content-Type: text/html"]);
    });
  }
});

describe("bodies that are too long", () => {
  test("a length that is too long is refused before a byte goes on", async () => {
    await using app = await origin();
    const parts = partsWith(app.port, {}, { requestBodyBytesMax: 4 });
    await using gateway = await testGateway({ parts });
    assert.match(
      await ask(gateway.port, get("Content-Length: 5\r\n", "POST")),
      /^HTTP\/1.1 413 .*body_too_large/s,
    );
    assert.deepEqual(
      statuses(await ask(gateway.port, `${get("Content-Length: 4\r\n", "POST")}four`)),
      [200],
    );
    assert.equal(app.requests.length, 1);
  });

  test("a body without a length that comes with its head is refused, whole or not", async () => {
    await using app = await origin();
    const parts = partsWith(app.port, {}, { requestBodyBytesMax: 4 });
    await using gateway = await testGateway({ parts });
    for (const end of ["", "0\r\n\r\n"]) {
      const text = `${get("Transfer-Encoding: chunked\r\n", "POST")}5\r\nabcde\r\n${end}`;
      assert.match(await ask(gateway.port, text), /^HTTP\/1.1 413 .*body_too_large/s);
    }
    assert.equal(app.requests.length, 0);
  });

  test("a body without a length is cut off where it becomes too long", async () => {
    await using app = await origin();
    const parts = partsWith(app.port, {}, { requestBodyBytesMax: 4 });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    client.send(`${get("Transfer-Encoding: chunked\r\n", "POST")}3\r\nabc\r\n`);
    await eventually(() => app.requests.length === 1);
    client.send("3\r\ndef\r\n");
    assert.match(await client.responses(1), /^HTTP\/1.1 413 .*body_too_large/s);
    await eventually(() => app.open() === 0);
  });
});

describe("a body that is too long for what the gateway answers itself", () => {
  const REDIRECT = { redirect: { statusCode: 302, scheme: "https" } } as const;
  const DIRECT = { directResponse: { statusCode: 200, contentType: "text/plain", body: "ok" } };
  const CASES: readonly (readonly [what: string, status: number, rule: Partial<RulePart>])[] = [
    ["a direct response", 200, { filters: DIRECT }],
    ["a redirect", 302, { filters: REDIRECT }],
    ["one of the backendRef", 200, { backends: [{ weight: 1, filters: DIRECT }] }],
  ];
  for (const [what, status, rule] of CASES) {
    test(`is refused alike whatever is spoken, and however it comes: ${what}`, async () => {
      const parts = oneRoute({ stable: [1], rule: { ...rule, requestBodyBytesMax: 4 } });
      await using gateway = await testGateway({ parts });
      for (const [pieces, answer] of [
        [["abc", "d"], status],
        [["abc", "de"], 413],
        [["abcde"], 413],
      ] as const) {
        using slow = new RawClient(gateway.port);
        slow.send(get("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", "POST"));
        await slow.until(({ received }) => received.includes("100 Continue"));
        using client = new Http2Client(gateway.port);
        const stream = client.open({ ":method": "POST" }, { endStream: false });
        const answered = answerOf(stream);
        for (const piece of pieces) {
          slow.send(`${piece.length}\r\n${piece}\r\n`);
          stream.write(piece);
        }
        slow.send("0\r\n\r\n");
        stream.end();
        assert.deepEqual(statuses(await slow.responses(1)), [answer]);
        assert.equal((await answered).status, answer);
      }
    });
  }
});

test("the Host is taken from a header where that holds one", async () => {
  await using app = await origin();
  const parts = partsWith(app.port, { rewrite: { hostnameHeader: "x-host" } });
  await using gateway = await testGateway({ parts });
  for (const value of ["b.example:8080", "[::1]", "a b", "", "x/y"]) {
    await ask(gateway.port, get(value === "" ? "" : `X-Host: ${value}\r\n`));
  }
  const hosts = app.requests.map(({ headers }) => headers.host);
  assert.deepEqual(hosts, ["b.example:8080", "[::1]", "app", "app", "app"]);
});
