/**
 * Which streams of a session wait, and for what: for the connection's window, or for the peer to take what it
 * was sent. A window may be opened a byte at a time, so no frame may cost a look at all that wait.
 */
import type { Session } from "./session.ts";
import type { Stream } from "./stream.ts";

export class Waiting<K> {
  readonly #session: Session<K>;
  /** Streams whose bodies wait for the connection's window, and such as wait for the sink alone. */
  readonly #forWindow = new Set<Stream<K>>();
  readonly #forSink = new Set<Stream<K>>();

  constructor(session: Session<K>) {
    this.#session = session;
  }

  /**
   * The stream waits for a window, or for the peer to take what it was sent. What waits for a window of its
   * own is not kept: the frame that opens it names the stream.
   */
  add(stream: Stream<K>): void {
    if (!stream.waits) this.#forSink.add(stream);
    else if (stream.sendWindow > 0) this.#forWindow.add(stream);
  }

  /** Sends what waited, one stream after the other, as far as the windows and the sink go. */
  pump(): void {
    for (let count = this.#forSink.size; count > 0 && !this.#session.sink.full; count--) {
      this.#pumpFirst(this.#forSink);
    }
    for (let count = this.#forWindow.size; count > 0 && this.#sends; count--) {
      this.#pumpFirst(this.#forWindow);
    }
  }

  get #sends(): boolean {
    return this.#session.sendWindow > 0 && !this.#session.sink.full;
  }

  #pumpFirst(waiting: Set<Stream<K>>): void {
    const [stream] = waiting;
    if (stream !== undefined) this.pumpStream(stream);
  }

  /** The same of one stream. */
  pumpStream(stream: Stream<K>): void {
    // If it has to wait on, then behind the others, which had to wait as well.
    this.delete(stream);
    if (stream.closed) return;
    const isTaken = stream.pump();
    if (stream.closed) return;
    if (!isTaken || this.#session.sink.full) {
      this.add(stream);
      return;
    }
    try {
      stream.drained();
    } catch (error) {
      this.#session.host.bug(stream, error);
    }
  }

  /** The stream waits no more. */
  delete(stream: Stream<K>): void {
    this.#forWindow.delete(stream);
    this.#forSink.delete(stream);
  }
}
