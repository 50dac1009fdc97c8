/** Bodies of requests and how they are framed. */
import {
  chunked,
  Conversations,
  get,
  HOST,
  NEXT,
  post,
  quoted,
  ROOT,
  SMUGGLED,
} from "./conversation.ts";

const { add, all } = new Conversations();

/** In the order in which they stand here. */
export const BODIES = all;

// Content-Length.
for (const v of [
  "",
  " ",
  "+5",
  "-5",
  "-0",
  "05",
  "005",
  "0x5",
  "5 5",
  "5,5",
  "5, 5",
  "5,6",
  "5;",
  "5.0",
  "5e0",
  "5_0",
  "1_0",
  "'5'",
  '"5"',
  "5a",
  "a5",
  "٥",
  "five",
  "5\t",
  "\t5",
  "  5",
  "5 ",
  "00",
  "18446744073709551621",
  "9007199254740992",
  "99999999999999999999999",
  "0b101",
  "5,",
  ",5",
  "5\\",
  "#5",
  "½",
  "\xb2",
]) {
  add(`CL ${quoted(v)}`, post(`Content-Length: ${v}\r\n`, "hello"), 400);
}
add("CL no space", post("Content-Length:5\r\n", "hello"), "POST / hello");
add("CL 0", post("Content-Length: 0\r\n"), "POST / ");
add("CL twice equal", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400);
add("CL twice 0 5", post("Content-Length: 0\r\nContent-Length: 5\r\n", "hello"), 400);
add("CL empty and 5", post("Content-Length:\r\nContent-Length: 5\r\n", "hello"), 400);
add("CL 5 and empty", post("Content-Length: 5\r\nContent-Length:\r\n", "hello"), 400);
add(
  "CL thrice cases",
  post("content-length: 5\r\nCONTENT-LENGTH: 5\r\nContent-Length: 5\r\n", "hello"),
  400,
);
add(
  "CL shorter than sent: rest is next",
  post("Content-Length: 5\r\n", `hello${NEXT}`),
  "POST / hello",
  "GET /next ",
);
add("CL shorter garbage", post("Content-Length: 4\r\n", "hello"), "POST / hell");
add("GET with CL", get("Content-Length: 5\r\n", "hello"), "GET / hello");
add(
  "GET with CL smuggle",
  get(`Content-Length: ${SMUGGLED.length}\r\n`, SMUGGLED + NEXT),
  `GET / ${SMUGGLED}`,
  "GET /next ",
);
add(
  "HEAD with CL",
  `HEAD / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello${NEXT}`,
  "HEAD / hello",
  "GET /next ",
);
add(
  "DELETE with CL",
  `DELETE / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
  "DELETE / hello",
);
add("OPTIONS * with CL", `OPTIONS * HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`, 204);
add(
  "OPTIONS * with chunks",
  `OPTIONS * HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  204,
);
add("TRACE with CL", `TRACE / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`, 405);
add("CONNECT with CL", `CONNECT a:1 HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello${NEXT}`, 501);
add("CONNECT with request", `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n${NEXT}`, 501);
add("PUT no length", `PUT / HTTP/1.1\r\n${HOST}\r\n`, "PUT / ");
add("unknown method with body", `FROB / HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`, "FROB / x");

// Transfer-Encoding.
for (const v of [
  "",
  "identity",
  "xchunked",
  "chunkedx",
  "x-chunked",
  "chunk",
  "chunked, chunked",
  "chunked,chunked",
  ",chunked",
  ", chunked",
  "chunked,",
  "chunked ,",
  "chunked;",
  "chunked;a=b",
  "chunked; q=1",
  "chunked;q=0",
  '"chunked"',
  "'chunked'",
  "chunked, identity",
  "identity, chunked",
  "identity,chunked,identity",
  "chunked, gzip",
  "chunked identity",
  "chunked\tidentity",
  "cow",
  "\xa0chunked",
  "chunked\xa0",
  "\x85chunked",
  "ch\x96nked",
  "c\x00hunked",
  "chunked\\",
  "gzip",
  "deflate",
  "none",
  "chunked,cow",
  "cow, chunked",
  "gzip;q=1, chunked",
  "trailers, chunked",
  "*",
  "%63hunked",
  "chunKed,",
  "gzip,",
  "br, chunked",
]) {
  add(`TE ${quoted(v)}`, post(`Transfer-Encoding: ${v}\r\n`, "0\r\n\r\n"), 400);
}
for (const v of ["gzip, chunked", "deflate,chunked", "x-gzip , chunked", "compress, gzip, chunked"])
  add(`TE ${quoted(v)}`, post(`Transfer-Encoding: ${v}\r\n`, "0\r\n\r\n"), 501);
