/**
 * `compressor` of a BackendTrafficPolicy on a running gateway: off until a policy asks for it, changed
 * and taken back under traffic; a response that has begun keeps the rule that it began with.
 */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { request } from "undici";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { decoded, decoderOf, jsonOf } from "../support/compression.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";
import { origin } from "../support/upstream.ts";

const POLICY_URL =
  "/apis/sluice.dev/v1alpha1/namespaces/default/backendtrafficpolicies/compression";

function policy(...types: string[]): ResourceDraft {
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "BackendTrafficPolicy",
    metadata: { name: "compression", namespace: "default" },
    spec: {
      targetRefs: [{ group: "gateway.networking.k8s.io", kind: "HTTPRoute", name: shop.NAME }],
      compressor: types.map((type) => ({ type })),
    },
  };
}

test("compression is put on, changed and taken off", async () => {
  const body = jsonOf(300_000);
  let streamed: ServerResponse | undefined;
  await using app = await origin(({ url }, response) => {
    response.setHeader("content-type", "application/json");
    if (url === "/stream") (streamed = response).write("[1");
    else response.end(body);
  });
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  await using sluice = await Sluice.start({ workers: 2 });
  await sluice.apply(shop.gateway(port), shop.route(), shop.backend("1", app.port));

  /** The codings that requests get, once they are all the same. */
  const settlesOn = (expected: string | undefined): Promise<boolean> =>
    eventually(`responses are coded as ${expected}`, async () => {
      const codings = await Promise.all(
        Array.from({ length: 20 }, async () => {
          const headers = { "accept-encoding": "gzip, br, zstd" };
          const answer = await request(url, { headers });
          const coding = answer.headers["content-encoding"];
          const bytes = Buffer.from(await answer.body.arrayBuffer());
          assert.equal(answer.statusCode, 200);
          assert.equal(decoded(coding as string | undefined, bytes), body);
          return coding;
        }),
      );
      return codings.every((coding) => coding === expected);
    });

  await settlesOn(undefined);
  await sluice.apply(policy("Zstd", "Brotli", "Gzip"));
  await settlesOn("zstd");
  const stream = await request(`${url}/stream`, { headers: { "accept-encoding": "zstd" } });
  assert.equal(stream.headers["content-encoding"], "zstd");
  let text = "";
  const decoder = stream.body.pipe(decoderOf("zstd")).setEncoding("latin1");
  decoder.on("data", (piece: string) => (text += piece));
  await sluice.apply(policy("Gzip"));
  await settlesOn("gzip");
  const gone = await sluice.api("DELETE", POLICY_URL);
  assert.equal(gone.status, 200);
  await settlesOn(undefined);
  await eventually("the stream has begun", () => text === "[1");
  streamed?.end(",2]");
  await eventually("the stream has ended", () => text === "[1,2]");
});
