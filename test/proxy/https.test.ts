/** TLS that ends at the gateway: names, certificates, rotation, resumption, refusals. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectPlain, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { connect, type ConnectionOptions } from "node:tls";
import { promisify } from "node:util";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { TicketSecret } from "../../src/shared/tickets.ts";
import { hasOpenssl, TestAuthority, type TestCertificate } from "../support/certificates.ts";
import { testGateway, type TestGateway } from "../support/gateway.ts";
import {
  ask,
  certificateParts,
  privateKeys,
  secureConnect,
  secureParts,
  type SecureListener,
} from "../support/secure.ts";
import { type Origin, origin, RawClient } from "../support/upstream.ts";

const run = promisify(execFile);

describe("HTTPS", { skip: hasOpenssl() ? false : "openssl makes the certificates" }, () => {
  let authority: TestAuthority;
  let upstream: Origin;
  let certificates: Record<"exact" | "wild" | "default" | "rsa", TestCertificate>;

  before(async () => {
    authority = new TestAuthority();
    upstream = await origin();
    certificates = {
      exact: authority.issue({ names: "DNS:shop.example", subject: "/CN=exact" }),
      wild: authority.issue({ names: "DNS:*.example", subject: "/CN=wild" }),
      default: authority.issue({ names: "DNS:any.test", subject: "/CN=default" }),
      rsa: authority.issue({ names: "DNS:any.test", subject: "/CN=rsa", kind: "rsa" }),
    };
  });

  after(async () => {
    await upstream[Symbol.asyncDispose]();
    authority[Symbol.dispose]();
  });

  const LISTENERS: readonly SecureListener[] = [
    { hostname: "shop.example", certificates: ["exact"] },
    { hostname: "*.example", certificates: ["wild"] },
  ];
  const ANY: SecureListener = { hostname: "", certificates: ["default", "rsa"] };

  async function gatewayWith(listeners: readonly SecureListener[]): Promise<TestGateway> {
    const parts = secureParts({ listeners, certificates, route: { stable: [upstream.port] } });
    return testGateway({ parts, credentials: privateKeys(certificates) });
  }

  /** The subject of the certificate that a client is shown. */
  async function shown(port: number, options: ConnectionOptions): Promise<string> {
    const socket = await secureConnect(port, { rejectUnauthorized: false, ...options });
    const subject = socket.getPeerX509Certificate()?.subject ?? "";
    socket.destroy();
    return subject;
  }

  const NAMES: readonly [name: string | undefined, subject: string][] = [
    ["shop.example", "CN=exact"],
    ["SHOP.example", "CN=exact"],
    ["a.example", "CN=wild"],
    ["a.b.example", "CN=wild"],
    ["example", "CN=default"],
    ["elsewhere.test", "CN=default"],
    [undefined, "CN=default"],
  ];

  test("the certificate is that of the most specific listener", async () => {
    await using gateway = await gatewayWith([...LISTENERS, ANY]);
    for (const [servername, subject] of NAMES) {
      const named = servername === undefined ? {} : { servername };
      assert.equal(await shown(gateway.port, named), subject, servername);
    }
  });

  test("clients that cannot take the first kind of key get the other", async () => {
    await using gateway = await gatewayWith([ANY]);
    const options = { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" } as const;
    assert.equal(await shown(gateway.port, options), "CN=rsa");
    const ecdsa = { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" } as const;
    assert.equal(await shown(gateway.port, ecdsa), "CN=default");
  });

  test("a name that no listener has is refused as unrecognized", async () => {
    await using gateway = await gatewayWith(LISTENERS);
    for (const servername of ["elsewhere.test", "example"]) {
      const failed = secureConnect(gateway.port, { servername, rejectUnauthorized: false });
      await assert.rejects(failed, /unrecognized name/i, servername);
    }
    await assert.rejects(secureConnect(gateway.port, {}), /unrecognized name/i);
  });

  test("a request is served, verified, and told of upstream as https", async () => {
    await using gateway = await gatewayWith(LISTENERS);
    const options = { servername: "shop.example", ca: authority.certificate };
    const socket = await secureConnect(gateway.port, options);
    assert.equal(socket.alpnProtocol, "http/1.1");
    for (let count = 0; count < 3; count++) {
      assert.match(await ask(socket, "shop.example"), /^HTTP\/1\.1 200 .*ok$/s);
    }
    const seen = upstream.requests.at(-1)?.headers;
    assert.equal(seen?.["x-forwarded-proto"], "https");
    assert.equal(seen?.["x-forwarded-port"], String(gateway.port));
    assert.equal(seen?.["x-forwarded-for"], "127.0.0.1");
    socket.destroy();
  });

  test("a target in absolute form is served whichever scheme it names", async () => {
    await using gateway = await gatewayWith(LISTENERS);
    const options = { servername: "shop.example", ca: authority.certificate };
    const socket = await secureConnect(gateway.port, options);
    for (const scheme of ["https", "HTTPS", "http"]) {
      socket.write(`GET ${scheme}://shop.example/a?b HTTP/1.1\r\nHost: other\r\n\r\n`);
      const [answer] = (await once(socket, "data")) as [Buffer];
      assert.match(answer.toString("latin1"), /^HTTP\/1\.1 200/);
      const seen = upstream.requests.at(-1);
      assert.equal(seen?.url, "/a?b");
      assert.equal(seen?.headers.host, "shop.example");
      assert.equal(seen?.headers["x-forwarded-proto"], "https");
    }
    socket.write("GET https://x.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.match(answer.toString("latin1"), /^HTTP\/1\.1 421/);
    socket.destroy();
  });

  test("curl and openssl get their answers", async () => {
    await using gateway = await gatewayWith([ANY, ...LISTENERS]);
    const ca = authority.write("trust.pem", authority.certificate);
    const url = `https://shop.example:${gateway.port}/`;
    const resolve = ["--resolve", `shop.example:${gateway.port}:127.0.0.1`];
    const { stdout } = await run("curl", ["-sS", "--cacert", ca, ...resolve, url]);
    assert.equal(stdout, "ok");
    const tell = ["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--http2"];
    const { stdout: version } = await run("curl", [...tell, "--cacert", ca, ...resolve, url]);
    assert.equal(version, "2 200");
    const to = ["-connect", `127.0.0.1:${gateway.port}`, "-servername", "shop.example"];
    const trust = ["-CAfile", ca, "-verify_return_error", "-no_ign_eof"];
    const client = run("openssl", ["s_client", ...to, ...trust]);
    client.child.stdin?.end();
    const said = (await client).stdout;
    assert.match(said, /Verification: OK/);
    assert.match(said, /Compression: NONE/);
  });

  const REFUSED: readonly [name: string, options: ConnectionOptions][] = [
    ["TLS 1.1", { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }],
    ["a cipher without forward secrecy", { maxVersion: "TLSv1.2", ciphers: "AES128-GCM-SHA256" }],
    ["a cipher with CBC", { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" }],
    ["another protocol", { ALPNProtocols: ["spdy/3"] }],
  ];

  for (const [name, options] of REFUSED) {
    test(`refused: ${name}`, async () => {
      await using gateway = await gatewayWith([ANY]);
      await assert.rejects(secureConnect(gateway.port, { rejectUnauthorized: false, ...options }));
    });
  }

  test("a client of TLS 1.2 that wants to begin anew is not let", async () => {
    await using gateway = await gatewayWith(LISTENERS);
    const servername = "shop.example";
    const options = { servername, ca: authority.certificate, maxVersion: "TLSv1.2" } as const;
    const socket = await secureConnect(gateway.port, options);
    assert.match(await ask(socket, servername), /^HTTP\/1\.1 200/);
    const refused = await new Promise<Error | null>((resolve) => {
      socket.renegotiate({}, resolve);
      socket.on("error", resolve);
    });
    assert.match(String(refused), /renegotiation/);
    socket.destroy();
  });

  test("plain HTTP on the port is told that it is plain", async () => {
    await using gateway = await gatewayWith([ANY]);
    using client = new RawClient(gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    await client.until(({ ended }) => ended);
    assert.match(client.received, /^HTTP\/1\.1 400 .*speaks HTTPS/s);
  });

  test("a request for another listener's host is misdirected", async () => {
    await using gateway = await gatewayWith([...LISTENERS, { ...ANY, empty: true }]);
    const cases: readonly [servername: string, host: string, status: number][] = [
      ["shop.example", "shop.example", 200],
      ["shop.example", "a.example", 421],
      ["a.example", "b.example", 200],
      ["a.example", "shop.example", 421],
      ["a.example", "elsewhere.test", 421],
      ["elsewhere.test", "other.test", 404],
      ["elsewhere.test", "a.example", 421],
    ];
    for (const [servername, host, status] of cases) {
      const socket = await secureConnect(gateway.port, { servername, rejectUnauthorized: false });
      const text = await ask(socket, host);
      assert.equal(Number(text.slice(9, 12)), status, `${servername} asks for ${host}`);
      socket.destroy();
    }
  });

  test("who says nothing, or half of it, is let go after a while", async () => {
    const parts = secureParts({
      listeners: [ANY],
      certificates,
      route: { stable: [upstream.port] },
    });
    await using gateway = await testGateway({
      parts,
      credentials: privateKeys(certificates),
      timeouts: { arrivalMs: 200 },
    });
    for (const text of ["", "\x16\x03\x01\x02\x00\x01"]) {
      const socket = connectPlain(gateway.port, "127.0.0.1");
      socket.write(text, "latin1");
      const startedMs = performance.now();
      await once(socket, "close");
      assert.ok(performance.now() - startedMs >= 150);
    }
    assert.equal(gateway.plane.connections, 0);
  });

  test("bytes of a handshake may come one by one", async () => {
    await using gateway = await gatewayWith(LISTENERS);
    const slow = connectPlain(gateway.port, "127.0.0.1");
    slow.setNoDelay(true);
    const socket = connect({
      socket: trickling(slow),
      servername: "shop.example",
      ca: authority.certificate,
    });
    await once(socket, "secureConnect");
    assert.match(await ask(socket, "shop.example"), /^HTTP\/1\.1 200/);
    socket.destroy();
    slow.destroy();
  });

  test("a rotation every few milliseconds fails no handshake and no open connection", async () => {
    await using gateway = await gatewayWith([ANY]);
    const standing = await secureConnect(gateway.port, { rejectUnauthorized: false });
    const rounds = [0, 1, 2, 3].map((round) =>
      authority.issue({ names: "DNS:any.test", subject: `/CN=round-${round}` }),
    );
    let rotating = true;
    let rotations = 0;
    const rotation = (async () => {
      while (rotating) {
        const next = { default: rounds[rotations++ % rounds.length] as TestCertificate };
        await gateway.link(certificateParts(next), privateKeys(next));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const subjects = new Set<string>();
    for (let count = 0; count < 60; count++) {
      const socket = await secureConnect(gateway.port, { rejectUnauthorized: false });
      subjects.add(socket.getPeerX509Certificate()?.subject ?? "");
      assert.match(await ask(socket, "any.test"), /^HTTP\/1\.1 200/);
      socket.destroy();
      assert.match(await ask(standing, "any.test"), /^HTTP\/1\.1 200/);
    }
    rotating = false;
    await rotation;
    assert.ok(rotations > 60, `${rotations} rotations`);
    assert.ok(subjects.size > 2, [...subjects].join());
    const last = rounds[(rotations - 1) % rounds.length] as TestCertificate;
    const { subject } = new X509Certificate(last.certificate);
    assert.equal(await shown(gateway.port, {}), subject);
    standing.destroy();
  });

  test("a certificate without its key is not presented; alone it refuses handshakes", async () => {
    const parts = secureParts({
      listeners: [ANY, { hostname: "shop.example", certificates: ["exact"] }],
      certificates,
      route: { stable: [upstream.port] },
    });
    const { default: _missing, exact: _gone, ...known } = certificates;
    await using gateway = await testGateway({ parts, credentials: privateKeys(known) });
    assert.equal(await shown(gateway.port, {}), "CN=rsa");
    const failed = secureConnect(gateway.port, { servername: "shop.example" });
    await assert.rejects(failed, /handshake failure/);
  });

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    test(`${version}: a session is resumed by any worker, until the secret is another`, async () => {
      const memory = allocateSharedMemory(2);
      const tickets = new TicketSecret(memory.tickets);
      tickets.replace(randomBytes(32));
      const parts = secureParts({
        listeners: [{ hostname: "shop.example", certificates: ["exact"] }, ANY],
        certificates,
        route: { stable: [upstream.port] },
      });
      const credentials = privateKeys(certificates);
      await using first = await testGateway({ parts, credentials, memory, worker: 0 });
      await using second = await testGateway({ parts, credentials, memory, worker: 1 });
      const about = { maxVersion: version, rejectUnauthorized: false } as const;
      const session = await sessionOf(first.port, { ...about, servername: "shop.example" });
      const resumes = async (port: number, servername: string): Promise<boolean> => {
        const socket = await secureConnect(port, { ...about, servername, session });
        assert.match(await ask(socket, servername), /^HTTP\/1\.1 200/);
        const reused = socket.isSessionReused();
        socket.destroy();
        return reused;
      };
      assert.equal(await resumes(first.port, "shop.example"), true);
      assert.equal(await resumes(second.port, "shop.example"), true);
      assert.equal(await resumes(second.port, "other.test"), false);
      tickets.replace(randomBytes(32));
      assert.equal(await resumes(first.port, "shop.example"), false);
    });
  }
});

/** The session of a new connection, with which another one can begin. */
async function sessionOf(port: number, options: ConnectionOptions): Promise<Buffer> {
  const socket = await secureConnect(port, options);
  const session = once(socket, "session") as Promise<[Buffer]>;
  await ask(socket, options.servername ?? "");
  const known = options.maxVersion === "TLSv1.2" ? socket.getSession() : (await session)[0];
  socket.destroy();
  return known as Buffer;
}

/** What is written leaves through `socket` byte by byte. A stream of its own, for TLS writes past those of net. */
function trickling(socket: Socket): Duplex {
  const stream = new Duplex({
    read: () => socket.resume(),
    write(chunk: Buffer, _encoding, callback): void {
      let at = 0;
      const next = (error?: Error | null): void => {
        if (at === chunk.length || (error ?? null) !== null) callback(error);
        else socket.write(chunk.subarray(at, ++at), next);
      };
      next();
    },
  });
  socket.on("data", (bytes: Buffer) => {
    if (!stream.push(bytes)) socket.pause();
  });
  socket.on("close", () => stream.destroy());
  return stream;
}
