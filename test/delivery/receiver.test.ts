/** The worker's side: real delivery, receiver and linker over a real channel, in one thread. */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { systemClock } from "../../src/base/clock.ts";
import type { Part } from "../../src/compile/program.ts";
import { createDelivery, type Delivery } from "../../src/delivery/delivery.ts";
import type { PartFailure, ProgramMessage, WorkerMessage } from "../../src/process/messages.ts";
import { matchRule } from "../../src/proxy/match.ts";
import { Receiver } from "../../src/proxy/receiver.ts";
import type { Snapshot } from "../../src/proxy/snapshot.ts";
import {
  newBench,
  oneHost,
  prefixOf,
  request,
  rule,
  socketOf,
  type Bench,
} from "../support/linking.ts";

interface Worker extends Bench {
  readonly receiver: Receiver;
  /** The route that answers `target`. */
  readonly route: (target: string) => string | undefined;
}

type Apply = (snapshot: Snapshot) => Promise<readonly PartFailure[]>;

function newWorker(apply: Apply = () => Promise.resolve([])): Worker {
  const bench = newBench();
  const receiver = new Receiver({ linker: bench.linker, apply, clock: systemClock });
  const route = (target: string): string | undefined =>
    matchRule(socketOf(bench), request({ target }))?.rule.route;
  return { ...bench, receiver, route };
}

class Control {
  readonly delivery: Delivery;
  readonly #events = new EventEmitter();

  constructor(worker: Worker) {
    this.delivery = createDelivery({
      gates: worker.gates,
      rows: worker.reader,
      clock: systemClock,
      onAcknowledged: () => this.#events.emit("acknowledged"),
    });
    const { port1, port2 } = new MessageChannel();
    worker.receiver.attach(port2);
    this.delivery.addWorker(0, port1);
  }

  /** Publishes and waits until it is served. */
  async publish(parts: readonly Part[], credentials: Record<string, string> = {}): Promise<void> {
    const generation = this.delivery.publish({
      parts: new Map(parts.map((part) => [part.key, part])),
      credentials: new Map(Object.entries(credentials)),
      routesOf: new Map(),
    });
    while (this.delivery.acknowledgedGeneration < generation) {
      await once(this.#events, "acknowledged", { signal: AbortSignal.timeout(5000) });
    }
  }
}

/** The worker's messages, one after the other. */
function reader(port: MessagePort): () => Promise<WorkerMessage> {
  const messages: WorkerMessage[] = [];
  const events = new EventEmitter();
  port.on("message", (message: WorkerMessage) => {
    messages.push(message);
    events.emit("message");
  });
  return async () => {
    for (;;) {
      const message = messages.shift();
      if (message !== undefined) return message;
      await once(events, "message", { signal: AbortSignal.timeout(5000) });
    }
  };
}

const TWO = oneHost([prefixOf("/a", "a"), prefixOf("/", "rest")], [rule("a"), rule("rest")]);

test("what is published is served, and what is withdrawn is not", async () => {
  const worker = newWorker();
  const control = new Control(worker);
  await control.publish(TWO);
  assert.equal(worker.route("/a/b"), "a");
  assert.equal(worker.route("/b"), "rest");
  await control.publish(TWO.filter((part) => part.key !== rule("a").key));
  assert.equal(worker.route("/a"), undefined);
  await control.publish(TWO);
  assert.equal(worker.route("/a"), "a");
  await control.publish(TWO.filter((part) => part.type !== "page"));
  assert.equal(worker.route("/b"), undefined);
  await control.publish([]);
  assert.equal(worker.linker.snapshot.sockets.size, 0);
  assert.equal(worker.linker.keyCount, 0);
  control.delivery.close();
  worker.receiver.close();
});

test("a worker serves on without a control thread", async () => {
  const worker = newWorker();
  const first = new Control(worker);
  await first.publish(TWO);
  await first.publish([...TWO, rule("more")]);
  first.delivery.close();
  assert.equal(worker.route("/a"), "a");

  const { port1, port2 } = new MessageChannel();
  const next = reader(port1);
  worker.receiver.attach(port2);
  const have = await next();
  assert.ok(have.type === "have" && have.last);
  assert.equal(have.generation, 2);
  const keys = have.hashes.map(([key]) => key).toSorted();
  assert.deepEqual(keys, [...TWO, rule("more")].map((part) => part.key).toSorted());
  // Half a generation, and then this control thread dies as well.
  const half: ProgramMessage = { type: "remove", generation: 3, keys };
  port1.postMessage(half);
  assert.equal((await next()).type, "received");

  const second = new Control(worker);
  await second.publish([...TWO, rule("more"), rule("yet more")]);
  assert.equal(second.delivery.acknowledgedGeneration, 3);
  assert.equal(worker.route("/a"), "a", "the half generation was never committed");
  second.delivery.close();
  worker.receiver.close();
});

test("generations that arrive while one is being applied are put in place as one", async () => {
  const applied: number[] = [];
  const gate = Promise.withResolvers<readonly PartFailure[]>();
  const worker = newWorker((snapshot) => {
    applied.push(snapshot.generation);
    return applied.length === 1 ? gate.promise : Promise.resolve([]);
  });
  const { port1, port2 } = new MessageChannel();
  const next = reader(port1);
  worker.receiver.attach(port2);
  await next();
  for (let generation = 1; generation <= 5; generation++) {
    const envelope = { part: rule(`r${generation}`), hash: `${generation}` };
    const messages: ProgramMessage[] = [
      { type: "parts", generation, parts: [envelope] },
      { type: "commit", generation },
    ];
    for (const message of messages) port1.postMessage(message);
  }
  for (let count = 0; count < 10; count++) assert.equal((await next()).type, "received");
  gate.resolve([{ key: "socket/x", message: "taken" }]);
  assert.deepEqual(await next(), {
    type: "ack",
    generation: 1,
    failures: [{ key: "socket/x", message: "taken" }],
  });
  assert.deepEqual(await next(), { type: "ack", generation: 5, failures: [] });
  assert.deepEqual(applied, [1, 5]);
  assert.equal([...worker.linker.hashes()].length, 5);
  port1.close();
  worker.receiver.close();
});

test("a part larger than a message arrives whole", async () => {
  const worker = newWorker();
  const control = new Control(worker);
  const entries = Array.from({ length: 3000 }, (_, index) => prefixOf(`/süß-${index}`, "a"));
  const parts = [...oneHost(entries, [rule("a")])];
  await control.publish(parts);
  assert.equal(worker.route("/süß-2999/x"), "a");
  control.delivery.close();
  worker.receiver.close();
});

test("a part that nothing can be made of is reported, and the others are served", async () => {
  const worker = newWorker();
  const control = new Control(worker);
  const bad = { type: "keyPage", key: "keys/bad" } as unknown as Part;
  await control.publish([...TWO, bad]);
  assert.equal(worker.route("/a"), "a");
  assert.ok(control.delivery.failures().has("keys/bad"));
  await control.publish(TWO);
  assert.equal(control.delivery.failures().size, 0);
  control.delivery.close();
  worker.receiver.close();
});
