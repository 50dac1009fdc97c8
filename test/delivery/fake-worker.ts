/**
 * The far end of a delivery channel, played by a test: records what comes and acknowledges when
 * told.
 */
import { once } from "node:events";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { serialize } from "node:v8";
import type { PartKey } from "../../src/compile/program.ts";
import type { Delivery } from "../../src/delivery/delivery.ts";
import type { PartFailure, ProgramMessage, WorkerMessage } from "../../src/process/messages.ts";

export class FakeWorker {
  readonly messages: ProgramMessage[] = [];
  bytesMax = 0;
  readonly #port: MessagePort;
  readonly #waiting: { fits: () => boolean; resolve: () => void }[] = [];

  constructor(
    delivery: Delivery,
    index: number,
    have: readonly (readonly [PartKey, string])[] = [],
    generation = 0,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port2;
    port2.on("message", (message: ProgramMessage) => {
      this.messages.push(message);
      this.bytesMax = Math.max(this.bytesMax, serialize(message).length);
      this.#post({ type: "received" });
      for (const waiter of this.#waiting) if (waiter.fits()) waiter.resolve();
    });
    delivery.addWorker(index, port1);
    this.#post({ type: "have", hashes: have, generation, last: true });
  }

  /** Waits for the commit of `generation`; returns all messages of it. */
  async committed(generation: number): Promise<readonly ProgramMessage[]> {
    const fits = (): boolean =>
      this.messages.some((one) => one.type === "commit" && one.generation === generation);
    if (!fits()) {
      await new Promise<void>((resolve) => this.#waiting.push({ fits, resolve }));
    }
    return this.messages.filter((one) => one.generation === generation);
  }

  acknowledge(generation: number, failures: readonly PartFailure[] = []): void {
    this.#post({ type: "ack", generation, failures });
  }

  async close(): Promise<void> {
    const closed = once(this.#port, "close");
    this.#port.close();
    await closed;
  }

  #post(message: WorkerMessage): void {
    this.#port.postMessage(message);
  }
}

/** The keys that messages bring, in order of the alphabet. */
export function keysOf(messages: readonly ProgramMessage[]): readonly PartKey[] {
  const keys = messages.flatMap((message) => {
    if (message.type === "parts") return message.parts.map(({ part }) => part.key);
    return message.type === "remove" ? message.keys.map((key) => `-${key}`) : [];
  });
  return keys.toSorted();
}
