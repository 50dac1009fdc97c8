/** Sessions (GEP-1619): who comes back where, for how long, and what tokens do not tell. */
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  connect as connectHttp2,
  createServer as createHttp2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { Part, RulePart } from "../../src/compile/program.ts";
import type { Session } from "../../src/compile/rule-part.ts";
import { linkSession, readSession } from "../../src/proxy/session.ts";
import { SERVED } from "../support/certificates.ts";
import { CANARY, oneRoute, poolPart, splitPart, STABLE, testGateway } from "../support/gateway.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import {
  closedPort,
  eventually,
  origin,
  type Origin,
  RawClient,
  rawOrigin,
  statuses,
} from "../support/upstream.ts";

const SESSION: Session = {
  type: "Cookie",
  name: "sid",
  salt: "salt of the rule",
  lifetime: "Session",
  paths: [],
};
const BY_HEADER: Session = { ...SESSION, type: "Header", name: "X-Session" };

/** What came back: who answered, by its body, and the token, "" where none was given. */
interface Answer {
  readonly text: string;
  readonly body: string;
  readonly token: string;
}

const TOKEN_LINE = /\r\n(?:set-cookie: sid=|X-Session: )([\w-]*)/i;

async function ask(port: number, more = "", path = "/"): Promise<Answer> {
  using client = new RawClient(port);
  client.send(`GET ${path} HTTP/1.1\r\nHost: app\r\n${more}\r\n`);
  const text = await client.responses(1);
  assert.deepEqual(statuses(text), [200], text);
  return {
    text,
    body: text.slice(text.indexOf("\r\n\r\n") + 4),
    token: TOKEN_LINE.exec(text)?.[1] ?? "",
  };
}

async function askWith(port: number, token: string, name = "sid"): Promise<Answer> {
  return ask(port, `Cookie: a=b; ${name}=${token}; c=d\r\n`);
}

/** An origin that answers with its own name. */
async function named(name: string): Promise<Origin> {
  return origin((_request, response) => {
    // The gateway dates what it passes on, by the time that it goes by.
    response.sendDate = false;
    response.end(name);
  });
}

/** Several such origins, which are gone when the test ends. */
async function allNamed(
  ...names: string[]
): Promise<AsyncDisposable & { readonly ports: number[] }> {
  const apps = await Promise.all(names.map(named));
  return {
    ports: apps.map(({ port }) => port),
    async [Symbol.asyncDispose]() {
      for (const app of apps) await app[Symbol.asyncDispose]();
    },
  };
}

