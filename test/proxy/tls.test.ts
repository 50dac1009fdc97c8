/** Connections to origins that speak TLS: verified against the pool's own authority, or refused. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import { createServer as createNetServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import { countResponses, eventually, RawClient, statuses } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

function hasOpenssl(): boolean {
  try {
    execFileSync("openssl", ["version"]);
    return true;
  } catch {
    return false;
  }
}

describe("TLS upstream", { skip: hasOpenssl() ? false : "openssl makes the certificate" }, () => {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-tls-"));
  const server = createServer();
  let certificate = "";
  let connections = 0;
  let port = 0;

  before(async () => {
    const [key, cert] = ["key.pem", "cert.pem"].map((name) => path.join(directory, name)) as [
      string,
      string,
    ];
    const subject = ["-subj", "/CN=origin.test", "-addext", "subjectAltName=DNS:origin.test"];
    const out = ["-keyout", key, "-out", cert, "-days", "2", "-nodes"];
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    execFileSync("openssl", ["req", "-x509", ...kind, ...out, ...subject], { stdio: "ignore" });
    certificate = readFileSync(cert, "utf8");
    server.setSecureContext({ key: readFileSync(key), cert: certificate });
    server.on("secureConnection", () => connections++);
    server.on("request", (request, response) => {
      request.resume();
      request.on("end", () => response.end("x".repeat(200_000)));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    port = (server.address() as AddressInfo).port;
  });

  after(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
    rmSync(directory, { recursive: true });
  });

  test("requests go through, on a connection that is used again", async () => {
    const tls = { serverName: "origin.test", caCertificates: certificate };
    await using gateway = await testGateway({ parts: oneRoute({ stable: [port], pool: { tls } }) });
    using client = new RawClient(gateway.port);
    for (let count = 1; count <= 3; count++) {
      client.send(GET);
      const text = await client.responses(count);
      assert.equal(countResponses(text), count);
    }
    assert.equal(connections, 1);
    assert.equal(gateway.metric("ok", STABLE), 3);
  });

  test("a chunked body that turns out empty while the connection is made is ended upstream", async (context) => {
    const held: Socket[] = [];
    const door = createNetServer((socket) => held.push(socket));
    door.listen(0, "127.0.0.1");
    await once(door, "listening");
    context.after(() => {
      door.close();
      for (const socket of held) socket.destroy();
    });
    const tls = { serverName: "origin.test", caCertificates: certificate };
    const parts = oneRoute({ stable: [(door.address() as AddressInfo).port], pool: { tls } });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    client.send(
      "POST / HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    await client.until(({ received }) => received.includes("100 Continue"));
    client.send("0\r\n\r\n");
    // What another client is told came after the body's end.
    using other = new RawClient(gateway.port);
    other.send("TRACE / HTTP/1.1\r\nHost: app\r\n\r\n");
    await other.responses(1);
    await eventually(() => held.length === 1);
    server.emit("connection", held[0]);
    await client.until(({ received }) => received.includes("HTTP/1.1 200 OK"));
    client.send(GET);
    await client.responses(2);
    assert.deepEqual(statuses(client.received.replaceAll("x", "\n")), [200, 200]);
    assert.equal(gateway.metric("ok", STABLE), 2);
  });

  const refused: [name: string, tls: { serverName: string; caCertificates?: string }][] = [
    ["a certificate that nobody vouches for", { serverName: "origin.test" }],
    ["a certificate for another name", { serverName: "other.test" }],
  ];
  for (const [name, tls] of refused) {
    test(`${name}: 502, and no request is sent`, async () => {
      const trusted = name.includes("another") ? { ...tls, caCertificates: certificate } : tls;
      const pool = { tls: trusted };
      await using gateway = await testGateway({ parts: oneRoute({ stable: [port], pool }) });
      using client = new RawClient(gateway.port);
      client.send(GET);
      assert.match(await client.responses(1), /^HTTP\/1\.1 502 .*upstream_certificate_invalid/s);
      assert.equal(gateway.metric("connect", STABLE), 1);
    });
  }
});
