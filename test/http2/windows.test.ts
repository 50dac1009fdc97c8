/**
 * The windows of a session without sockets (RFC 9113 §5.2, §6.9): whatever streams do, what a peer may send
 * comes back to it, no byte twice and none lost; and a session that is over says no more.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as fc from "fast-check";
import {
  ACK,
  CANCEL,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  type FrameSink,
  GOAWAY,
  HEADERS,
  identifierAt,
  NO_ERROR,
  numberAt,
  PADDED,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  SETTINGS_INITIAL_WINDOW_SIZE,
  WINDOW_UPDATE,
} from "../../src/http2/frame.ts";
import { Session } from "../../src/http2/session.ts";
import type { SessionHost } from "../../src/http2/session-host.ts";
import { Stream } from "../../src/http2/stream.ts";
import { numberFrame } from "../support/frames.ts";
import { fieldBlock, frame } from "../support/http2.ts";

const RUNS = process.env["SLUICE_LONG"] === "1" ? 5000 : 60;
const CONNECTION_BYTES = 65_535;
const BLOCK = fieldBlock([[":method", "POST"]]);

interface Frame {
  readonly type: number;
  readonly id: number;
  readonly flags: number;
  readonly payload: Buffer;
}

/** Memory in pieces that are too small for much. */
class Sink implements FrameSink {
  bytes = Buffer.alloc(0);
  at = 0;
  serial = 0;
  full = false;
  readonly #pieces: Buffer[] = [];

  room(size: number): void {
    if (this.bytes.length - this.at >= size) return;
    this.#close();
    this.bytes = Buffer.alloc(Math.max(size, 2048));
  }

  #close(): void {
    this.#pieces.push(this.bytes.subarray(0, this.at));
    this.bytes = Buffer.alloc(0);
    this.at = 0;
    this.serial++;
  }

  /** All frames since the last call. */
  take(): Frame[] {
    this.#close();
    const bytes = Buffer.concat(this.#pieces.splice(0));
    const frames: Frame[] = [];
    for (let at = 0; at < bytes.length;) {
      const length = bytes.readUIntBE(at, 3);
      const [type, flags] = [bytes[at + 3] as number, bytes[at + 4] as number];
      const payload = bytes.subarray(at + 9, at + 9 + length);
      frames.push({ type, flags, id: identifierAt(bytes, at + 5), payload });
      at += 9 + length;
    }
    return frames;
  }
}

/** Counts what came; what is done with it, the test says. */
class Counted extends Stream<null> {
  came = 0;
  cancelAt = Infinity;
  pauseAt = Infinity;
  brokenOff = 0;

  fieldsCame(): void {}

  bodyCame(_bytes: Buffer, start: number, end: number): void {
    this.came += end - start;
    if (this.came >= this.pauseAt) this.pauseBody();
    if (this.came >= this.cancelAt) this.session.reset(this, CANCEL);
  }

  endCame(): void {}
  brokeOff(): void {
    this.brokenOff++;
  }
  finished(): void {}
  drained(): void {}
}

interface Rig {
  readonly session: Session<null>;
  readonly sink: Sink;
  readonly opened: Map<number, Counted>;
  readonly ended: () => number;
}

function rig({
  streamWindowBytes = 65_535,
  acknowledges = true,
  concurrentStreams = 100,
} = {}): Rig {
  const sink = new Sink();
  const opened = new Map<number, Counted>();
  let ended = 0;
  const host: SessionHost<null> = {
    requested(id, _list, _known, bodyEnded) {
      const stream = new Counted(session);
      opened.set(id, stream);
      session.add(stream, id);
      stream.remoteEnded = bodyEnded;
    },
    leaves() {},
    emptied() {},
    ended() {
      ended++;
    },
    bug(_stream, error) {
      throw error;
    },
  };
  const session: Session<null> = new Session(sink, host, {
    isServer: true,
    limits: { concurrentStreams, streamWindowBytes, connectionWindowBytes: CONNECTION_BYTES },
  });
  const nothing = Buffer.alloc(0);
  say(session, PREFACE, frame(SETTINGS, 0, 0, nothing));
  if (acknowledges) say(session, frame(SETTINGS, ACK, 0, nothing));
  sink.take();
  return { session, sink, opened, ended: () => ended };
}