/** A server of gRPC that says its name in metadata, and whose calls all succeed. */
async function grpcServer(name: string): Promise<Disposable & { readonly port: number }> {
  const sessions = new Set<{ destroy(): void }>();
  const server = createHttp2Server();
  server.on("session", (session) => sessions.add(session));
  server.on("stream", (stream) => {
    stream.resume();
    stream.respond(
      { ":status": 200, "content-type": "application/grpc", "server-name": name },
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(Buffer.alloc(5));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.dispose]() {
      for (const session of sessions) session.destroy();
      server.close();
    },
  };
}

function withSession(session: Partial<Session> = {}): { rule: Partial<RulePart> } {
  return { rule: { session: { ...SESSION, ...session } } };
}

describe("a client", () => {
  for (const session of [SESSION, BY_HEADER]) {
    const lineOf = (token: string): string =>
      session.type === "Cookie" ? `Cookie: sid=${token}\r\n` : `x-session: ${token}\r\n`;

    test(`${session.type}: comes back to the endpoint that it was given first`, async () => {
      await using apps = await allNamed("a", "b", "c", "d");
      await using gateway = await testGateway({
        parts: oneRoute({ stable: apps.ports, rule: { session } }),
      });
      const met = new Set<string>();
      for (let count = 0; count < 12; count++) {
        const first = await ask(gateway.port);
        assert.match(first.token, /^[\w-]{22}$/);
        met.add(first.body);
        for (let again = 0; again < 6; again++) {
          const next = await ask(gateway.port, lineOf(first.token));
          assert.equal(next.body, first.body);
          assert.equal(next.token, "", "who knows its session is not told again");
        }
      }
      assert.equal(met.size, 4, "those without one are spread");
    });
  }

  test("is told each time while it says nothing, also by a head that repeats", async () => {
    await using app = await named("a");
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port], ...withSession() }),
    });
    using client = new RawClient(gateway.port);
    for (let count = 0; count < 6; count++) {
      client.received = "";
      client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
      assert.match(await client.responses(1), /\r\nset-cookie: sid=/);
    }
  });

  test("is known to every worker, and after a restart", async () => {
    await using apps = await allNamed("a", "b", "c");
    const route = { stable: apps.ports, ...withSession({ idleTimeoutMs: 1e6 }) };
    const tokens: Answer[] = [];
    {
      await using one = await testGateway({ parts: oneRoute(route), random: seededRandom(1) });
      for (let count = 0; count < 8; count++) tokens.push(await ask(one.port));
    }
    await using other = await testGateway({ parts: oneRoute(route), random: seededRandom(7) });
    for (const { body, token } of tokens) {
      assert.deepEqual(await askWith(other.port, token).then((one) => [one.body, one.token]), [
        body,
        "",
      ]);
    }
  });

  test("over HTTP/2, with its cookies in pieces", async () => {
    await using apps = await allNamed("a", "b", "c");
    await using gateway = await testGateway({
      parts: oneRoute({ stable: apps.ports, ...withSession() }),
    });
    const session = connectHttp2(gateway.url);
    const request = async (cookie: string[]): Promise<readonly [string, string]> => {
      const stream = session.request({ ":path": "/", cookie });
      const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
      const chunks: string[] = [];
      for await (const chunk of stream.setEncoding("latin1")) chunks.push(chunk as string);
      return [chunks.join(""), headers["set-cookie"]?.[0] ?? ""];
    };
    const [body, cookie] = await request(["x=y"]);
    assert.match(cookie, /^sid=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/);
    for (let count = 0; count < 6; count++) {
      assert.deepEqual(await request(["x=y", cookie.split(";")[0] as string]), [body, ""]);
    }
    session.destroy();
  });

  test("that calls by gRPC keeps its session in metadata", async () => {
    using a = await grpcServer("a");
    using b = await grpcServer("b");
    using c = await grpcServer("c");
    await using gateway = await testGateway({
      parts: oneRoute({
        stable: [a.port, b.port, c.port],
        rule: { grpc: true, session: BY_HEADER },
      }),
    });
    const session = connectHttp2(gateway.url);
    const call = async (metadata: OutgoingHttpHeaders): Promise<IncomingHttpHeaders> => {
      const stream = session.request({
        ":method": "POST",
        ":path": "/shop.Checkout/Pay",
        "content-type": "application/grpc",
        te: "trailers",
        ...metadata,
      });
      stream.end(Buffer.alloc(5));
      const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
      const trailers = once(stream, "trailers") as Promise<[IncomingHttpHeaders]>;
      stream.resume();
      assert.equal((await trailers)[0]["grpc-status"], "0");
      return headers;
    };
    for (let count = 0; count < 6; count++) {
      const first = await call({});
      const token = String(first["x-session"]);
      assert.match(token, /^[\w-]{22}$/);
      for (let again = 0; again < 4; again++) {
        const next = await call({ "x-session": token });
        assert.equal(next["server-name"], first["server-name"]);
        assert.equal(next["x-session"], undefined);
      }
    }
    session.destroy();
  });

  test("with a WebSocket is told in the answer to its handshake", async () => {
    await using app = await rawOrigin((socket) => {
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
      );
    });
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port], ...withSession() }),
    });
    using client = new RawClient(gateway.port);
    client.send(
      "GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await client.until(({ received }) => received.includes("\r\n\r\n"));
    assert.match(client.received, /^HTTP\/1\.1 101 [^]*\r\nset-cookie: sid=[\w-]{22};/);
  });
});

