/**
 * A process whose threads write their access logs to its standard output, as workers do. Not a test by
 * itself. Says on standard error how many lines they dropped.
 */
import { isMainThread, threadId, Worker } from "node:worker_threads";
import { systemClock } from "../../src/base/clock.ts";
import { openAccessLog } from "../../src/proxy/access-log.ts";

const THREADS = 2;
const ROUNDS = 30;
const LINES_PER_ROUND = 400;

async function writeLines(): Promise<void> {
  const log = openAccessLog("-", systemClock);
  for (let round = 0; round < ROUNDS; round++) {
    for (let count = 0; count < LINES_PER_ROUND; count++) {
      const line = { thread: threadId, round, count, text: "x".repeat(200) };
      log.line(`${JSON.stringify(line)}\n`);
    }
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  await log.close();
  process.stderr.write(`${log.dropped}\n`);
}

if (isMainThread) {
  Array.from({ length: THREADS }, () => new Worker(new URL(import.meta.url)));
} else {
  await writeLines();
}
