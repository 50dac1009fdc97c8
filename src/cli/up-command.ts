/** `sluice up`: serves until it is asked to stop. */
import type { Listener } from "../resource/gateway.ts";
import { Client } from "./client.ts";
import { printError } from "./output.ts";
import { type ServeOptions, serve, untilStopped } from "./serve.ts";

/** Resolves with the exit code after SIGTERM or SIGINT and the drain. */
export async function up(options: ServeOptions): Promise<number> {
  const running = await serve(options);
  const listeners = await listenersOf(new Client(running.adminUrl));
  const where = listeners.length === 0 ? "no Gateway yet" : listeners.join(", ");
  printError(`Sluice serves: ${where}. Admin API: ${running.adminUrl}`);
  return await untilStopped(running, () => printError("Draining …"));
}

/** "edge :8080" for each listener of each Gateway that there is at the start. */
async function listenersOf(client: Client): Promise<string[]> {
  const gateways = await client.list("gateway", "");
  return gateways.flatMap(({ metadata, spec }) =>
    ((spec?.["listeners"] ?? []) as readonly Listener[]).map(
      ({ port }) => `${metadata.name} :${port}`,
    ),
  );
}
