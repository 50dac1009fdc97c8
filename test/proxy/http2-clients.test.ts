/** Clients that others wrote speak HTTP/2 to the gateway: curl, nghttp, h2load, undici; with and without TLS. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { Agent, request } from "undici";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { oneRoute, testGateway, type TestGateway } from "../support/gateway.ts";
import { lacks } from "../support/programs.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { origin } from "../support/upstream.ts";

const run = promisify(execFile);

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
    test("curl", { skip: lacks("curl") }, async () => {
      await using app = await origin((seen, response) => response.end(seen.body || BODY));
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

    test("nghttp", { skip: lacks("nghttp") }, async () => {
      await using app = await origin((_request, response) => response.end("ok"));
      await using gateway = await gatewayTo(app.port, secure);
      const url = `${secure ? "https" : "http"}://127.0.0.1:${gateway.port}/`;
      const { stdout } = await run("nghttp", ["--no-dep", "--multiply=50", url]);
      assert.equal(stdout, "ok".repeat(50));
      assert.equal(app.requests.length, 50);
    });

    test("h2load: every request is answered", { skip: lacks("h2load") }, async () => {
      await using app = await origin((_request, response) => response.end("ok"));
      await using gateway = await gatewayTo(app.port, secure);
      const url = `${secure ? "https" : "http"}://127.0.0.1:${gateway.port}/`;
      const { stdout } = await run("h2load", ["-n", "500", "-c", "5", "-m", "10", url]);
      assert.match(stdout, /requests: 500 total, 500 started, 500 done, 500 succeeded, 0 failed/);
      assert.equal(app.requests.length, 500);
    });
  });
}

test("undici: twenty requests at once on one session, bodies both ways", async () => {
  await using app = await origin((seen, response) => response.end(seen.body || BODY));
  await using gateway = await gatewayTo(app.port, true);
  const connect = { rejectUnauthorized: false };
  const agent = new Agent({ allowH2: true, connections: 1, pipelining: 20, connect });
  const answers = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const body = index % 2 === 0 ? `${index} `.repeat(10_000) : null;
      const answer = await request(`https://127.0.0.1:${gateway.port}/${index}`, {
        dispatcher: agent,
        method: body === null ? "GET" : "POST",
        body,
      });
      assert.equal(answer.statusCode, 200);
      assert.equal(await answer.body.text(), body ?? BODY);
      return answer.headers;
    }),
  );
  await agent.close();
  assert.equal(gateway.worker("connections"), 1);
  // HTTP/2 has no Connection field: had it been HTTP/1.1, the answers would say how it goes on.
  for (const headers of answers) assert.equal(headers["connection"], undefined);
});