describe("a token", () => {
  test("tells no address, and is another one for every rule and every place", async () => {
    await using app = await named("a");
    const tokens = new Set<string>();
    for (const salt of ["one", "two"]) {
      for (const arm of [STABLE, "Backend/default/app@3"]) {
        const parts = oneRoute({ stable: [app.port], ...withSession({ salt }) });
        const split = splitPart(-1);
        const [only] = split.arms;
        await using gateway = await testGateway({
          parts: [
            ...parts,
            poolPart(arm, [app.port]),
            { ...split, arms: [{ ...only, id: arm, pool: `pool/${arm}` } as typeof only & object] },
          ],
        });
        tokens.add((await ask(gateway.port)).token);
      }
    }
    assert.equal(tokens.size, 4);
    for (const token of tokens) {
      const bytes = Buffer.from(token, "base64url").toString("latin1");
      assert.ok(!bytes.includes(String(app.port)) && !bytes.includes("127.0.0.1"));
    }
  });

  const FORGED: readonly (readonly [name: string, forge: (token: string) => string])[] = [
    ["nothing", () => ""],
    ["an address", () => Buffer.from("127.0.0.1:9001").toString("base64url")],
    ["another name", () => "A".repeat(22)],
    ["a letter changed", (token) => (token.startsWith("A") ? "B" : "A") + token.slice(1)],
    ["a letter less", (token) => token.slice(1)],
    ["a letter more", (token) => `${token}A`],
    ["other letters", (token) => `${token.slice(1)}=`],
    ["much", () => "A".repeat(4000)],
  ];

  for (const times of [{}, { absoluteTimeoutMs: 1e6, idleTimeoutMs: 1e6 }]) {
    for (const [name, forge] of FORGED) {
      test(`forged is none: ${name}${"idleTimeoutMs" in times ? ", with times" : ""}`, async () => {
        await using app = await named("a");
        const parts = oneRoute({ stable: [app.port], ...withSession(times) });
        await using gateway = await testGateway({ parts });
        const { token } = await ask(gateway.port);
        const answer = await askWith(gateway.port, forge(token));
        assert.notEqual(answer.token, "", "a new session is given");
        assert.equal((await askWith(gateway.port, answer.token)).token, "");
      });
    }
  }

  test("two headers, and a cookie of another name, are none", async () => {
    await using app = await named("a");
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port], rule: { session: BY_HEADER } }),
    });
    const { token } = await ask(gateway.port);
    const twice = `X-Session: ${token}\r\n`.repeat(2);
    assert.notEqual((await ask(gateway.port, twice)).token, "");
    assert.notEqual((await askWith(gateway.port, token)).token, "");
  });

  test("of times cannot be taken for another's, nor be made older or younger", async () => {
    await using app = await named("a");
    const part: Session = { ...SESSION, absoluteTimeoutMs: 60_000, idleTimeoutMs: 60_000 };
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [app.port], rule: { session: part } }),
    });
    const { token } = await ask(gateway.port);
    const session = linkSession(part);
    const nowMs = Date.now();
    const nameOf = (text: string): string =>
      readSession(session, { header: () => `sid=${text}` }, nowMs).name;
    assert.equal(nameOf(token), token.slice(0, 22));
    for (let at = 0; at < token.length; at++) {
      const letter = token[at] === "A" ? "B" : "A";
      const changed = token.slice(0, at) + letter + token.slice(at + 1);
      assert.equal(nameOf(changed), "", `letter ${at}`);
    }
  });
});

/** Whether the worker's clock had come as far as `nowMs`, to ten seconds. */
function isFrom({ text }: Answer, nowMs: number): boolean {
  const date = /\r\ndate: ([^\r]*)/.exec(text)?.[1] ?? "";
  return Math.abs(Date.parse(date) - nowMs) < 10_000;
}

