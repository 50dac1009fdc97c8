/**
 * Backends with TLS that name no authorities (`wellKnownCACertificates: System`): those of the host
 * are trusted. A file of its own, for a thread reads them once.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { hasOpenssl, TestAuthority } from "../support/certificates.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { RawClient, statuses } from "../support/upstream.ts";

test(
  "who vouches for backends is asked of the host",
  { skip: hasOpenssl() ? false : "openssl is not there" },
  async () => {
    using trusted = new TestAuthority("Trusted");
    using stranger = new TestAuthority("Stranger");
    // Where OpenSSL looks for what its host trusts.
    const host = join(trusted.directory, "host");
    mkdirSync(host);
    writeFileSync(join(host, "ca.pem"), trusted.certificate);
    process.env["SSL_CERT_FILE"] = join(host, "ca.pem");
    process.env["SSL_CERT_DIR"] = host;
    const found: number[][] = [];
    for (const authority of [trusted, stranger]) {
      const { certificate, privateKey } = authority.issue({ names: "DNS:shop.internal" });
      const server = createServer({ cert: certificate, key: privateKey }, (_request, response) => {
        response.end("ok");
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      const pool = { tls: { serverName: "shop.internal" } };
      await using gateway = await testGateway({ parts: oneRoute({ stable: [port], pool }) });
      using client = new RawClient(gateway.port);
      client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
      found.push(statuses(await client.responses(1)));
      server.closeAllConnections();
      server.close();
    }
    assert.deepEqual(found, [[200], [502]]);
  },
);
