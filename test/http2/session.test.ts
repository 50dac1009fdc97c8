/**
 * A session without sockets: whatever frames come, and however they are cut, it answers the same, breaks no
 * rule that its own reader has, and raises nothing.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import type { FieldList } from "../../src/http2/field-list.ts";
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  type FrameSink,
  HEADERS,
  PREFACE,
  SETTINGS,
  WINDOW_UPDATE,
} from "../../src/http2/frame.ts";
import { FrameReader } from "../../src/http2/frame-reader.ts";
import { Session } from "../../src/http2/session.ts";
import type { SessionHost } from "../../src/http2/session-host.ts";
import { Stream } from "../../src/http2/stream.ts";
import { numberFrame } from "../support/frames.ts";
import { fieldBlock, frame } from "../support/http2.ts";

/** One piece of memory that grows. */
class Sink implements FrameSink {
  bytes = Buffer.alloc(1024);
  at = 0;
  serial = 0;
  full = false;

  room(size: number): void {
    if (this.bytes.length - this.at >= size) return;
    const bytes = Buffer.alloc(this.bytes.length * 2 + size);
    this.bytes.copy(bytes, 0, 0, this.at);
    this.bytes = bytes;
  }

  written(): Buffer {
    return this.bytes.subarray(0, this.at);
  }
}

interface Known {
  readonly said: string;
}

/** Sends the body back, and ends when the request does. */
class Echo extends Stream<Known> {
  answer(ended: boolean): void {
    this.remoteEnded = ended;
    this.session.beginBlock(64).status(200);
    this.session.endBlock(this, false);
    if (ended) this.end("");
  }

  fieldsCame(_list: FieldList, _known: Known | null, ended: boolean): void {
    if (ended) this.end("x-after: 1\r\n");
    else this.session.streamError(this, 1);
  }

  bodyCame(bytes: Buffer, start: number, end: number): void {
    this.sendBytes(bytes, start, end);
  }

  endCame(): void {
    this.end("");
  }

  brokeOff(): void {}
  finished(): void {}
  drained(): void {}
}

interface EchoSession {
  readonly session: Session<Known>;
  readonly sink: Sink;
  /** Of each request: whether its block was known. */
  readonly known: boolean[];
}

function echoSession(): EchoSession {
  const sink = new Sink();
  const seen: boolean[] = [];
  const host: SessionHost<Known> = {
    requested(id, list, known, ended) {
      const stream = new Echo(session);
      session.add(stream, id);
      seen.push(known !== null);
      if (known === null) session.remember({ said: list.lines });
      stream.answer(ended);
    },
    leaves() {},
    emptied() {},
    ended() {},
    bug(_stream, error) {
      throw error;
    },
  };
  const session: Session<Known> = new Session(sink, host, {
    isServer: true,
    limits: {
      concurrentStreams: 3,
      streamWindowBytes: 65_535,
      connectionWindowBytes: 65_535,
    },
  });
  return { session, sink, known: seen };
}

const BLOCKS = [
  fieldBlock([
    [":method", "GET"],
    [":path", "/"],
  ]),
  fieldBlock([["x-trailer", "1"]]),
  Buffer.from("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d".replaceAll(" ", ""), "hex"),
  Buffer.from("82868441be", "hex"),
  Buffer.from("be", "hex"),
  Buffer.alloc(0),
];

const ids = fc.constantFrom(0, 1, 1, 1, 2, 3, 3, 5, 7, 9);
const flags = fc.constantFrom(0, END_STREAM, END_HEADERS, END_HEADERS, 5, 5, 8, 0x20, 0x2d, 0xff);
const payload = fc.oneof(
  fc.constantFrom(...BLOCKS),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(Buffer.alloc(4), Buffer.from([0, 0, 0, 9]), Buffer.alloc(8), Buffer.alloc(6)),
);
const wild = fc.tuple(fc.nat({ max: 11 }), flags, ids, payload).map((parts) => frame(...parts));
const open = fc.constantFrom(1, 3, 5);
const data = fc.tuple(open, fc.nat({ max: 2000 })).map(([id, length]) => {
  return frame(DATA, length % 7 === 0 ? END_STREAM : 0, id, Buffer.alloc(length, 0x61));
});
const padded = fc.tuple(open, fc.nat({ max: 100 })).map(([id, length]) => {
  return frame(DATA, 8, id, Buffer.concat([Buffer.from([length]), Buffer.alloc(2 * length, 0x61)]));
});
const trailers = open.map((id) => frame(HEADERS, 5, id, BLOCKS[1] as Buffer));
const windows = fc
  .tuple(fc.constantFrom(0, 1, 3, 5), fc.integer({ min: 1, max: 70_000 }))
  .map(([id, more]) => numberFrame(WINDOW_UPDATE, id, more));
