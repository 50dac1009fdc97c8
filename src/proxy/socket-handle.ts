/**
 * The handle below a socket of node:net, used as node:net itself uses it. A message that the kernel
 * takes whole needs no queue, no callback and no tick, and a read into a buffer that stands ready needs
 * no stream: those cost as much as the proxy's own work. None of it is documented, so each piece is
 * looked for first, and where one is missing the socket's stream does the work.
 */
import type { Socket } from "node:net";
import type { ReadBuffer } from "./read-buffer.ts";

export interface WriteHandle {
  /** Both return 0 or a negative system error. */
  writeLatin1String(request: WriteRequest, text: string): number;
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
}

interface ReadHandle {
  /** Called by the handle after each read, with itself as `this`. */
  onread: (data: ArrayBuffer | undefined) => unknown;
}

export interface WriteRequest {
  oncomplete?: (status: number) => void;
  /** Keeps the bytes of an unfinished write alive, as node:net does. */
  buffer?: Uint8Array;
}

interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest;
  readonly streamBaseState: ArrayLike<number>;
  readonly kLastWriteWasAsync: number;
  readonly kReadBytesOrError: number;
}

/** Undefined where Node has no such thing. */
export const binding = findBinding();

function findBinding(): StreamBinding | undefined {
  try {
    const load: unknown = Reflect.get(process, "binding");
    if (typeof load !== "function") return undefined;
    const found = load.call(process, "stream_wrap") as Partial<StreamBinding>;
    const complete =
      typeof found.WriteWrap === "function" &&
      found.streamBaseState !== undefined &&
      typeof found.kLastWriteWasAsync === "number" &&
      typeof found.kReadBytesOrError === "number";
    return complete ? (found as StreamBinding) : undefined;
  } catch {
    return undefined;
  }
}

function handleOf(socket: Socket): Partial<WriteHandle & ReadHandle> | undefined {
  return (Reflect.get(socket, "_handle") as object | null | undefined) ?? undefined;
}

/** Undefined while the socket has none, or where it is not what is expected. */
export function writeHandleOf(socket: Socket): WriteHandle | undefined {
  if (socket.connecting) return undefined;
  const handle = handleOf(socket);
  const complete =
    typeof handle?.writeLatin1String === "function" && typeof handle.writeBuffer === "function";
  return complete ? (handle as WriteHandle) : undefined;
}

/**
 * Ends a connection so that its end cannot pass for an orderly one: by a reset of TCP, below TLS where
 * there is that, for node:tls says goodbye whichever way it ends. A Unix socket has no reset.
 */
export function breakConnection(socket: Socket): void {
  const below = (Reflect.get(socket, "_parent") as Socket | null | undefined) ?? socket;
  try {
    below.resetAndDestroy();
  } catch {
    // Not TCP.
  }
  socket.destroy();
}

/** Who takes what a read brought: `length` bytes at the beginning of `from`. */
export interface Reader {
  read(from: ReadBuffer, length: number): void;
}

/**
 * Has what comes given to `reader` at once. `socket` was made with an `onread` of the same buffer; its
 * end and its errors go on taking their way through node:net, and so do reads where this cannot be.
 */
export function readDirectly(socket: Socket, from: ReadBuffer, reader: Reader): void {
  const handle = handleOf(socket);
  const onread = handle?.onread;
  if (binding === undefined || handle === undefined || typeof onread !== "function") return;
  const { streamBaseState, kReadBytesOrError } = binding;
  handle.onread = (data): unknown => {
    const length = streamBaseState[kReadBytesOrError] as number;
    if (length <= 0) return onread.call(handle, data);
    reader.read(from, length);
    return undefined;
  };
}

/**
 * Has an open socket read into `from` and give what comes to `take`: node:net's `onread`, which it
 * offers to sockets that it connects itself. False, with nothing done, where that cannot be. What the
 * socket had read before is the caller's to take first.
 */
export function readInto(
  socket: Socket,
  from: ReadBuffer,
  take: (length: number) => boolean,
): boolean {
  const handle = handleOf(socket);
  const useUserBuffer: unknown =
    handle === undefined ? undefined : Reflect.get(handle, "useUserBuffer");
  const symbols = Object.getOwnPropertySymbols(socket);
  const buffer = symbols.find(({ description }) => description === "kBuffer");
  const callback = symbols.find(({ description }) => description === "kBufferCb");
  if (typeof useUserBuffer !== "function" || buffer === undefined || callback === undefined) {
    return false;
  }
  Reflect.set(socket, buffer, from.bytes);
  Reflect.set(socket, callback, take);
  useUserBuffer.call(handle, from.bytes);
  return true;
}
