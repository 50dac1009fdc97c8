/**
 * What TLS costs: HTTP/1.1 with keep-alive over TLS 1.3, both sides with the same cipher and the same
 * key, to origins without TLS. CPU per request, Sluice against nginx, each with its access log.
 */
import { runOptions } from "./arguments.ts";
import { makeCertificate } from "./certificate.ts";
import { h2load } from "./load.ts";
import { report, withBench } from "./machine.ts";
import { ratioOf, runRounds, table } from "./measure.ts";
import { startNginx, startOrigins } from "./nginx.ts";
import { startSluice } from "./sluice.ts";

/** Arguments: rounds and seconds per run. */
export async function benchTls(args: readonly string[]): Promise<void> {
  const options = runOptions(args);
  await withBench(["nginx", "h2load", "openssl"], async (bench) => {
    const ports = await startOrigins(bench);
    const certificate = makeCertificate(bench.directory);
    const runners = [
      await startNginx(bench, { ports, certificate, logs: true }),
      await startSluice(bench, { ports, certificate, logs: true }),
    ];
    const measured = await runRounds(runners, { load: h2load({ http1: true }), ...options });
    const ratio = ratioOf(measured, "sluice", "nginx");
    report({ benchmark: "tls", rounds: options.rounds, ratio, ...table(measured) });
  });
}
