/**
 * HPACK: the examples of RFC 7541 Appendix C, what an encoder writes and a decoder reads back, whatever
 * it is, and what no decoder may take.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { BlockWriter } from "../../src/http2/block-writer.ts";
import { FieldList } from "../../src/http2/field-list.ts";
import { HpackDecoder } from "../../src/http2/hpack-decoder.ts";
import { HpackEncoder } from "../../src/http2/hpack-encoder.ts";
import { huffmanDecode, huffmanEncode, huffmanLength } from "../../src/http2/huffman.ts";

/** All that a block said, or undefined where it was refused. */
function read(decoder: HpackDecoder, hex: string | Buffer): FieldList | undefined {
  const bytes = typeof hex === "string" ? Buffer.from(hex.replaceAll(" ", ""), "hex") : hex;
  const list = new FieldList();
  list.clear();
  return decoder.decode(bytes, { start: 0, end: bytes.length }, list) ? list : undefined;
}

const DATE = "date: Mon, 21 Oct 2013 20:13:21 GMT\r\n";

describe("the examples of RFC 7541", () => {
  const requests: [section: string, blocks: readonly string[]][] = [
    [
      "C.3",
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
    ],
    [
      "C.4, by Huffman's code",
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
    ],
  ];
  for (const [section, blocks] of requests) {
    test(`requests of ${section}`, () => {
      const decoder = new HpackDecoder();
      const seen = blocks.map((block) => read(decoder, block));
      const [first, second, third] = seen as FieldList[];
      assert.deepEqual(
        seen.map((list) => `${list?.method} ${list?.scheme} ${list?.authority}${list?.path}`),
        [
          "GET http www.example.com/",
          "GET http www.example.com/",
          "GET https www.example.com/index.html",
        ],
      );
      assert.equal(first?.lines, "");
      assert.equal(second?.lines, "cache-control: no-cache\r\n");
      assert.equal(third?.lines, "custom-key: custom-value\r\n");
    });
  }

  test("a literal that is indexed, one that is not, one that never may be, and an index (C.2)", () => {
    const decoder = new HpackDecoder();
    const indexed = read(
      decoder,
      "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
    );
    assert.equal(indexed?.lines, "custom-key: custom-header\r\n");
    assert.equal(read(decoder, "be")?.lines, "custom-key: custom-header\r\n");
    assert.equal(read(decoder, "040c 2f73 616d 706c 652f 7061 7468")?.path, "/sample/path");
    const never = read(decoder, "1008 7061 7373 776f 7264 0673 6563 7265 74");
    assert.equal(never?.lines, "password: secret\r\n");
    assert.equal(read(decoder, "82")?.method, "GET");
    assert.equal(read(decoder, "bf"), undefined);
  });

  test("responses, and what leaves a table that is full (C.5, C.6)", () => {
    const responses = [
      [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
      ],
      [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
      ],
    ];
    for (const [first, second] of responses) {
      const decoder = new HpackDecoder();
      const said = `cache-control: private\r\n${DATE}location: https://www.example.com\r\n`;
      const one = read(decoder, first as string);
      assert.deepEqual([one?.status, one?.lines], ["302", said]);
      const two = read(decoder, second as string);
      assert.deepEqual([two?.status, two?.lines], ["307", said]);
    }
  });
});

test("Huffman's code: what is encoded is decoded, and padding is told from text", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = Buffer.from(bytes).toString("latin1");
      const to = Buffer.alloc(bytes.length * 4 + 8);
      const end = huffmanEncode(text, { start: 0, end: text.length }, { to, at: 0 });
      assert.equal(end, huffmanLength(text, 0, text.length));
      const back = Buffer.alloc(end * 2);
      const count = huffmanDecode(to, { start: 0, end }, back);
      assert.equal(back.toString("latin1", 0, count), text);
    }),
  );
  const decode = (hex: string): number => {
    const bytes = Buffer.from(hex, "hex");
    return huffmanDecode(bytes, { start: 0, end: bytes.length }, Buffer.alloc(bytes.length * 2));
  };
  // "a" is 00011: three bits of padding, all of them set.
  assert.equal(decode("1f"), 1);
  assert.equal(decode("1e"), -1);
  assert.equal(decode("1fff"), -1);
  assert.equal(decode("ff"), -1);
  assert.equal(decode("fffffffc"), -1, "the end of the string is no part of it");
});

const LINES = fc.array(
  fc.record({
    name: fc.constantFrom("x-a", "Server", "content-type", "authorization", "etag", "X-Mixed"),
    value: fc.oneof(
      fc.constantFrom("", "1", "text/html", "a longer value that is said again and again"),
      fc.stringMatching(/^[!-~]{1,200}$/),
      fc.stringMatching(/^[\x80-\xff]{1,20}$/),
    ),
  }),
  { maxLength: 12 },
);

