/** Who the client is where proxies before this one forward for it (`clientIPDetection`). */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { describe, test } from "node:test";
import type { ClientPart, Part, RulePart } from "../../src/compile/program.ts";
import { NO_ACCESS_LOG } from "../../src/proxy/access-log.ts";
import { addressOf, detectClient, linkDetection } from "../../src/proxy/client-address.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { eventually, origin, RawClient, statuses } from "../support/upstream.ts";

type Detection = NonNullable<ClientPart["clientIpDetection"]>;

const HOPS = (trustedHops: number): Detection => ({ type: "hops", trustedHops });
const CIDRS = (...trusted: string[]): Detection => ({ type: "cidrs", trusted });
const HEADER = (failClosed = false): Detection => ({
  type: "header",
  name: "x-real-ip",
  failClosed,
});

describe("one entry", () => {
  const TABLE: readonly [entry: string, address: string | undefined][] = [
    ["192.0.2.1", "192.0.2.1"],
    [" \t192.0.2.1 ", "192.0.2.1"],
    ["192.0.2.1:4711", "192.0.2.1"],
    ["2001:db8::1", "2001:db8::1"],
    ["2001:DB8:0:0::1", "2001:db8::1"],
    ["[2001:db8::1]", "2001:db8::1"],
    ["[2001:db8::1]:443", "2001:db8::1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:c000:201", "192.0.2.1"],
    ["[::ffff:192.0.2.1]:80", "192.0.2.1"],
    ["::1", "::1"],
    ["", undefined],
    ["unknown", undefined],
    ["192.0.2", undefined],
    ["192.0.2.256", undefined],
    ["0192.0.2.1", undefined],
    ["192.0.2.1:", undefined],
    ["192.0.2.1:port", undefined],
    ["192.0.2.1 10.0.0.1", undefined],
    ["fe80::1%eth0", undefined],
    ["[2001:db8::1", undefined],
    ["2001:db8::1]", undefined],
    ['"[2001:db8::1]"', undefined],
    ["[192.0.2.1]", undefined],
    ["1:2:3:4:5:6:7:8:9", undefined],
    ["a.example", undefined],
  ];
  for (const [entry, address] of TABLE) {
    test(JSON.stringify(entry), () => assert.equal(addressOf(entry), address));
  }
});

describe("the client of a request", () => {
  const PEER = "10.0.0.9";
  const PROXIES = CIDRS("10.0.0.0/8", "2001:db8:1::/48");
  type Row = readonly [
    name: string,
    detection: Detection,
    header: string | undefined,
    client: string | undefined,
    peer?: string,
  ];
  const TABLE: readonly Row[] = [
    // Envoy's example 3: two trusted proxies before this one.
    [
      "hops: the Nth from the right",
      HOPS(2),
      "203.0.113.128, 203.0.113.10, 203.0.113.1",
      "203.0.113.10",
    ],
    [
      "hops: what stands further left counts for nothing",
      HOPS(1),
      "192.0.2.1, 203.0.113.1",
      "203.0.113.1",
    ],
    ["hops: fewer than N entries", HOPS(3), "192.0.2.1, 203.0.113.1", PEER],
    ["hops: no header", HOPS(1), undefined, PEER],
    ["hops: an empty header", HOPS(1), "", PEER],
    ["hops: garbage at the place", HOPS(2), "unknown, 203.0.113.1", PEER],
    ["hops: garbage elsewhere", HOPS(1), "unknown, 203.0.113.1", "203.0.113.1"],
    ["hops: an address with a port", HOPS(1), "203.0.113.1:1234", "203.0.113.1"],
    ["hops: an empty entry is one", HOPS(2), "192.0.2.7, , 203.0.113.1", PEER],
    [
      "ranges: the first from the right that is no proxy",
      PROXIES,
      "192.0.2.1, 198.51.100.7, 10.1.1.1",
      "198.51.100.7",
    ],
    ["ranges: who connects is no proxy", PROXIES, "192.0.2.1", "198.51.100.9", "198.51.100.9"],
    ["ranges: all are proxies", PROXIES, "10.3.3.3, 10.2.2.2", "10.3.3.3"],
    ["ranges: no header", PROXIES, undefined, PEER],
    [
      "ranges: garbage was told by the proxy after it",
      PROXIES,
      "192.0.2.1, unknown, 10.2.2.2",
      "10.2.2.2",
    ],
    ["ranges: nothing but garbage", PROXIES, "unknown", PEER],
    ["ranges: both families", PROXIES, "2001:db8:2::7, [2001:db8:1::5]:80", "2001:db8:2::7"],
    ["ranges: an IPv4 address in IPv6", PROXIES, "192.0.2.1, ::ffff:10.2.2.2", "192.0.2.1"],
    ["ranges: a client in IPv6", CIDRS("::1/128"), "2001:DB8::7", "2001:db8::7", "::1"],
    [
      "ranges: further than anybody stands",
      PROXIES,
      `192.0.2.1${", 10.0.0.1".repeat(64)}`,
      "10.0.0.1",
    ],
    ["header: its address", HEADER(), "192.0.2.1", "192.0.2.1"],
    ["header: absent", HEADER(), undefined, PEER],
    ["header: garbage", HEADER(), "192.0.2.1, 192.0.2.2", PEER],
    ["header: absent, and it must be there", HEADER(true), undefined, undefined],
    ["header: garbage, and it must be there", HEADER(true), "me", undefined],
  ];
  for (const [name, part, header, client, peer = PEER] of TABLE) {
    test(name, () => {
      const detection = linkDetection(part);
      assert.ok(detection !== null);
      const wanted = part.type === "header" ? part.name : "x-forwarded-for";
      const head = { header: (asked: string) => (asked === wanted ? header : undefined) };
      assert.equal(detectClient(detection, head, peer), client);
    });
  }
});

