/**
 * One listening socket of a worker. Several workers listen on one address (SO_REUSEPORT), so closing
 * one must not lose what waits in its queue. A Unix socket is one worker's: the kernel shares no path.
 */
import { chmod } from "node:fs/promises";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { unixPath } from "../compile/address.ts";
import { clearUnixPath } from "../process/unix-socket.ts";
import { KEEP_ALIVE_MS } from "./plane.ts";
import type { Cell, LinkedSocket } from "./snapshot.ts";

const BACKLOG = 4096;
/** Who may connect to a Unix socket: its owner and their group. */
const UNIX_MODE = 0o660;
/** How long a listener that closes may go on taking what waits in its queue. */
const ACCEPT_DRAIN_TURNS_MAX = 50;

interface Where {
  /** An IP address, or "unix:" and a path, which has no port. */
  readonly host: string;
  readonly port: number;
  readonly reusePort: boolean;
}

export class Listener {
  readonly served: Cell<LinkedSocket>;
  readonly #server: Server;
  #accepted = 0;

  constructor(served: Cell<LinkedSocket>, accept: (socket: Socket) => void) {
    this.served = served;
    this.#server = createServer(
      {
        allowHalfOpen: true,
        noDelay: true,
        pauseOnConnect: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_MS,
      },
      (socket) => {
        this.#accepted++;
        accept(socket);
      },
    );
  }

  get port(): number | undefined {
    return (this.#server.address() as AddressInfo | null)?.port;
  }

  /** Resolves with why the address could not be bound, or undefined. */
  async listen(where: Where): Promise<string | undefined> {
    const path = unixPath(where.host);
    if (path === undefined) return await this.#bind(where, `${where.host}:${where.port}`);
    const failure = (await clearUnixPath(path)) ?? (await this.#bind({ path }, where.host));
    // Until then it is the process's umask that says who may connect.
    if (failure === undefined) await chmod(path, UNIX_MODE).catch(() => {});
    return failure;
  }

  #bind(where: Where | { path: string }, name: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        resolve(`Cannot listen on ${name}: ${error.code ?? error.message}`);
      });
      this.#server.listen({ ...where, backlog: BACKLOG }, () => {
        // Failing to accept one connection (EMFILE) must not end the worker.
        this.#server.on("error", () => {});
        resolve(undefined);
      });
    });
  }

  /**
   * Closes after taking what already waits: closing one of several listeners on a port resets the
   * connections in its queue. A turn of the event loop without a new one is taken for an empty queue.
   */
  async close(): Promise<void> {
    for (let turn = 0; turn < ACCEPT_DRAIN_TURNS_MAX; turn++) {
      const before = this.#accepted;
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      if (turn > 1 && this.#accepted === before) break;
    }
    this.#server.close();
  }
}
