/** A small service in several versions, with the moment of every request that reached it. */
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { Random } from "../../src/base/random.ts";

export interface SampleApp extends Disposable {
  readonly version: string;
  readonly port: number;
  /** When each request's head arrived, milliseconds on the test's monotonic clock. */
  readonly arrivalsMs: number[];
  /** The share of answers that are 500; may be changed while it serves. */
  errorRate: number;
}

export async function sampleApp(
  version: string,
  options: { readonly errorRate?: number; readonly random?: Random } = {},
): Promise<SampleApp> {
  const { random = () => 1 } = options;
  const server = createServer((request, response) => {
    app.arrivalsMs.push(performance.now());
    response.statusCode = random() < app.errorRate ? 500 : 200;
    response.end(version);
    request.resume();
  });
  server.keepAliveTimeout = 30_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const app: SampleApp = {
    version,
    port: (server.address() as AddressInfo).port,
    arrivalsMs: [],
    errorRate: options.errorRate ?? 0,
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
  return app;
}
