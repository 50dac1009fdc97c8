/**
 * One listening socket of a worker. Several workers listen on one address (SO_REUSEPORT), so closing
 * one must not lose what waits in its queue.
 */
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { KEEP_ALIVE_MS } from "./plane.ts";
import type { Cell, LinkedSocket } from "./snapshot.ts";

const BACKLOG = 4096;
/** How long a listener that closes may go on taking what waits in its queue. */
const ACCEPT_DRAIN_TURNS_MAX = 50;

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
  listen(where: { host: string; port: number; reusePort: boolean }): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        resolve(`Cannot listen on ${where.host}:${where.port}: ${error.code ?? error.message}`);
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