let nowMs = 0;

/** How long it takes to say something. */
const SAID_MS = 100;

function say(session: Session<null>, ...frames: readonly Buffer[]): void {
  const bytes = Buffer.concat(frames);
  // Time passes, so that nobody loses patience.
  session.read(bytes, bytes.length, (nowMs += SAID_MS));
}

function head(id: number, flags = 0): Buffer {
  return frame(HEADERS, END_HEADERS | flags, id, BLOCK);
}

function dataOf(
  bytes: number,
  padding: number | null,
  { id, flags = 0 }: { id: number; flags?: number },
): Buffer {
  if (padding === null) return frame(DATA, flags, id, Buffer.alloc(bytes));
  const payload = Buffer.concat([Buffer.from([padding]), Buffer.alloc(bytes + padding)]);
  return frame(DATA, flags | PADDED, id, payload);
}

/** What a client knows of what it may send. */
class Windows {
  connection = 65_535;
  readonly streams = new Map<number, number>();
  readonly reset = new Set<number>();

  hear(frames: readonly Frame[]): void {
    for (const { type, id, payload } of frames) {
      assert.notEqual(type, GOAWAY, "the session has ended");
      if (type === RST_STREAM) this.reset.add(id);
      if (type !== WINDOW_UPDATE) continue;
      const more = payload.readUInt32BE();
      assert.ok(more > 0);
      if (id === 0) this.connection += more;
      else this.streams.set(id, (this.streams.get(id) ?? 0) + more);
      assert.ok(this.connection <= CONNECTION_BYTES, "more than was ever allowed");
      assert.ok((this.streams.get(id) ?? 0) <= 65_535, "more than was ever allowed");
    }
  }
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("data" as const),
      stream: fc.nat(5),
      bytes: fc.oneof(fc.nat(20), fc.nat(16_000)),
      padding: fc.option(fc.nat(200)),
      cut: fc.nat(16_300),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "pause" as const,
        "resume" as const,
        "reset" as const,
        "cancel" as const,
        "cancelInBody" as const,
        "pauseInBody" as const,
        "end" as const,
        "answer" as const,
      ),
      stream: fc.nat(5),
    }),
  },
);

