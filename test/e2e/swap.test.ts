/**
 * Changes under load: every generation is seen whole, none is lost, and no request fails. Each
 * generation g sets a request header, a path and a response header to g; the origin echoes.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Pool } from "undici";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

const LONG = process.env["SLUICE_LONG"] === "1";
const GENERATIONS = LONG ? 1000 : 100;
const SECONDS = LONG ? 60 : 6;
const WORKERS = 2;
/** Keep-alive connections: with this many, each worker has some. */
const CONNECTIONS = 32;

async function echoOrigin() {
  const server = createServer((request, response) => {
    response.end(`${String(request.headers["x-generation"])} ${request.url}`);
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function generationRoute(g: number) {
  return shop.route({
    filters: [
      {
        type: "RequestHeaderModifier",
        requestHeaderModifier: { set: [{ name: "x-generation", value: String(g) }] },
      },
      {
        type: "URLRewrite",
        urlRewrite: { path: { type: "ReplaceFullPath", replaceFullPath: `/${g}` } },
      },
      {
        type: "ResponseHeaderModifier",
        responseHeaderModifier: { set: [{ name: "x-generation", value: String(g) }] },
      },
    ],
  });
}

test(`${GENERATIONS} generations in ${SECONDS} s under load`, async () => {
  using origin = await echoOrigin();
  const port = await freePort();
  await using sluice = await Sluice.start({ workers: WORKERS });
  await sluice.apply(shop.gateway(port), generationRoute(0), shop.backend("1", origin.port));
  const url = `http://127.0.0.1:${port}`;
  await eventually("it serves", async () => (await fetch(url)).ok);
  // One pool for each connection, so that what one connection sees is what one worker serves.
  const seen: Set<string>[] = [];
  const failures: string[] = [];
  let running = true;
  const connection = async (): Promise<void> => {
    const mine = new Set<string>();
    seen.push(mine);
    const pool = new Pool(url, { connections: 1 });
    while (running) {
      try {
        const answer = await pool.request({ path: "/", method: "GET" });
        const body = await answer.body.text();
        const g = String(answer.headers["x-generation"]);
        if (answer.statusCode !== 200 || body !== `${g} /${g}`) failures.push(`${g}: ${body}`);
        else mine.add(g);
      } catch (error) {
        failures.push(String(error));
      }
    }
    await pool.destroy();
  };
  const connections = Array.from({ length: CONNECTIONS }, connection);
  const startedMs = performance.now();
  for (let g = 1; g <= GENERATIONS; g++) {
    await sluice.apply(generationRoute(g));
    await eventually(`generation ${g} is seen on every connection`, () =>
      seen.every((each) => each.has(String(g))),
    );
    const dueMs = (g / GENERATIONS) * SECONDS * 1000;
    await eventually("the next is due", () => performance.now() - startedMs >= dueMs, 60_000);
  }
  const tookMs = performance.now() - startedMs;
  running = false;
  await Promise.all(connections);
  assert.deepEqual(failures.slice(0, 5), []);
  assert.ok(tookMs < SECONDS * 1000 * 1.25, `${GENERATIONS} generations took ${tookMs} ms`);
});
