/** The control side: what travels, what counts as acknowledged, and when gates and rows go. */
import assert from "node:assert/strict";
import { once, EventEmitter } from "node:events";
import { test } from "node:test";
import { systemClock, type Clock } from "../../src/base/clock.ts";
import type { Part, RulePart } from "../../src/compile/program.ts";
import { createDelivery, type Delivery, type Publishable } from "../../src/delivery/delivery.ts";
import {
  RETENTION_MS,
  type GateSlots,
  type MetricRow,
  type RowSlots,
} from "../../src/delivery/ledger.ts";
import { MESSAGE_BYTES_MAX } from "../../src/process/messages.ts";
import { Gates } from "../../src/shared/gates.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import {
  MetricReader,
  MetricRecorder,
  UNMATCHED_ROUTE,
  WORKER_KEY,
} from "../../src/shared/metrics.ts";
import { VirtualClock } from "../support/clock.ts";
import { rule, split } from "../support/linking.ts";
import { eventually } from "../support/upstream.ts";
import { FakeWorker, keysOf } from "./fake-worker.ts";

/** Slots that only note what is done to them. */
class NotedSlots implements GateSlots, RowSlots {
  readonly gates = new Map<string, boolean>();
  readonly rows = new Set<string>();
  reserve(first: string, second?: string): void {
    if (second === undefined) this.gates.set(first, this.gates.get(first) ?? true);
    else this.rows.add(`${first}|${second}`);
  }
  set(armId: string, open: boolean): void {
    this.gates.set(armId, open);
  }
  remove(first: string, second?: string): void {
    if (second === undefined) this.gates.delete(first);
    else this.rows.delete(`${first}|${second}`);
  }
  keepOnly(kept: Iterable<string | MetricRow>): void {
    const names = new Set<string>();
    let ofRows = false;
    for (const one of kept) {
      ofRows = typeof one !== "string";
      names.add(typeof one === "string" ? one : `${one.route}|${one.armId}`);
    }
    for (const name of ofRows ? this.rows : this.gates.keys()) {
      if (names.has(name)) continue;
      this.rows.delete(name);
      this.gates.delete(name);
    }
  }
}

interface Fixture {
  readonly delivery: Delivery;
  readonly slots: NotedSlots;
  /** Resolves at the next acknowledged generation. */
  readonly next: () => Promise<unknown>;
}

function fixture(clock: Clock = systemClock): Fixture {
  const slots = new NotedSlots();
  const delivery = createDelivery({ gates: slots, rows: slots, clock });
  const events = new EventEmitter();
  delivery.onAcknowledged(() => events.emit("acknowledged"));
  return {
    delivery,
    slots,
    next: () => once(events, "acknowledged", { signal: AbortSignal.timeout(5000) }),
  };
}

function program(parts: readonly Part[], credentials: Record<string, string> = {}): Publishable {
  return {
    parts: new Map(parts.map((part) => [part.key, part])),
    credentials: new Map(Object.entries(credentials)),
    routesOf: new Map([[split("b", 0).key, ["default/r"]]]),
  };
}

const toB = (name: string): RulePart =>
  rule(name, { backends: [{ weight: 1, split: split("b", 0).key }] });
const SPLIT = split("b", 0).key;
const CANARY = "Backend/default/b@2";

test("only what changed travels, by content and not by object", async () => {
  const { delivery } = fixture();
  const worker = new FakeWorker(delivery, 0);
  const parts = [rule("a"), rule("b"), split("b", 500)];
  assert.equal(delivery.publish(program(parts)), 1);
  assert.deepEqual(keysOf(await worker.committed(1)), parts.map((part) => part.key).toSorted());
  worker.acknowledge(1);
  assert.equal(
    delivery.publish(program(structuredClone(parts))),
    1,
    "equal content is no generation",
  );
  assert.equal(delivery.publish(program([rule("a"), rule("b"), split("b", 600)])), 2);
  assert.deepEqual(keysOf(await worker.committed(2)), [SPLIT]);
  worker.acknowledge(2);
  delivery.publish(program([rule("a"), split("b", 600), rule("c")]));
  assert.deepEqual(keysOf(await worker.committed(3)), [`-${rule("b").key}`, rule("c").key]);
  delivery.close();
});

