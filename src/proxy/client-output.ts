/**
 * What one client is sent, gathered until the turn of the event loop ends (outbox.ts). Text is joined;
 * an answer that is known goes as bytes, from a slot that it is put in until then, for the buffer in
 * which it came is the next read's.
 */
import type { Socket } from "node:net";
import type { Outbox, Sender } from "./outbox.ts";
import { TextWriter } from "./text-writer.ts";

/** Characters that may wait for the end of a turn. */
const UNSENT_CHARS_MAX = 16 * 1024;
const SLOT_BYTES = 4096;
/** Answers of one turn that wait in slots; more go as text. */
const SLOTS_MAX = 256;

/** Memory for one answer. */
interface Slot {
  readonly memory: ArrayBuffer;
  /** The answer; kept for the next one, which is often as long. */
  bytes: Buffer;
}

/** The slots of a worker. */
export class Slots {
  readonly #free: Slot[] = [];
  #made = 0;

  take(length: number): Slot | null {
    if (length > SLOT_BYTES) return null;
    let slot = this.#free.pop();
    if (slot === undefined) {
      if (this.#made >= SLOTS_MAX) return null;
      this.#made++;
      const memory = new ArrayBuffer(SLOT_BYTES);
      slot = { memory, bytes: Buffer.from(memory, 0, length) };
    }
    if (slot.bytes.length !== length) slot.bytes = Buffer.from(slot.memory, 0, length);
    return slot;
  }

  give(slot: Slot): void {
    this.#free.push(slot);
  }

  /** The kernel has not taken it all: it is left to the write, and another may be made. */
  leave(): void {
    this.#made--;
  }
}

export class ClientOutput implements Sender {
  readonly #socket: Socket;
  readonly #writer: TextWriter;
  readonly #outbox: Outbox;
  readonly #slots: Slots;
  #corked = false;
  #closed = false;
  /** Written and to be sent at the end of this turn of the event loop; "" while corked. */
  #unsent = "";
  /** In place of text: a known answer. */
  #slot: Slot | null = null;

  /** `direct` is for sockets whose handle is the kernel's: not for TLS. */
  constructor(
    socket: Socket,
    { outbox, slots }: { outbox: Outbox; slots: Slots },
    direct: boolean,
  ) {
    this.#socket = socket;
    this.#writer = new TextWriter(socket, direct);
    this.#outbox = outbox;
    this.#slots = slots;
  }

  /** Whether something sent has not been taken by the kernel yet. */
  get pending(): boolean {
    return this.#writer.pending;
  }

  /** Nothing more is written. What was, leaves. */
  close(): void {
    this.send();
    this.#closed = true;
  }

  /**
   * Ends this side of the connection behind what was written. True where all of it is sent; else
   * `onSent` hears of that, which over TLS is soon, but never at once.
   */
  end(onSent: () => void): boolean {
    this.send();
    const sent = !this.pending;
    if (sent) this.#socket.end();
    else this.#socket.end(onSent);
    return sent;
  }

  write(text: string): void {
    if (this.#closed) return;
    if (this.#corked) {
      this.#socket.write(text, "latin1");
      return;
    }
    if (this.#slot !== null) this.send();
    if (this.#unsent === "") this.#outbox.add(this);
    this.#unsent += text;
    if (this.#unsent.length > UNSENT_CHARS_MAX) this.send();
  }

  /** Writes `head`, and `body` from `start` to `end`, which are valid during the call. */
  writeAnswer(head: Buffer, body: Buffer, { start, end }: { start: number; end: number }): void {
    if (this.#closed) return;
    const waits = this.#corked || this.#unsent !== "" || this.#slot !== null;
    const slot = waits ? null : this.#slots.take(head.length + end - start);
    if (slot === null) {
      this.write(head.toString("latin1") + body.toString("latin1", start, end));
      return;
    }
    slot.bytes.set(head);
    body.copy(slot.bytes, head.length, start, end);
    this.#slot = slot;
    this.#outbox.add(this);
  }

  /** As a Sender: the turn ends. Also whenever something must come after what was written. */
  send(): void {
    const slot = this.#slot;
    if (slot !== null) {
      this.#slot = null;
      if (this.#socket.destroyed || this.#writer.writeBytes(slot.bytes)) this.#slots.give(slot);
      else this.#slots.leave();
      return;
    }
    const text = this.#unsent;
    this.#unsent = "";
    if (text !== "" && !this.#socket.destroyed) this.#writer.write(text);
  }

  writeBytes(bytes: Buffer): void {
    if (!this.#closed) this.#socket.write(bytes);
  }

  /** Gathers what is written until `uncork`, so that it leaves in one system call. */
  cork(): void {
    if (this.#corked) return;
    this.send();
    this.#corked = true;
    this.#socket.cork();
  }

  uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }
}
