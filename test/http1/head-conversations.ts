/** Heads of requests as they may and may not be: ends of lines, names, request lines, targets, hosts. */
import { Conversations, get, HOST, NEXT, post, quoted, ROOT } from "./conversation.ts";

const { add, all } = new Conversations();

/** In the order in which they stand here. */
export const HEADS = all;

// Where lines end.
add("LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", 400);
add("LF after request line", `GET / HTTP/1.1\nHost: a\r\n\r\n`, 400);
add("LF after field", `GET / HTTP/1.1\r\nHost: a\n\r\n`, 400);
add("LF blank", `GET / HTTP/1.1\r\nHost: a\r\n\n`, 400);
add("LF LF blank", `GET / HTTP/1.1\r\nHost: a\n\n`, 400);
add("CR only after request line", `GET / HTTP/1.1\rHost: a\r\n\r\n`, 400);
add("CR only fields", `GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n`, 400);
add("CR CR LF", `GET / HTTP/1.1\r\r\nHost: a\r\n\r\n`, 400);
add("CR CR LF after field", `GET / HTTP/1.1\r\nHost: a\r\r\n\r\n`, 400);
add("CR LF CR X", `GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n`, 400);
add("CR CR at blank", `GET / HTTP/1.1\r\nHost: a\r\n\r\r\n`, 400);
add("LF in value", get("X: a\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400);
add("LF LF in value", get("X: a\n\nGET /smuggled HTTP/1.1\r\n"), 400);
add("LF after colon", get("X:\n\nGET /smuggled HTTP/1.1\r\n"), 400);
add("CR in value", get("X: a\rTransfer-Encoding: chunked\r\n"), 400);
add("LF CR", "GET / HTTP/1.1\n\rHost: a\n\r\n\r", 400);
add("VT line end", `GET / HTTP/1.1\r\nHost: a\x0bX: b\r\n\r\n`, 400);
add("NEL in value", get("X: a\x85b\r\n"), ROOT);
add("NEL line end in host", `GET / HTTP/1.1\r\nHost: a\x85X: b\r\n\r\n`, 400);
add("LF before request", `\n${get("")}`, 400);
add("CR before request", `\r${get("")}`, 400);
add("CRLF before request", `\r\n${get("")}`, ROOT);
add("CRLF CRLF before request", `\r\n\r\n${get("")}`, 400);
add("CRLF LF before request", `\r\n\n${get("")}`, 400);
add("space before request", ` ${get("")}`, 400);
add("tab before request", `\t${get("")}`, 400);
add("NUL before request", `\0${get("")}`, 400);
add("BOM before request", `\xef\xbb\xbf${get("")}`, 400);
add("CRLF between", `${get("")}\r\n${NEXT}`, ROOT, "GET /next ");
add("CRLF CRLF between", `${get("")}\r\n\r\n${NEXT}`, ROOT, 400);
add("LF between", `${get("")}\n${NEXT}`, ROOT, 400);
add(
  "CRLF after a body",
  `${post("Content-Length: 1\r\n", "x")}\r\n${NEXT}`,
  "POST / x",
  "GET /next ",
);
add("space between", `${get("")} ${NEXT}`, ROOT, 400);
add("NUL between", `${get("")}\0${NEXT}`, ROOT, 400);

// Names and values of fields.
for (const c of [
  " ",
  "\t",
  "\0",
  "\x0b",
  "\x0c",
  "\r",
  "\x7f",
  "\x85",
  "\xa0",
  "\xff",
  "\x1f",
  "\x01",
  "_x ",
  " x",
]) {
  add(`CL${quoted(c)}:`, post(`Content-Length${c}: 5\r\n`, "hello"), 400);
  add(`TE${quoted(c)}:`, post(`Transfer-Encoding${c}: chunked\r\n`, "0\r\n\r\n"), 400);
  add(`${quoted(c)}TE:`, post(`${c}Transfer-Encoding: chunked\r\n`, "0\r\n\r\n"), 400);
  add(`host${quoted(c)}:`, `GET / HTTP/1.1\r\nHost${c}: a\r\n\r\n`, 400);
}
for (const c of `()<>@,;\\"/[]?={}`) add(`name with ${c}`, get(`X${c}Y: 1\r\n`), 400);
for (const c of "!#$%&'*+-.^`|~_0") add(`name with ${c}`, get(`X${c}Y: 1\r\n`), ROOT);
add("empty name", get(": x\r\n"), 400);
add("empty name and value", get(":\r\n"), 400);
add("no colon", get("X\r\n"), 400);
add("no colon with number", post("Content-Length 5\r\n", "hello"), 400);
add("colons in value", get("X:::\r\n"), ROOT);
add("no value", get("X:\r\n"), ROOT);
add("blank value", get("X: \t \r\n"), ROOT);
add("first line indented", `GET / HTTP/1.1\r\n Host: a\r\n\r\n`, 400);
add("fold sp", get("X: a\r\n b\r\n"), 400);
add("fold tab", get("X: a\r\n\tb\r\n"), 400);
add("fold only blanks", get("X: a\r\n \r\n"), 400);
add("fold TE", post("X: a\r\n Transfer-Encoding: chunked\r\n"), 400);
add("fold CL value", post("Content-Length: 1\r\n 0\r\n", "0123456789"), 400);
add("fold TE value", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400);
add("fold host", `GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n`, 400);
add("split name", post("Transfer-\r\nEncoding: chunked\r\n", "0\r\n\r\n"), 400);
for (const code of [0, 1, 7, 8, 0x0b, 0x0c, 0x0e, 0x1b, 0x1f, 0x7f]) {
  const c = String.fromCharCode(code);
  add(`value with ${code}`, get(`X: a${c}b\r\n`), 400);
  add(`TE value ${code} before`, post(`Transfer-Encoding: ${c}chunked\r\n`, "0\r\n\r\n"), 400);
  add(`TE value ${code} after`, post(`Transfer-Encoding: chunked${c}\r\n`, "0\r\n\r\n"), 400);
  add(`CL value ${code} before`, post(`Content-Length: ${c}5\r\n`, "hello"), 400);
  add(`CL value ${code} after`, post(`Content-Length: 5${c}\r\n`, "hello"), 400);
}
add("obs-text value", get("X: \x80\xff\xe4\r\n"), ROOT);
for (const n of [
  "Content_Length: 5",
  "content_length: 5",
  "Transfer_Encoding: chunked",
  "TRANSFER_ENCODING: chunked",
  "X_Forwarded_For: 1",
  "X-Forwarded_Proto: https",
  "X_Forwarded-Host: b",
  "x_request_id: 1",
])
  add(n, post(`${n}\r\n`), 400);
add("accent", post("Transf\x82r-Encoding: chunked\r\n"), 400);
add("pct name", post("Transfer-%45ncoding: chunked\r\n", ""), "POST / ");
add(
  "Content-Encoding chunked",
  post("Content-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
  "POST / 0\r\n\r\n",
);

// Request lines.
for (const v of [
  "GET  / HTTP/1.1",
  "GET /  HTTP/1.1",
  "GET / HTTP/1.1 ",
  " GET / HTTP/1.1",
  "GET\t/ HTTP/1.1",
  "GET /\tHTTP/1.1",
  "GET\x0b/ HTTP/1.1",
  "GET\x0c/ HTTP/1.1",
  "GET /\x0bHTTP/1.1",
  "GET /\xa0HTTP/1.1",
  "GET\0/ HTTP/1.1",
  "GET /\0 HTTP/1.1",
  "GET / a HTTP/1.1",
  "GET /a b HTTP/1.1",
  "GET / HTTP/1.1 HTTP/1.1",
  "GET /?a=b HTTP/1.1 x",
  "GET / HTTP/1.1\t",
  "GET / HTTP/1.1\0",
  "GET /",
  "GET / ",
  "GET",
  "GET HTTP/1.1",
  "/ HTTP/1.1",
  "HTTP/1.1 200 ROOT",
  "G@T / HTTP/1.1",
  "G(T / HTTP/1.1",
  "G,T / HTTP/1.1",
  "G\xe4T / HTTP/1.1",
  "G\0T / HTTP/1.1",
  "GET: / HTTP/1.1",
  '"GET" / HTTP/1.1',
  "GET;/ HTTP/1.1",
  `${"A".repeat(33)} / HTTP/1.1`,
  "GET /\x7f HTTP/1.1",
  "GET /\x80 HTTP/1.1",
  "GET /\xe4 HTTP/1.1",
  "GET /\\ HTTP/1.1",
  "GET /# HTTP/1.1",
  "GET /a#b HTTP/1.1",
  "GET /\x01 HTTP/1.1",
  "GET \\ HTTP/1.1",
  "GET ? HTTP/1.1",
  "GET ?a HTTP/1.1",
  "GET a HTTP/1.1",
  "GET a/b HTTP/1.1",
  "GET a:80 HTTP/1.1",
  "GET * HTTP/1.1",
  "OPTIONS */x HTTP/1.1",
  "OPTIONS *?x HTTP/1.1",
  "OPTIONS a HTTP/1.1",
  "GET // HTTP/1.1\r\nX",
  "GET http:/a/ HTTP/1.1",
  "GET http://  HTTP/1.1",
  "GET http:// HTTP/1.1",
  "GET http:///x HTTP/1.1",
  "GET http://:80/ HTTP/1.1",
  "GET http://a:b/ HTTP/1.1",
  "GET http://a:-1/ HTTP/1.1",
  "GET http://u@a/ HTTP/1.1",
  "GET http://u:p@a/ HTTP/1.1",
  "GET http://a@/ HTTP/1.1",
  "GET http://a#b HTTP/1.1",
  "GET http://a\\b/ HTTP/1.1",
  "GET ftp://a/ HTTP/1.1",
  "GET file:///etc HTTP/1.1",
  "GET ws://a/ HTTP/1.1",
  "GET javascript:1 HTTP/1.1",
  "GET http:a HTTP/1.1",
  "GET ://a HTTP/1.1",
  "GET http://[::1/ HTTP/1.1",
  "GET http://::1/ HTTP/1.1",
  "GET http://a,b/ HTTP/1.1",
  "CONNECT http://a:80 HTTP/1.1",
  "CONNECT a:b HTTP/1.1",
  "CONNECT * HTTP/1.1",
  "GET http://a/?http://b/../ HTTP/1.1x",
  "GET /../ HTTP/1.1",
  "GET /%2e%2e/ HTTP/1.1",
  "GET /a/./b HTTP/1.1",
  "GET /%00 HTTP/1.1",
  "GET /%0d%0aX:y HTTP/1.1",
  "GET /%5c HTTP/1.1",
  "GET http://a/../b HTTP/1.1",
])
  add(v, `${v}\r\n${HOST}\r\n`, 400);
for (const v of [
  "HTTP/1",
  "HTTP/1.",
  "HTTP/.1",
  "HTTP/1.10",
  "HTTP/1.01",
  "HTTP/01.1",
  "HTTP/11",
  "HTTP/1,1",
  "HTTP/1.1.1",
  "HTTP/+1.1",
  "HTTP/1.+1",
  "HTTP/-1.1",
  "HTTP /1.1",
  "HTTP/ 1.1",
  "HTTP/1 .1",
  "HTTP/1. 1",
  "http/1.1",
  "Http/1.1",
  "HTTPS/1.1",
  "HTTP1.1",
  "HTTP\\1.1",
  "HTTP//1.1",
  "HTP/1.1",
  "XHTTP/1.1",
  "HTTP/1.x",
  "HTTP/x.1",
  "HTTP/1.1a",
  "HTTP/4294967297.1",
  "RTSP/1.0",
  "ICE/1.0",
  "HTTP/1.\xb9",
  "HTTP/",
  "HTTP",
  "1.1",
])
  add(`version ${v}`, `GET / ${v}\r\n${HOST}\r\n`, 400);
for (const v of ["HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/0.9", "HTTP/0.0", "HTTP/2.1"])
  add(`version ${v}`, `GET / ${v}\r\n${HOST}\r\n`, 505);
add("HTTP/2", `GET / HTTP/2\r\n${HOST}\r\n`, 400);
add("HTTP/1.2", `GET / HTTP/1.2\r\n${HOST}\r\n${NEXT}`, ROOT, "GET /next ");
add(
  "HTTP/1.9 chunked",
  `POST / HTTP/1.9\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${NEXT}`,
  "POST / ",
  "GET /next ",
);
add("0.9", "GET /\r\n\r\n", 400);
add("0.9 lf", "GET /\n", 400);

// Targets that are served.
for (const [t, o] of [
  ["/", "/"],
  ["//", "/"],
  ["/?", "/?"],
  ["/??", "/??"],
  ["/?a=/../b", "/?a=/../b"],
  ["/?a=%00", "/?a=%00"],
  ["/a;b=c", "/a;b=c"],
  ["/:80", "/:80"],
  ["/@", "/@"],
  ["/*", "/*"],
  ["/[", "/["],
  ["/%20", "/%20"],
  ["/%41", "/A"],
  ["/http://a/", "/http:/a/"],
  ["http://a", "/"],
  ["http://a/", "/"],
  ["http://a?b", "/?b"],
  ["http://b:80/x?y", "/x?y"],
  ["HTTP://a/x", "/x"],
  ["/?http://b/", "/?http://b/"],
  ["/.../", "/.../"],
  ["/.a", "/.a"],
  ["/~a", "/~a"],
])
  add(`target ${t}`, `GET ${t} HTTP/1.1\r\n${HOST}\r\n${NEXT}`, `GET ${o} `, "GET /next ");
add("target https absolute over plain", `GET https://a/ HTTP/1.1\r\n${HOST}\r\n`, 421);
add("OPTIONS absolute", `OPTIONS http://a HTTP/1.1\r\n${HOST}\r\n`, 204);
add("OPTIONS /", `OPTIONS / HTTP/1.1\r\n${HOST}\r\n`, "OPTIONS / ");

// Host.
for (const v of [
  "",
  " ",
  "a b",
  "a,b",
  "a, b",
  "a/b",
  "a?b",
  "a#b",
  "u@a",
  "u:p@a",
  "a:b",
  "a:80:80",
  "a:-1",
  "a:+1",
  "a:123456",
  ":80",
  "[::1",
  "::1",
  "[::1]x",
  "[::1]:x",
  "[]",
  "[g::1]",
  "a\\b",
  "a\0",
  '"a"',
  "<a>",
  "http://a",
  "a|b",
  "a^b",
  "a`b",
  "{a}",
  "\xe4",
  "a\xa0",
  "a\tb",
  "a\x0b",
])
  add(`host ${quoted(v)}`, `GET / HTTP/1.1\r\nHost: ${v}\r\n\r\n`, 400);
for (const v of [
  "a",
  "A.B",
  "a:",
  "a:80",
  "127.0.0.1",
  "127.0.0.1:80",
  "[::1]",
  "[::1]:80",
  "a_b",
  "xn--a",
  "a.",
  "-",
  "%61",
  "\ta\t ",
])
  add(`host ok ${quoted(v)}`, `GET / HTTP/1.1\r\nHost: ${v}\r\n\r\n`, ROOT);
add("no host", "GET / HTTP/1.1\r\n\r\n", 400);
add("no host but absolute", "GET http://a/ HTTP/1.1\r\n\r\n", 400);
add("no host, 1.0 absolute", "GET http://a/ HTTP/1.0\r\n\r\n", ROOT);
add("no host 1.0", "GET / HTTP/1.0\r\n\r\n", ROOT);
add("two hosts", get("Host: a\r\n"), 400);
add("two hosts differ", get("hOST: b\r\n"), 400);
add("two hosts 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400);
add("two hosts, one empty", get("Host:\r\n"), 400);
add("absolute with bad host", "GET http://a/ HTTP/1.1\r\nHost: b@c\r\n\r\n", 400);
add("absolute with other host", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", ROOT);
add("absolute two hosts", "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
