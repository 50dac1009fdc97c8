/**
 * What traces cost a request: Sluice without them against Sluice with a collector, where nothing is
 * sampled, where a caller says so, where one in a hundred is, and where all are. See README.md.
 */
import path from "node:path";
import { runOptions } from "./arguments.ts";
import { wrk, type Load } from "./load.ts";
import { firstLine, ownProgram, report, withBench, type Bench } from "./machine.ts";
import { median, round, runRounds, spread, table, type Ratio, type Rounds } from "./measure.ts";
import { startOrigins, type Ports } from "./nginx.ts";
import { startSluice, type SluiceRunner } from "./sluice.ts";

const OFF = "off";
const CALLERS = path.join(import.meta.dirname, "callers.lua");

/** Name → share that is sampled. In the second one callers say that nothing is. */
const TRACED: readonly (readonly [name: string, ratio: number])[] = [
  ["none sampled", 0],
  ["none sampled, with callers", 0],
  ["one in a hundred", 0.01],
  ["all", 1],
];

/** Arguments: rounds and seconds per run. */
export async function benchTraces(args: readonly string[]): Promise<void> {
  const { rounds, seconds } = runOptions(args);
  await withBench(["nginx", "wrk"], async (bench) => {
    const ports = await startOrigins(bench);
    const collector = bench.start(ownProgram("collector.ts", []));
    const url = `http://127.0.0.1:${await firstLine(collector)}`;
    const runners = [
      await startSluice(bench, { name: OFF, ports, logs: true }),
      await startSluice(bench, { name: `${OFF}, with callers`, ports, logs: true }),
    ];
    for (const [name, ratio] of TRACED) {
      runners.push(await startTraced(bench, { name, ports, url, ratio }));
    }
    const plain = wrk();
    const called = wrk({ script: CALLERS });
    const load: Load = (runner, lasting) =>
      (runner.name.endsWith("with callers") ? called : plain)(runner, lasting);
    const measured = await runRounds(runners, { load, rounds, seconds });
    report({
      benchmark: "traces",
      rounds,
      secondsPerRun: seconds,
      moreMicroseconds: Object.fromEntries(
        TRACED.map(([name]) => [
          name,
          more(measured, name, name.endsWith("with callers") ? `${OFF}, with callers` : OFF),
        ]),
      ),
      ...table(measured),
    });
  });
}

async function startTraced(
  bench: Bench,
  traced: { name: string; ports: Ports; url: string; ratio: number },
): Promise<SluiceRunner> {
  const { name, ports, url, ratio } = traced;
  return await startSluice(bench, {
    name,
    ports,
    logs: true,
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: url,
      OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
      OTEL_TRACES_SAMPLER_ARG: String(ratio),
    },
  });
}

/** CPU time that a request costs more, by rounds. */
function more(rounds: Rounds, name: string, against: string): Ratio {
  const others = rounds.get(against) ?? [];
  const differences = (rounds.get(name) ?? []).map(
    ({ microseconds }, turn) => microseconds - (others[turn]?.microseconds ?? Number.NaN),
  );
  return { ...spread(differences), median: round(median(differences)) };
}
