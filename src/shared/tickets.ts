/**
 * The secret from which all workers make the keys of their TLS session tickets, so that a session that
 * one worker began can be resumed by any. The main thread writes a new one now and then; a ticket is
 * good for as long as its secret is there.
 */

export const TICKET_SECRET_BYTES = 32;
/** A number that is odd while the secret is being written, and the secret. */
export const TICKETS_BYTES = 4 + TICKET_SECRET_BYTES;

export class TicketSecret {
  readonly #version: Int32Array<SharedArrayBuffer>;
  readonly #secret: Uint8Array<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer) {
    this.#version = new Int32Array(buffer, 0, 1);
    this.#secret = new Uint8Array(buffer, 4, TICKET_SECRET_BYTES);
  }

  /** Puts another secret of 32 bytes in place. The main thread alone. */
  replace(secret: Uint8Array): void {
    Atomics.add(this.#version, 0, 1);
    this.#secret.set(secret.subarray(0, TICKET_SECRET_BYTES));
    Atomics.add(this.#version, 0, 1);
  }

  /** Rises with every secret; 0 while there is none. */
  get version(): number {
    return Atomics.load(this.#version, 0);
  }

  /** A copy of the secret with its version; undefined while there is none, or it is being written. */
  read(): { readonly version: number; readonly secret: Uint8Array } | undefined {
    const { version } = this;
    const secret = Uint8Array.from(this.#secret);
    return version === 0 || version % 2 === 1 || this.version !== version
      ? undefined
      : { version, secret };
  }
}
