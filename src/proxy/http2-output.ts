/**
 * What one HTTP/2 connection is sent: frames, gathered in memory that all connections of a worker share
 * until the turn of the event loop ends (outbox.ts). One write is under way at a time; what comes
 * meanwhile waits, and bodies are not written while much does.
 */
import type { Socket } from "node:net";
import type { FrameSink } from "../http2/frame.ts";
import type { Outbox, Sender } from "./outbox.ts";
import { TextWriter } from "./text-writer.ts";

const CHUNK_BYTES = 32 * 1024;
/** Chunks that are kept for the next write. */
const FREE_MAX = 64;
/** What may wait for a peer before bodies have to. */
const FULL_BYTES = 128 * 1024;
/** What may wait before nothing more is read of a peer that reads nothing. */
const OVERFULL_BYTES = 256 * 1024;
const NOTHING = Buffer.alloc(0);

const free: Buffer[] = [];

/** Who is told what becomes of a connection's output. */
export interface OutputHost {
  /** What waited has been taken: bodies are written again. */
  outputDrained(): void;
  /** The peer reads nothing, or reads again. */
  outputStalled(stalled: boolean): void;
}

export class Http2Output implements FrameSink, Sender {
  bytes: Buffer = NOTHING;
  at = 0;
  serial = 0;
  /** Writes that the peer has taken. */
  taken = 0;
  readonly #socket: Socket;
  readonly #writer: TextWriter;
  readonly #outbox: Outbox;
  readonly #host: OutputHost;
  /** Pieces that are full, and wait with what stands in `bytes`. */
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  /** What is being written. */
  #writing: Buffer[] = [];
  #writingBytes = 0;
  #left = 0;
  #added = false;
  #stalled = false;
  #ends = false;
  #closed = false;
  #held: boolean;
  readonly #onTaken = (): void => this.#taken();

  /** `direct` is for sockets whose handle is the kernel's: not for TLS. `held`: see `release`. */
  constructor(
    socket: Socket,
    outbox: Outbox,
    { direct, held, host }: { direct: boolean; held: boolean; host: OutputHost },
  ) {
    this.#held = held;
    this.#socket = socket;
    this.#writer = new TextWriter(socket, direct);
    this.#outbox = outbox;
    this.#host = host;
  }

  /** Bytes that the peer has not taken. */
  get #waiting(): number {
    return this.at + this.#pieceBytes + this.#writingBytes;
  }

  get full(): boolean {
    return this.#waiting >= FULL_BYTES;
  }

  /** Whether the peer has not taken what it was sent. */
  get pending(): boolean {
    return this.#waiting > 0;
  }

  room(size: number): void {
    if (!this.#added) {
      this.#added = true;
      this.#outbox.add(this);
    }
    if (this.bytes.length - this.at >= size) return;
    this.#closePiece();
    const chunk = size <= CHUNK_BYTES ? free.pop() : undefined;
    this.bytes = chunk ?? Buffer.allocUnsafeSlow(Math.max(size, CHUNK_BYTES));
  }

  #closePiece(): void {
    if (this.at > 0) {
      const { bytes, at } = this;
      this.#pieces.push(at === bytes.length ? bytes : bytes.subarray(0, at));
      this.#pieceBytes += at;
    } else {
      give(this.bytes);
    }
    this.bytes = NOTHING;
    this.at = 0;
    this.serial++;
  }

  /** As a Sender: the turn ends. */
  send(): void {
    this.#added = false;
    if (this.#closed) {
      this.#forget();
    } else if (this.#held) {
      // It waits for the connection.
    } else if (this.#left === 0) {
      this.#write();
    } else {
      this.#judge();
    }
  }

  #write(): void {
    const { at } = this;
    this.serial++;
    if (this.#pieces.length === 0 && at > 0) {
      // The common case: one piece, which the kernel takes at once.
      const piece = this.bytes.subarray(0, at);
      this.#writingBytes = at;
      this.#left = 1;
      const { bytes } = this;
      this.bytes = NOTHING;
      this.at = 0;
      if (this.#writer.writeBytes(piece, this.#onTaken)) {
        give(bytes);
        this.#left = 0;
        this.#writingBytes = 0;
        this.taken++;
        this.#afterWrite();
      } else {
        this.#writing.push(piece);
        this.#judge();
      }
      return;
    }
    if (at > 0) this.#closePiece();
    this.#writing = this.#pieces;
    this.#writingBytes = this.#pieceBytes;
    this.#left = this.#writing.length;
    this.#pieces = [];
    this.#pieceBytes = 0;
    if (this.#left === 0) {
      this.#afterWrite();
      return;
    }
    this.#socket.cork();
    for (const piece of this.#writing) this.#socket.write(piece, this.#onTaken);
    this.#socket.uncork();
    this.#judge();
  }

  #taken(): void {
    this.taken++;
    if (--this.#left > 0 || this.#closed) return;
    for (const piece of this.#writing) give(piece);
    this.#writing = [];
    this.#writingBytes = 0;
    const more = this.#waiting > 0;
    if (more && !this.#added) this.#write();
    else if (!more) this.#afterWrite();
    this.#judge();
    if (!this.full) this.#host.outputDrained();
  }

  #afterWrite(): void {
    if (!this.#ends || this.#closed) return;
    this.#closed = true;
    this.#socket.end();
  }

  #judge(): void {
    const stalled = this.#waiting >= OVERFULL_BYTES;
    if (stalled === this.#stalled) return;
    this.#stalled = stalled;
    this.#host.outputStalled(stalled);
  }

  /** There is a connection: what was held leaves with this turn. */
  release(): void {
    this.#held = false;
    this.room(0);
  }

  /** Ends this side of the connection after what waits. */
  end(): void {
    if (this.#ends) return;
    this.#ends = true;
    if (!this.#added) {
      this.#added = true;
      this.#outbox.add(this);
    }
  }

  /** The socket is gone: what is written from now on goes nowhere. */
  close(): void {
    this.#closed = true;
    this.#forget();
  }

  #forget(): void {
    give(this.bytes);
    this.bytes = NOTHING;
    this.at = 0;
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.serial++;
  }
}

/** Keeps the memory of a piece for others, if it is one of the common size. */
function give(piece: Buffer): void {
  if (piece.byteLength === 0 || free.length >= FREE_MAX) return;
  const { buffer, byteOffset } = piece;
  if (byteOffset !== 0 || buffer.byteLength !== CHUNK_BYTES) return;
  free.push(piece.length === CHUNK_BYTES ? piece : Buffer.from(buffer, 0, CHUNK_BYTES));
}
