/** How a rule uses connections where that is not as the pool says: `RulePart.connections`, gRPC. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttp2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Client, credentials } from "@grpc/grpc-js";
import type { ConnectionLimits } from "../../src/compile/rule-part.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { eventually, origin, RawClient, statuses } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";

function partsWith(port: number, connections: ConnectionLimits) {
  return oneRoute({ stable: [port], rule: { connections } });
}

async function ask(port: number, text: string): Promise<string> {
  using client = new RawClient(port);
  client.send(text);
  return await client.responses(1);
}

test("a connection takes no more requests than the rule lets", async () => {
  await using app = await origin();
  await using gateway = await testGateway({
    parts: partsWith(app.port, { requestsPerConnectionMax: 3 }),
  });
  for (let count = 0; count < 7; count++) {
    assert.deepEqual(statuses(await ask(gateway.port, GET)), [200]);
  }
  assert.equal(app.connections(), 3);
});

test("a connection that has had its time takes no other request", async () => {
  await using app = await origin();
  await using gateway = await testGateway({
    parts: partsWith(app.port, { connectionAgeMaxMs: 1 }),
  });
  await ask(gateway.port, GET);
  const opened = performance.now();
  await eventually(() => performance.now() > opened + 2);
  await ask(gateway.port, GET);
  assert.equal(app.connections(), 2);
});

test("an idle connection is kept as long as the rule says", async () => {
  await using app = await origin();
  await using gateway = await testGateway({ parts: partsWith(app.port, { idleTimeoutMs: 1 }) });
  await ask(gateway.port, GET);
  await eventually(() => app.open() === 0);
});

test("no connection beyond the limit of the rule: 503, while another rule has its own", async () => {
  const held: (() => void)[] = [];
  await using app = await origin((_request, response) => held.push(() => response.end("ok")));
  const limited = partsWith(app.port, { connectionsPerEndpointMax: 1 });
  await using gateway = await testGateway({ parts: limited });
  using first = new RawClient(gateway.port);
  first.send(GET);
  await eventually(() => held.length === 1);
  assert.match(await ask(gateway.port, GET), /503 .*upstream_overflow/s);
  await gateway.link(oneRoute({ stable: [app.port] }));
  using other = new RawClient(gateway.port);
  other.send(GET);
  await eventually(() => held.length === 2);
  for (const answer of held) answer();
  await Promise.all([first.responses(1), other.responses(1)]);
});

test("gRPC goes over HTTP/2 to a backend that does not say what it speaks", async () => {
  let calls = 0;
  const server = createHttp2Server((_request, response) => {
    calls++;
    response.setHeader("content-type", "application/grpc");
    response.addTrailers({ "grpc-status": "0" });
    response.end(Buffer.alloc(5));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await using gateway = await testGateway({
    parts: oneRoute({ stable: [port], rule: { grpc: true } }),
  });
  const client = new Client(`127.0.0.1:${gateway.port}`, credentials.createInsecure());
  const bytes = (value: Buffer): Buffer => value;
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  client.makeUnaryRequest("/a.B/C", bytes, bytes, Buffer.alloc(0), (error, value) =>
    error === null ? resolve(value) : reject(error),
  );
  assert.equal((await promise)?.length, 0);
  assert.equal(calls, 1);
  client.close();
  server.close();
});
