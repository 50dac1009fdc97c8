/**
 * One stream of a session: its state (RFC 9113 §5.1), its windows, and what of its body waits for them.
 * Who owns the exchange on it stands in proxy/; this is what both sides have in common.
 */
import type { FieldList } from "./field-list.ts";
import type { Session } from "./session.ts";

/** Pieces that wait and are shorter than the first are joined in memory of the second's size. */
const SHORT_BYTES = 512;
const JOINED_BYTES = 4096;

/** `K` is what the session remembers of header blocks (block-memory.ts). */
export abstract class Stream<K> {
  readonly session: Session<K>;
  id = 0;
  /** The peer, and this side, have said all they had to say. */
  remoteEnded = false;
  localEnded = false;
  /** When it was opened, and whether its answer has begun, interim ones aside. */
  openedMs = 0;
  answered = false;
  /** The stream is over; nothing of it is sent or told any more. */
  closed = false;
  /** Bytes that the peer takes and that it may send. */
  sendWindow: number;
  receiveWindow: number;
  /** Bytes of the peer's body that its head announced, -1 where it did not; and that came. */
  expectedBytes = -1;
  receivedBytes = 0;
  /** Credit that was not told to the peer yet. */
  credit = 0;
  /** Where the last frame of DATA stands, as long as `FrameSink.serial` is this. */
  dataAt = 0;
  dataSerial = -1;
  /** The peer's body is not wanted for now: no credit is given for what comes. */
  #paused = false;
  #unread = 0;
  /** Body that waits for the windows or the peer. */
  #queue: Buffer[] = [];
  #queueAt = 0;
  #queuedBytes = 0;
  /** Where the last piece of the queue goes on, if it is made of short ones; else null. */
  #joined: Buffer | null = null;
  /** The trailers that end the stream once the queue is empty; null while it goes on. */
  #ending: string | null = null;

  constructor(session: Session<K>) {
    this.session = session;
    this.sendWindow = session.initialSendWindow;
    this.receiveWindow = session.initialReceiveWindow;
  }

  /** A header block came, as `list` or, if `known` is not null, as what is known of it. */
  abstract fieldsCame(list: FieldList, known: K | null, ended: boolean): void;
  /** Bytes of the body, valid during the call. */
  abstract bodyCame(bytes: Buffer, start: number, end: number): void;
  /** The body is complete, and no trailers follow. */
  abstract endCame(): void;
  /**
   * The stream is over before its time: reset by the peer or for what the peer did, or with its
   * session. `refused`: the peer did nothing with it (RFC 9113 §8.7).
   */
  abstract brokeOff(code: number, refused: boolean): void;
  /** The stream is over, and all was said. */
  abstract finished(): void;
  /** What waited has been sent, and more is taken. */
  abstract drained(): void;

  /** Whether anything waits. */
  get waits(): boolean {
    return this.#queuedBytes > 0;
  }

  pauseBody(): void {
    this.#paused = true;
  }

  resumeBody(): void {
    this.#paused = false;
    if (this.#unread === 0) return;
    const bytes = this.#unread;
    this.#unread = 0;
    this.session.giveCredit(this, bytes);
  }

  get bodyPaused(): boolean {
    return this.#paused;
  }

  /** Bytes were taken by who owns the stream. */
  taken(bytes: number): void {
    if (this.#paused && !this.closed) this.#unread += bytes;
    else this.session.giveCredit(this, bytes);
  }

  /** Sends bytes; what has to wait is copied. */
  sendBytes(bytes: Buffer, start: number, end: number): void {
    if (this.closed || this.localEnded) return;
    const at = this.waits ? start : this.session.writeData(this, bytes, { start, end });
    if (at < end) this.#enqueue(Buffer.from(bytes.subarray(at, end)));
  }

  /** Sends bytes that do not change afterwards. */
  sendOwned(bytes: Buffer): void {
    if (this.closed || this.localEnded) return;
    const end = bytes.length;
    const at = this.waits ? 0 : this.session.writeData(this, bytes, { start: 0, end });
    if (at < end) this.#enqueue(at === 0 ? bytes : bytes.subarray(at));
  }

  #enqueue(bytes: Buffer): void {
    if (bytes.length >= SHORT_BYTES || this.#queue.length === 0) {
      this.#joined = null;
      this.#queue.push(bytes);
    } else {
      this.#join(bytes);
    }
    this.#queuedBytes += bytes.length;
    this.session.waiting.add(this);
  }

  /** A piece of one byte costs a hundred, and a peer may send a window full of them. */
  #join(bytes: Buffer): void {
    const queue = this.#queue;
    const joined = this.#joined;
    const last = queue.length - 1;
    const length = joined === null ? 0 : (queue[last] as Buffer).length;
    if (joined === null || length + bytes.length > joined.length) {
      this.#joined = Buffer.allocUnsafeSlow(JOINED_BYTES);
      bytes.copy(this.#joined);
      queue.push(this.#joined.subarray(0, bytes.length));
    } else {
      bytes.copy(joined, length);
      queue[last] = joined.subarray(0, length + bytes.length);
    }
  }

  /** Ends this side, after what waits; `trailers` are whole lines, "" for none. */
  end(trailers: string): void {
    if (this.closed || this.localEnded) return;
    if (this.waits) this.#ending = trailers;
    else this.session.writeEnd(this, trailers);
  }

  /** Sends on what waits, as far as that goes; true where nothing is left. */
  pump(): boolean {
    const queue = this.#queue;
    while (queue.length > 0) {
      const first = queue[0] as Buffer;
      const { length } = first;
      const at = this.session.writeData(this, first, { start: this.#queueAt, end: length });
      this.#queuedBytes -= at - this.#queueAt;
      this.#queueAt = at;
      if (at < length) return false;
      queue.shift();
      this.#queueAt = 0;
    }
    this.#joined = null;
    const ending = this.#ending;
    this.#ending = null;
    if (ending !== null) this.session.writeEnd(this, ending);
    return true;
  }

  /** Forgets what waits; returns the bytes that the peer was given no credit for. */
  drop(): number {
    this.#queue = [];
    this.#joined = null;
    this.#queueAt = 0;
    this.#queuedBytes = 0;
    this.#ending = null;
    const unread = this.#unread;
    this.#unread = 0;
    return unread;
  }
}
