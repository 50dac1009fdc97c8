/** Clients that present certificates: who is let in, and what backends and the log hear of them. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import type { ClientPart, ListenerTls, Part } from "../../src/compile/program.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { TicketSecret } from "../../src/shared/tickets.ts";
import { hasOpenssl, TestAuthority, type TestCertificate } from "../support/certificates.ts";
import {
  type GatewayOptions,
  oneRoute,
  testGateway,
  type TestGateway,
} from "../support/gateway.ts";
import {
  ask,
  privateKeys,
  secureConnect,
  secureParts,
  type SecureListener,
} from "../support/secure.ts";
import { eventually, type Origin, origin, RawClient } from "../support/upstream.ts";

/** What OpenSSL makes of the alert: RFC 8446 §6.2 has one for it, RFC 5246 has none. */
const ALERTS = [
  ["TLSv1.2", "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE"],
  ["TLSv1.3", "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"],
] as const;

type Mode = NonNullable<ListenerTls["clientValidation"]>["mode"];

describe("mutual TLS", { skip: hasOpenssl() ? false : "openssl makes the certificates" }, () => {
  let servers: TestAuthority;
  let clients: TestAuthority;
  let strangers: TestAuthority;
  let upstream: Origin;
  let served: Record<"own", TestCertificate>;
  const people: Record<string, TestCertificate | undefined> = {};

  before(async () => {
    servers = new TestAuthority("Servers");
    clients = new TestAuthority("Clients");
    strangers = new TestAuthority("Clients");
    upstream = await origin();
    served = { own: servers.issue({ names: "DNS:shop.example,URI:spiffe://x/edge" }) };
    people["known"] = clients.issue({
      names: "DNS:app.example,URI:spiffe://x/app",
      subject: "/O=Shop/CN=app",
    });
    people["odd"] = clients.issue({ names: "DNS:odd.example", subject: "/O=Käse 🧀/CN=odd" });
    people["stranger"] = strangers.issue({ names: "DNS:app.example", subject: "/O=Shop/CN=app" });
  });

  after(async () => {
    await upstream[Symbol.asyncDispose]();
    for (const one of [servers, clients, strangers]) one[Symbol.dispose]();
  });

  function authorities(): Part {
    return { type: "authorities", key: "authorities/clients", pem: clients.certificate };
  }

  async function gatewayWith(
    listeners: readonly SecureListener[],
    options: Partial<GatewayOptions> = {},
  ): Promise<TestGateway> {
    const route = { stable: [upstream.port] };
    const more = [authorities()];
    const parts = secureParts({ listeners, certificates: served, route, more });
    return testGateway({ parts, credentials: privateKeys(served), ...options });
  }

  function listener(mode: Mode, client?: ClientPart, hostname = ""): SecureListener {
    const clientValidation = { authorities: "authorities/clients", mode };
    return {
      hostname,
      certificates: ["own"],
      tls: { clientValidation },
      ...(client !== undefined && { client }),
    };
  }

  function as(who: string): ConnectionOptions {
    const person = people[who];
    return {
      rejectUnauthorized: false,
      ...(person !== undefined && { cert: person.certificate, key: person.privateKey }),
    };
  }

  /** The first line of the answer, or "" where the connection ends without one. */
  async function answerTo(port: number, options: ConnectionOptions): Promise<string> {
    let socket: TLSSocket | undefined;
    try {
      socket = await secureConnect(port, options);
      return (await ask(socket, "shop.example")).slice(0, 12);
    } catch {
      return "";
    } finally {
      socket?.destroy();
    }
  }

  const LET_IN: readonly [mode: Mode, who: string, isLetIn: boolean][] = [
    ["required", "known", true],
    ["required", "stranger", false],
    ["required", "nobody", false],
    ["optional", "known", true],
    ["optional", "stranger", false],
    ["optional", "nobody", true],
    ["insecure", "known", true],
    ["insecure", "stranger", true],
    ["insecure", "nobody", true],
  ];

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    for (const [mode, who, isLetIn] of LET_IN) {
      test(`${version}, ${mode}: ${who} is ${isLetIn ? "let in" : "kept out"}`, async () => {
        await using gateway = await gatewayWith([listener(mode)]);
        const count = upstream.requests.length;
        const answer = await answerTo(gateway.port, { ...as(who), maxVersion: version });
        assert.equal(answer, isLetIn ? "HTTP/1.1 200" : "");
        assert.equal(upstream.requests.length - count, isLetIn ? 1 : 0);
        assert.deepEqual(gateway.refused(), isLetIn ? {} : { client_certificate: 1 });
      });
    }

    test(`${version}: a client without a certificate that is required is told so`, async () => {
      const refusals: string[] = [];
      const onRefused = (message: string): void => void refusals.push(message);
      await using gateway = await gatewayWith([listener("required")], { onRefused });
      const options = { port: gateway.port, host: "127.0.0.1", ...as("nobody") };
      const socket = connect({ ...options, maxVersion: version });
      const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
      const [, alert] = ALERTS.find(([one]) => one === version) ?? [];
      assert.equal(error.code, alert);
      await eventually(() => refusals.length === 1);
      assert.match(refusals[0] ?? "", /from 127\.0\.0\.1 \(client_certificate\): no valid/);
    });
  }

  const CHANGES: readonly [
    name: string,
    who: string,
    first: SecureListener,
    second: SecureListener,
    status: 200 | 421,
  ][] = [
    ["asks for certificates", "known", unguarded(), listener("required"), 421],
    ["asks no more", "known", listener("required"), unguarded(), 200],
    ["insists on them", "known", listener("optional"), listener("required"), 200],
    ["insists on them", "nobody", listener("optional"), listener("required"), 421],
    ["insists no more", "known", listener("required"), listener("optional"), 200],
    ["believes others", "known", listener("required"), believing("authorities/others"), 421],
    [
      "has another of its own",
      "known",
      unguarded(),
      { ...unguarded(), certificates: ["other"] },
      200,
    ],
  ];

  function unguarded(): SecureListener {
    return { hostname: "", certificates: ["own"] };
  }

  function believing(key: string): SecureListener {
    return { ...unguarded(), tls: { clientValidation: { authorities: key, mode: "required" } } };
  }

  for (const [name, who, first, second, status] of CHANGES) {
    test(`a listener ${name}: ${status} on the connection of ${who}`, async () => {
      await using gateway = await gatewayWith([first]);
      const socket = await secureConnect(gateway.port, as(who));
      // The third time the head is a known one.
      for (let count = 0; count < 3; count++) {
        assert.match(await ask(socket, "shop.example"), /^HTTP\/1\.1 200 /);
      }
      const certificates = { ...served, other: served.own };
      const route = { stable: [upstream.port] };
      const others: Part = { ...authorities(), key: "authorities/others" };
      const more = [authorities(), others];
      const parts = secureParts({ listeners: [second], certificates, route, more });
      await gateway.link(parts, privateKeys(certificates));
      const count = upstream.requests.length;
      const answer = await ask(socket, "shop.example");
      assert.equal(answer.slice(9, 12), String(status));
      assert.equal(upstream.requests.length - count, status === 200 ? 1 : 0);
      if (status === 421) assert.match(answer, /\r\nconnection: close\r\n/);
      socket.destroy();
      assert.equal(await answerTo(gateway.port, as("known")), "HTTP/1.1 200");
    });
  }

  test("a port that begins to speak TLS serves nobody on a plain connection", async () => {
    const plain = oneRoute({ stable: [upstream.port] });
    await using gateway = await testGateway({ parts: plain });
    using client = new RawClient(gateway.port);
    const get = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    for (let count = 1; count <= 3; count++) {
      client.send(get);
      await client.responses(count);
    }
    const more = [authorities()];
    const route = { stable: [upstream.port] };
    const listeners = [listener("required")];
    await gateway.link(
      secureParts({ listeners, certificates: served, route, more }),
      privateKeys(served),
    );
    client.send(get);
    await client.until(({ ended }) => ended);
    const answers = [...client.received.matchAll(/HTTP\/1\.1 (\d+)/g)];
    assert.deepEqual(
      answers.map(([, status]) => status),
      ["200", "200", "200", "421"],
    );
  });

  for (const mode of ["required", "optional", "insecure"] as const) {
    test(`${mode}: without its authorities a listener lets nobody in`, async () => {
      const route = { stable: [upstream.port] };
      const parts = secureParts({ listeners: [listener(mode)], certificates: served, route });
      await using gateway = await testGateway({ parts, credentials: privateKeys(served) });
      for (const who of ["known", "nobody"]) {
        assert.equal(await answerTo(gateway.port, as(who)), "", who);
      }
    });
  }

  /** Where a session is made, and where it is brought. */
  const SESSIONS: readonly [
    name: string,
    from: string,
    to: string,
    who: string,
    isResumed: boolean,
  ][] = [
    ["of one's own", "shop.example", "shop.example", "known", true],
    ["from where nothing is asked", "open.example", "shop.example", "nobody", false],
    ["from where others are believed", "shop.example", "other.example", "known", false],
  ];

  function presenting(who: string): readonly string[] {
    const person = people[who];
    if (person === undefined) return [];
    const file = clients.write(`${who}.pem`, person.certificate + person.privateKey);
    return ["-cert", file, "-key", file];
  }

  /**
   * What the openssl command says of a connection and its answer. It brings a session to whichever name
   * it is told; the client of node:tls brings none to another name than that which it was made for.
   */
  async function speak(
    port: number,
    name: string,
    {
      version,
      args,
    }: { readonly version: "TLSv1.2" | "TLSv1.3"; readonly args: readonly string[] },
  ): Promise<string> {
    const own = [version === "TLSv1.2" ? "-tls1_2" : "-tls1_3", "-servername", name];
    const to = `127.0.0.1:${port}`;
    const child = spawn("openssl", ["s_client", "-connect", to, ...own, ...args]);
    child.stdin.on("error", () => {});
    child.stdin.write(`GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
    let said = "";
    child.stdout.on("data", (bytes: Buffer) => (said += bytes.toString("latin1")));
    await once(child, "close");
    return said;
  }

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    for (const [name, from, to, who, isResumed] of SESSIONS) {
      test(`${version}: a session ${name}: ${isResumed ? "resumed" : "worth nothing"}`, async () => {
        const memory = allocateSharedMemory(1);
        new TicketSecret(memory.tickets).replace(randomBytes(32));
        const others: Part = { ...authorities(), key: "authorities/others" };
        const listeners: readonly SecureListener[] = [
          { hostname: "open.example", certificates: ["own"] },
          listener("required", undefined, "shop.example"),
          { ...believing("authorities/others"), hostname: "other.example" },
        ];
        const route = { stable: [upstream.port] };
        const more = [authorities(), { ...others, pem: strangers.certificate }];
        const parts = secureParts({ listeners, certificates: served, route, more });
        await using gateway = await testGateway({
          parts,
          credentials: privateKeys(served),
          memory,
        });
        const session = path.join(clients.directory, "session.pem");
        const first = [...presenting(who), "-sess_out", session];
        assert.match(await speak(gateway.port, from, { version, args: first }), /HTTP\/1\.1 200/);
        const second = [...presenting(who), "-sess_in", session];
        const answer = await speak(gateway.port, to, { version, args: second });
        assert.equal(/^Reused, /m.test(answer), isResumed);
        assert.equal(answer.includes("HTTP/1.1 200"), isResumed);
      });
    }

    test(`${version}: a client's own session brings its certificate with it`, async () => {
      const memory = allocateSharedMemory(1);
      new TicketSecret(memory.tickets).replace(randomBytes(32));
      const client = policy("SanitizeSet", ["Subject"]);
      await using gateway = await gatewayWith([listener("required", client)], { memory });
      const options = { ...as("known"), maxVersion: version };
      const first = await secureConnect(gateway.port, options);
      const told = once(first, "session") as Promise<[Buffer]>;
      await ask(first, "shop.example");
      const session = version === "TLSv1.2" ? first.getSession() : (await told)[0];
      first.destroy();
      const second = await secureConnect(gateway.port, {
        ...options,
        ...(session !== undefined && { session }),
      });
      assert.match(await ask(second, "shop.example"), /^HTTP\/1\.1 200/);
      assert.equal(second.isSessionReused(), true);
      assert.match(String(upstream.requests.at(-1)?.headers[XFCC]), /Subject="CN=app,O=Shop"$/);
      second.destroy();
    });
  }

  const XFCC = "x-forwarded-client-cert";

  function policy(
    mode: NonNullable<ClientPart["forwardedClientCert"]>["mode"],
    details: NonNullable<ClientPart["forwardedClientCert"]>["details"] = [],
  ): ClientPart {
    return { type: "client", key: "client/default/p", forwardedClientCert: { mode, details } };
  }

  const PRESENTED = "Hash=0123;By=spiffe://proxy";
  const OWN =
    /^By=spiffe:\/\/x\/edge;Hash=[0-9a-f]{64};Subject="CN=app,O=Shop";URI=spiffe:\/\/x\/app$/;
  const FORWARDED: readonly [
    mode: NonNullable<ClientPart["forwardedClientCert"]>["mode"],
    who: string,
    value: RegExp | undefined,
  ][] = [
    ["Sanitize", "known", undefined],
    ["ForwardOnly", "known", /^Hash=0123;By=spiffe:\/\/proxy$/],
    ["ForwardOnly", "nobody", undefined],
    ["AppendForward", "known", /^Hash=0123;By=spiffe:\/\/proxy,By=spiffe:\/\/x\/edge;Hash=/],
    ["AppendForward", "nobody", undefined],
    ["SanitizeSet", "known", OWN],
    ["SanitizeSet", "nobody", undefined],
    ["AlwaysForwardOnly", "nobody", /^Hash=0123;By=spiffe:\/\/proxy$/],
  ];

  for (const [mode, who, value] of FORWARDED) {
    test(`${mode}, ${who}: ${value === undefined ? "no header" : "a header"} goes upstream`, async () => {
      const adds = mode === "SanitizeSet" || mode === "AppendForward";
      const client = policy(mode, adds ? ["Subject", "URI"] : []);
      await using gateway = await gatewayWith([listener("optional", client)]);
      const socket = await secureConnect(gateway.port, as(who));
      // The third time the head is a known one.
      for (let count = 0; count < 3; count++) {
        await ask(socket, "shop.example", `X-Forwarded-Client-Cert: ${PRESENTED}\r\n`);
        const header = upstream.requests.at(-1)?.headers[XFCC];
        if (value === undefined) assert.equal(header, undefined);
        else assert.match(String(header), value);
      }
      socket.destroy();
    });
  }

  test("a subject of any letters is escaped", async () => {
    const bugs: unknown[] = [];
    const onBug = (error: unknown): void => void bugs.push(error);
    const client = policy("SanitizeSet", ["Subject"]);
    await using gateway = await gatewayWith([listener("required", client)], { onBug });
    assert.equal(await answerTo(gateway.port, as("odd")), "HTTP/1.1 200");
    assert.match(
      String(upstream.requests.at(-1)?.headers[XFCC]),
      /Subject="CN=odd,O=K%C3%A4se %F0%9F%A7%80"$/,
    );
    assert.deepEqual(bugs, []);
    await eventually(() => gateway.plane.connections === 0);
  });

  test("the log names the client's subject, and none that was not verified", async () => {
    const lines: string[] = [];
    const accessLog = {
      line: (text: string) => void lines.push(text),
      dropped: 0,
      close: () => Promise.resolve(),
      reopen: () => {},
    };
    await using gateway = await gatewayWith([listener("insecure")], { accessLog });
    for (const who of ["known", "stranger"]) {
      assert.equal(await answerTo(gateway.port, as(who)), "HTTP/1.1 200");
    }
    assert.match(lines[0] ?? "", /"clientSubject":"CN=app,O=Shop"/);
    assert.doesNotMatch(lines[1] ?? "", /clientSubject/);
    for (const line of lines) assert.doesNotThrow(() => JSON.parse(line));
  });
});
