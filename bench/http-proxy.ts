/** The baseline: http-proxy with a keep-alive agent and the same split. Arguments: two ports. */
import { Agent, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import httpProxy from "http-proxy";

const [stable, canary] = process.argv.slice(2, 4).map((port) => `http://127.0.0.1:${port}`) as [
  string,
  string,
];
const agent = new Agent({ keepAlive: true, maxSockets: 1024 });
const proxy = httpProxy.createProxyServer({ agent, xfwd: true });
proxy.on("error", () => {});
const server = createServer((request, response) => {
  proxy.web(request, response, { target: Math.random() < 0.1 ? canary : stable });
});
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
