/**
 * Heads of HTTP/2 as heads of HTTP/1: what is accepted says the same as the fields that came, not one line
 * more, less or other, whatever stands in them (RFC 9113 §10.3).
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { FieldList } from "../../src/http2/field-list.ts";
import { trailerLines } from "../../src/http2/fields.ts";
import { HpackDecoder } from "../../src/http2/hpack-decoder.ts";
import { aboutOf, parseRequestText, requestFault, requestText } from "../../src/http2/request.ts";
import { parseResponseFields } from "../../src/http2/response.ts";
import { fieldBlock } from "../support/http2.ts";

const RUNS = process.env["SLUICE_LONG"] === "1" ? 200_000 : 5000;

type Fields = readonly (readonly [string, string])[];

const piece = fc.constantFrom(
  "a",
  "b",
  "1",
  "0",
  " ",
  "\t",
  "\r",
  "\n",
  "\r\n",
  "\r\n\r\n",
  "\0",
  ":",
  ": ",
  ";",
  ",",
  "\x7f",
  "\x80",
  "\xff",
  "x-a",
  "\r\nx-b: c",
  "\r\n ",
  "/",
  "*",
  "?",
  "HTTP/1.1",
  " HTTP/1.1\r\n",
  "chunked",
);
const value = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom("", "a", "b", "app", "0", "5", "trailers", "chunked") },
  { weight: 1, arbitrary: fc.array(piece, { maxLength: 4 }).map((all) => all.join("")) },
);
const NAMES = [
  "x-a",
  "x-b",
  "host",
  "cookie",
  "te",
  "content-length",
  "connection",
  "date",
  "upgrade",
];
const name = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...NAMES, "transfer-encoding", "set-cookie", "trailer") },
  { weight: 1, arbitrary: fc.array(piece, { maxLength: 3 }).map((all) => all.join("")) },
);
const regular = fc.array(fc.tuple(name, value), { maxLength: 6 });

function read(fields: Fields): FieldList {
  const list = new FieldList();
  list.clear();
  const block = fieldBlock(fields);
  assert.ok(new HpackDecoder().decode(block, { start: 0, end: block.length }, list));
  return list;
}

/** The lines of a head, sorted, without its first one and its end. */
function linesOf(text: string): string[] {
  assert.ok(text.endsWith("\r\n\r\n"));
  return text
    .slice(text.indexOf("\r\n") + 2, -4)
    .split("\r\n")
    .filter((line) => line !== "")
    .toSorted();
}

/** Fields as lines, cookies joined as RFC 9113 §8.2.3 has it. */
function expected(fields: Fields): string[] {
  const cookies = fields.filter(([each, said]) => each === "cookie" && said !== "");
  const others = fields.filter(([each]) => each !== "cookie" && !each.startsWith(":"));
  const cookie = cookies.map(([, said]) => said).join("; ");
  const lines = others.map(([each, said]) => `${each}: ${said}`);
  return (cookie === "" ? lines : [...lines, `cookie: ${cookie}`]).toSorted();
}

describe("of heads, what is accepted says what the fields said", () => {
  test("of requests", () => {
    let accepted = 0;
    const pseudo = fc.tuple(
      fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom("GET", "POST", "OPTIONS") },
        { weight: 1, arbitrary: value },
      ),
      fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom("/", "/a?b=c", "*") },
        { weight: 1, arbitrary: value },
      ),
      fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom("app", "app:80", "") },
        { weight: 1, arbitrary: value },
      ),
    );
    fc.assert(
      fc.property(pseudo, regular, fc.boolean(), ([method, path, authority], rest, ended) => {
        const named: Fields = authority === "" ? [] : [[":authority", authority]];
        const fields: Fields = [
          [":method", method],
          [":scheme", "http"],
          [":path", path],
          ...named,
          ...rest,
        ];
        const list = read(fields);
        if (requestFault(list) !== undefined) return;
        const text = requestText(list);
        const head = parseRequestText(text, aboutOf(list), { ended });
        if (typeof head === "string") return;
        accepted++;
        const hosts = rest.filter(([each, said]) => each === "host" && said !== "");
        const host: Fields = authority !== "" && hosts.length === 0 ? [["host", authority]] : [];
        const said = rest.filter(([each, content]) => each !== "host" || content !== "");
        const spelled = (all: readonly string[]): string[] =>
          all.map((line) => (line.startsWith("host:") ? line.toLowerCase() : line)).toSorted();
        assert.deepEqual(spelled(linesOf(head.text)), spelled(expected([...host, ...said])));
        assert.equal(head.method, method);
        assert.ok(!/\s/.test(head.method + path));
      }),
      { numRuns: RUNS },
    );
    assert.ok(accepted > RUNS / 50, String(accepted));
  });

  test("of responses", () => {
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.constantFrom("200", "204", "404", "200 OK\r\nx: y", "99"),
        regular,
        fc.boolean(),
        (status, rest, ended) => {
          const fields: Fields = [[":status", status], ...rest];
          const head = parseResponseFields(read(fields), { method: "GET", ended });
          if (head === undefined) return;
          accepted++;
          assert.deepEqual(linesOf(head.text), expected(rest));
          assert.equal(String(head.status), status);
          assert.notEqual(head.framing, "chunked");
        },
      ),
      { numRuns: RUNS },
    );
    assert.ok(accepted > RUNS / 50, String(accepted));
  });

  test("of trailers", () => {
    fc.assert(
      fc.property(regular, (fields) => {
        const lines = trailerLines(read(fields));
        if (lines === undefined) return;
        const wanted = expected(fields);
        for (const line of lines.split("\r\n").filter((each) => each !== "")) {
          assert.ok(wanted.includes(line), line);
        }
      }),
      { numRuns: RUNS },
    );
  });
});
