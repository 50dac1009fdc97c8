/** What a CA says when it does not do what it was asked, on a socket: waits that it asks for. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { connectAcme } from "../../src/control/certificate/acme.ts";
import { AcmeError } from "../../src/control/certificate/acme-error.ts";
import { makeAccountKey } from "../../src/control/certificate/private-key.ts";

const DATE = "Tue, 24 Nov 2026 10:00:00 GMT";
const WEEK_MS = 7 * 24 * 3_600_000;

/** Retry-After, and the milliseconds that are waited. */
const WAITS: readonly (readonly [retryAfter: string, waitMs: number])[] = [
  ["120", 120_000],
  ["0", 0],
  ["Tue, 24 Nov 2026 10:01:00 GMT", 60_000],
  ["Tue, 24 Nov 2026 09:00:00 GMT", 0],
  ["99999999999999", WEEK_MS],
  ["Thu, 24 Nov 2050 10:00:00 GMT", WEEK_MS],
  ["-5", 0],
  ["soon", 0],
];

for (const [retryAfter, waitMs] of WAITS) {
  test(`Retry-After: ${retryAfter} is a wait of ${waitMs} ms`, async (t) => {
    const server = createServer((_request, response) => {
      response.writeHead(503, { date: DATE, "retry-after": retryAfter }).end();
    }).listen(0, "127.0.0.1");
    t.after(() => server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const ca = await connectAcme({
      directoryUrl: `http://127.0.0.1:${port}/directory`,
      accountKey: await makeAccountKey(),
      accountUrl: undefined,
      trust: { caBundle: undefined, skipVerify: false },
      externalAccount: undefined,
      signal: AbortSignal.timeout(10_000),
    });
    t.after(() => ca.close());
    await assert.rejects(ca.register(undefined), (error) => {
      assert.ok(error instanceof AcmeError);
      assert.equal(error.status, 503);
      assert.equal(error.retryAfterMs, waitMs);
      return true;
    });
  });
}
