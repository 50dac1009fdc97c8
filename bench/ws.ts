/**
 * WebSocket messages per CPU second: 64 connections, each of which sends 64 bytes and waits for their
 * echo. A message counts when it has been there and back, which is two frames through the proxy.
 */
import { runOptions } from "./arguments.ts";
import { CONNECTIONS, type Load } from "./load.ts";
import { firstLine, outputOf, ownProgram, report, withBench } from "./machine.ts";
import { ratioOf, round, runRounds, table } from "./measure.ts";
import { startNginx } from "./nginx.ts";
import { startSluice } from "./sluice.ts";

const PROGRAM = "websocket-load.ts";

const echo: Load = async ({ name, port }, seconds) => {
  const output = await outputOf(ownProgram(PROGRAM, ["load", port, seconds, CONNECTIONS]));
  const { messages, errors } = JSON.parse(output) as { messages: number; errors: number };
  if (messages === 0) throw new Error(`${name} sends nothing back`);
  return { done: messages, errors };
};

/** Arguments: rounds and seconds per run. */
export async function benchWs(args: readonly string[]): Promise<void> {
  const options = runOptions(args);
  await withBench(["nginx"], async (bench) => {
    const origin = Number(await firstLine(bench.start(ownProgram(PROGRAM, ["origin"]))));
    const ports = { stable: origin, canary: origin };
    const runners = [
      await startNginx(bench, { ports, logs: true, passes: "websocket" }),
      await startSluice(bench, { ports, logs: true }),
    ];
    const measured = await runRounds(runners, { load: echo, ...options });
    const cost = ratioOf(measured, "sluice", "nginx");
    report({
      benchmark: "ws",
      rounds: options.rounds,
      /** How many of nginx's messages Sluice passes on in the same CPU time. */
      messagesPerCpuToNginx: round(1 / cost.median),
      cost,
      ...table(measured),
    });
  });
}
