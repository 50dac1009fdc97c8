/** Waits for a Gateway to listen, and says by name what stands in the way. */
import type { Condition } from "../resource/resource.ts";
import type { Client } from "./client.ts";
import { CommandError, EXIT } from "./exit.ts";

const LOOK_EVERY_MS = 50;
const WAIT_MS_MAX = 15_000;

/** Resolves once "edge" listens. Throws CommandError with `hint` where its port cannot be had. */
export async function untilProgrammed(client: Client, hint: string): Promise<void> {
  for (let waitedMs = 0; waitedMs < WAIT_MS_MAX; waitedMs += LOOK_EVERY_MS) {
    const gateway = await client.get("gateway", "default", "edge");
    const conditions = (gateway.status?.["conditions"] ?? []) as readonly object[];
    const programmed = (conditions as readonly Condition[]).find(
      ({ type }) => type === "Programmed",
    );
    if (programmed?.status === "True") return;
    if (programmed?.reason === "AddressNotUsable") {
      throw new CommandError(`${programmed.message}. ${hint}`, EXIT.unreachable);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  throw new CommandError("The gateway did not start to listen in time", EXIT.unreachable);
}
