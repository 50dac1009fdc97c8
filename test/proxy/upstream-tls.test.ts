/** TLS towards backends: whom the gateway takes for one, what it presents, sessions that go on. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:https";
import { createSecureServer, type Http2SecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { after, before, describe, test } from "node:test";
import type { PoolTls } from "../../src/compile/program.ts";
import { hasOpenssl, TestAuthority, type TestCertificate } from "../support/certificates.ts";
import { oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import { certificateParts, privateKeys } from "../support/secure.ts";
import { eventually, RawClient } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";

describe("TLS towards backends", { skip: hasOpenssl() ? false : "openssl is not there" }, () => {
  let authority: TestAuthority;
  let clients: TestAuthority;
  let served: TestCertificate;
  let server: Server;
  let port = 0;
  let open = 0;
  /** What each connection said of itself. */
  let seen: { readonly reused: boolean; readonly subject: string; readonly name: string }[] = [];

  before(async () => {
    authority = new TestAuthority();
    clients = new TestAuthority("Client Authority");
    served = authority.issue({
      names:
        "DNS:shop.internal,DNS:a.wild.internal,DNS:a.b.deep.internal,DNS:spiffe:cluster," +
        "URI:spiffe://cluster/ns/shop/sa/app",
    });
    server = createServer({
      cert: served.certificate,
      key: served.privateKey,
      ca: clients.certificate,
      requestCert: true,
      rejectUnauthorized: false,
    });
    server.on("secureConnection", (socket: TLSSocket) => {
      open++;
      socket.on("close", () => open--);
      const subject = socket.authorized
        ? (socket.getPeerX509Certificate()?.subject ?? "")
        : "nobody";
      const name = typeof socket.servername === "string" ? socket.servername : "";
      seen.push({ reused: socket.isSessionReused(), subject, name });
    });
    server.on("request", (_request, response) => response.end("ok"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    port = (server.address() as AddressInfo).port;
  });

  after(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
    authority[Symbol.dispose]();
    clients[Symbol.dispose]();
  });

  async function statusWith(tls: PoolTls): Promise<string> {
    const parts = oneRoute({ stable: [port], pool: { tls } });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    client.send(GET);
    const text = await client.responses(1);
    return text.slice(9, 12) === "200"
      ? "ok"
      : (/"error":"(\w+)"|(upstream_\w+)/.exec(text)?.[0] ?? text);
  }

  const DNS = (value: string) => ({ type: "DNS", value }) as const;
  const URI = (value: string) => ({ type: "URI", value }) as const;
  const TAKEN: readonly [name: string, tls: Omit<PoolTls, "caCertificates">, ok: boolean][] = [
    ["its hostname", { serverName: "shop.internal" }, true],
    ["another hostname", { serverName: "other.internal" }, false],
    [
      "another hostname, and a name that it has",
      { serverName: "other.internal", subjectAltNames: [DNS("shop.internal")] },
      true,
    ],
    [
      "its hostname, and a name that it has not",
      { serverName: "shop.internal", subjectAltNames: [DNS("x.internal")] },
      false,
    ],
    [
      "one of several names",
      { serverName: "x", subjectAltNames: [DNS("x.internal"), DNS("shop.internal")] },
      true,
    ],
    [
      "a wildcard that covers a name",
      { serverName: "x", subjectAltNames: [DNS("*.wild.internal")] },
      true,
    ],
    [
      "a wildcard that covers none",
      { serverName: "x", subjectAltNames: [DNS("*.example")] },
      false,
    ],
    [
      "a wildcard that covers one label, where it has two",
      { serverName: "x", subjectAltNames: [DNS("*.deep.internal")] },
      false,
    ],
    [
      "a URI that is one of its DNS names",
      { serverName: "x", subjectAltNames: [URI("spiffe:cluster")] },
      false,
    ],
    [
      "its URI",
      { serverName: "x", subjectAltNames: [URI("spiffe://cluster/ns/shop/sa/app")] },
      true,
    ],
    [
      "the beginning of its URI",
      { serverName: "x", subjectAltNames: [URI("spiffe://cluster/ns/shop")] },
      false,
    ],
  ];

  for (const [name, tls, ok] of TAKEN) {
    test(`${name}: ${ok ? "taken" : "refused"}`, async () => {
      const result = await statusWith({ ...tls, caCertificates: authority.certificate });
      if (ok) assert.equal(result, "ok");
      else assert.match(result, /upstream_certificate_invalid/);
    });
  }

  test("whom nobody vouches for is refused, with a reason of its own", async () => {
    assert.match(await statusWith({ serverName: "shop.internal" }), /upstream_certificate_invalid/);
    const tls = { serverName: "shop.internal", caCertificates: clients.certificate };
    assert.match(await statusWith(tls), /upstream_certificate_invalid/);
  });

  test("the next connection resumes the session of the one before, under the name", async () => {
    seen = [];
    const tls = { serverName: "shop.internal", caCertificates: authority.certificate };
    const parts = oneRoute({ stable: [port], pool: { tls, idleTimeoutMs: 1 } });
    await using gateway = await testGateway({ parts });
    for (let count = 1; count <= 2; count++) {
      using client = new RawClient(gateway.port);
      client.send(GET);
      await client.responses(1);
      await eventually(() => open === 0);
    }
    assert.deepEqual(
      seen.map(({ reused }) => reused),
      [false, true],
    );
    assert.deepEqual(
      seen.map(({ name }) => name),
      ["shop.internal", "shop.internal"],
    );
  });

  test("a Gateway's own certificate is presented, and a new one as soon as it is there", async () => {
    seen = [];
    const first = { gateway: clients.issue({ names: "DNS:edge", subject: "/CN=first" }) };
    const second = { gateway: clients.issue({ names: "DNS:edge", subject: "/CN=second" }) };
    const tls = { serverName: "shop.internal", caCertificates: authority.certificate };
    const rule = { clientCertificate: "certificate/gateway" };
    const parts = [
      ...oneRoute({ stable: [port], pool: { tls }, rule }),
      ...certificateParts(first),
    ];
    await using gateway = await testGateway({ parts, credentials: privateKeys(first) });
    for (const next of [first, second]) {
      await gateway.link(certificateParts(next), privateKeys(next));
      using client = new RawClient(gateway.port);
      client.send(GET);
      assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
    }
    assert.deepEqual(
      seen.map(({ subject }) => subject),
      ["CN=first", "CN=second"],
    );
    assert.equal(gateway.metric("ok", STABLE), 2);
  });

  test("a backend that was to speak HTTP/2 and does not say so is asked for nothing", async () => {
    let heard = "";
    const silent = createTlsServer(
      { cert: served.certificate, key: served.privateKey },
      (socket) => {
        socket.on("data", (bytes) => (heard += bytes.toString("latin1")));
        socket.on("error", () => {});
      },
    );
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    try {
      const tls = { serverName: "shop.internal", caCertificates: authority.certificate };
      const stable = [(silent.address() as AddressInfo).port];
      const parts = oneRoute({ stable, pool: { tls, protocol: "h2" } });
      await using gateway = await testGateway({ parts });
      using client = new RawClient(gateway.port);
      client.send(GET);
      assert.match(await client.responses(1), /^HTTP\/1\.1 502 .*upstream_connect_failed/s);
      assert.equal(heard, "");
    } finally {
      silent.close();
    }
  });

  test("a backend of HTTP/2 is spoken to so, by ALPN, and verified alike", async () => {
    const secure: Http2SecureServer = createSecureServer({
      cert: served.certificate,
      key: served.privateKey,
    });
    secure.on("stream", (stream) => {
      stream.respond({ ":status": 200, "content-length": "2" });
      stream.end("h2");
    });
    secure.listen(0, "127.0.0.1");
    await once(secure, "listening");
    const own = (secure.address() as AddressInfo).port;
    try {
      for (const [serverName, expected] of [
        ["shop.internal", /^HTTP\/1\.1 200 .*h2$/s],
        ["other.internal", /upstream_certificate_invalid/],
      ] as const) {
        const tls = { serverName, caCertificates: authority.certificate };
        const parts = oneRoute({ stable: [own], pool: { tls, protocol: "h2" } });
        await using gateway = await testGateway({ parts });
        using client = new RawClient(gateway.port);
        client.send(GET);
        assert.match(await client.responses(1), expected);
      }
    } finally {
      secure.close();
    }
  });
});
