/**
 * Sockets and their tables. Listeners that are served are put on every socket whose address theirs
 * covers: a Gateway on every address also answers where another one has bound one address of its
 * own, for the kernel hands those connections to the more specific socket alone.
 */
import { addressCovers } from "./address.ts";
import { clientPart, socketPolicy } from "./client-policies.ts";
import type { CompileInput } from "./compiled.ts";
import type { GatewayNode, ListenerNode } from "./listeners.ts";
import { compareHostnames } from "./hostname.ts";
import { layOutTable } from "./pages.ts";
import type { PageContext, PlacedMatch } from "./pages.ts";
import type { PartKey, SocketListener } from "./program.ts";

/** The key of a socket part, which is also how an unavailable socket is named. */
export function socketKey(address: string, port: number): PartKey {
  return `socket/${address}:${port}`;
}

export interface SocketContext extends PageContext {
  readonly input: CompileInput;
  readonly gateways: readonly GatewayNode[];
  readonly matchesOf: ReadonlyMap<ListenerNode, readonly PlacedMatch[]>;
}

/** Adds the sockets, tables and pages of all served listeners. */
export function layOutSockets(context: SocketContext): void {
  const { parts, input, matchesOf } = context;
  const served = context.gateways
    .flatMap((node) => node.listeners)
    .filter((listener) => listener.problem === undefined);
  const places = new Map<PartKey, { address: string; port: number }>();
  for (const { addresses, spec } of served) {
    for (const address of addresses) {
      places.set(socketKey(address, spec.port), { address, port: spec.port });
    }
  }
  for (const [key, { address, port }] of places) {
    // Another program has it: workers, which share their sockets, must not join in on it.
    if (input.unavailableSockets.has(key)) continue;
    const here = served
      .filter(({ spec, addresses }) => spec.port === port && covers(addresses, address))
      .toSorted((a, b) => compareHostnames(a.hostname, b.hostname));
    const policy = socketPolicy(here);
    const client = policy === undefined ? {} : { client: parts.add(clientPart(policy)).key };
    const listeners = here.map((listener): SocketListener => {
      const { hostname, tls } = listener;
      const place = `${address}:${port}/${hostname}`;
      const table = layOutTable(context, place, matchesOf.get(listener) ?? []);
      parts.add(table);
      // Without TLS all listeners of a port are one to whoever connects.
      if (tls === undefined) return { hostname, table: table.key, ...client };
      for (const { part } of tls.keyPairs) parts.add(part);
      if (tls.authorities !== undefined) parts.add(tls.authorities);
      const own =
        listener.policy === undefined ? {} : { client: parts.add(clientPart(listener.policy)).key };
      return { hostname, table: table.key, ...own, tls: tls.tls };
    });
    parts.add({ type: "socket", key, address, port, ...client, listeners });
  }
}

function covers(addresses: readonly string[], address: string): boolean {
  return addresses.some((one) => addressCovers(one, address));
}
