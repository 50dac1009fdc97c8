/** Clients that others wrote speak HTTP/1.1 to the gateway: curl, undici, h2load; with and without TLS. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Agent, request } from "undici";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { oneRoute, STABLE, testGateway, type TestGateway } from "../support/gateway.ts";
import { lacks } from "../support/programs.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { origin, type Origin } from "../support/upstream.ts";

const run = promisify(execFile);
const BODY = "x".repeat(100_000);
const TELL = ["-sS", "-w", "\n%{http_version} %{http_code} %{num_connects}\n"];

for (const secure of [false, true]) {
  describe(`HTTP/1.1 ${secure ? "with" : "without"} TLS`, () => {
    let app: Origin;
    let gateway: TestGateway;
    let url: string;
    let folder: string;
    const how = secure ? ["--insecure", "--http1.1"] : [];

    before(async () => {
      app = await origin((seen, response) => {
        if (seen.url === "/chunked") response.write("a piece, ");
        if (seen.url === "/broken") {
          response.write("a piece", () => response.destroy());
          return;
        }
        if (seen.url === "/large") response.setHeader("content-length", BODY.length);
        response.end(seen.body || (seen.url === "/large" ? BODY : "ok"));
      });
      const route = { stable: [app.port] };
      const certificates = { a: SERVED[0] as TestCertificate };
      const listeners = [{ hostname: "", certificates: ["a"] }];
      gateway = secure
        ? await testGateway({
            parts: secureParts({ listeners, certificates, route }),
            credentials: privateKeys(certificates),
          })
        : await testGateway({ parts: oneRoute(route) });
      url = `${secure ? "https" : "http"}://127.0.0.1:${gateway.port}`;
      folder = mkdtempSync(path.join(tmpdir(), "sluice-clients-"));
    });

    after(async () => {
      await gateway[Symbol.asyncDispose]();
      await app[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    });

    async function curl(...args: readonly string[]): Promise<string> {
      const { stdout } = await run("curl", [...how, ...TELL, ...args], { maxBuffer: 10_000_000 });
      return stdout;
    }

    describe("curl", { skip: lacks("curl") }, () => {
      test("one connection for several requests", async () => {
        const urls = [`${url}/`, `${url}/large`, `${url}/`];
        assert.equal(await curl(...urls), `ok\n1.1 200 1\n${BODY}\n1.1 200 0\nok\n1.1 200 0\n`);
      });

      test("a large body waits for 100 Continue, and comes back", async () => {
        const file = path.join(folder, "body");
        writeFileSync(file, BODY.repeat(20));
        const expected = ["-H", "Expect: 100-continue", "--expect100-timeout", "60"];
        const sent = await curl(...expected, "--data-binary", `@${file}`, `${url}/up`);
        assert.equal(sent, `${BODY.repeat(20)}\n1.1 200 1\n`);
        assert.equal(app.requests.at(-1)?.headers.expect, undefined);
      });

      test("an upload without a length", async () => {
        const upload = run("curl", [...how, ...TELL, "-T", "-", `${url}/put`]);
        upload.child.stdin?.end("typed by hand");
        assert.equal((await upload).stdout, "typed by hand\n1.1 200 1\n");
        assert.equal(app.requests.at(-1)?.method, "PUT");
      });

      test("HEAD has a head alone, and the connection goes on", async () => {
        const answer = await curl("-I", `${url}/large`, "--next", ...how, ...TELL, `${url}/`);
        assert.match(
          answer,
          /^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*\r\n\n1\.1 200 1\nok\n1\.1 200 0\n$/,
        );
        assert.match(answer, /\r\ncontent-length: 100000\r\n/i);
      });

      test("an answer in chunks; a client of HTTP/1.0 has it up to the end", async () => {
        const { requests } = app;
        assert.equal(await curl(`${url}/chunked`), "a piece, ok\n1.1 200 1\n");
        assert.match(await curl("--http1.0", `${url}/chunked`), /^a piece, ok\n1\.[01] 200 1\n$/);
        assert.equal(requests.at(-1)?.url, "/chunked");
      });

      test("an answer that breaks off is an error to a client that reads up to the end", async () => {
        const broken = run("curl", [
          ...(secure ? ["--insecure"] : []),
          "--http1.0",
          `${url}/broken`,
        ]);
        await assert.rejects(broken, ({ code, stdout }: { code: number; stdout: string }) => {
          // CURLE_RECV_ERROR: a reset, or TLS without its goodbye.
          return code === 56 && stdout === "a piece";
        });
        assert.equal(await curl(`${url}/`), "ok\n1.1 200 1\n");
      });

      test("a form with a file", async () => {
        const file = path.join(folder, "file.txt");
        writeFileSync(file, "of a file");
        const form = await curl("-F", `part=@${file}`, "-F", "name=value", `${url}/form`);
        assert.match(
          form,
          /filename="file\.txt"[^]+of a file[^]+name="name"[^]+value[^]+1\.1 200 1/,
        );
      });
    });

    describe("undici", () => {
      const connect = { rejectUnauthorized: false };

      test("twenty requests pipelined on one connection, each with its own answer", async () => {
        const opened = gateway.worker("connections");
        const agent = new Agent({ connections: 1, pipelining: 20, connect });
        const answers = await Promise.all(
          Array.from({ length: 20 }, async (_, index) => {
            const method = index % 3 === 0 ? "PUT" : "GET";
            const body = method === "PUT" ? `body ${index}` : null;
            const answer = await request(`${url}/${index}`, { dispatcher: agent, method, body });
            return answer.body.text();
          }),
        );
        await agent.close();
        const wanted = Array.from({ length: 20 }, (_, at) => (at % 3 === 0 ? `body ${at}` : "ok"));
        assert.deepEqual(answers, wanted);
        assert.equal(gateway.worker("connections") - opened, 1);
      });

      test("a stream up while a stream comes down", async () => {
        const agent = new Agent({ connect });
        const pieces = Array.from({ length: 50 }, (_, index) => `${index} `.repeat(1000));
        const answer = await request(`${url}/up`, {
          dispatcher: agent,
          method: "POST",
          body: Readable.from(pieces),
        });
        assert.equal(await answer.body.text(), pieces.join(""));
        await agent.close();
      });
    });

    test("h2load --h1: every request is answered", { skip: lacks("h2load") }, async () => {
      const answered = gateway.metric("ok", STABLE);
      const { stdout } = await run("h2load", ["--h1", "-n", "500", "-c", "5", `${url}/`]);
      assert.match(stdout, /requests: 500 total, 500 started, 500 done, 500 succeeded, 0 failed/);
      assert.equal(gateway.metric("ok", STABLE) - answered, 500);
    });
  });
}