describe("windows", () => {
  test("come back to their full size, whatever streams do", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 10, maxLength: 120 }), (steps) => {
        const { session, sink, opened } = rig();
        const client = new Windows();
        /** Ids of the streams in use; one that is over is followed by another. */
        const ids = [1, 3, 5, 7, 9, 11];
        let next = 13;
        const over = new Set<number>();
        const of = (index: number): { id: number; stream: Counted } => {
          let id = ids[index] as number;
          const known = opened.get(id);
          if (known?.closed === true || over.has(id)) {
            id = next;
            next += 2;
            ids[index] = id;
          }
          if (!opened.has(id)) {
            // Ids only ever grow.
            if (id < session.lastId) {
              id = next;
              next += 2;
              ids[index] = id;
            }
            say(session, head(id));
            client.streams.set(id, 65_535);
          }
          return { id, stream: opened.get(id) as Counted };
        };
        for (const each of steps) {
          const { id, stream } = of(each.stream);
          switch (each.kind) {
            case "data": {
              const { bytes, padding } = each;
              const size = bytes + (padding === null ? 0 : padding + 1);
              if (size > 16_384 || size > client.connection) break;
              if (size > (client.streams.get(id) as number)) break;
              client.connection -= size;
              client.streams.set(id, (client.streams.get(id) as number) - size);
              const whole = dataOf(bytes, padding, { id });
              const cut = Math.min(each.cut, whole.length);
              say(session, whole.subarray(0, cut));
              say(session, whole.subarray(cut));
              break;
            }
            case "pause":
              stream.pauseBody();
              break;
            case "resume":
              stream.pauseAt = Infinity;
              stream.resumeBody();
              break;
            case "pauseInBody":
              stream.pauseAt = stream.came;
              break;
            case "cancelInBody":
              stream.cancelAt = stream.came;
              break;
            case "cancel":
              session.reset(stream, NO_ERROR);
              // What was under way comes all the same.
              if (client.connection >= 100) {
                client.connection -= 100;
                say(session, dataOf(100, null, { id }));
              }
              break;
            case "reset":
              say(session, numberFrame(RST_STREAM, id, CANCEL));
              over.add(id);
              break;
            case "end":
              say(session, dataOf(0, null, { id, flags: END_STREAM }));
              over.add(id);
              break;
            case "answer":
              session.beginBlock(64).status(200);
              session.endBlock(stream, true);
              break;
          }
          client.hear(sink.take());
        }
        for (const stream of opened.values()) {
          stream.pauseAt = Infinity;
          stream.resumeBody();
          stream.resumeBody();
        }
        client.hear(sink.take());
        // Credit is told half a window at a time: with the telling of more, all of it is back.
        for (const stream of session.streams.values()) {
          if (stream.remoteEnded) continue;
          stream.pauseBody();
          stream.resumeBody();
          const { id } = stream;
          assert.ok((client.streams.get(id) as number) * 2 > 65_535, `of stream ${id}`);
          assert.equal(stream.receiveWindow, client.streams.get(id));
          assert.equal(stream.receiveWindow + stream.credit, 65_535);
        }
        assert.ok(client.connection * 2 > CONNECTION_BYTES, String(client.connection));
        assert.equal(session.receiveWindow, client.connection);
        const id = next;
        say(session, head(id));
        for (let before = client.connection; client.connection <= before;) {
          before = client.connection;
          const bytes = Math.min(1000, before);
          assert.ok(bytes > 0, "nothing more is ever allowed");
          client.connection -= bytes;
          say(session, dataOf(bytes, null, { id }));
          client.hear(sink.take());
        }
        assert.equal(client.connection, CONNECTION_BYTES);
      }),
      { numRuns: RUNS },
    );
  });

  test("that become smaller with the first settings are not waited for in vain", () => {
    const { session, sink, opened } = rig({ streamWindowBytes: 16_384, acknowledges: false });
    const client = new Windows();
    // The client has not read our settings yet.
    say(session, head(1), dataOf(15_000, null, { id: 1 }), dataOf(15_000, null, { id: 1 }));
    client.streams.set(1, 16_384 - 30_000);
    client.connection -= 30_000;
    say(session, frame(SETTINGS, ACK, 0, Buffer.alloc(0)));
    client.hear(sink.take());
    assert.equal(opened.get(1)?.came, 30_000);
    assert.equal(client.streams.get(1), 16_384);
  });
});

