/**
 * Text to a socket, past the streams of node:net where that can be: a message that the kernel takes
 * whole needs no queue, no callback and no tick, and those cost as much as the system call's share of
 * the proxy itself. The handle's own method is used, as node:net does; it is not documented, so it is
 * looked for first, and where anything is in the way the socket's stream writes. Bytes keep their
 * order on both ways, for the handle below has one queue.
 */
import type { Socket } from "node:net";

interface Handle {
  /** Returns 0 or a negative system error. */
  writeLatin1String(request: WriteRequest, text: string): number;
}

interface WriteRequest {
  oncomplete?: (status: number) => void;
}

/** What node:net itself uses to write. */
interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest;
  readonly streamBaseState: ArrayLike<number>;
  readonly kLastWriteWasAsync: number;
}

const binding = findBinding();
/** Lent to each write; one that does not complete at once keeps it. */
let request: WriteRequest | undefined;

function findBinding(): StreamBinding | undefined {
  try {
    const load: unknown = Reflect.get(process, "binding");
    if (typeof load !== "function") return undefined;
    const found = load.call(process, "stream_wrap") as Partial<StreamBinding>;
    const complete =
      typeof found.WriteWrap === "function" &&
      found.streamBaseState !== undefined &&
      typeof found.kLastWriteWasAsync === "number";
    return complete ? (found as StreamBinding) : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined while the socket has none, or where it is not what is expected. */
function handleOf(socket: Socket): Handle | undefined {
  if (socket.connecting) return undefined;
  const handle = Reflect.get(socket, "_handle") as Partial<Handle> | null | undefined;
  return typeof handle?.writeLatin1String === "function" ? (handle as Handle) : undefined;
}

export class TextWriter {
  readonly #socket: Socket;
  readonly #direct: boolean;
  /** Looked for at the first write, for a socket has none before it is connected. */
  #handle: Handle | undefined;
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
    const socket = this.#socket;
    if (this.#direct) this.#handle ??= handleOf(socket);
    const handle = this.#handle;
    if (binding === undefined || handle === undefined || this.pending || socket.destroyed) {
      socket.write(text, "latin1");
      return;
    }
    request ??= new binding.WriteWrap();
    const failure = handle.writeLatin1String(request, text);
    if (failure !== 0) {
      socket.destroy(new Error(`write: system error ${failure}`));
    } else if (binding.streamBaseState[binding.kLastWriteWasAsync] !== 0) {
      this.#unfinished = true;
      request.oncomplete = (status) => this.#completed(status);
      request = undefined;
    }
  }

  #completed(status: number): void {
    this.#unfinished = false;
    if (status < 0) this.#socket.destroy(new Error(`write: system error ${status}`));
  }
}