const anyFrame = fc.oneof(
  { weight: 8, arbitrary: data },
  { weight: 2, arbitrary: padded },
  { weight: 4, arbitrary: windows },
  { weight: 1, arbitrary: trailers },
  { weight: 1, arbitrary: wild },
);
/** Three streams are open, and one block of a head came in two frames. */
const OPENED = Buffer.concat([
  frame(HEADERS, END_HEADERS, 1, BLOCKS[0] as Buffer),
  frame(HEADERS, END_HEADERS, 3, BLOCKS[2] as Buffer),
  frame(HEADERS, 0, 5, Buffer.from("8286", "hex")),
  frame(CONTINUATION, END_HEADERS, 5, Buffer.from("84be", "hex")),
]);

describe("a session", () => {
  test("answers the same however what comes is cut, and never raises anything", () => {
    const frames = fc.array(anyFrame, { maxLength: 40 });
    const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(frames, cuts, fc.boolean(), (all, sizes, settles) => {
        const settings = settles ? [frame(SETTINGS, 0, 0, Buffer.alloc(0))] : [];
        const said = Buffer.concat([PREFACE, ...settings, OPENED, ...all]);
        const whole = echoSession();
        whole.session.read(said, said.length, 1);
        const cut = echoSession();
        for (let at = 0, turn = 0; at < said.length; turn++) {
          const length = Math.min(sizes[turn % sizes.length] as number, said.length - at);
          // What is read is somebody else's right afterwards.
          const piece = Buffer.from(said.subarray(at, at + length));
          cut.session.read(piece, length, 1);
          piece.fill(0xee);
          at += length;
        }
        assert.deepEqual(bodiesOf(cut.sink.written()), bodiesOf(whole.sink.written()));
        assert.equal(cut.session.over, whole.session.over);
        assert.equal(cut.session.streams.size, whole.session.streams.size);
      }),
      { numRuns: 2000 },
    );
  });

  test("remembers blocks that come again, but none that says far more than it is long", () => {
    const value = "v".repeat(1000);
    const { session, known } = echoSession();
    const say = (...frames: readonly Buffer[]): void => {
      const bytes = Buffer.concat(frames);
      session.read(bytes, bytes.length, 1);
    };
    const request = (id: number, block: Buffer): Buffer => frame(HEADERS, 5, id, block);
    const get = Buffer.from("828684", "hex");
    // x-a: vvv… goes into the table, and is then said by one byte.
    const entry = Buffer.concat([Buffer.from("4003782d617fe906", "hex"), Buffer.from(value)]);
    const settings = frame(SETTINGS, 0, 0, Buffer.alloc(0));
    say(PREFACE, settings, request(1, Buffer.concat([get, entry])));
    const often = (count: number): Buffer => Buffer.concat([get, Buffer.alloc(count, 0xbe)]);
    say(request(3, often(2)), request(5, often(2)), request(7, often(20)), request(9, often(20)));
    assert.equal(session.over, false);
    assert.deepEqual(known, [false, false, true, false, false]);
  });

  test("takes any rubbish after the preface", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const { session, sink } = echoSession();
        const said = Buffer.concat([PREFACE, frame(SETTINGS, 0, 0, Buffer.alloc(0)), bytes]);
        session.read(said, said.length, 1);
        bodiesOf(sink.written());
      }),
      { numRuns: 2000 },
    );
  });
});

/** All frames as text, those of data joined by stream: how much of a body one frame has is no matter. */
function bodiesOf(bytes: Buffer): string[] {
  const seen: string[] = [];
  const bodies = new Map<number, number>();
  const taker = {
    over: false,
    frame(
      head: { type: number; flags: number; id: number },
      from: Buffer,
      { start, end }: { start: number; end: number },
    ): void {
      assert.notEqual(head.type, CONTINUATION);
      // Credit is given as bytes are taken, and so cut as they come.
      if (head.type === WINDOW_UPDATE) return;
      seen.push(`${head.type}/${head.flags}/${head.id}/${from.toString("hex", start, end)}`);
    },
    dataBegins(id: number, flag: number, length: number): void {
      bodies.set(id, (bodies.get(id) ?? 0) + length);
      if ((flag & END_STREAM) !== 0) seen.push(`end ${id} ${bodies.get(id)}`);
    },
    data(): void {},
    fault(code: number): void {
      assert.fail(`what was written is no frame: ${code}`);
    },
  };
  new FrameReader(taker, { preface: false }).read(bytes, bytes.length, 0);
  const left = [...bodies].map(([id, length]) => `${id} ${length}`);
  return [...seen.toSorted(), ...left.toSorted()];
}
