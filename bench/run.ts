/** Runs one benchmark by its name: `npm run bench -- NAME`. Its last line is one JSON object. */

import { ArgumentError } from "./arguments.ts";

type Benchmark = (args: readonly string[]) => void | Promise<void>;

const BENCHMARKS: Readonly<Record<string, () => Promise<Benchmark>>> = {
  bodies: async () => (await import("./bodies.ts")).benchBodies,
  connections: async () => (await import("./connections.ts")).benchConnections,
  h2: async () => (await import("./h2.ts")).benchH2,
  match: async () => (await import("./match.ts")).benchMatch,
  proxy: async () => (await import("./proxy.ts")).benchProxy,
  reload: async () => (await import("./reload.ts")).benchReload,
  tls: async () => (await import("./tls.ts")).benchTls,
  traces: async () => (await import("./traces.ts")).benchTraces,
  ws: async () => (await import("./ws.ts")).benchWs,
};

const [name = "", ...args] = process.argv.slice(2);
const load = BENCHMARKS[name];
if (load === undefined) {
  process.stderr.write(`Usage: npm run bench -- ${Object.keys(BENCHMARKS).join("|")}\n`);
  process.exitCode = 2;
} else {
  const benchmark = await load();
  try {
    await benchmark(args);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exitCode = 2;
  }
}
