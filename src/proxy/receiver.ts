/**
 * The worker's end of delivery: takes in the messages of a generation, links what changed in slices
 * of at most 2 ms, puts it in place at once, opens and closes sockets, and acknowledges. Traffic is
 * served on the last snapshot meanwhile, and goes on being served if the control thread goes away;
 * the next one is told what is already here.
 *
 * Generations that pile up while one is being linked are merged into one step.
 */
import type { MessagePort } from "node:worker_threads";
import type { Clock } from "../base/clock.ts";
import type { Part, PartKey } from "../compile/program.ts";
import type {
  PartEnvelope,
  PartFailure,
  ProgramMessage,
  WorkerMessage,
} from "../process/messages.ts";
import type { Batch, Linker, Prepared } from "./link.ts";
import type { Snapshot } from "./snapshot.ts";

/** How long linking may hold the event loop at a time. */
const SLICE_MS_MAX = 2;
/** Pairs of key and hash in one `have` message. */
const HASHES_PER_MESSAGE = 500;

export interface ReceiverOptions {
  readonly linker: Linker;
  /**
   * Opens and closes sockets as the snapshot has them; resolves to those that could not be opened.
   */
  readonly apply: (snapshot: Snapshot) => Promise<readonly PartFailure[]>;
  readonly clock: Clock;
}

/** A generation that is being taken in, or several that wait to be linked as one. */
interface Staged {
  generation: number;
  readonly parts: Map<PartKey, PartEnvelope | null>;
  readonly credentials: Map<string, string | null>;
}

export class Receiver {
  readonly #options: ReceiverOptions;
  #port: MessagePort | undefined;
  #open: Staged = newStaged();
  /** Text of a part that comes in pieces. */
  #pieces = "";
  #waiting: Staged | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  /** Listens to a control thread's end of the channel, in place of the one before. */
  attach(port: MessagePort): void {
    this.#port?.removeAllListeners("message");
    this.#port?.close();
    this.#port = port;
    this.#open = newStaged();
    this.#pieces = "";
    port.on("message", (message: ProgramMessage) => {
      if (port === this.#port) this.#take(message, port);
    });
    // What is being linked must be in place before the new control thread is told what is here.
    void (this.#running ?? Promise.resolve()).then(async () => this.#sayWhatIsHere(port));
  }

  /** Stops listening; what is linked goes on being served. */
  close(): void {
    this.#port?.removeAllListeners("message");
    this.#port?.close();
    this.#port = undefined;
  }

  /** One message in each turn of the event loop: there may be tens of thousands of parts. */
  async #sayWhatIsHere(port: MessagePort): Promise<void> {
    const { linker } = this.#options;
    const { generation } = linker.snapshot;
    let hashes: (readonly [PartKey, string])[] = [];
    for (const pair of linker.hashes()) {
      hashes.push(pair);
      if (hashes.length < HASHES_PER_MESSAGE) continue;
      post(port, { type: "have", hashes, generation, last: false });
      hashes = [];
      await nextTurn();
      if (port !== this.#port) return;
    }
    if (port === this.#port) post(port, { type: "have", hashes, generation, last: true });
  }

  #take(message: ProgramMessage, port: MessagePort): void {
    this.#open.generation = message.generation;
    switch (message.type) {
      case "parts":
        for (const envelope of message.parts) this.#open.parts.set(envelope.part.key, envelope);
        break;
      case "piece":
        this.#takePiece(message);
        break;
      case "remove":
        for (const key of message.keys) this.#open.parts.set(key, null);
        break;
      case "credentials":
        for (const [ref, value] of message.values) this.#open.credentials.set(ref, value);
        break;
      case "commit":
        this.#commit();
        break;
    }
    // Node hands over all messages that are there in one turn of the event loop. The next one is
    // therefore asked for in a later turn, so that traffic comes in between.
    setImmediate(() => post(port, { type: "received" }));
  }

  #takePiece(message: ProgramMessage & { readonly type: "piece" }): void {
    this.#pieces += message.text;
    if (!message.last) return;
    const part = JSON.parse(this.#pieces) as Part;
    this.#pieces = "";
    this.#open.parts.set(part.key, { part, hash: message.hash });
  }

  #commit(): void {
    const staged = this.#open;
    this.#open = newStaged();
    if (this.#waiting === undefined) this.#waiting = staged;
    else {
      for (const [key, envelope] of staged.parts) this.#waiting.parts.set(key, envelope);
      for (const [ref, value] of staged.credentials) this.#waiting.credentials.set(ref, value);
      this.#waiting.generation = staged.generation;
    }
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async #run(): Promise<void> {
    for (let batch = this.#next(); batch !== undefined; batch = this.#next()) {
      const port = this.#port;
      const { linker } = this.#options;
      const snapshot = linker.commit(await this.#prepare(batch));
      // Also where no socket changed: one that could not be opened is tried again.
      const failures = [...linker.failures, ...(await this.#options.apply(snapshot))];
      // A new control thread has not sent this generation; it learns of it by `have`.
      if (port !== undefined && port === this.#port) {
        post(port, { type: "ack", generation: batch.generation, failures });
      }
    }
  }

  #next(): Batch | undefined {
    const batch = this.#waiting;
    this.#waiting = undefined;
    return batch;
  }

  async #prepare(batch: Batch): Promise<Prepared> {
    const { linker, clock } = this.#options;
    const steps = linker.prepare(batch);
    for (;;) {
      const untilMs = clock.monotonic() + SLICE_MS_MAX;
      do {
        const step = steps.next();
        if (step.done === true) return step.value;
      } while (clock.monotonic() < untilMs);
      await nextTurn();
    }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function newStaged(): Staged {
  return { generation: 0, parts: new Map(), credentials: new Map() };
}

function post(port: MessagePort, message: WorkerMessage): void {
  port.postMessage(message);
}