const KEY = "client/default/p";

function partsWith(
  settings: Partial<ClientPart>,
  port: number,
  rule: Partial<RulePart> = {},
): Part[] {
  const policy: ClientPart = { type: "client", key: KEY, ...settings };
  const parts = oneRoute({ stable: [port], rule });
  return [
    ...parts.map((part) => (part.type === "socket" ? { ...part, client: KEY } : part)),
    policy,
  ];
}

const PROXY = CIDRS("127.0.0.0/8");

function get(forwarded: string, more = ""): string {
  const line = forwarded === "" ? "" : `X-Forwarded-For: ${forwarded}\r\n`;
  return `GET / HTTP/1.1\r\nHost: app\r\n${line}${more}\r\n`;
}

async function ask(client: RawClient, text: string): Promise<string> {
  client.received = "";
  client.send(text);
  return client.responses(1);
}

describe("what goes by the client's address", () => {
  test("the backend and the log hear of each request's own client", async () => {
    const lines: { client: string }[] = [];
    const accessLog = { ...NO_ACCESS_LOG, line: (text: string) => lines.push(JSON.parse(text)) };
    await using app = await origin();
    const parts = partsWith({ clientIpDetection: PROXY }, app.port);
    await using gateway = await testGateway({ parts, accessLog });
    using client = new RawClient(gateway.port);
    const asked: string[] = [];
    // Each head comes often enough to be known by its bytes, and then another client's comes.
    for (const address of ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1", ""]) {
      for (let count = 0; count < 5; count++) {
        assert.deepEqual(statuses(await ask(client, get(address))), [200]);
        asked.push(address === "" ? "127.0.0.1" : address);
      }
    }
    const heard = app.requests.map(({ headers }) => headers["x-forwarded-for"]);
    assert.deepEqual(heard, asked);
    assert.deepEqual(
      lines.map((line) => line.client),
      asked,
    );
  });

  test("several lines are one list", async () => {
    await using app = await origin();
    const parts = partsWith({ clientIpDetection: HOPS(2) }, app.port);
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    await ask(
      client,
      get("192.0.2.1", "X-Forwarded-For: 192.0.2.2\r\nx-forwarded-for: 10.0.0.1\r\n"),
    );
    assert.equal(app.requests[0]?.headers["x-forwarded-for"], "192.0.2.2");
  });

  test("without a policy nobody is believed", async () => {
    await using app = await origin();
    await using gateway = await testGateway({ parts: partsWith({}, app.port) });
    using client = new RawClient(gateway.port);
    await ask(client, get("192.0.2.1"));
    assert.equal(app.requests[0]?.headers["x-forwarded-for"], "127.0.0.1");
  });

  test("each client has a limit of its own, however its address is written", async () => {
    await using app = await origin();
    const limits = [
      {
        key: "limit",
        requests: 2,
        periodMs: 3_600_000,
        burst: 2,
        sourceCidr: { value: "::/0", type: "Distinct" as const },
      },
    ];
    const parts = partsWith({ clientIpDetection: PROXY }, app.port, { limits });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    const spellings = ["2001:db8::1", "2001:DB8:0::1", "[2001:db8::1]:80", "2001:db8::2"];
    const answers: number[] = [];
    for (const one of spellings) answers.push(...statuses(await ask(client, get(one))));
    assert.deepEqual(answers, [200, 200, 429, 200]);
  });

  test("a split by the client's address keeps each client on its side", async () => {
    await using stable = await origin((_request, response) => response.end("stable"));
    await using canary = await origin((_request, response) => response.end("canary"));
    const rule = { splitHash: { type: "sourceIP" } } as const;
    const route = { stable: [stable.port], canary: [canary.port], weightBp: 5000, rule };
    const policy: ClientPart = { type: "client", key: KEY, clientIpDetection: PROXY };
    const parts = oneRoute(route).map((part) =>
      part.type === "socket" ? { ...part, client: KEY } : part,
    );
    await using gateway = await testGateway({ parts: [...parts, policy] });
    using client = new RawClient(gateway.port);
    const sides = new Set<string>();
    for (let host = 1; host <= 20; host++) {
      const answers = new Set<string>();
      for (let count = 0; count < 3; count++) {
        answers.add((await ask(client, get(`192.0.2.${host}`))).slice(-6));
      }
      assert.equal(answers.size, 1);
      for (const side of answers) sides.add(side);
    }
    assert.deepEqual([...sides].toSorted(), ["canary", "stable"]);
  });

  test("failClosed: who is not known is refused, whatever is asked for", async () => {
    const lines: { reason: string; status: number }[] = [];
    const accessLog = { ...NO_ACCESS_LOG, line: (text: string) => lines.push(JSON.parse(text)) };
    await using app = await origin();
    const parts = partsWith({ clientIpDetection: HEADER(true) }, app.port);
    await using gateway = await testGateway({ parts, accessLog });
    using client = new RawClient(gateway.port);
    assert.deepEqual(statuses(await ask(client, get(""))), [403]);
    assert.deepEqual(statuses(await ask(client, get("", "X-Real-IP: 192.0.2.300\r\n"))), [403]);
    assert.deepEqual(statuses(await ask(client, get("", "X-Real-IP: 192.0.2.3\r\n"))), [200]);
    assert.equal(app.requests.length, 1);
    assert.equal(app.requests[0]?.headers["x-forwarded-for"], "192.0.2.3");
    assert.deepEqual(
      lines.map(({ reason }) => reason),
      ["client_unknown", "client_unknown", "ok"],
    );
  });

  test("over HTTP/2", async () => {
    await using app = await origin();
    const parts = partsWith({ clientIpDetection: PROXY }, app.port);
    await using gateway = await testGateway({ parts });
    const session = connectHttp2(gateway.url);
    const asked: string[] = [];
    // Often enough for a head to be known by its block, in turns with another's.
    for (let round = 0; round < 6; round++) {
      for (const address of ["192.0.2.1", "192.0.2.2"]) {
        const forwarded = `${address}, 127.0.0.2`;
        const stream = session.request({ ":path": "/", "x-forwarded-for": forwarded });
        stream.resume();
        await once(stream, "end");
        asked.push(address);
      }
    }
    session.destroy();
    const heard = app.requests.map(({ headers }) => headers["x-forwarded-for"]);
    assert.deepEqual(heard, asked);
  });

  test("proxies that are believed tell whether they were asked by TLS", async () => {
    const redirect = { statusCode: 302, path: { type: "ReplaceFullPath", value: "/x" } } as const;
    const cases: readonly (readonly [Detection, proto: string, scheme: string, port?: string])[] = [
      [HOPS(1), "https", "https", "443"],
      [HOPS(1), "HTTPS", "https", "443"],
      [HOPS(1), "http", "http"],
      [HOPS(1), "https, http", "http"],
      [HOPS(1), "gopher", "http"],
      [PROXY, "https", "https", "443"],
      [CIDRS("10.0.0.0/8"), "https", "http"],
      [HEADER(), "https", "http"],
    ];
    await using app = await origin();
    for (const [detection, proto, scheme, port] of cases) {
      const settings = { clientIpDetection: detection };
      await using gateway = await testGateway({ parts: partsWith(settings, app.port) });
      using client = new RawClient(gateway.port);
      const head = get("192.0.2.1", `X-Forwarded-Proto: ${proto}\r\n`);
      for (let count = 0; count < 4; count++) {
        await ask(client, head);
        const { headers } = app.requests.at(-1) ?? {};
        assert.equal(headers?.["x-forwarded-proto"], scheme, proto);
        assert.equal(headers?.["x-forwarded-port"], port ?? String(gateway.port));
      }
      // Who is told to have asked over TLS may name that, and nobody else.
      const absolute = head.replace(/^GET /, "GET https://app");
      assert.deepEqual(
        statuses(await ask(client, absolute)).at(-1),
        scheme === "https" ? 200 : 421,
      );
      // The next request of the same client without the header is one of this connection again.
      await ask(client, get("192.0.2.1"));
      assert.equal(app.requests.at(-1)?.headers["x-forwarded-proto"], "http");
      await gateway.link(partsWith(settings, app.port, { filters: { redirect } }));
      const moved = await ask(client, head);
      const place = port === undefined ? `http://app:${gateway.port}/x` : "https://app/x";
      assert.equal(/\r\nlocation: ([^\r]*)/.exec(moved)?.[1], place);
    }
  });

  test("who is believed no more is not believed on connections that are there", async () => {
    await using app = await origin();
    await using gateway = await testGateway({
      parts: partsWith({ clientIpDetection: PROXY, path: {} }, app.port),
    });
    using client = new RawClient(gateway.port);
    const heard = async (): Promise<unknown> => {
      for (let count = 0; count < 4; count++) await ask(client, get("192.0.2.1"));
      return app.requests.at(-1)?.headers["x-forwarded-for"];
    };
    assert.equal(await heard(), "192.0.2.1");
    await gateway.link(partsWith({ clientIpDetection: CIDRS("10.0.0.0/8") }, app.port));
    assert.equal(await heard(), "127.0.0.1");
    await gateway.link(partsWith({ clientIpDetection: HOPS(1) }, app.port));
    assert.equal(await heard(), "192.0.2.1");
    await gateway.link(partsWith({ path: { escapedSlashes: "RejectRequest" } }, app.port));
    assert.equal(await heard(), "127.0.0.1");
    const escaped = get("").replace("GET /", "GET /a%2Fb");
    assert.deepEqual(statuses(await ask(client, escaped)), [400]);
  });

  test("behind the PROXY protocol, who it names is who connects", async () => {
    await using app = await origin();
    const settings = {
      proxyProtocol: "required",
      clientIpDetection: CIDRS("198.51.100.0/24"),
    } as const;
    await using gateway = await testGateway({ parts: partsWith(settings, app.port) });
    const cases = [
      ["198.51.100.7", "192.0.2.1", "192.0.2.1"],
      ["203.0.113.7", "192.0.2.1", "203.0.113.7"],
      ["198.51.100.7", "", "198.51.100.7"],
    ] as const;
    for (const [source, forwarded, client] of cases) {
      using raw = new RawClient(gateway.port);
      await ask(raw, `PROXY TCP4 ${source} 127.0.0.1 1 2\r\n${get(forwarded)}`);
      assert.equal(app.requests.at(-1)?.headers["x-forwarded-for"], client);
    }
  });

  test("a mirror hears of the same client as the backend", async () => {
    await using app = await origin();
    await using shadow = await origin();
    const split = "split/Backend/default/shadow";
    const parts = partsWith({ clientIpDetection: PROXY }, app.port, {
      filters: { mirrors: [{ split, fraction: 1 }] },
    });
    const pool = parts.find((part) => part.type === "pool") as Part & { type: "pool" };
    const id = "Backend/default/shadow@1";
    const shadowParts: Part[] = [
      { ...pool, key: `pool/${id}`, endpoints: [{ host: "127.0.0.1", port: shadow.port }] },
      {
        type: "split",
        key: split,
        salt: "",
        arms: [{ id, version: "1", role: "stable", weightBp: 10_000, pool: `pool/${id}` }],
      },
    ];
    await using gateway = await testGateway({ parts: [...parts, ...shadowParts] });
    using client = new RawClient(gateway.port);
    await ask(client, get("192.0.2.1"));
    await eventually(() => shadow.requests.length === 1);
    assert.equal(shadow.requests[0]?.headers["x-forwarded-for"], "192.0.2.1");
  });
});
