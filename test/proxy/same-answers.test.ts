/**
 * One rule is one rule, whoever asks: rules of filters and policies that are drawn at random answer the
 * same over HTTP/1.1 and HTTP/2, from backends of either, and the fourth time as the first, when a head
 * may be known (src/proxy/known-head.ts). A failure prints its seed; `SEED=n` plays that one alone.
 */
import assert from "node:assert/strict";
import { Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { after, before, test } from "node:test";
import { type Random, seededRandom } from "../../src/base/random.ts";
import type { Filters, RulePart } from "../../src/compile/program.ts";
import { COMPRESSION, decoded } from "../support/compression.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { Http2Client, http2Origin, type Http2Origin } from "../support/http2.ts";
import { origin, type Origin } from "../support/upstream.ts";

const SEEDS = process.env["SLUICE_LONG"] === "1" ? 300 : 24;
const TIMES = 4;

/** How many rules have something: few enough for rules with one thing alone. */
const SHARE = 0.25;

class Draw {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  one<T>(...choices: readonly T[]): T {
    return choices[Math.floor(this.#random() * choices.length)] as T;
  }

  /** Mostly nothing. */
  seldom<T extends object>(...choices: readonly T[]): T | object {
    return this.#random() < SHARE ? this.one(...choices) : {};
  }
}

/** `own` tells the filters of a rule from those of its backendRef. */
function drawFilters(draw: Draw, own: string): Filters {
  const body = "nothing here ".repeat(30);
  return {
    ...draw.seldom<Filters>(
      { requestHeaders: { set: [["X-Set", own]], add: [["X-Add", own]], remove: ["x-one"] } },
      { requestHeaders: { remove: ["accept-encoding", "x-forwarded-proto"] } },
      { requestHeaders: { set: [["X-Forwarded-For", "192.0.2.1"]] } },
    ),
    ...draw.seldom<Filters>(
      { responseHeaders: { set: [["Content-Type", "text/html"]], add: [["Vary", own]] } },
      { responseHeaders: { set: [["ETag", `"${own}"`]], remove: ["content-type"] } },
    ),
    ...draw.seldom<Filters>(
      { rewrite: { hostname: "other.example" } },
      { rewrite: { path: { type: "ReplacePrefixMatch", prefix: "/a", value: `/${own}` } } },
      {
        rewrite: {
          hostnameHeader: "x-host",
          path: { type: "ReplaceRegexMatch", pattern: "a", value: "bb" },
        },
      },
    ),
    ...draw.seldom<Filters>(
      { redirect: { statusCode: 301, scheme: "https", port: 8443 } },
      { directResponse: { statusCode: 404, contentType: "text/plain", body } },
    ),
    ...draw.seldom<Filters>({
      cors: {
        allowOrigins: [{ type: "Any" }],
        allowCredentials: draw.one(true, false),
        allowMethods: ["PUT"],
        allowHeaders: draw.one(["*"], ["x-a"]),
        exposeHeaders: ["x-origin"],
        maxAgeSeconds: 5,
      },
    }),
  };
}

function drawRule(draw: Draw): Partial<RulePart> {
  const filters = drawFilters(draw, "inner");
  return {
    filters: drawFilters(draw, "outer"),
    backends: [{ weight: 1, split: "split/Backend/default/app", ...draw.seldom({ filters }) }],
    ...draw.seldom<Partial<RulePart>>({ compression: COMPRESSION }),
    ...draw.seldom<Partial<RulePart>>({
      retry: {
        attempts: 1,
        statusCodes: [[503, 503]],
        grpcCodes: [],
        on: ["connect"],
        backoffBaseMs: 1,
        backoffMaxMs: 2,
      },
    }),
    ...draw.seldom<Partial<RulePart>>({
      session: {
        type: draw.one("Cookie", "Header"),
        name: "x-session",
        salt: "salt",
        lifetime: "Session",
        paths: [],
      },
    }),
    ...draw.seldom<Partial<RulePart>>({
      requestTimeoutMs: 60_000,
      backendRequestTimeoutMs: 50_000,
    }),
  };
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Its length is said unless `open`. */
  readonly body?: string;
  readonly open?: boolean;
}

const PAGE = { origin: "https://page.example" };
const ASKED: readonly Asked[] = [
  { method: "GET", path: "/a/b?x=1" },
  {
    method: "GET",
    path: "/a",
    headers: { ...PAGE, "accept-encoding": "gzip", "x-one": "1", "x-host": "h.example:8" },
  },
  { method: "HEAD", path: "/a/c", headers: { "accept-encoding": "br;q=0.5, gzip, zstd;q=0" } },
  { method: "POST", path: "/a/p", headers: { "content-type": "text/plain" }, body: "hello" },
  { method: "POST", path: "/a/p", headers: { "x-request-id": "mine" }, body: "hello", open: true },
  {
    method: "OPTIONS",
    path: "/a",
    headers: {
      ...PAGE,
      "access-control-request-method": "PUT",
      "access-control-request-headers": "x-a",
    },
  },
  { method: "GET", path: "/a/503", headers: PAGE },
  { method: "GET", path: "/a/304", headers: { "if-none-match": 'W/"tag"' } },
  { method: "GET", path: "/a/204" },
  { method: "GET", path: "/a/206", headers: { range: "bytes=0-1", "accept-encoding": "gzip" } },
  { method: "PUT", path: "/a/%7Euser//x", headers: { "accept-encoding": "br" }, body: "x" },
];

/** What the backends answer, by the end of the path. */
function answerTo(path: string): { status: number; headers: Record<string, string>; body: string } {
  const status = Number(/\/([2-5]\d\d)$/.exec(path)?.[1] ?? 200);
  const body = status === 204 || status === 304 ? "" : JSON.stringify("lorem ".repeat(50));
  return {
    status,
    headers: {
      "content-type": "application/json",
      etag: '"tag"',
      vary: "Cookie",
      "x-origin": "1",
      "accept-ranges": "bytes",
      ...(status === 206 && { "content-range": "bytes 0-1/2" }),
      ...(body !== "" && { "content-length": String(body.length) }),
    },
    body,
  };
}

/** Of one connection alone, or of the moment; how a body is framed, too. */
const PASSING = /^(?:connection|content-length|keep-alive|transfer-encoding|te|date|host|:.*)$/;

function lasting(headers: IncomingHttpHeaders): readonly string[] {
  return Object.entries(headers)
    .filter(([name]) => !PASSING.test(name))
    .map(([name, value]) => `${name}: ${String(value)}`)
    .toSorted();
}

/** What the backends were asked since it was emptied. */
const asked: object[] = [];
let http1: Origin;
let http2: Http2Origin;

before(async () => {
  http1 = await origin(({ method, url, headers, body: got }, response) => {
    asked.push({ method, url, host: headers.host, headers: lasting(headers), got });
    const { status, headers: own, body } = answerTo(url);
    response.writeHead(status, own).end(method === "HEAD" ? "" : body);
  });
  http2 = await http2Origin(({ headers, body: got }, stream) => {
    const { ":method": method, ":path": url = "", ":authority": host } = headers;
    asked.push({ method, url, host, headers: lasting(headers), got });
    const { status, headers: own, body } = answerTo(url);
    stream.respond({ ":status": status, ...own });
    stream.end(method === "HEAD" ? "" : body);
  });
});

after(async () => {
  await http1[Symbol.asyncDispose]();
  await http2[Symbol.asyncDispose]();
});

interface Heard {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Latin1. */
  readonly body: string;
}

function askHttp1(port: number, agent: Agent, { method, path, ...rest }: Asked): Promise<Heard> {
  const { body, headers: own } = rest;
  const headers = { host: "app", ...own, ...framing(rest) };
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ port, agent, method, path, headers }, (response) => {
      let heard = "";
      response.setEncoding("latin1");
      response.on("data", (text: string) => (heard += text));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: heard });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

function askHttp2(client: Http2Client, { method, path, ...rest }: Asked): Promise<Heard> {
  const { "transfer-encoding": _coding, ...length } = framing(rest);
  const pseudo = { ":method": method, ":path": path, ":authority": "app" };
  return client.get({ ...pseudo, ...rest.headers, ...length }, rest.body);
}

function framing({ body, open }: Pick<Asked, "body" | "open">): Record<string, string> {
  if (body === undefined) return {};
  return open === true
    ? { "transfer-encoding": "chunked" }
    : { "content-length": String(body.length) };
}

/** All that must be the same, as text; ports, ids and tokens differ. */
function report({ status, headers, body }: Heard, port: number): string {
  const { "content-length": length, "content-encoding": coding } = headers;
  const plain = body === "" ? "" : decoded(coding, Buffer.from(body, "latin1"));
  // How long it is when it is coded is said where it is known beforehand.
  const told = coding === undefined ? (length ?? body.length) : "coded";
  return JSON.stringify({ status, told, headers: lasting(headers), plain, asked }, null, 1)
    .replaceAll(String(port), "PORT")
    .replaceAll(/(x-session[:=] ?)[\w-]{22}/g, "$1TOKEN")
    .replaceAll(/(request-?id(?:: |\\":\\"))[0-9a-f]{32}/gi, "$1ID");
}

async function answersOf(rule: Partial<RulePart>, protocol: "http1" | "h2c"): Promise<string[][]> {
  const stable = [protocol === "http1" ? http1.port : http2.port];
  const parts = oneRoute({ stable, rule, pool: protocol === "http1" ? {} : { protocol } });
  const bugs: unknown[] = [];
  await using gateway = await testGateway({ parts, onBug: (error) => bugs.push(error) });
  using client = new Http2Client(gateway.port);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const found: string[][] = [];
  for (const each of ASKED) {
    const answers: string[] = [];
    for (const ask of [() => askHttp1(gateway.port, agent, each), () => askHttp2(client, each)]) {
      for (let time = 0; time < TIMES; time++) {
        asked.length = 0;
        answers.push(report(await ask(), gateway.port));
      }
    }
    found.push(answers);
  }
  agent.destroy();
  assert.deepEqual(bugs, []);
  return found;
}

const one = process.env["SEED"];
const seeds = one === undefined ? Array.from({ length: SEEDS }, (_, seed) => seed) : [Number(one)];

test("a rule answers the same whatever is spoken, and however often it is asked", async () => {
  for (const seed of seeds) {
    const rule = drawRule(new Draw(seededRandom(seed)));
    const [plain, streams] = [await answersOf(rule, "http1"), await answersOf(rule, "h2c")];
    for (const [index, each] of ASKED.entries()) {
      const [first, ...others] = [...(plain[index] ?? []), ...(streams[index] ?? [])];
      const message = `seed ${seed}: ${JSON.stringify(each)} of ${JSON.stringify(rule)}`;
      for (const other of others) assert.equal(other, first, message);
    }
  }
});