test("credentials travel beside the parts, and are taken back", async () => {
  const { delivery } = fixture();
  const worker = new FakeWorker(delivery, 0);
  delivery.publish(program([], { "Secret/a": "1", "Secret/b": "2" }));
  await worker.committed(1);
  worker.acknowledge(1);
  delivery.publish(program([], { "Secret/b": "3" }));
  const messages = await worker.committed(2);
  assert.deepEqual(messages[0], {
    type: "credentials",
    generation: 2,
    values: [
      ["Secret/b", "3"],
      ["Secret/a", null],
    ],
  });
  delivery.close();
});

test("no message exceeds its limit, not even for a part that does", async () => {
  const { delivery } = fixture();
  const worker = new FakeWorker(delivery, 0);
  const entries = Array.from({ length: 5000 }, (_, index) => ({
    path: { type: "Exact" as const, value: `/ü/${index}` },
    rule: rule("a").key,
  }));
  const many = Array.from({ length: 3000 }, (_, index) => rule(`default/route-${index}`));
  delivery.publish(program([...many, { type: "page", key: "page/big", entries }]));
  const messages = await worker.committed(1);
  assert.ok(worker.bytesMax <= MESSAGE_BYTES_MAX, `${worker.bytesMax}`);
  assert.ok(messages.length > 10);
  const pieces = messages.filter((message) => message.type === "piece");
  const text = pieces.map((piece) => piece.text).join("");
  assert.deepEqual(JSON.parse(text), { type: "page", key: "page/big", entries });
  delivery.close();
});

test("acknowledged is what every live worker serves", async () => {
  const { delivery, next } = fixture();
  const weight = (): number | undefined => delivery.acknowledgedSplit(SPLIT)?.arms[0]?.weightBp;
  const [a, b] = [new FakeWorker(delivery, 0), new FakeWorker(delivery, 1)];
  delivery.publish(program([split("b", 100)]));
  await Promise.all([a.committed(1), b.committed(1)]);
  assert.equal(weight(), undefined);
  let acknowledged = next();
  a.acknowledge(1);
  b.acknowledge(1);
  await acknowledged;
  assert.equal(weight(), 100);
  delivery.publish(program([split("b", 200)]));
  await Promise.all([a.committed(2), b.committed(2)]);
  a.acknowledge(2);
  // A worker that joins serves nothing older than what it is sent first, so nothing goes back.
  const c = new FakeWorker(delivery, 2);
  await c.committed(2);
  assert.equal(weight(), 100);
  acknowledged = next();
  await b.close();
  await acknowledged;
  assert.equal(weight(), 200, "a worker that left is not waited for");
  delivery.publish(program([split("b", 300)]));
  await a.committed(3);
  a.acknowledge(3);
  c.acknowledge(2);
  await c.committed(3);
  assert.equal(weight(), 200);
  acknowledged = next();
  c.acknowledge(3);
  await acknowledged;
  assert.equal(weight(), 300);
  assert.deepEqual(delivery.routesOf(SPLIT), ["default/r"]);
  delivery.removeWorker(0);
  delivery.removeWorker(2);
  assert.equal(weight(), undefined);
  delivery.close();
});

test("a worker that is replaced is waited for as before", async () => {
  const { delivery, next } = fixture();
  const [a, b] = [new FakeWorker(delivery, 0), new FakeWorker(delivery, 1)];
  delivery.publish(program([split("b", 100)]));
  const sent = (await b.committed(1)).flatMap((message) =>
    message.type === "parts" ? message.parts : [],
  );
  await a.committed(1);
  let acknowledged = next();
  a.acknowledge(1);
  b.acknowledge(1);
  await acknowledged;
  delivery.publish(program([split("b", 0)]));
  await a.committed(2);
  a.acknowledge(2);
  delivery.publish(program([split("b", 50)]));
  await a.committed(3);
  // A second channel to the worker that still serves the first generation.
  const have = sent.map(({ part, hash }) => [part.key, hash] as const);
  const again = new FakeWorker(delivery, 1, have, 1);
  assert.equal(delivery.acknowledgedGeneration, 1);
  await again.committed(3);
  assert.equal(delivery.acknowledgedGeneration, 1);
  acknowledged = next();
  again.acknowledge(3);
  await acknowledged;
  assert.equal(delivery.acknowledgedGeneration, 2, "as far as the other has come");
  delivery.close();
});

test("generations that pile up behind a slow worker go as one", async () => {
  const { delivery, next } = fixture();
  const worker = new FakeWorker(delivery, 0);
  delivery.publish(program([split("b", 1)]));
  await worker.committed(1);
  for (let weightBp = 2; weightBp <= 50; weightBp++) {
    delivery.publish(program([split("b", weightBp), ...(weightBp === 30 ? [rule("gone")] : [])]));
  }
  worker.acknowledge(1);
  assert.deepEqual(keysOf(await worker.committed(50)), [SPLIT]);
  assert.equal(worker.messages.filter((message) => message.type === "commit").length, 2);
  const acknowledged = next();
  worker.acknowledge(50);
  await acknowledged;
  assert.equal(delivery.acknowledgedGeneration, 50);
  delivery.close();
});