describe("how long a session lasts", () => {
  interface Case {
    readonly times: Partial<Session>;
    /** Since the token was made. */
    readonly afterMs: number;
    readonly lasts: boolean;
  }
  const CASES: readonly Case[] = [
    { times: {}, afterMs: 1e12, lasts: true },
    { times: { absoluteTimeoutMs: 100_000 }, afterMs: 99_000, lasts: true },
    { times: { absoluteTimeoutMs: 100_000 }, afterMs: 100_001, lasts: false },
    { times: { idleTimeoutMs: 100_000 }, afterMs: 100_001, lasts: true },
    { times: { idleTimeoutMs: 100_000 }, afterMs: 110_001, lasts: false },
    // Where it is renewed once a minute at least, it is kept no longer beyond its time.
    { times: { idleTimeoutMs: 36_000_000 }, afterMs: 36_059_000, lasts: true },
    { times: { idleTimeoutMs: 36_000_000 }, afterMs: 36_061_000, lasts: false },
    { times: { absoluteTimeoutMs: 100_000, idleTimeoutMs: 1e9 }, afterMs: 100_001, lasts: false },
    { times: { absoluteTimeoutMs: 1e9, idleTimeoutMs: 100_000 }, afterMs: 110_001, lasts: false },
  ];
  for (const { times, afterMs, lasts } of CASES) {
    test(`${JSON.stringify(times)} after ${afterMs} ms: ${lasts ? "lasts" : "is over"}`, async () => {
      await using app = await named("a");
      const parts = oneRoute({ stable: [app.port], ...withSession(times) });
      await using gateway = await testGateway({ parts });
      const before = Date.now();
      const { token } = await ask(gateway.port);
      const after = Date.now();
      const session = linkSession({ ...SESSION, ...times });
      const head = { header: () => `sid=${token}` };
      // Made between the two; wall time is told to 20 ms.
      const made = lasts ? before - 100 : after + 100;
      assert.equal(readSession(session, head, made + afterMs).name !== "", lasts);
    });
  }

  test("one that is used goes on, and is told so now and then; its beginning stays", async () => {
    let shiftMs = 0;
    const clock = { ...systemClock, now: () => Date.now() + shiftMs };
    await using apps = await allNamed("a", "b", "c");
    const times = { absoluteTimeoutMs: 3_000_000, idleTimeoutMs: 1_000_000 };
    const parts = oneRoute({ stable: apps.ports, ...withSession(times) });
    await using gateway = await testGateway({ parts, clock });
    const first = await ask(gateway.port);
    let { token } = first;
    const USES: readonly (readonly [seconds: number, told: boolean])[] = [
      [30, false],
      [65, true],
      [90, false],
      [600, true],
      [1560, true],
      [2520, true],
      [2560, false],
      [2990, true],
    ];
    for (const [seconds, told] of USES) {
      shiftMs = seconds * 1000;
      // The worker reads its clock at the next tick.
      let answer = await askWith(gateway.port, token);
      for (let tries = 0; tries < 5000 && !isFrom(answer, Date.now() + shiftMs); tries++) {
        answer = await askWith(gateway.port, token);
      }
      assert.equal(answer.body, first.body, `after ${seconds} s`);
      assert.equal(answer.token !== "", told, `after ${seconds} s`);
      if (told) token = answer.token;
    }
    shiftMs = 3_000_000 + 2000;
    const session = linkSession({ ...SESSION, ...times });
    const head = { header: () => `sid=${token}` };
    assert.equal(readSession(session, head, Date.now() + shiftMs).name, "", "absolute");
  });

  test("Permanent: the browser is told how long", async () => {
    await using app = await named("a");
    const times = {
      absoluteTimeoutMs: 86_400_000,
      lifetime: "Permanent",
      paths: ["/shop"],
    } as const;
    const parts = oneRoute({ stable: [app.port], ...withSession(times) });
    await using gateway = await testGateway({ parts });
    const { text } = await ask(gateway.port, "", "/shop/x");
    assert.match(
      text,
      /\r\nset-cookie: sid=[\w-]{54}; Path=\/shop; Max-Age=86400; HttpOnly; SameSite=Lax\r\n/,
    );
  });
});

test("the cookie is for the path that its request was matched by", async () => {
  await using app = await named("a");
  const parts = oneRoute({
    stable: [app.port],
    ...withSession({ paths: ["/shop/cart", "/shop", "/"] }),
  });
  await using gateway = await testGateway({ parts });
  for (const [path, said] of [
    ["/shop/cart", "/shop/cart"],
    ["/shop/cart/1?x", "/shop/cart"],
    ["/shop/carts", "/shop"],
    ["/shop", "/shop"],
    ["/shops", "/"],
  ] as const) {
    const { text } = await ask(gateway.port, "", path);
    assert.equal(/; Path=([^;]*)/.exec(text)?.[1], said, path);
  }
});

test("over TLS the cookie is for TLS alone", async () => {
  await using app = await named("a");
  const certificates = { own: SERVED[0] as (typeof SERVED)[number] };
  const parts = secureParts({
    listeners: [{ hostname: "", certificates: ["own"] }],
    certificates,
    route: { stable: [app.port], ...withSession() },
  });
  await using gateway = await testGateway({ parts, credentials: privateKeys(certificates) });
  const socket = connectTls({ port: gateway.port, rejectUnauthorized: false });
  await once(socket, "secureConnect");
  socket.write("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(
    answer.toString(),
    /set-cookie: sid=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax; Secure\r\n/,
  );
  socket.destroy();
});

