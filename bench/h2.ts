/**
 * What HTTP/2 costs: requests over TLS 1.3 to origins of HTTP/1.1, and gRPC calls of one message each
 * way to an origin that speaks HTTP/2 without TLS, once over TLS and once without. CPU per request,
 * Sluice against nginx, each with its access log.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { chosenParts, runOptions, type RunOptions } from "./arguments.ts";
import { makeCertificate, type Certificate } from "./certificate.ts";
import { h2load, type Load } from "./load.ts";
import { report, withBench, type Bench } from "./machine.ts";
import { ratioOf, runRounds, table } from "./measure.ts";
import { GRPC_MESSAGE, startGrpcOrigin, startNginx, startOrigins, type Ports } from "./nginx.ts";
import { startSluice } from "./sluice.ts";

/** As browsers and gRPC clients do: few connections, many streams of each. */
const CONNECTIONS = 8;
const STREAMS = 8;
const GRPC_TARGET = "/bench.Echo/Call";
const GRPC_HEADERS = ["content-type: application/grpc", "te: trailers", "user-agent: bench"];
const PARTS = ["http", "grpc", "grpcPlain"] as const;

/** Arguments: rounds, seconds per run, and one part of the benchmark. */
export async function benchH2(args: readonly string[]): Promise<void> {
  const options = runOptions(args);
  const parts = chosenParts(PARTS, args[2]);
  await withBench(["nginx", "h2load", "openssl"], async (bench) => {
    const certificate = makeCertificate(bench.directory);
    const bodyFile = path.join(bench.directory, "message");
    writeFileSync(bodyFile, GRPC_MESSAGE, "latin1");
    const ports = await startOrigins(bench);
    const grpc = await startGrpcOrigin(bench);
    const grpcPorts = { stable: grpc, canary: grpc };
    const load = { connections: CONNECTIONS, streams: STREAMS };
    const call = { ...load, target: GRPC_TARGET, headers: GRPC_HEADERS, bodyFile };
    const runs = {
      http: () => compare(bench, { name: "h2", ports, certificate, load: h2load(load) }, options),
      grpc: () =>
        compare(
          bench,
          { name: "grpc", ports: grpcPorts, grpc: true, certificate, load: h2load(call) },
          options,
        ),
      grpcPlain: () =>
        compare(
          bench,
          {
            name: "grpc plain",
            ports: grpcPorts,
            grpc: true,
            load: h2load({ ...call, scheme: "http" }),
          },
          options,
        ),
    };
    const figures: Record<string, object> = {};
    for (const part of parts) figures[part] = await runs[part]();
    report({ benchmark: "h2", connections: CONNECTIONS, streams: STREAMS, ...options, ...figures });
  });
}

interface Compared {
  readonly name: string;
  readonly ports: Ports;
  readonly load: Load;
  readonly grpc?: boolean;
  readonly certificate?: Certificate;
}

async function compare(
  bench: Bench,
  { name, ports, load, grpc = false, certificate }: Compared,
  options: RunOptions,
): Promise<object> {
  const same = { ports, logs: true, ...(certificate === undefined ? {} : { certificate }) };
  const [ours, theirs] = [`sluice ${name}`, `nginx ${name}`];
  const measured = await runRounds(
    [
      await startNginx(bench, {
        ...same,
        name: theirs,
        http2: true,
        passes: grpc ? "grpc" : "http",
      }),
      await startSluice(bench, { ...same, name: ours, grpc }),
    ],
    { load, ...options },
  );
  return { ratio: ratioOf(measured, ours, theirs), ...table(measured) };
}
