/**
 * Whether an address can be listened on. Workers share their sockets through SO_REUSEPORT, with
 * which a second Sluice on the same port would bind in silence and take half of the connections; so
 * each new address is bound once without it, and let go again, before any worker gets it.
 */
import { createServer } from "node:net";
import { unixPath } from "../compile/address.ts";
import type { SocketPart } from "../compile/program.ts";
import { clearUnixPath } from "./unix-socket.ts";

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "is in use by another program",
  EACCES: "needs rights that this process does not have",
  EADDRNOTAVAIL: "is not an address of this host",
  ENOENT: "is in a folder that does not exist",
};

/** Undefined where the socket is free; else what stands in the way, for a person. */
export async function probeSocket(socket: SocketPart): Promise<string | undefined> {
  const { address, port } = socket;
  const path = unixPath(address);
  if (path !== undefined) return await probeUnixPath(path);
  const error = await bindingError({ host: address, port });
  if (error === undefined) return undefined;
  return `Port ${port} of ${address === "::" ? "all addresses" : address} ${reasonOf(error)}`;
}

async function probeUnixPath(path: string): Promise<string | undefined> {
  const taken = await clearUnixPath(path);
  if (taken !== undefined) return `Unix socket ${taken}`;
  const error = await bindingError({ path });
  return error === undefined ? undefined : `Unix socket ${path} ${reasonOf(error)}`;
}

function bindingError(
  where: { host: string; port: number } | { path: string },
): Promise<NodeJS.ErrnoException | undefined> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<NodeJS.ErrnoException | undefined>();
  server.once("error", resolve);
  server.listen(where, () => server.close(() => resolve(undefined)));
  return promise;
}

function reasonOf({ code = "" }: NodeJS.ErrnoException): string {
  return REASONS[code] ?? `cannot be opened (${code})`;
}