describe("what waits for a window", () => {
  /** Distinguishes neighbours, and what is a window apart. */
  const TEXT = Buffer.from(Array.from({ length: 40_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff));

  test("arrives in order and whole, however it was cut and however windows open", () => {
    const cuts = fc.array(fc.oneof(fc.nat(3), fc.nat(700), fc.nat(5000)), {
      minLength: 1,
      maxLength: 60,
    });
    const windows = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.nat(3000)), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(cuts, windows, fc.boolean(), (lengths, opens, owned) => {
        const { session, sink, opened } = rig();
        const none = Buffer.alloc(6);
        none.writeUInt16BE(SETTINGS_INITIAL_WINDOW_SIZE);
        say(session, frame(SETTINGS, 0, 0, none), head(1, END_STREAM));
        const stream = opened.get(1) as Counted;
        session.beginBlock(64).status(200);
        session.endBlock(stream, false);
        const got: Buffer[] = [];
        let ends = 0;
        const hear = (): void => {
          for (const { type, flags, payload } of sink.take()) {
            if (type === DATA) got.push(payload);
            if (type === DATA && (flags & END_STREAM) !== 0) ends++;
          }
        };
        let at = 0;
        for (const [index, length] of lengths.entries()) {
          const end = Math.min(at + length, TEXT.length);
          // What is lent is written over as soon as the call is over.
          const lent = Buffer.from(TEXT.subarray(at, end));
          if (owned) stream.sendOwned(lent);
          else stream.sendBytes(lent, 0, lent.length);
          if (!owned) lent.fill(0);
          at = end;
          const more = opens[index] ?? 0;
          if (more > 0) say(session, numberFrame(WINDOW_UPDATE, 1, more));
          if (index % 3 === 0) hear();
        }
        stream.end("");
        for (let count = 0; count < 50 && !stream.closed; count++) {
          say(session, numberFrame(WINDOW_UPDATE, 1, 1000));
          hear();
        }
        hear();
        assert.ok(stream.closed);
        assert.equal(ends, 1);
        assert.ok(Buffer.concat(got).equals(TEXT.subarray(0, at)));
      }),
      { numRuns: RUNS },
    );
  });

  test("takes little more memory than its bytes, even where they came one by one", () => {
    const { session, sink, opened } = rig();
    say(session, head(1));
    const stream = opened.get(1) as Counted;
    stream.sendBytes(TEXT, 0, 40_000);
    stream.sendBytes(TEXT, 0, 40_000);
    sink.take();
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const held = (): number => {
      collect();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      return heapUsed + arrayBuffers;
    };
    const before = held();
    for (let at = 0; at < 40_000; at++) stream.sendBytes(TEXT, at, at + 1);
    const grown = held() - before;
    assert.ok(grown < 400_000, String(grown));
    assert.ok(stream.waits);
  });
});

describe("a session that is over", () => {
  test("says nothing after its farewell, whatever was read and not given back", () => {
    const { session, sink, opened, ended } = rig();
    say(session, head(1), head(3));
    const [first, second] = [opened.get(1), opened.get(3)] as [Counted, Counted];
    first.pauseBody();
    second.pauseBody();
    for (let count = 0; count < 3; count++) {
      say(session, dataOf(10_000, null, { id: 1 }), dataOf(10_000, null, { id: 3 }));
    }
    sink.take();
    // No window is given nothing.
    say(session, numberFrame(WINDOW_UPDATE, 0, 0));
    assert.deepEqual(
      sink.take().map(({ type }) => type),
      [GOAWAY],
    );
    assert.equal(ended(), 1);
    assert.deepEqual([first.brokenOff, second.brokenOff], [1, 1]);
    first.resumeBody();
    session.waiting.pump();
    say(session, head(5));
    assert.deepEqual(sink.take(), []);
  });
});

describe("whatever frames come", () => {
  const anyFrame = fc
    .record({
      type: fc.nat(10),
      id: fc.constantFrom(0, 1, 1, 2, 3, 5, 7),
      flags: fc.constantFrom(0, 1, 4, 5, 8, 13, 0x20, 0xff),
      payload: fc.oneof(
        fc.constantFrom(
          BLOCK,
          Buffer.alloc(0),
          Buffer.alloc(4),
          Buffer.alloc(8),
          Buffer.alloc(9000),
        ),
        fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
      ),
    })
    .map(({ type, flags, id, payload }) => frame(type, flags, id, payload));

  test("a farewell is said once and last, and all streams hear of it", () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 60 }), fc.nat(40_000), (frames, pauseAt) => {
        const { session, sink, opened, ended } = rig();
        const said: Frame[] = [];
        for (const each of frames) {
          say(session, each);
          for (const stream of opened.values()) stream.pauseAt = pauseAt;
          said.push(...sink.take());
        }
        for (const stream of opened.values()) stream.resumeBody();
        session.waiting.pump();
        said.push(...sink.take());
        const farewells = said.filter(({ type }) => type === GOAWAY);
        assert.equal(farewells.length, session.over ? 1 : 0);
        assert.equal(ended(), farewells.length);
        if (!session.over) return;
        assert.equal(said.at(-1)?.type, GOAWAY);
        assert.equal(session.streams.size, 0);
        for (const stream of opened.values()) assert.ok(stream.closed);
      }),
      { numRuns: 10 * RUNS },
    );
  });
});

