/**
 * What the corpora did not think of: their entries cut, spliced, doubled and sprinkled with what framing
 * is made of, in random segments, through the same gateways and origins. Whatever the gateway makes of
 * it, each origin has to understand as many requests as the gateway has sent it, and a request that
 * comes afterwards on the same connection has to be answered with its own answer.
 */
import { after, before, describe, test } from "node:test";
import * as fc from "fast-check";
import { RawClient } from "../support/upstream.ts";
import { bytesOf, cases, llhttpCases, missing, sequences, withHost } from "./corpus.ts";
import { Lane, READERS } from "./reading-origin.ts";

const LONG = process.env["SLUICE_LONG"] === "1";
const RUNS = LONG ? 20_000 : 1000;
const ENTRY_BYTES_MAX = 2000;

const SIGNS = [
  "\r",
  "\n",
  "\t",
  "\v",
  "\0",
  "\x85",
  "\xa0",
  " ",
  ":",
  ",",
  ";",
  "_",
  "+",
  "-",
  "0",
];
const PIECES = [
  ...SIGNS,
  "\r\n",
  "\n\n",
  "\r\n\r\n",
  "\r\n ",
  "0x",
  "chunked",
  "identity",
  "0\r\n\r\n",
  "1\r\na\r\n",
  "Content-Length: 5\r\n",
  "Content_Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding:\r\n chunked\r\n",
  "Connection: content-length\r\n",
  "Connection: close\r\n",
  "Connection: upgrade\r\nUpgrade: websocket\r\n",
  "Expect: 100-continue\r\n",
  "Trailer: content-length\r\n",
  "Host: b\r\n",
  " HTTP/1.0",
  "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

/** Field lines that frame a message, or nearly. */
const LENGTHS = ["0", "1", "5", "05", "+5", "5, 1", "0x5", "5 5", "5;", ""];
const CODINGS = [
  "chunked",
  "Chunked",
  "gzip, chunked",
  "chunked, gzip",
  "\vchunked",
  "x",
  '"chunked"',
];
const LINES = [
  ...LENGTHS.map((value) => `Content-Length: ${value}`),
  ...CODINGS.map((coding) => `Transfer-Encoding: ${coding}`),
  "Content-Length : 1",
  "Content-Length:\t5",
  "Content-Length\0: 5",
  "content_length: 5",
  "Transfer-Encoding : chunked",
  "Transfer-Encoding:\n chunked",
  "Transfer_Encoding: chunked",
];

type Change =
  | { readonly type: "insert"; readonly at: number; readonly piece: string }
  | { readonly type: "replace"; readonly at: number; readonly piece: string }
  | { readonly type: "delete" | "double"; readonly at: number; readonly length: number }
  | { readonly type: "line"; readonly at: number; readonly line: string }
  | { readonly type: "splice"; readonly at: number; readonly entry: string };

/** `at` is a share of the text, so that changes shrink together with it. */
function change(text: string, { at: share, ...what }: Change): string {
  const at = Math.floor(share * text.length);
  const head = text.slice(0, at);
  const rest = text.slice(at);
  switch (what.type) {
    case "insert":
      return head + what.piece + rest;
    case "replace":
      return head + what.piece + rest.slice(what.piece.length);
    case "delete":
      return head + rest.slice(what.length);
    case "double":
      return head + rest.slice(0, what.length) + rest;
    case "line": {
      const end = text.indexOf("\r\n", at) + 2;
      return `${text.slice(0, end)}${what.line}\r\n${text.slice(end)}`;
    }
    case "splice":
    default:
      return head + what.entry.slice(Math.floor(share * what.entry.length));
  }
}

function cut(text: string, shares: readonly number[]): string[] {
  const places = shares.map((share) => Math.floor(share * text.length)).toSorted((a, b) => a - b);
  const ends = [...places, text.length];
  return ends.map((end, index) => text.slice(ends[index - 1] ?? 0, end)).filter(Boolean);
}

const share = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const piece = fc.constantFrom(...PIECES);
const length = fc.integer({ min: 1, max: 40 });
const line = fc.constantFrom(...LINES);

function inputs(entries: readonly string[]): fc.Arbitrary<readonly string[]> {
  const entry = fc.constantFrom(...entries);
  const changed: fc.Arbitrary<Change> = fc.oneof(
    fc.record({ type: fc.constantFrom("insert" as const, "replace" as const), at: share, piece }),
    fc.record({ type: fc.constantFrom("delete" as const, "double" as const), at: share, length }),
    fc.record({ type: fc.constant("line" as const), at: share, line }),
    fc.record({ type: fc.constant("splice" as const), at: share, entry }),
  );
  return fc
    .record({
      texts: fc.array(entry, { minLength: 1, maxLength: 3 }),
      changes: fc.array(changed, { maxLength: 4 }),
      cuts: fc.array(share, { maxLength: 4 }),
    })
    .map(({ texts, changes, cuts }) => cut(changes.reduce(change, texts.join("")), cuts));
}

describe("mutations of the corpora", { skip: missing }, () => {
  const entries = [
    ...cases.map((item) => bytesOf(item)),
    ...sequences.flatMap(({ steps }) => steps.map(({ raw }) => raw)),
    ...llhttpCases.filter(({ type }) => type === "request").map(({ raw }) => withHost(raw)),
  ].filter((entry) => entry.length <= ENTRY_BYTES_MAX);
  let lanes: readonly Lane[] = [];

  async function open(): Promise<void> {
    lanes = Object.values(READERS).map((read) => new Lane(read, false));
    await Promise.all(lanes.map((lane) => lane.open()));
  }

  async function close(): Promise<void> {
    await Promise.all(lanes.map((lane) => lane[Symbol.asyncDispose]()));
  }

  before(open);
  after(close);

  async function send(pieces: readonly string[], lane: Lane): Promise<void> {
    using client = new RawClient(lane.port);
    const mark = lane.mark();
    await lane.feed(client, pieces);
    await lane.settle(client, mark);
  }

  test("no origin understands another number of requests than the gateway has sent it", async () => {
    const property = fc.asyncProperty(inputs(entries), async (pieces) => {
      try {
        await Promise.all(lanes.map((lane) => send(pieces, lane)));
      } catch (error) {
        // Connections that are out of step would fail whatever is tried next, and hide what did it.
        await close();
        await open();
        throw error;
      }
    });
    await fc.assert(property, { numRuns: RUNS, seed: LONG ? Date.now() : 112 });
  });
});
