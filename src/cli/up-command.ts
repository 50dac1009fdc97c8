/** `sluice up`: serves until it is asked to stop. */
import { printError } from "./output.ts";
import { type ServeOptions, serve, untilStopped } from "./serve.ts";

/** Resolves with the exit code after SIGTERM or SIGINT and the drain. */
export async function up(options: ServeOptions): Promise<number> {
  const running = await serve(options);
  printError(`Sluice serves. Admin API: ${running.adminUrl}`);
  return await untilStopped(running, () => printError("Draining …"));
}
