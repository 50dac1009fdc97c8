/** Three versions of a small checkout service: two good ones, and one that fails one request in five. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Random } from "../../base/random.ts";

export interface SampleBackend {
  readonly version: string;
  readonly port: number;
  close(): void;
}

/** Starts a version on a free loopback port; `errorRate` is the share of its answers that are 500. */
export async function startSampleBackend(
  version: string,
  errorRate: number,
  random: Random,
): Promise<SampleBackend> {
  const server: Server = createServer((request, response) => {
    const failed = random() < errorRate;
    response.statusCode = failed ? 500 : 200;
    response.setHeader("content-type", "application/json");
    response.end(
      `${JSON.stringify({ service: "checkout", version, path: request.url, failed })}\n`,
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    version,
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
