/** Runs one benchmark by its name: `npm run bench -- NAME`. Its last line is one JSON object. */
import { benchProxy } from "./proxy.ts";

const BENCHMARKS: Readonly<Record<string, (args: readonly string[]) => Promise<unknown>>> = {
  proxy: benchProxy,
};

const [name = "", ...args] = process.argv.slice(2);
const run = BENCHMARKS[name];
if (run === undefined) {
  process.stderr.write(`Usage: npm run bench -- ${Object.keys(BENCHMARKS).join("|")}\n`);
  process.exit(2);
}
process.stdout.write(`${JSON.stringify(await run(args))}\n`);
