/**
 * The baseline: http-proxy with a keep-alive agent and the same split. Arguments: two ports, and a file
 * if it is to do what the others do too: set a request id and log one JSON line a request.
 */
import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { Agent, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import httpProxy from "http-proxy";

const [stable, canary] = process.argv.slice(2, 4).map((port) => `http://127.0.0.1:${port}`) as [
  string,
  string,
];
const logPath = process.argv[4];
const log = logPath === undefined ? undefined : createWriteStream(logPath);
const agent = new Agent({ keepAlive: true, maxSockets: 1024 });
const proxy = httpProxy.createProxyServer({ agent, xfwd: true });
proxy.on("error", () => {});
const server = createServer((request, response) => {
  const target = Math.random() < 0.1 ? canary : stable;
  if (log !== undefined) {
    const requestId = randomUUID();
    const startedMs = performance.now();
    request.headers["x-request-id"] = requestId;
    response.on("finish", () => {
      const { method, url } = request;
      const durationMs = performance.now() - startedMs;
      const line = { requestId, method, url, status: response.statusCode, target, durationMs };
      log.write(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`);
    });
  }
  proxy.web(request, response, { target });
});
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