test("what the backend says in the session's header does not reach the client", async () => {
  await using app = await origin((_request, response) => {
    response.setHeader("x-session", "mine");
    response.end("a");
  });
  await using gateway = await testGateway({
    parts: oneRoute({ stable: [app.port], rule: { session: BY_HEADER } }),
  });
  const { text, token } = await ask(gateway.port);
  assert.doesNotMatch(text, /mine/);
  assert.doesNotMatch((await ask(gateway.port, `X-Session: ${token}\r\n`)).text, /x-session/i);
});

describe("endpoints", () => {
  test("one that is gone gives its sessions to others, and so does one that fails", async () => {
    const [a, b, c] = await Promise.all(["a", "b", "c"].map(named));
    const apps = [a, b, c] as [Origin, Origin, Origin];
    const [one, two, three] = apps.map(({ port }) => port) as [number, number, number];
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [one, two], ...withSession() }),
    });
    let first = await ask(gateway.port);
    while (first.body !== "a") first = await ask(gateway.port);
    await gateway.link([poolPart(STABLE, [two, one, three])]);
    assert.deepEqual((await askWith(gateway.port, first.token)).body, "a", "wherever it stands");
    await gateway.link([poolPart(STABLE, [two])]);
    const moved = await askWith(gateway.port, first.token);
    assert.equal(moved.body, "b");
    assert.notEqual(moved.token, "");
    await gateway.link([poolPart(STABLE, [await closedPort(), one, two])]);
    assert.equal((await askWith(gateway.port, moved.token)).body, "b");
    await b?.[Symbol.asyncDispose]();
    const other = await askWith(gateway.port, moved.token);
    assert.equal(other.body, "a", "the connection failed");
    assert.notEqual(other.token, "");
    for (let count = 0; count < 5; count++) {
      assert.deepEqual((await askWith(gateway.port, other.token)).token, "");
    }
    await a?.[Symbol.asyncDispose]();
    await c?.[Symbol.asyncDispose]();
  });

  test("one at its limit of connections gives the request, and the session, to another", async () => {
    const waiting: (() => void)[] = [];
    const slow = async (name: string): Promise<Origin> =>
      origin((request, response) => {
        if (request.url === "/wait") waiting.push(() => response.end(name));
        else response.end(name);
      });
    await using a = await slow("a");
    await using b = await slow("b");
    const pool = { connectionsPerEndpointMax: 1 };
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [a.port, b.port], pool, ...withSession() }),
    });
    const first = await ask(gateway.port);
    const held = ask(gateway.port, `Cookie: sid=${first.token}\r\n`, "/wait");
    await eventually(() => waiting.length === 1);
    const other = await askWith(gateway.port, first.token);
    assert.notEqual(other.body, first.body);
    assert.notEqual(other.token, "");
    for (const end of waiting) end();
    assert.equal((await held).body, first.body);
  });
});