for (const v of [
  "chunked",
  "Chunked",
  "CHUNKED",
  " chunked",
  "\tchunked",
  "chunked ",
  "chunked\t",
  " \t chunked \t ",
])
  add(
    `TE ok ${quoted(v)}`,
    post(`Transfer-Encoding:${v}\r\n`, `1\r\nx\r\n0\r\n\r\n${NEXT}`),
    "POST / x",
    "GET /next ",
  );
add(
  "TE twice",
  post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  400,
);
add(
  "TE identity, TE chunked",
  post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  400,
);
add(
  "TE chunked, TE empty",
  post("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", "0\r\n\r\n"),
  400,
);
add(
  "TE gzip, TE chunked",
  post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  400,
);
for (const [a, b] of [
  ["Content-Length: 5", "Transfer-Encoding: chunked"],
  ["Content-Length: 0", "Transfer-Encoding: chunked"],
  ["Content-Length: x", "Transfer-Encoding: chunked"],
  ["Content-Length:", "Transfer-Encoding: chunked"],
  ["Content-Length: 5", "Transfer-Encoding: identity"],
  ["Content-Length: 5", "Transfer-Encoding: cow"],
  ["Content-Length: 5", "Transfer-Encoding:"],
  ["Content-Length: 5", "Transfer-Encoding: gzip, chunked"],
]) {
  add(`${a} + ${b}`, post(`${a}\r\n${b}\r\n`, `0\r\n\r\n${SMUGGLED}`), 400);
  add(`${b} + ${a}`, post(`${b}\r\n${a}\r\n`, `0\r\n\r\n${SMUGGLED}`), 400);
}
add(
  "CL+TE nominated CL",
  post(
    "Connection: content-length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
  ),
  400,
);
add(
  "nominated CL",
  post("Connection: content-length\r\nContent-Length: 5\r\n", "hello"),
  "POST / hello",
);
add(
  "nominated TE",
  post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"),
  "POST / x",
);
add("nominated host", get("Connection: host\r\n"), ROOT);
add(
  "nominated own lines",
  get(
    "Connection: x-forwarded-for, x-request-id, x-forwarded-proto, x-forwarded-host\r\nX-Forwarded-For: 6.6.6.6\r\n",
  ),
  ROOT,
);
add("nominated close, host", get("Connection: close, host, content-length\r\n") + NEXT, ROOT);
add(
  "GET chunked",
  get("Transfer-Encoding: chunked\r\n", `1\r\nx\r\n0\r\n\r\n${NEXT}`),
  "GET / x",
  "GET /next ",
);
add(
  "HEAD chunked",
  `HEAD / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n${NEXT}`,
  "HEAD / x",
  "GET /next ",
);
add("1.0 with TE", `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400);
add(
  "1.0 with TE+CL",
  `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
  400,
);
add(
  "1.0 keep-alive with TE",
  `POST / HTTP/1.0\r\n${HOST}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  400,
);
add("1.0 CL", `POST / HTTP/1.0\r\n${HOST}Content-Length: 2\r\n\r\nhi${NEXT}`, "POST / hi");
add(
  "1.0 ka CL",
  `POST / HTTP/1.0\r\n${HOST}Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi${NEXT}`,
  "POST / hi",
  "GET /next ",
);

// Chunks.
for (const v of [
  "",
  " ",
  "+1",
  "-1",
  "0x1",
  "0X1",
  "1_",
  "0_1",
  " 1",
  "\t1",
  "1 ",
  "1\t",
  "1 ;a",
  "1; a",
  "1 ; a=b",
  "1;",
  "1;;a",
  "1;a;",
  "1;=b",
  "1;a=",
  "1;a=b c",
  '1;a="b',
  '1;a="\\',
  '1;a="b"c',
  "1,",
  "1.0",
  "1a ",
  "g",
  "1\0",
  "1;\0",
  "1;a=\x01",
  "1;a=\x7f",
  "1;a\r",
  "1\r",
  "1\n",
  "1;a=b\n",
  "1;a\rX",
  "1\rX",
  "1\r\r;a",
  '1;a="\r"',
  "10000000000000001",
  "fffffffffffffffff",
  "ffffffffffffffff",
  "20000000000001",
  "1\x0b",
  "1\x0c",
  "1\xa0",
  "1\x85",
  "1 0",
  "'1'",
  '"1"',
  "%31",
  "1h",
  "0x",
]) {
  add(`size ${quoted(v)}`, chunked(`${v}\r\nx\r\n0\r\n\r\n`, NEXT), 400);
}
add("size ok leading zeros", chunked("000001\r\nx\r\n000\r\n\r\n", NEXT), "POST / x", "GET /next ");
add(
  "size hex cases",
  chunked("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", NEXT),
  "POST / 01234567890123456789",
  "GET /next ",
);
for (const v of [
  "1;a",
  "1;a=b",
  '1;a="b"',
  '1;a="b;c"',
  '1;a="\\""',
  "1;a;b;c=d",
  '1;a=""',
  '1;a=b;c="d e"',
])
  add(`ext ok ${quoted(v)}`, chunked(`${v}\r\nx\r\n0;z\r\n\r\n`, NEXT), "POST / x", "GET /next ");
add("TERM.EXT lf", chunked(`2;\nxx\r\n4c\r\n0\r\n\r\n`, SMUGGLED), 400);
add("TERM.EXT cr", chunked(`2;\rxx\r\n4c\r\n0\r\n\r\n`, SMUGGLED), 400);
add("TERM.EXT named lf", chunked(`2;a\nxx\r\n4c\r\n0\r\n\r\n`, SMUGGLED), 400);
add("TERM.EXT named cr x", chunked(`2;a\rXxx\r\n4c\r\n0\r\n\r\n`, SMUGGLED), 400);
add("TERM.EXT zero", chunked(`0;\n\r\n${SMUGGLED}`), 400);
add("TERM.EXT no semicolon", chunked(`2\nxx\r\n0\r\n\r\n`, SMUGGLED), 400);
for (const t of [
  "\n",
  "\r",
  "",
  "XX",
  "\rX",
  "\r\r",
  "\n\r",
  "X\n",
  "\n\n",
  "\r\r\n",
  " \r\n",
  "\0\r\n",
]) {
  add(`data end ${quoted(t)}`, chunked(`5\r\nhello${t}0\r\n\r\n`, SMUGGLED), 400);
  add(
    `data end ${quoted(t)} then chunk`,
    chunked(`5\r\nhello${t}1\r\nx\r\n0\r\n\r\n`, SMUGGLED),
    400,
  );
}
add("data longer", chunked(`1\r\nxy\r\n0\r\n\r\n`, SMUGGLED), 400);
add("data shorter", chunked(`5\r\nhell\r\n0\r\n\r\n`, SMUGGLED), 400);
add("extra CRLF between chunks", chunked(`1\r\nx\r\n\r\n1\r\ny\r\n0\r\n\r\n`, SMUGGLED), 400);
add("empty size at end", chunked(`1\r\nx\r\n\r\n\r\n`, SMUGGLED), 400);
add("only CRLFs", chunked(`\r\n\r\n`, SMUGGLED), 400);
add("last chunk lf", chunked(`1\r\nx\r\n0\n\r\n`, SMUGGLED), 400);
add("last chunk end lf", chunked(`1\r\nx\r\n0\r\n\n`, SMUGGLED), 400);
add("last chunk end crcr", chunked(`1\r\nx\r\n0\r\n\r\r`, SMUGGLED), 400);
add("last chunk end cr x", chunked(`0\r\n\rX`, SMUGGLED), 400);
add("last chunk no blank", chunked(`0\r\n`, SMUGGLED), 400);
add("last chunk many zeros", chunked(`00000000\r\n\r\n`, NEXT), "POST / ", "GET /next ");
add("-0", chunked(`-0\r\n\r\n`, SMUGGLED), 400);
add("two ends", chunked(`0\r\n\r\n0\r\n\r\n`, ""), "POST / ", 400);
add("spill request", chunked(`17\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n\r\n0\r\n\r\n`), 400);
add("early bytes", chunked(`x\r\n`), 400);
add("chunks empty then next", chunked(`0\r\n\r\n`, NEXT), "POST / ", "GET /next ");

// Trailers.
for (const v of [
  "Content-Length: 5",
  "Transfer-Encoding: chunked",
  "Host: b",
  "Trailer: x",
  "Content-Type: a/b",
  "Authorization: x",
  "Cookie: a",
  "Connection: close",
  "TE: trailers",
  "X-Forwarded-For: 1",
  "X : 1",
  " X: 1",
  "X",
  ": x",
  "X: a\0",
  "X: a\x01",
  "X: a\rb",
  "X: a\nb",
  "X\xa0: 1",
  "X: 1\r\n 2",
  "GET /smuggled HTTP/1.1",
])
  add(`trailer ${quoted(v)}`, chunked(`1\r\nx\r\n0\r\n${v}\r\n\r\n`, SMUGGLED), 400);
for (const v of ["X: 1", "X:", "X: 1\r\nY: 2", "X-Checksum: \xe4", "Expires: 0"])
  add(
    `trailer ok ${quoted(v)}`,
    chunked(`1\r\nx\r\n0\r\n${v}\r\n\r\n`, NEXT),
    "POST / x",
    "GET /next ",
  );
add("trailer lf end", chunked(`0\r\nX: 1\r\n\n`, SMUGGLED), 400);
add("trailer lf", chunked(`0\r\nX: 1\n\r\n`, SMUGGLED), 400);
add("trailer cr", chunked(`0\r\nX: 1\r\r\n\r\n`, SMUGGLED), 400);
add("trailer X:POST", chunked(`0\r\nX:POST / HTTP/1.1\r\n\r\n`, NEXT), "POST / ", "GET /next ");
