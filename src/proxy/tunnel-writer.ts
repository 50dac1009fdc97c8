/**
 * What one end of a tunnel is sent. Small pieces that one turn of the event loop brings are put together
 * and leave at its end (outbox.ts), past the streams of node:net where that can be; large ones leave at
 * once. Bytes are copied, for the buffer they came in is the next read's.
 */
import type { Socket } from "node:net";
import type { Outbox, Sender } from "./outbox.ts";
import { binding, writeHandleOf, type WriteHandle, type WriteRequest } from "./socket-handle.ts";

/** Pieces up to this size are gathered. */
const SLOT_BYTES = 4096;
/** Slots that are kept; those of a busier turn are the garbage collector's. */
const SLOTS_MAX = 256;

/** Memory that is lent to a writer for a turn. */
interface Slot {
  readonly memory: ArrayBuffer;
  readonly bytes: Uint8Array;
  /** What was sent last; kept, for what is sent next is often as long. */
  sent: Buffer;
}

/** The slots of this worker that nobody has. */
const free: Slot[] = [];

function takeSlot(): Slot {
  const slot = free.pop();
  if (slot !== undefined) return slot;
  const memory = new ArrayBuffer(SLOT_BYTES);
  return { memory, bytes: new Uint8Array(memory), sent: Buffer.from(memory) };
}

export interface TunnelWriterOptions {
  readonly socket: Socket;
  /** Whether the socket's handle is the kernel's: not for TLS. */
  readonly direct: boolean;
  readonly outbox: Outbox;
  /** The peer does not take more for now, and takes it again. */
  readonly onFull: () => void;
  readonly onDrained: () => void;
}

export class TunnelWriter implements Sender {
  readonly #options: TunnelWriterOptions;
  readonly #socket: Socket;
  readonly #handle: WriteHandle | undefined;
  #slot: Slot | null = null;
  #used = 0;
  #request: WriteRequest | undefined;
  /** The kernel has not taken the last write whole. */
  #unfinished = false;

  constructor(options: TunnelWriterOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.#handle = options.direct ? writeHandleOf(options.socket) : undefined;
    options.socket.on("drain", () => this.#drained());
  }

  /** Whether the peer is waited for. */
  get full(): boolean {
    return this.#unfinished || this.#socket.writableNeedDrain;
  }

  write(from: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (length > SLOT_BYTES - this.#used) this.send();
    if (length > SLOT_BYTES) {
      this.#put(Buffer.from(from.subarray(start, end)));
      if (this.full) this.#options.onFull();
      return;
    }
    if (this.#slot === null) {
      this.#slot = takeSlot();
      this.#options.outbox.add(this);
    }
    this.#slot.bytes.set(from.subarray(start, end), this.#used);
    this.#used += length;
  }

  /** As a Sender: the turn ends. */
  send(): void {
    const slot = this.#slot;
    if (slot === null) return;
    const length = this.#used;
    this.#slot = null;
    this.#used = 0;
    if (slot.sent.length !== length) slot.sent = Buffer.from(slot.memory, 0, length);
    // What is still being written must not be written over.
    if (this.#put(slot.sent) && free.length < SLOTS_MAX) free.push(slot);
    if (this.full) this.#options.onFull();
  }

  /** Says that nothing more comes, after all that was written. */
  end(): void {
    this.send();
    this.#socket.end();
  }

  /** Hands bytes on; true where they have been taken and are the caller's again. */
  #put(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return true;
    const handle = this.#handle;
    const direct = handle !== undefined && !this.#unfinished && socket.writableLength === 0;
    if (!direct || binding === undefined) {
      socket.write(bytes);
      return false;
    }
    const request = (this.#request ??= new binding.WriteWrap());
    const failure = handle.writeBuffer(request, bytes);
    if (failure !== 0) {
      socket.destroy(new Error(`write: system error ${failure}`));
      return true;
    }
    if (binding.streamBaseState[binding.kLastWriteWasAsync] === 0) return true;
    this.#unfinished = true;
    this.#request = undefined;
    request.buffer = bytes;
    request.oncomplete = (status) => this.#completed(status);
    return false;
  }

  #completed(status: number): void {
    this.#unfinished = false;
    if (status < 0) this.#socket.destroy(new Error(`write: system error ${status}`));
    else this.#drained();
  }

  #drained(): void {
    if (!this.full) this.#options.onDrained();
  }
}
