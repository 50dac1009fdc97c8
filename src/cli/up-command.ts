/** `sluice up`: serves until it is asked to stop. */
import { Client } from "./client.ts";
import { printError } from "./output.ts";
import { servedAtStart } from "./served.ts";
import { type ServeOptions, serve, untilStopped } from "./serve.ts";

/** Resolves with the exit code after SIGTERM or SIGINT and the drain. */
export async function up(options: ServeOptions): Promise<number> {
  const running = await serve(options);
  const where = await servedAtStart(new Client(running.adminUrl));
  printError(`Sluice serves: ${where}. Admin API: ${running.adminUrl}`);
  return await untilStopped(running, () => printError("Draining …"));
}