test("what an encoder writes, a decoder reads, head after head, whatever table the peer allows", () => {
  const heads = fc.array(
    fc.record({ lines: LINES, limit: fc.option(fc.nat({ max: 6000 }), { freq: 4 }) }),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(heads, (all) => {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder();
      encoder.bytes = new Uint8Array(64 * 1024);
      for (const { lines, limit } of all) {
        if (limit !== null) {
          encoder.limit(0);
          encoder.limit(limit);
        }
        encoder.at = 0;
        encoder.begin();
        encoder.status(200);
        for (const { name, value } of lines) encoder.line(`${name}:  ${value} `);
        const block = Buffer.from(encoder.bytes.subarray(0, encoder.at));
        const list = read(decoder, block);
        assert.equal(list?.status, "200");
        const said = lines.map(({ name, value }) => `${name.toLowerCase()}: ${value}\r\n`).join("");
        assert.equal(list.lines, said);
        assert.equal(list.fault, false);
      }
    }),
  );
});

describe("what an encoder puts into its table", () => {
  function blockOf(encoder: HpackEncoder, line: string): Buffer {
    encoder.bytes = Buffer.alloc(4096);
    encoder.at = 0;
    encoder.begin();
    encoder.line(line);
    return Buffer.from(encoder.bytes.subarray(0, encoder.at));
  }

  test("a line that is said a second time", () => {
    const encoder = new HpackEncoder();
    const line = "content-type: application/json";
    const lengths = [1, 2, 3].map(() => blockOf(encoder, line).length);
    assert.ok((lengths[0] as number) > 10 && (lengths[1] as number) > 10);
    assert.equal(lengths[2], 1);
  });

  test("never a credential: it is said so that nobody else does", () => {
    for (const name of ["authorization", "cookie", "set-cookie", "x-api-key", "X-Auth-Token"]) {
      const encoder = new HpackEncoder();
      for (let count = 0; count < 3; count++) {
        const block = blockOf(encoder, `${name}: secret-123`);
        assert.equal((block[0] as number) & 0xf0, 0x10, name);
      }
      assert.equal(encoder.version, 0);
    }
  });

  test("nothing more than what the peer's table holds", () => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    for (let count = 0; count < 2000; count++) {
      // Every line comes twice, so that all are worth an entry.
      const line = `x-${Math.floor(count / 2)}: ${"v".repeat(Math.floor(count / 2) % 300)}`;
      const list = read(decoder, blockOf(encoder, line));
      assert.equal(list?.lines, `${line}\r\n`);
    }
  });
});

describe("a decoder refuses", () => {
  const cases: [what: string, block: string][] = [
    ["an index of nothing", "80"],
    ["an index beyond the tables", "be"],
    ["a name beyond the tables", "7e 01 61"],
    ["a number that does not end", "ff ff ff ff"],
    ["a number that is too large", "ff ff ff ff ff ff ff ff ff 7f"],
    ["a text that is longer than the block", "40 0a 61 62"],
    ["a text that is not there", "40"],
    ["a value that is not there", "40 01 61"],
    ["a code that is padded by more than seven bits", "40 01 61 82 1f ff"],
    ["a table larger than was allowed", "3f e2 1f"],
    ["another size of the table in the middle of a block", "82 20"],
  ];
  for (const [what, block] of cases) {
    test(what, () => {
      assert.equal(read(new HpackDecoder(), block), undefined);
    });
  }

  test("any rubbish without an exception", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        read(new HpackDecoder(), Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });
});

test("a header list has limits, and the table is kept up beyond them", () => {
  const decoder = new HpackDecoder();
  const line = Buffer.concat([Buffer.from("4001617f8107", "hex"), Buffer.alloc(1024, "v")]);
  const many = Buffer.concat([line, Buffer.alloc(200, 0xbe)]);
  const list = read(decoder, many);
  assert.equal(list?.excess, "bytes");
  assert.ok(list.lines.length < 64 * 1024);
  assert.equal(read(decoder, "be")?.count, 1);
  const short = read(new HpackDecoder(), Buffer.alloc(129, 0x8f));
  assert.equal(short?.excess, "fields");
});

test("a block that may be sent again says the same, whatever was said in between", () => {
  const heads = fc.array(fc.record({ lines: LINES, again: fc.boolean() }), { maxLength: 60 });
  fc.assert(
    fc.property(heads, (all) => {
      const sink = {
        bytes: Buffer.alloc(64 * 1024),
        at: 0,
        serial: 0,
        full: false,
        room(): void {
          sink.at = 0;
        },
      };
      const encoder = new HpackEncoder();
      const writer = new BlockWriter(sink, encoder);
      const decoder = new HpackDecoder();
      const readBlock = (): string | undefined => {
        const list = read(decoder, Buffer.from(sink.bytes.subarray(9, sink.at)));
        return list === undefined ? undefined : `${list.status}\r\n${list.lines}`;
      };
      const kept: { block: Buffer; version: number; said: string | undefined }[] = [];
      for (const { lines, again } of all) {
        const last = kept.at(-1);
        if (again && last?.version === encoder.version) {
          writer.send(1, last.block, true);
          assert.equal(readBlock(), last.said);
        }
        writer.begin(8000);
        encoder.status(404);
        for (const { name, value } of lines) encoder.line(`${name}: ${value}`);
        writer.end(1, true);
        const said = readBlock();
        const block = writer.last();
        if (block !== null) kept.push({ block, version: encoder.version, said });
      }
    }),
  );
});
