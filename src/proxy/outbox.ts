/**
 * Messages that leave together: what the reads of one turn of the event loop brought about is written
 * at that turn's end. A peer that sleeps is then woken once for many messages, and not once for each,
 * which is dear on the machine that sends; and the code of the proxy and of the kernel take turns in
 * the caches less often. Nothing waits for longer than the turn takes.
 */

/** What has something to write. */
export interface Sender {
  /** Writes it. Called once for each `add`; what there was to say may be void by then. */
  send(): void;
}

export class Outbox {
  #waiting: Sender[] = [];
  #sending: Sender[] = [];
  /** Hears of a bug of whoever sends. */
  readonly onBug: (error: unknown) => void;
  readonly #sendAll = (): void => this.#send();

  /** `onBug` hears of exceptions; they cost the sender that raised them, and no other. */
  constructor(onBug: (error: unknown) => void) {
    this.onBug = onBug;
  }

  add(sender: Sender): void {
    if (this.#waiting.length === 0) setImmediate(this.#sendAll);
    this.#waiting.push(sender);
  }

  #send(): void {
    const due = this.#waiting;
    this.#waiting = this.#sending;
    this.#sending = due;
    for (const sender of due) {
      try {
        sender.send();
      } catch (error) {
        this.onBug(error);
      }
    }
    due.length = 0;
  }
}