describe("arms and weights", () => {
  /** A route with a stable and a canary arm, and clients with sessions on both. */
  async function split(rule: Partial<RulePart> = {}) {
    const stable = await named("stable");
    const canary = await named("canary");
    const route = { stable: [stable.port], canary: [canary.port], weightBp: 5000 };
    const parts = oneRoute({ ...route, rule: { session: SESSION, ...rule } });
    const gateway = await testGateway({ parts });
    let [onStable, onCanary] = ["", ""];
    while (onStable === "" || onCanary === "") {
      const { body, token } = await ask(gateway.port);
      if (body === "stable") onStable = token;
      else onCanary = token;
    }
    let gone = false;
    return {
      gateway,
      canary,
      async loseCanary() {
        gone = true;
        await canary[Symbol.asyncDispose]();
      },
      onStable,
      onCanary,
      async [Symbol.asyncDispose]() {
        await gateway[Symbol.asyncDispose]();
        await stable[Symbol.asyncDispose]();
        if (!gone) await canary[Symbol.asyncDispose]();
      },
    };
  }

  test("weights are for new sessions: old ones stay on their side", async () => {
    await using world = await split();
    const { gateway, onStable, onCanary } = world;
    for (const weightBp of [1, 9999]) {
      await gateway.link([splitPart(weightBp)]);
      for (let count = 0; count < 20; count++) {
        assert.equal((await askWith(gateway.port, onStable)).body, "stable");
        assert.equal((await askWith(gateway.port, onCanary)).body, "canary");
      }
      const fresh = (await ask(gateway.port)).body;
      assert.equal(fresh, weightBp === 1 ? "stable" : "canary");
    }
  });

  test("an arm at weight 0 has no sessions: a canary that was rolled back is left", async () => {
    await using world = await split();
    const { gateway, onCanary } = world;
    await gateway.link([splitPart(0)]);
    const moved = await askWith(gateway.port, onCanary);
    assert.equal(moved.body, "stable");
    assert.notEqual(moved.token, "");
    await gateway.link([splitPart(5000)]);
    for (let count = 0; count < 10; count++) {
      assert.equal((await askWith(gateway.port, moved.token)).body, "stable");
    }
  });

  test("a gate that is closed moves its sessions at once", async () => {
    await using world = await split();
    const { gateway, onCanary, onStable } = world;
    gateway.gates.set(CANARY, false);
    const moved = await askWith(gateway.port, onCanary);
    assert.equal(moved.body, "stable");
    assert.equal(moved.token, onStable);
    assert.equal(world.canary.requests.length > 0, true);
  });

  test("a canary that fails: stable answers, and has the session from then on", async () => {
    await using world = await split();
    const { gateway, onCanary } = world;
    await world.loseCanary();
    const shielded = await askWith(gateway.port, onCanary);
    assert.equal(shielded.body, "stable");
    for (let count = 0; count < 10; count++) {
      const next = await askWith(gateway.port, shielded.token);
      assert.deepEqual([next.body, next.token], ["stable", ""]);
    }
    assert.ok(gateway.metric("shielded") > 0);
  });

  test("a session comes before a sticky split", async () => {
    await using world = await split({ splitHash: { type: "header", name: "x-user" } });
    const { gateway, onCanary, onStable } = world;
    for (let user = 0; user < 10; user++) {
      const key = `x-user: ${user}\r\n`;
      const at = async (token: string): Promise<string> =>
        (await ask(gateway.port, `${key}Cookie: sid=${token}\r\n`)).body;
      assert.equal(await at(onCanary), "canary");
      assert.equal(await at(onStable), "stable");
      const fresh = new Set<string>();
      for (let count = 0; count < 4; count++) fresh.add((await ask(gateway.port, key)).body);
      assert.equal(fresh.size, 1, "those without a session stand where their key is");
    }
  });

  test("a backendRef that is set to weight 0 keeps its sessions; one that goes does not", async () => {
    await using one = await named("one");
    await using two = await named("two");
    const other = "Backend/default/other@1";
    const parts = (weights: readonly number[]): Part[] => {
      const backends = weights.map((weight, index) => ({
        weight,
        split: index === 0 ? "split/Backend/default/app" : "split/Backend/default/other",
      }));
      const own = splitPart(-1);
      return [
        ...oneRoute({ stable: [one.port], rule: { session: SESSION, backends } }),
        poolPart(other, [two.port]),
        {
          ...own,
          key: "split/Backend/default/other",
          arms: own.arms.map((arm) => ({ ...arm, id: other, pool: `pool/${other}` })),
        },
      ];
    };
    await using gateway = await testGateway({ parts: parts([1, 1]) });
    let first = await ask(gateway.port);
    while (first.body !== "two") first = await ask(gateway.port);
    await gateway.link(parts([1, 0]));
    assert.equal((await askWith(gateway.port, first.token)).body, "two");
    for (let count = 0; count < 10; count++) assert.equal((await ask(gateway.port)).body, "one");
    await gateway.link(parts([1]));
    const moved = await askWith(gateway.port, first.token);
    assert.equal(moved.body, "one");
    assert.notEqual(moved.token, "");
  });
});

test("a rule whose session cannot be written serves nobody, rather than without it", async () => {
  await using app = await named("a");
  const session = { ...SESSION, paths: ["/a\r\nx: y"] };
  const parts = oneRoute({ stable: [app.port], rule: { session } });
  await using gateway = await testGateway({ parts });
  using client = new RawClient(gateway.port);
  client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
  assert.deepEqual(statuses(await client.responses(1)), [500]);
  assert.equal(app.requests.length, 0);
});
