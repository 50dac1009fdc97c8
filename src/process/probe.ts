/**
 * Whether an address can be listened on. Workers share their sockets through SO_REUSEPORT, with
 * which a second Sluice on the same port would bind in silence and take half of the connections; so
 * each new address is bound once without it, and let go again, before any worker gets it.
 */
import { createServer } from "node:net";
import type { SocketPart } from "../compile/program.ts";

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "is in use by another program",
  EACCES: "needs rights that this process does not have",
  EADDRNOTAVAIL: "is not an address of this host",
};

/** Undefined where the socket is free; else what stands in the way, for a person. */
export async function probeSocket(socket: SocketPart): Promise<string | undefined> {
  const { address, port } = socket;
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<NodeJS.ErrnoException | undefined>();
  server.once("error", resolve);
  server.listen({ host: address, port, exclusive: true }, () =>
    server.close(() => resolve(undefined)),
  );
  const error = await promise;
  if (error === undefined) return undefined;
  const reason = REASONS[error.code ?? ""] ?? `cannot be opened (${error.code})`;
  return `Port ${port} of ${address === "::" ? "all addresses" : address} ${reason}`;
}
