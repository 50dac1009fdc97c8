/** HAProxy, as another proxy to compare with. */
import { openSync, writeFileSync } from "node:fs";
import path from "node:path";
import { freePort, listening, pinned, PROXY_CORE, type Bench, type Runner } from "./machine.ts";
import type { Ports } from "./nginx.ts";

/** Double quotes are HAProxy's to escape inside a quoted log format. */
const FIELDS = [
  '{\\"time\\":\\"%t\\",\\"requestId\\":\\"%ID\\",\\"client\\":\\"%ci\\",\\"method\\":\\"%HM\\"',
  '\\"path\\":\\"%HP\\",\\"status\\":%ST,\\"duration\\":%Ta,\\"upstream\\":%Tr',
  '\\"endpoint\\":\\"%s\\",\\"bytesIn\\":%U,\\"bytesOut\\":%B}',
].join(",");

export interface HaproxyOptions {
  readonly name?: string;
  readonly ports: Ports;
  /** One JSON line a request, and a request id. */
  readonly logs: boolean;
}

/** One thread, a split of 90/10 by weight, connections to origins shared and kept. */
export async function startHaproxy(
  bench: Bench,
  { name = "haproxy", ports, logs }: HaproxyOptions,
): Promise<Runner> {
  const port = await freePort();
  const home = bench.folder(name);
  const lines = logs
    ? [
        `unique-id-format "%[uuid()]"`,
        "unique-id-header X-Request-Id",
        `log-format "${FIELDS}"`,
        "log global",
      ]
    : [];
  const conf = `global
  nbthread 1
  maxconn 4096
  ${logs ? "log stdout format raw local0" : ""}
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  http-reuse always
frontend edge
  bind 127.0.0.1:${port}
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Port ${port}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  ${lines.join("\n  ")}
  default_backend arms
backend arms
  balance roundrobin
  server stable 127.0.0.1:${ports.stable} weight 90 pool-max-conn 256
  server canary 127.0.0.1:${ports.canary} weight 10 pool-max-conn 256
`;
  const file = path.join(home, "haproxy.cfg");
  writeFileSync(file, conf);
  const stdout = openSync(path.join(home, "access.log"), "a");
  const child = bench.start(pinned(PROXY_CORE, ["haproxy", "-db", "-f", file], { stdout }));
  await listening(port);
  return { name, process: child, port };
}
