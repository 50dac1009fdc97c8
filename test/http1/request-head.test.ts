/** The request-head parser by itself: what it reads, what it refuses, and that it never throws. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { ChunkedDecoder, chunkLine, LAST_CHUNK } from "../../src/http1/chunked.ts";
import type { HeadFault } from "../../src/http1/fault.ts";
import {
  judgePartialHead,
  parseRequestHead,
  type RequestHead,
} from "../../src/http1/request-head.ts";

function parse(lines: readonly string[]): RequestHead | HeadFault {
  const text = `${lines.join("\r\n")}\r\n\r\n`;
  return parseRequestHead(text, text.length);
}

describe("what is read", () => {
  const targets: [target: string, host: string, path: string, query: string, wantHost: string][] = [
    ["/", "a.example", "/", "", "a.example"],
    ["/a/b?c=d?e", "A.Example:80", "/a/b", "c=d?e", "a.example"],
    ["/?", "[::1]:8080", "/", "", "[::1]"],
    ["/%41%7e%20%2f%zz%", "x", "/A~%20%2f%zz%", "", "x"],
    ["//a///b//?c//d=%41", "x", "/a/b/", "c//d=%41", "x"],
    ["http://b.example//%61", "x", "/a", "", "b.example"],
    ["/%2561/...", "x", "/%2561/...", "", "x"],
    ["http://B.example:1/p?q", "x", "/p", "q", "b.example"],
    ["HTTP://b.example", "x", "/", "", "b.example"],
  ];
  for (const [target, host, path, query, wantHost] of targets) {
    test(`GET ${target} for ${host}`, () => {
      const head = parse([`GET ${target} HTTP/1.1`, `Host: ${host}`]) as RequestHead;
      assert.deepEqual([head.path, head.query, head.host], [path, query, wantHost]);
    });
  }

  test("many names that Connection nominates are dropped as few are", () => {
    const own = ["X-One: 1", "Cookie: a=b", "x-TWO: 2", "Three: 3"];
    for (const more of [0, 20, 15_000]) {
      const connection = `Connection: x-one,${"a,".repeat(more)} X-Two ,cookie`;
      const many = Array.from({ length: 90 }, () => "b:");
      const head = parse(["GET / HTTP/1.1", "Host: a", connection, ...own, ...many]) as RequestHead;
      assert.match(head.kept(), /^Host: a\r\nCookie: a=b\r\nThree: 3\r\n(?:b:\r\n){90}$/);
    }
  });

  test("a path is respelled only where it has to be", () => {
    for (const [target, respelled] of [
      ["/a%2Fb?x//%41", false],
      ["/a%20b", false],
      ["/%61", true],
      ["/a//b", true],
    ] as const) {
      const head = parse([`GET ${target} HTTP/1.1`, "Host: a"]) as RequestHead;
      assert.equal(head.respelled, respelled, target);
    }
  });

  test("several values of one header are joined, in any case of the name", () => {
    const head = parse(["GET / HTTP/1.1", "Host: a", "X-A: 1", "x-a:\t2 ", "X-B:"]) as RequestHead;
    assert.equal(head.header("x-a"), "1, 2");
    assert.equal(head.header("x-b"), "");
    assert.equal(head.header("x-c"), undefined);
  });

  const keepAlive: [lines: string[], kept: boolean][] = [
    [["GET / HTTP/1.1", "Host: a"], true],
    [["GET / HTTP/1.1", "Host: a", "Connection: Close"], false],
    [["GET / HTTP/1.1", "Host: a", "Connection: x", "Connection: close"], false],
    [["GET / HTTP/1.0", "Host: a"], false],
    [["GET / HTTP/1.0", "Host: a", "Connection: keep-alive"], true],
    [["GET / HTTP/1.7", "Host: a"], true],
  ];
  for (const [lines, kept] of keepAlive) {
    test(`${lines.join(" | ")}: ${kept ? "kept" : "closed"}`, () => {
      assert.equal((parse(lines) as RequestHead).keepAlive, kept);
    });
  }
});

describe("targets in absolute form", () => {
  const cases: [target: string, authority: string, path: string, query: string, https: boolean][] =
    [
      ["http://a", "a", "/", "", false],
      ["http://a/b?c", "a", "/b", "c", false],
      ["HTTP://A:80/b", "A:80", "/b", "", false],
      ["https://a", "a", "/", "", true],
      ["https://a?c=https://d", "a", "/", "c=https://d", true],
      ["https://[::1]:8443/b", "[::1]:8443", "/b", "", true],
      ["hTTpS://a.example/b//c", "a.example", "/b/c", "", true],
      ["HTTPS://a/", "a", "/", "", true],
    ];
  for (const [target, authority, path, query, https] of cases) {
    test(target, () => {
      const head = parse([`GET ${target} HTTP/1.1`, "Host: other"]) as RequestHead;
      const { absolute, asksHttps } = head;
      assert.deepEqual(
        { absolute, authority: head.authority, path: head.path, query: head.query, asksHttps },
        { absolute: true, authority, path, query, asksHttps: https },
      );
    });
  }

  const options: [target: string, path: string, query: string][] = [
    ["http://a", "*", ""],
    ["HTTPS://a:1", "*", ""],
    ["http://a/", "/", ""],
    ["http://a?", "/", ""],
    ["http://a?b", "/", "b"],
  ];
  for (const [target, path, query] of options) {
    test(`OPTIONS ${target} is about ${path === "*" ? "the server" : path} (RFC 9112 §3.2.4)`, () => {
      const head = parse([`OPTIONS ${target} HTTP/1.1`, "Host: a"]) as RequestHead;
      assert.deepEqual([head.path, head.query], [path, query]);
    });
  }

  test("no other target asks for https", () => {
    for (const target of ["/", "/abcs", "/https://a"]) {
      assert.equal((parse([`GET ${target} HTTP/1.1`, "Host: a"]) as RequestHead).asksHttps, false);
    }
  });
});

describe("what is refused", () => {
  const cases: [fault: HeadFault, lines: string[]][] = [
    ["host_invalid", ["GET / HTTP/1.1"]],
    ["host_invalid", ["GET / HTTP/1.1", "Host: a", "Host: a"]],
    ["host_invalid", ["GET / HTTP/1.1", "Host: user@a"]],
    ["host_invalid", ["GET / HTTP/1.1", "Host: a, b"]],
    ["host_invalid", ["GET / HTTP/1.1", "Host: a/b"]],
    ["framing_invalid", ["POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"]],
    ["framing_invalid", ["POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 1"]],
    ["framing_invalid", ["POST / HTTP/1.1", "Host: a", "Content-Length: 9007199254740992"]],
    ["framing_invalid", ["POST / HTTP/1.1", "Host: a", "Transfer-Encoding:"]],
    ["framing_invalid", ["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: \xa0chunked"]],
    ["framing_invalid", ["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: identity, chunked"]],
    ["coding_unsupported", ["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"]],
    ["target_invalid", ["GET * HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET a HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET https:///x HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET https://u@a/ HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET https:/a/ HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET httpss://a/ HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET wss://a/ HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET http://u@a/ HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /%00 HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /%c0%af HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /a/../b HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /a/%2E. HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /a/..;/b HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /a/.%2e%3Bx HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /a%2f..%2fb HTTP/1.1", "Host: a"]],
    ["target_invalid", ["GET /a%5Cb HTTP/1.1", "Host: a"]],
    ["head_malformed", ["GET /a#b HTTP/1.1", "Host: a"]],
    ["head_malformed", ["GET /a\\b HTTP/1.1", "Host: a"]],
    ["head_malformed", ["GET / HTTP/1.1", "Host: a", ": x"]],
    ["head_malformed", ["GET / HTTP/1.1", "Host: a", "X: \x00"]],
    ["version_unsupported", ["GET / HTTP/3.0", "Host: a"]],
    ["header_underscore", ["GET / HTTP/1.1", "Host: a", "Transfer_Encoding: chunked"]],
    ["header_underscore", ["GET / HTTP/1.1", "Host: a", "X-Forwarded_For: 1"]],
    ["header_underscore", ["GET / HTTP/1.1", "Host: a", "x_request_id: 1"]],
  ];
  for (const [fault, lines] of cases) {
    test(`${lines.join(" | ")}: ${fault}`, () => assert.equal(parse(lines), fault));
  }
});

test("any bytes get a head or a fault, and the beginning of a good head is never refused", () => {
  const byte = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
  const bytes = fc.array(
    fc.oneof(byte, fc.constantFrom("\r\n", ": ", " ", "/", "GET", "HTTP/1.1")),
  );
  fc.assert(
    fc.property(bytes, (parts) => {
      const text = `${parts.join("")}\r\n\r\n`;
      const end = text.indexOf("\r\n\r\n") + 4;
      const head = parseRequestHead(text.slice(0, end), end);
      if (typeof head === "string") return;
      for (let cut = 0; cut < end; cut++) {
        assert.equal(
          judgePartialHead(text.slice(0, cut)),
          undefined,
          JSON.stringify(text.slice(0, cut)),
        );
      }
    }),
    { numRuns: 300 },
  );
  const good = "POST /a?b HTTP/1.1\r\nHost: a\r\nX-A: b\r\nContent-Length: 3\r\n\r\n";
  for (let cut = 0; cut < good.length; cut++) {
    assert.equal(judgePartialHead(good.slice(0, cut)), undefined, good.slice(0, cut));
  }
});

test("chunks come out as they went in, however they are cut", () => {
  const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 8 });
  fc.assert(
    fc.property(
      pieces,
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      (chunks, cuts) => {
        const parts: Buffer[] = [];
        for (const chunk of chunks)
          parts.push(Buffer.from(chunkLine(chunk.length)), Buffer.from(chunk), Buffer.from("\r\n"));
        const encoded = Buffer.concat([...parts, Buffer.from(`${LAST_CHUNK}next`)]);
        const decoded: Buffer[] = [];
        const sink = {
          body: (buffer: Buffer, start: number, end: number) => {
            decoded.push(Buffer.from(buffer.subarray(start, end)));
          },
        };
        const decoder = new ChunkedDecoder();
        let at = 0;
        for (let turn = 0; !decoder.done; turn++) {
          const end = Math.min(encoded.length, at + (cuts[turn % cuts.length] as number));
          at = decoder.read(encoded, { start: at, end, sink });
          assert.equal(decoder.failed, false);
        }
        assert.deepEqual(Buffer.concat(decoded), Buffer.concat(chunks));
        assert.equal(encoded.subarray(at).toString(), "next");
      },
    ),
    { numRuns: 200 },
  );
});