test("a new control thread goes on above what its workers serve", async () => {
  const first = fixture();
  const parts = [rule("a"), rule("b"), split("b", 500)];
  const before = new FakeWorker(first.delivery, 0);
  first.delivery.publish(program(parts));
  const sent = (await before.committed(1)).flatMap((message) =>
    message.type === "parts" ? message.parts : [],
  );
  first.delivery.close();
  const have = [
    ...sent.map(({ part, hash }) => [part.key, hash] as const),
    ["rule/old", "0"] as const,
  ];

  const { delivery, next } = fixture();
  const early = delivery.publish(program([rule("a"), rule("b"), split("b", 600)]));
  assert.equal(early, 1);
  const worker = new FakeWorker(delivery, 0, have, 41);
  assert.deepEqual(keysOf(await worker.committed(42)), ["-rule/old", SPLIT]);
  assert.equal(
    delivery.acknowledgedSplit(SPLIT),
    undefined,
    "what it serves meanwhile is not known",
  );
  const acknowledged = next();
  worker.acknowledge(42);
  await acknowledged;
  assert.equal(delivery.acknowledgedSplit(SPLIT)?.arms[0]?.weightBp, 600);
  assert.equal(delivery.publish(program([])), 43);
  delivery.close();
});

test("what a worker could not put to work is known until it can", async () => {
  const { delivery, next } = fixture();
  const worker = new FakeWorker(delivery, 0);
  delivery.publish(program([rule("a")]));
  await worker.committed(1);
  let acknowledged = next();
  worker.acknowledge(1, [{ key: "socket/x", message: "EADDRINUSE" }]);
  await acknowledged;
  assert.deepEqual([...delivery.failures()], [["socket/x", "EADDRINUSE"]]);
  delivery.publish(program([rule("b")]));
  await worker.committed(2);
  acknowledged = next();
  worker.acknowledge(2);
  await acknowledged;
  assert.equal(delivery.failures().size, 0);
  delivery.close();
});

test("what a worker that comes in another's place cannot do is told, and tried again", async (t) => {
  const clock = new VirtualClock();
  const { delivery } = fixture(clock);
  t.after(() => delivery.close());
  let told = 0;
  delivery.onAcknowledged(() => told++);
  const stays = new FakeWorker(delivery, 0);
  const goes = new FakeWorker(delivery, 1);
  delivery.publish(program([rule("a")]));
  await Promise.all([stays.committed(1), goes.committed(1)]);
  for (const one of [stays, goes]) one.acknowledge(1);
  await eventually(() => told === 1);
  const comes = new FakeWorker(delivery, 1);
  await comes.committed(1);
  comes.acknowledge(1, [{ key: "socket/x", message: "EMFILE" }]);
  await eventually(() => told === 2);
  assert.deepEqual([...delivery.failures()], [["socket/x", "EMFILE"]]);
  await clock.advanceSettled(5000);
  await Promise.all([stays.committed(2), comes.committed(2)]);
  for (const one of [stays, comes]) one.acknowledge(2);
  await eventually(() => told === 3);
  assert.equal(delivery.failures().size, 0);
});

test("a gate opens before its arm gets weight and closes once it has none", async () => {
  const { delivery, slots, next } = fixture();
  const worker = new FakeWorker(delivery, 0);
  const step = async (weightBp: number): Promise<void> => {
    const generation = delivery.publish(program([split("b", weightBp), toB("r")]));
    await worker.committed(generation);
    const acknowledged = next();
    worker.acknowledge(generation);
    await acknowledged;
  };
  let heard: boolean | undefined;
  delivery.onAcknowledged(() => {
    heard = slots.gates.get(CANARY);
  });
  await step(500);
  assert.equal(heard, true);
  const generation = delivery.publish(program([split("b", 0), toB("r")]));
  await worker.committed(generation);
  assert.equal(slots.gates.get(CANARY), true, "until every worker has swapped");
  const acknowledged = next();
  worker.acknowledge(generation);
  await acknowledged;
  assert.equal(heard, false);
  await step(700);
  assert.equal(heard, true);

  delivery.setGate(CANARY, false);
  assert.equal(slots.gates.get(CANARY), false, "an abort waits for no generation");
  await step(800);
  assert.equal(slots.gates.get(CANARY), false, "and no generation undoes it");
  delivery.setGate(CANARY, true);
  assert.equal(slots.gates.get(CANARY), true);

  await step(10_000);
  assert.equal(slots.gates.get("Backend/default/b@1"), true, "stable takes over when it must");
  delivery.setGate("Backend/default/b@0", false);
  assert.ok(!slots.gates.has("Backend/default/b@0"), "an arm of long ago gets no gate");
  delivery.close();
});