describe("streams that are reset by this side", () => {
  test("are remembered, all that may be open at a time: what was under way is no fault", () => {
    const { session, sink, opened } = rig({ concurrentStreams: 1000 });
    for (let id = 1; id < 2000; id += 2) say(session, head(id));
    for (const stream of opened.values()) session.reset(stream, NO_ERROR);
    assert.equal(sink.take().length, 1000);
    for (const id of opened.keys()) session.read(dataOf(10, null, { id }), 19, nowMs);
    say(session, frame(HEADERS, END_HEADERS | END_STREAM, 1, BLOCK));
    assert.deepEqual(sink.take(), []);
    assert.equal(session.over, false);
  });
});

describe("windows that are opened by next to nothing", () => {
  /** Streams that are answered with more than the windows of a client take that opens none. */
  function waiting(count: number, more: number): Rig & { readonly looks: () => number } {
    const made = rig();
    const { session, sink, opened } = made;
    const none = Buffer.alloc(6);
    none.writeUInt16BE(SETTINGS_INITIAL_WINDOW_SIZE);
    none.writeUInt32BE(more, 2);
    say(session, frame(SETTINGS, 0, 0, none));
    let looks = 0;
    const body = Buffer.alloc(1000);
    for (let id = 1; id < 2 * count; id += 2) {
      say(session, head(id, END_STREAM));
      const stream = opened.get(id) as Counted;
      stream.sendOwned(body);
      if (more > 0) stream.sendOwned(Buffer.alloc(65_535));
      const pump = stream.pump.bind(stream);
      stream.pump = () => {
        looks++;
        return pump();
      };
    }
    sink.take();
    return { ...made, looks: () => looks };
  }

  test("cost no look at streams that they do not concern", () => {
    const { session, sink, looks } = waiting(90, 0);
    for (let count = 0; count < 500; count++) say(session, numberFrame(WINDOW_UPDATE, 0, 1));
    assert.ok(looks() <= 90, String(looks()));
    assert.deepEqual(sink.take(), []);
    // Of two the one whose window is opened is sent, and the other when its turn comes.
    say(session, numberFrame(WINDOW_UPDATE, 3, 1000), numberFrame(WINDOW_UPDATE, 5, 999));
    assert.deepEqual(
      sink.take().map(({ type, id, payload }) => [type, id, payload.length]),
      [
        [DATA, 3, 1000],
        [DATA, 5, 999],
      ],
    );
  });

  test("cost no look at streams that the connection's window is too small for", () => {
    const { session, sink, looks } = waiting(90, 100_000);
    const before = looks();
    for (let count = 0; count < 500; count++) say(session, numberFrame(WINDOW_UPDATE, 0, 1));
    assert.ok(looks() - before <= 500, String(looks() - before));
    assert.equal(sink.take().length, 500);
    // All of them have their turn.
    say(session, numberFrame(WINDOW_UPDATE, 0, 2 ** 30));
    const sent = new Map<number, number>();
    for (const { id, payload } of sink.take()) sent.set(id, (sent.get(id) ?? 0) + payload.length);
    assert.equal(sent.size, 90);
  });

  test("end the connection where they are far more than what they let through", () => {
    const { session, sink } = rig();
    const one = numberFrame(WINDOW_UPDATE, 0, 1);
    const bytes = Buffer.concat(Array.from({ length: 1000 }, () => one));
    for (let count = 0; count < 10; count++) session.read(bytes, bytes.length, nowMs);
    assert.ok(!session.over);
    session.read(bytes, bytes.length, nowMs);
    assert.ok(session.over);
    assert.deepEqual(numberAt(sink.take().at(-1)?.payload as Buffer, 4), ENHANCE_YOUR_CALM);
  });
});

