/** What requests take at an equal rate: runs open-loop.ts on the load's core. */
import type { Latency } from "./load.ts";
import { outputOf, ownProgram, type Runner } from "./machine.ts";

export interface OpenLoopOptions {
  /** Requests a second. */
  readonly rate: number;
  readonly seconds: number;
  readonly connections: number;
  readonly target?: string;
}

export async function openLoop(runner: Runner, options: OpenLoopOptions): Promise<Latency> {
  const { rate, seconds, connections, target } = options;
  const more = target === undefined ? [] : [target];
  const output = await outputOf(
    ownProgram("open-loop.ts", [runner.port, rate, seconds, connections, ...more]),
  );
  return JSON.parse(output) as Latency;
}
