/**
 * Text and bytes to a socket, past the streams of node:net where that can be (socket-handle.ts); where
 * anything is in the way the socket's stream writes. Bytes keep their order on both ways, for the
 * handle below has one queue.
 */
import type { Socket } from "node:net";
import { binding, writeHandleOf, type WriteHandle, type WriteRequest } from "./socket-handle.ts";

/** Lent to each write; one that does not complete at once keeps it. */
let request: WriteRequest | undefined;

export class TextWriter {
  readonly #socket: Socket;
  readonly #direct: boolean;
  /** Who waits for the unfinished write. */
  #onTaken: (() => void) | undefined;
  /** Looked for at the first write, for a socket has none before it is connected. */
  #handle: WriteHandle | undefined;
  #unfinished = false;

  /** `direct` is for sockets whose handle is the kernel's: not for TLS. */
  constructor(socket: Socket, direct: boolean) {
    this.#socket = socket;
    this.#direct = direct && binding !== undefined;
  }

  /** Whether something written has not been taken by the kernel yet. */
  get pending(): boolean {
    return this.#unfinished || this.#socket.writableLength > 0;
  }

  /** Writes `text` as latin1. A failure is the socket's "error". */
  write(text: string): void {
    const handle = this.#ready();
    if (handle === undefined) {
      this.#socket.write(text, "latin1");
      return;
    }
    request ??= newRequest();
    this.#written(handle.writeLatin1String(request, text));
  }

  /**
   * The same with bytes; true where they have been taken, so that the caller may change them. Else
   * `onTaken` is called when they have been, or the socket has failed.
   */
  writeBytes(bytes: Buffer, onTaken?: () => void): boolean {
    const handle = this.#ready();
    if (handle === undefined) {
      this.#socket.write(bytes, onTaken);
      return false;
    }
    const lent = (request ??= newRequest());
    this.#written(handle.writeBuffer(lent, bytes));
    if (!this.#unfinished) return true;
    lent.buffer = bytes;
    this.#onTaken = onTaken;
    return false;
  }

  /** The handle, where nothing stands in the way of it. */
  #ready(): WriteHandle | undefined {
    if (this.#direct) this.#handle ??= writeHandleOf(this.#socket);
    return this.pending || this.#socket.destroyed ? undefined : this.#handle;
  }

  #written(failure: number): void {
    if (failure !== 0) {
      this.#socket.destroy(new Error(`write: system error ${failure}`));
    } else if (binding?.streamBaseState[binding.kLastWriteWasAsync] !== 0) {
      this.#unfinished = true;
      (request as WriteRequest).oncomplete = (status) => this.#completed(status);
      request = undefined;
    }
  }

  #completed(status: number): void {
    this.#unfinished = false;
    const onTaken = this.#onTaken;
    this.#onTaken = undefined;
    onTaken?.();
    if (status < 0) this.#socket.destroy(new Error(`write: system error ${status}`));
  }
}

function newRequest(): WriteRequest {
  const Wrap = (binding as NonNullable<typeof binding>).WriteWrap;
  return new Wrap();
}
