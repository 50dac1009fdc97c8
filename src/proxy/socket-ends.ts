/** Where a connection comes from and has come to. A Unix socket has neither addresses nor ports. */
import type { Socket } from "node:net";
import { unixPath } from "../compile/address.ts";
import type { Cell, LinkedSocket } from "./snapshot.ts";

/** What stands for the address of a client of a Unix socket, as nginx has it. */
export const UNIX_CLIENT = "unix:";

export interface SocketEnds {
  readonly clientAddress: string;
  readonly localAddress: string;
  readonly localPort: number;
}

export function isUnix({ value }: Cell<LinkedSocket>): boolean {
  return value !== undefined && unixPath(value.part.address) !== undefined;
}

/** The ends of a connection that `served` has accepted. */
export function socketEnds(socket: Socket, served: Cell<LinkedSocket>): SocketEnds {
  if (isUnix(served)) {
    const localPort = served.value?.part.port ?? 0;
    return { clientAddress: UNIX_CLIENT, localAddress: "localhost", localPort };
  }
  const { remoteAddress = "", localAddress = "", localPort = 0 } = socket;
  return { clientAddress: remoteAddress, localAddress, localPort };
}
