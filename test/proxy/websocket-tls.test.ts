/** WebSocket over TLS, on either side and on both: messages, slow readers, ends, and a worker that stops. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { hasOpenssl, TestAuthority, type TestCertificate } from "../support/certificates.ts";
import { oneRoute, testGateway, type TestGateway } from "../support/gateway.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { eventually } from "../support/upstream.ts";

const NAME = "shop.example";
const SIDES = [
  { client: "wss", upstream: "https" },
  { client: "wss", upstream: "http" },
  { client: "ws", upstream: "https" },
] as const;

describe(
  "WebSocket over TLS",
  { skip: hasOpenssl() ? false : "openssl makes the certificates" },
  () => {
    let authority: TestAuthority;
    let certificate: TestCertificate;
    const closes: number[] = [];
    const received: number[] = [];
    const origins: { http: number; https: number } = { http: 0, https: 0 };
    let stop = (): void => {};

    before(async () => {
      authority = new TestAuthority();
      certificate = authority.issue({ names: `DNS:${NAME}` });
      const { certificate: cert, privateKey: key } = certificate;
      const secure = createServer({ cert, key });
      const open = new WebSocketServer({ port: 0, host: "127.0.0.1" });
      const behind = new WebSocketServer({ server: secure });
      for (const server of [open, behind]) {
        server.on("connection", (socket) => {
          socket.on("error", () => {});
          socket.on("message", (data: Buffer) => {
            received.push(data.length);
            socket.send(data);
          });
          socket.on("close", (code) => closes.push(code));
        });
      }
      secure.listen(0, "127.0.0.1");
      await Promise.all([once(secure, "listening"), once(open, "listening")]);
      origins.http = (open.address() as AddressInfo).port;
      origins.https = (secure.address() as AddressInfo).port;
      stop = () => {
        for (const server of [open, behind]) {
          for (const socket of server.clients) socket.terminate();
          server.close();
        }
        secure.close();
      };
    });

    after(() => {
      stop();
      authority[Symbol.dispose]();
    });

    function gatewayOf({ client, upstream }: (typeof SIDES)[number]): Promise<TestGateway> {
      const tls = { serverName: NAME, caCertificates: authority.certificate };
      const pool = upstream === "https" ? { tls } : {};
      const route = { stable: [origins[upstream]], pool };
      if (client === "ws") return testGateway({ parts: oneRoute(route) });
      const certificates = { one: certificate };
      const listeners = [{ hostname: "", certificates: ["one"] }];
      const parts = secureParts({ listeners, certificates, route });
      return testGateway({ parts, credentials: privateKeys(certificates) });
    }

    async function connected(scheme: "ws" | "wss", port: number): Promise<WebSocket> {
      // Passed on to node:tls, which the types of ws do not say.
      const options = { ca: authority.certificate, servername: NAME };
      const client = new WebSocket(`${scheme}://127.0.0.1:${port}/`, [], options);
      await once(client, "open");
      return client;
    }

    for (const sides of SIDES) {
      const name = `${sides.client} to ${sides.upstream}`;

      test(`${name}: messages of every size come back`, async () => {
        await using gateway = await gatewayOf(sides);
        const client = await connected(sides.client, gateway.port);
        for (const size of [0, 1, 126, 16_384, 65_536, 3_000_000]) {
          const sent = Buffer.alloc(size, size % 251);
          client.send(sent);
          const [data] = (await once(client, "message")) as [Buffer];
          assert.ok(data.equals(sent), `${size} bytes`);
        }
        client.close(1000);
        assert.equal((await once(client, "close"))[0], 1000);
        await eventually(() => closes.splice(0).includes(1000));
      });

      test(`${name}: a client that does not read is waited for, and gets all of it then`, async () => {
        await using gateway = await gatewayOf(sides);
        const client = await connected(sides.client, gateway.port);
        const [count, size] = [64, 256 * 1024];
        let bytes = 0;
        client.on("message", (data: Buffer) => (bytes += data.length));
        client.pause();
        received.length = 0;
        for (let index = 0; index < count; index++) client.send(Buffer.alloc(size, index));
        let seen = -1;
        let sinceMs = performance.now();
        await eventually(() => {
          if (received.length !== seen) sinceMs = performance.now();
          seen = received.length;
          return performance.now() - sinceMs > 300;
        }, 20_000);
        client.resume();
        await eventually(() => bytes === count * size, 20_000);
        client.terminate();
      });

      test(`${name}: both ends are told that the worker stops`, async () => {
        await using gateway = await gatewayOf(sides);
        const client = await connected(sides.client, gateway.port);
        closes.length = 0;
        const closed = once(client, "close");
        await gateway.plane.drain(10_000);
        assert.equal((await closed)[0], 1001);
        await eventually(() => closes.includes(1001));
      });

      test(`${name}: an end that breaks off ends the other`, async () => {
        await using gateway = await gatewayOf(sides);
        const client = await connected(sides.client, gateway.port);
        closes.length = 0;
        client.terminate();
        await eventually(() => closes.includes(1006));
      });
    }
  },
);
