/** What the benchmark uses of http-proxy, which has no types of its own. */
declare module "http-proxy" {
  import type { Agent, IncomingMessage, ServerResponse } from "node:http";

  interface Proxy {
    on(event: "error", listener: () => void): void;
    web(request: IncomingMessage, response: ServerResponse, options: { target: string }): void;
  }

  const httpProxy: { createProxyServer(options: { agent: Agent; xfwd: boolean }): Proxy };
  export default httpProxy;
}
