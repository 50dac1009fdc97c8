/** Clients that others wrote speak HTTP/2 to the gateway: curl and nghttp, with and without TLS. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { oneRoute, testGateway, type TestGateway } from "../support/gateway.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { origin } from "../support/upstream.ts";

const run = promisify(execFile);

function isMissing(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status !== 0;
}

function gatewayTo(port: number, secure: boolean): Promise<TestGateway> {
  const route = { stable: [port] };
  if (!secure) return testGateway({ parts: oneRoute(route) });
  const certificates = { a: SERVED[0] as TestCertificate };
  const listeners = [{ hostname: "", certificates: ["a"] }];
  const parts = secureParts({ listeners, certificates, route });
  return testGateway({ parts, credentials: privateKeys(certificates) });
}

const BODY = "x".repeat(100_000);

for (const secure of [false, true]) {
  describe(`HTTP/2 ${secure ? "with" : "without"} TLS`, () => {
    test("curl", { skip: isMissing("curl") && "curl is not installed" }, async () => {
      await using app = await origin((request, response) => response.end(request.body || BODY));
      await using gateway = await gatewayTo(app.port, secure);
      const { port } = gateway;
      const url = secure ? `https://127.0.0.1:${port}/` : `http://127.0.0.1:${port}/`;
      const how = secure ? ["--insecure", "--http2"] : ["--http2-prior-knowledge"];
      const tell = ["-sS", "-w", "\n%{http_version} %{http_code} %{num_connects}"];
      // curl 7.88 cannot use a connection of prior knowledge twice, whoever the server is.
      const urls = secure ? [url, url] : [url];
      const { stdout } = await run("curl", [...how, ...tell, ...urls]);
      assert.equal(stdout, `${BODY}\n2 200 1${secure ? `${BODY}\n2 200 0` : ""}`);
      const sent = await run("curl", [...how, ...tell, "--data", "hello", url]);
      assert.equal(sent.stdout, "hello\n2 200 1");
      assert.equal(app.requests.at(-1)?.method, "POST");
    });

    test("nghttp", { skip: isMissing("nghttp") && "nghttp is not installed" }, async () => {
      await using app = await origin((_request, response) => response.end("ok"));
      await using gateway = await gatewayTo(app.port, secure);
      const url = `${secure ? "https" : "http"}://127.0.0.1:${gateway.port}/`;
      const { stdout } = await run("nghttp", ["--no-dep", "--multiply=50", url]);
      assert.equal(stdout, "ok".repeat(50));
      assert.equal(app.requests.length, 50);
    });
  });
}
