/** Batches on their way to the collector: together, one export at a time, each accounted for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "../../src/base/log.ts";
import { allocateTraceCounts, TraceCounts } from "../../src/shared/trace-counts.ts";
import { ExportLoop } from "../../src/trace/export-loop.ts";
import { SPANS_PER_EXPORT_MAX } from "../../src/trace/settings.ts";
import type { RequestRecord } from "../../src/trace/span-record.ts";
import { VirtualClock } from "../support/clock.ts";

const RECORD: RequestRecord = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b000000000000001",
  parentId: "",
  traceState: "",
  startMs: 0,
  endMs: 1,
  method: "GET",
  scheme: "http",
  host: "a",
  port: 80,
  path: "/",
  pathRule: "",
  protocol: "1.1",
  clientAddress: "192.0.2.1",
  peerAddress: "192.0.2.1",
  userAgent: "",
  status: 404,
  error: "",
  endedBy: "gateway",
  requestId: "r",
  route: "",
  shielded: false,
  attempts: [],
};

const records = (count: number): RequestRecord[] => Array.from({ length: count }, () => RECORD);

/** A loop whose exports end when the test says so. */
function setUp() {
  const clock = new VirtualClock();
  const counts = new TraceCounts(allocateTraceCounts());
  const exports: { count: number; end: (error?: Error) => Promise<void> }[] = [];
  const warnings: string[] = [];
  const warn = (fields: object, message: string): void =>
    void warnings.push(`${message} ${JSON.stringify(fields)}`);
  const log: Logger = { info: warn, warn, error: warn };
  const loop = new ExportLoop({
    send: (sent) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      exports.push({
        count: sent.length,
        async end(error) {
          if (error === undefined) resolve();
          else reject(error);
          await settled();
        },
      });
      return promise;
    },
    counts,
    clock,
    log,
    url: "http://otel/v1/traces",
    delayMs: 1000,
  });
  let taken = 0;
  return {
    clock,
    counts,
    exports,
    warnings,
    loop,
    taken: () => taken,
    add: (count: number) => loop.add(records(count), () => taken++),
  };
}

/** Lets everything run that waits for nothing but its turn. */
async function settled(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}

test("what comes within the delay leaves together", async () => {
  const { clock, add, exports, counts, taken } = setUp();
  add(2);
  clock.advance(900);
  add(3);
  assert.equal(exports.length, 0);
  clock.advance(100);
  assert.deepEqual(
    exports.map(({ count }) => count),
    [5],
  );
  assert.equal(taken(), 2);
  await exports[0]?.end();
  assert.deepEqual([counts.exported, counts.failed], [5, 0]);
});

test("a full export does not wait, and no export is larger", async () => {
  const { add, exports, clock } = setUp();
  add(SPANS_PER_EXPORT_MAX - 32);
  assert.equal(exports.length, 0);
  add(40);
  assert.deepEqual(
    exports.map(({ count }) => count),
    [SPANS_PER_EXPORT_MAX - 32],
  );
  await exports[0]?.end();
  assert.equal(exports[1]?.count, 40);
  clock.advance(1000);
  assert.equal(exports.length, 2);
});

test("while a collector is slow nothing more is asked for, so that workers hold back", async () => {
  const { add, exports, clock, taken } = setUp();
  add(SPANS_PER_EXPORT_MAX);
  for (let more = 0; more < 10; more++) add(32);
  clock.advance(60_000);
  assert.equal(exports.length, 1);
  assert.equal(taken(), 1);
  await exports[0]?.end();
  assert.equal(exports[1]?.count, 320);
  assert.equal(taken(), 11);
});

test("a collector that fails is told of once, until it works again", async () => {
  const { add, exports, clock, warnings, counts } = setUp();
  for (const error of [new Error("connect ECONNREFUSED"), new Error("again"), undefined]) {
    add(10);
    clock.advance(1000);
    await exports.at(-1)?.end(error);
  }
  assert.deepEqual(warnings, [
    'the collector takes no spans; they are dropped and counted {"url":"http://otel/v1/traces","reason":"connect ECONNREFUSED"}',
    'the collector takes spans again {"url":"http://otel/v1/traces"}',
  ]);
  assert.deepEqual([counts.exported, counts.failed], [10, 20]);
});

test("a flush sends what waits, and ends when all of it was sent", async () => {
  const { add, exports, loop } = setUp();
  add(SPANS_PER_EXPORT_MAX);
  add(1);
  let flushed = false;
  const flushing = loop.flush().then(() => (flushed = true));
  await exports[0]?.end();
  assert.equal(flushed, false);
  await exports[1]?.end();
  await flushing;
  assert.equal(exports.length, 2);
});