test("rows and gates are reserved early and given back late", async () => {
  let nowMs = 0;
  const timers: (() => void)[] = [];
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    after: (_delayMs, action) => {
      timers.push(action);
      return () => timers.splice(timers.indexOf(action), 1);
    },
  };
  const { delivery, slots, next } = fixture(clock);
  const worker = new FakeWorker(delivery, 0);
  const step = async (parts: readonly Part[]): Promise<void> => {
    const generation = delivery.publish(program(parts));
    await worker.committed(generation);
    const acknowledged = next();
    worker.acknowledge(generation);
    await acknowledged;
  };
  const all = ["r|", `r|${CANARY}`, "r|Backend/default/b@1"];
  await step([toB("r"), split("b", 500)]);
  assert.deepEqual([...slots.rows], all);
  assert.deepEqual(
    [...delivery.rows()].map(({ route, armId }) => `${route}|${armId}`),
    all,
  );
  await step([toB("r"), { ...split("b", 0), arms: split("b", 0).arms.slice(1) }]);
  assert.deepEqual([...slots.rows], all);
  assert.equal(slots.gates.get(CANARY), false);
  nowMs += RETENTION_MS - 1;
  for (const timer of timers.splice(0)) timer();
  assert.deepEqual([...slots.rows], all);
  nowMs += 1;
  for (const timer of timers.splice(0)) timer();
  assert.deepEqual([...slots.rows], ["r|", "r|Backend/default/b@1"]);
  assert.ok(!slots.gates.has(CANARY));
  await step([toB("r"), split("b", 500)]);
  assert.equal(slots.rows.size, 3);
  assert.equal(slots.gates.get(CANARY), true);
  await step([]);
  await step([toB("r"), split("b", 500)]);
  nowMs += 2 * RETENTION_MS;
  for (const timer of timers.splice(0)) timer();
  assert.equal(slots.rows.size, 3, "what came back in time is not given away");
  delivery.close();
});

test("what a control thread before this one left is given back as late", async () => {
  let nowMs = 0;
  let due: (() => void) | undefined;
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    after: (_delayMs, action) => {
      due = action;
      return () => (due = undefined);
    },
  };
  const memory = allocateSharedMemory(1);
  const [gates, rows] = [new Gates(memory.gates), new MetricReader(memory.metrics)];
  const recorder = new MetricRecorder(memory.metrics, 0);
  recorder.add(recorder.row(UNMATCHED_ROUTE, ""), 0, 7);
  recorder.add(recorder.row(WORKER_KEY.route, WORKER_KEY.armId), 0, 8);
  for (const arm of ["old@1", CANARY]) {
    gates.set(arm, false);
    recorder.add(recorder.row("r", arm), 0, 5);
  }

  const delivery = createDelivery({ gates, rows, clock });
  const worker = new FakeWorker(delivery, 0);
  delivery.publish(program([toB("r"), split("b", 500)]));
  await worker.committed(1);
  const acknowledged = new Promise<void>((resolve) => void delivery.onAcknowledged(resolve));
  worker.acknowledge(1);
  await acknowledged;
  nowMs += RETENTION_MS - 1;
  due?.();
  assert.equal(rows.read("r", "old@1")?.[0], 5);
  nowMs += 1;
  due?.();
  assert.equal(rows.read("r", "old@1"), undefined);
  assert.equal(due, undefined, "it is done once");
  assert.equal(rows.read("r", CANARY)?.[0], 5);
  assert.equal(rows.read(UNMATCHED_ROUTE, "")?.[0], 7);
  assert.equal(rows.read(WORKER_KEY.route, WORKER_KEY.armId)?.[0], 8);
  const left = new Gates(memory.gates);
  assert.ok(left.isOpen(left.gateOf(CANARY)));
  assert.ok(left.isOpen(left.gateOf("old@1")), "a freed gate is open for its next owner");
  rows.reserve("r", "old@1");
  assert.equal(rows.read("r", "old@1")?.[0], 0);
  delivery.close();
});
