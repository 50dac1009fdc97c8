/** WebSocket's handshake as a gateway checks it, and where frames end in bytes sliced anyhow. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { parseRequestHead, type RequestHead } from "../../src/http1/request-head.ts";
import { parseResponseHead, type ResponseHead } from "../../src/http1/response-head.ts";
import { acceptOf, isSwitched, upgradeAsked } from "../../src/http1/websocket.ts";
import { closeFrame, FrameTracker, GOING_AWAY } from "../../src/http1/websocket-frames.ts";

/** RFC 6455 §1.3. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const ASK = [
  "GET /chat HTTP/1.1",
  "Host: app",
  "Upgrade: websocket",
  "Connection: keep-alive, Upgrade",
  `Sec-WebSocket-Key: ${KEY}`,
  "Sec-WebSocket-Version: 13",
];

function request(lines: readonly string[]): RequestHead {
  const text = `${lines.join("\r\n")}\r\n\r\n`;
  const head = parseRequestHead(text, text.length);
  assert.ok(typeof head !== "string", JSON.stringify(head));
  return head;
}

function response(lines: readonly string[]): ResponseHead {
  const text = `${lines.join("\r\n")}\r\n\r\n`;
  const head = parseResponseHead(text, text.length, "GET");
  assert.ok(head !== undefined);
  return head;
}

function replaced(lines: readonly string[], from: string, to: readonly string[]): string[] {
  return lines.flatMap((line) => (line.startsWith(from) ? to : [line]));
}

describe("the request", () => {
  for (const [name, lines, asked] of [
    ["that of the RFC", ASK, "websocket"],
    ["in another case", replaced(ASK, "Upgrade", ["uPGRADE: WebSocket"]), "websocket"],
    ["an old version", replaced(ASK, "Sec-WebSocket-V", ["Sec-WebSocket-Version: 8"]), "websocket"],
    ["without an upgrade", replaced(ASK, "Upgrade", []), "none"],
    ["not nominated", replaced(ASK, "Connection", []), "none"],
    ["HTTP/1.0", replaced(ASK, "GET", ["GET /chat HTTP/1.0"]), "none"],
    ["h2c", replaced(ASK, "Upgrade", ["Upgrade: h2c"]), "none"],
    ["without a key", replaced(ASK, "Sec-WebSocket-K", []), "invalid"],
    ["a short key", replaced(ASK, "Sec-WebSocket-K", ["Sec-WebSocket-Key: abc="]), "invalid"],
    ["two keys", [...ASK, `Sec-WebSocket-Key: ${KEY}`], "invalid"],
    [
      "a key that ends at this hop",
      replaced(ASK, "Connection", ["Connection: upgrade, sec-websocket-key"]),
      "invalid",
    ],
    ["two protocols", replaced(ASK, "Upgrade", ["Upgrade: websocket, foo"]), "unsupported"],
    ["two lines", [...ASK, "Upgrade: websocket"], "unsupported"],
    ["another protocol", replaced(ASK, "Upgrade", ["Upgrade: TLS/1.0"]), "unsupported"],
    ["POST", replaced(ASK, "GET", ["POST /chat HTTP/1.1"]), "unsupported"],
    ["a body", [...ASK, "Content-Length: 3"], "unsupported"],
    ["chunks", [...ASK, "Transfer-Encoding: chunked"], "unsupported"],
  ] as const) {
    test(`${name}: ${asked}`, () => assert.equal(upgradeAsked(request(lines)), asked));
  }
});

const SWITCH = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: websocket",
  "Connection: Upgrade",
  `Sec-WebSocket-Accept: ${ACCEPT}`,
];

describe("the answer", () => {
  test("the key is answered as in the RFC", () => assert.equal(acceptOf(KEY), ACCEPT));
  for (const [name, lines, switched] of [
    ["that of the RFC", SWITCH, true],
    ["in another case", replaced(SWITCH, "Upgrade", ["upgrade: WebSocket"]), true],
    ["with more in Connection", replaced(SWITCH, "Conn", ["Connection: x, upgrade"]), true],
    ["without Upgrade", replaced(SWITCH, "Upgrade", []), false],
    ["to another protocol", replaced(SWITCH, "Upgrade", ["Upgrade: h2c"]), false],
    ["without Connection", replaced(SWITCH, "Conn", []), false],
    ["without an accept", replaced(SWITCH, "Sec", []), false],
    ["with another's accept", replaced(SWITCH, "Sec", ["Sec-WebSocket-Accept: x"]), false],
    ["chunked", [...SWITCH, "Transfer-Encoding: chunked"], false],
    ["with a length", [...SWITCH, "Content-Length: 5"], false],
  ] as const) {
    test(name, () => assert.equal(isSwitched(request(ASK), response(lines)), switched));
  }
});

interface Frame {
  readonly opcode: number;
  readonly masked: boolean;
  readonly length: number;
}

function bytesOf({ opcode, masked, length }: Frame): Buffer {
  const flag = masked ? 0x80 : 0;
  let head: Buffer;
  if (length < 126) head = Buffer.from([0x80 | opcode, flag | length]);
  else if (length < 65_536) head = Buffer.from([opcode, flag | 126, length >> 8, length & 0xff]);
  else {
    head = Buffer.alloc(10);
    head.set([opcode, flag | 127]);
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, Buffer.alloc(masked ? 4 : 0, 0xff), Buffer.alloc(length, 0x88)]);
}

const frames = fc.array(
  fc.record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    masked: fc.boolean(),
    length: fc.oneof(fc.nat(5), fc.nat(300), fc.constantFrom(125, 126, 65_535, 65_536, 70_000)),
  }),
  { maxLength: 6 },
);

describe("frames", () => {
  test("ends are found however the bytes are sliced", () => {
    fc.assert(
      fc.property(frames, fc.infiniteStream(fc.integer({ min: 1, max: 9000 })), (each, sizes) => {
        const parts = each.map((frame) => bytesOf(frame));
        const bytes = Buffer.concat(parts);
        let end = 0;
        const ends = new Set([0, ...parts.map((part) => (end += part.length))]);
        const tracker = new FrameTracker();
        for (let at = 0; at < bytes.length;) {
          const to = Math.min(at + (sizes.next().value as number), bytes.length);
          tracker.pass(bytes, at, to);
          at = to;
          assert.equal(tracker.atBoundary, ends.has(at), `at ${at}`);
        }
        assert.equal(tracker.closed, false);
      }),
      { numRuns: 200 },
    );
  });

  test("passFrame stops at the first end", () => {
    const [one, two] = [9, 300].map((length) => bytesOf({ opcode: 2, masked: true, length }));
    const bytes = Buffer.concat([one as Buffer, two as Buffer]);
    const tracker = new FrameTracker();
    assert.equal(tracker.passFrame(bytes, 0, 5), 0, "it is at one already");
    tracker.pass(bytes, 0, 5);
    assert.equal(tracker.passFrame(bytes, 5, 10), -1);
    assert.equal(tracker.passFrame(bytes, 10, bytes.length), one?.length);
  });

  test("a Close is seen once it is whole", () => {
    const tracker = new FrameTracker();
    const close = closeFrame(GOING_AWAY, "client");
    tracker.pass(close, 0, close.length - 1);
    assert.equal(tracker.closed, false);
    tracker.pass(close, close.length - 1, close.length);
    assert.equal(tracker.closed, true);
    const empty = new FrameTracker();
    empty.pass(Buffer.from([0x88, 0]), 0, 2);
    assert.equal(empty.closed, true);
  });

  test("a length that no frame may have ends the search", () => {
    const tracker = new FrameTracker();
    const bytes = Buffer.from([0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 0]);
    tracker.pass(bytes, 0, bytes.length);
    assert.deepEqual([tracker.lost, tracker.atBoundary], [true, false]);
    assert.equal(tracker.passFrame(bytes, 0, bytes.length), -1);
  });
});