describe("settings", () => {
  test("in one frame are few (CVE-2020-11080)", () => {
    for (const [count, over] of [
      [32, false],
      [33, true],
    ] as const) {
      const { session, sink } = rig();
      const payload = Buffer.alloc(6 * count);
      for (let at = 0; at < payload.length; at += 6) payload.writeUInt16BE(0x77, at);
      say(session, frame(SETTINGS, 0, 0, payload));
      assert.equal(session.over, over);
      if (!over) continue;
      assert.deepEqual(numberAt(sink.take().at(-1)?.payload as Buffer, 4), ENHANCE_YOUR_CALM);
    }
  });
});

describe("frames that bring nothing", () => {
  const reset = (session: Session<null>, stream: Counted): void => session.reset(stream, NO_ERROR);
  const empty = (padding: number | null): Buffer => dataOf(0, padding, { id: 1 });
  const cases: [what: string, frame: Buffer, before: typeof reset][] = [
    ["DATA that is empty", empty(null), () => {}],
    ["DATA that holds its padding's length alone", empty(0), () => {}],
    ["DATA that holds padding alone", empty(10), () => {}],
    ["empty DATA on a stream that was reset", empty(null), reset],
    ["heads on a stream that was reset", head(1), reset],
    ["farewells", frame(GOAWAY, 0, 0, Buffer.alloc(8)), () => {}],
  ];
  for (const [what, idle, before] of cases) {
    test(`end the connection where they are many: ${what}`, () => {
      const { session, sink, opened } = rig();
      say(session, head(1));
      before(session, opened.get(1) as Counted);
      const bytes = Buffer.concat(Array.from({ length: 50 }, () => idle));
      for (let count = 0; count < 40; count++) session.read(bytes, bytes.length, nowMs);
      assert.ok(session.over);
      assert.deepEqual(numberAt(sink.take().at(-1)?.payload as Buffer, 4), ENHANCE_YOUR_CALM);
    });
  }
});

describe("streams that a client resets", () => {
  const cancel = (id: number): Buffer => numberFrame(RST_STREAM, id, CANCEL);
  let id = 1;

  /** A second of a client that keeps `open` streams open and then gives all of them up. */
  function second(session: Session<null>, open: number, waitMs: number): void {
    const ids = Array.from({ length: open }, (_, index) => id + 2 * index);
    id += 2 * open;
    say(session, ...ids.map((each) => head(each)));
    nowMs += waitMs - SAID_MS;
    say(session, ...ids.map((each) => cancel(each)));
    nowMs += 1000 - waitMs - SAID_MS;
  }

  const CASES: readonly (readonly [
    what: string,
    open: number,
    concurrentStreams: number,
    waitMs: number,
    spared: boolean,
  ])[] = [
    ["at once, again and again", 100, 100, 0, false],
    ["at once, as fast as is allowed for", 50, 100, 0, true],
    ["at their deadline, which was a second", 100, 100, 1000, true],
    ["shortly before that", 100, 100, 999, false],
    ["at once, but all of the many that it may have", 1000, 1000, 0, true],
  ];
  for (const [what, open, concurrentStreams, waitMs, spared] of CASES) {
    test(what, () => {
      const { session } = rig({ concurrentStreams });
      id = 1;
      const seconds = open > 100 ? 2 : 60;
      for (let count = 0; count < seconds && !session.over; count++) second(session, open, waitMs);
      assert.equal(session.over, !spared);
    });
  }
});
