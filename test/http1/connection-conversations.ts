/** What becomes of a connection: kept or not, upgrades, Expect, pipelines, and limits at and beyond which it ends. */
import { chunked, Conversations, get, HOST, NEXT, post, ROOT, SMUGGLED } from "./conversation.ts";

const { add, all } = new Conversations();

/** In the order in which they stand here. */
export const CONNECTIONS = all;

// Connections that are kept or not.
add("close then more", get("Connection: close\r\n") + NEXT, ROOT);
add("Close, x", get("Connection: x, CLOSE\r\n") + NEXT, ROOT);
add("two connections", get("Connection: keep-alive\r\nConnection: close\r\n") + NEXT, ROOT);
add("connection junk", get("Connection: ,, ,;\r\n") + NEXT, ROOT, "GET /next ");
add("closed", get("Connection: closed\r\n") + NEXT, ROOT, "GET /next ");
add("close;x", get("Connection: close;x\r\n") + NEXT, ROOT, "GET /next ");
add("proxy-connection", get("Proxy-Connection: close\r\n") + NEXT, ROOT, "GET /next ");
add("1.0", `GET / HTTP/1.0\r\n${HOST}\r\n${NEXT}`, ROOT);
add("1.0 ka", `GET / HTTP/1.0\r\n${HOST}Connection: Keep-Alive\r\n\r\n${NEXT}`, ROOT, "GET /next ");
add("1.0 ka close", `GET / HTTP/1.0\r\n${HOST}Connection: Keep-Alive, close\r\n\r\n${NEXT}`, ROOT);

// Upgrades.
add(
  "h2c",
  get(
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
  ) + NEXT,
  ROOT,
  "GET /next ",
);
add("h2c w/o settings", get("Connection: Upgrade\r\nUpgrade: h2c\r\n"), ROOT);
add(
  "h2c with body",
  post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n", `x${NEXT}`),
  "POST / x",
  "GET /next ",
);
add(
  "h2c and preface",
  get(
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
  ) + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  ROOT,
  505,
);
add("h2", get("Connection: Upgrade\r\nUpgrade: h2\r\n"), 501);
add("upgrade list", get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), 501);
add(
  "upgrade websocket h2c lines",
  get("Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n"),
  501,
);
add(
  "upgrade not nominated",
  get(
    "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
  ) + NEXT,
  ROOT,
  "GET /next ",
);
const WEBSOCKET =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
add("ws post", post(WEBSOCKET), 501);
add("ws with CL", get(`${WEBSOCKET}Content-Length: 5\r\n`, "hello"), 501);
add("ws with chunks", get(`${WEBSOCKET}Transfer-Encoding: chunked\r\n`, "0\r\n\r\n"), 501);
add("ws CL 0", get(`${WEBSOCKET}Content-Length: 0\r\n`), ROOT);
add("ws refused by 200, then smuggle", get(WEBSOCKET) + NEXT, ROOT);
add("ws 1.0", `GET / HTTP/1.0\r\n${HOST}${WEBSOCKET}\r\n`, ROOT);
add("ws no key", get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), 400);
add("ws two keys", get(`${WEBSOCKET}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`), 400);
add("tls upgrade", get("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), 501);

// Expect.
add(
  "expect with body at once",
  post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello") + NEXT,
  "POST / hello",
  "GET /next ",
);
add(
  "expect chunked at once",
  post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", `5\r\nhello\r\n0\r\n\r\n${NEXT}`),
  "POST / hello",
  "GET /next ",
);
add("expect no body", get("Expect: 100-continue\r\n") + NEXT, ROOT, "GET /next ");
add(
  "expect CL 0",
  post("Expect: 100-continue\r\nContent-Length: 0\r\n") + NEXT,
  "POST / ",
  "GET /next ",
);
add("expect case", post("expect: 100-Continue\r\nContent-Length: 1\r\n", "x"), "POST / x");
add(
  "expect 1.0",
  `POST / HTTP/1.0\r\n${HOST}Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx`,
  "POST / x",
);
for (const v of [
  "200-ok",
  "100-continue, x",
  "x",
  "100-continue;q=1",
  "100 continue",
  "y 100-continue",
  "100-continue\xa0",
  "100-continue, 100-continue",
])
  add(`expect ${v}`, post(`Expect: ${v}\r\nContent-Length: 5\r\n`, "hello"), 417);
add(
  "expect twice",
  post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
  417,
);
add("expect empty", post("Expect:\r\nContent-Length: 5\r\n", "hello"), "POST / hello");
add(
  "expect split",
  post("Expect: 100-\r\nExpect: continue\r\nContent-Length: 5\r\n", "hello"),
  417,
);

// Pipelines.
add("good bad", get("") + post("Content-Length: x\r\n", SMUGGLED), ROOT, 400);
add("good bad good", get("") + "BAD\r\n\r\n" + SMUGGLED, ROOT, 400);
add("chunk bad then next", get("") + chunked("1\r\nxx\r\n", SMUGGLED), ROOT, 400);
add("many", NEXT.repeat(20), ...Array.from({ length: 20 }, () => "GET /next "));
add(
  "post get post",
  post("Content-Length: 1\r\n", "x") + get("") + chunked("1\r\ny\r\n0\r\n\r\n", NEXT),
  "POST / x",
  ROOT,
  "POST / y",
  "GET /next ",
);

// Limits, at and beyond them.
const pad = (n: number) => "x".repeat(n);
{
  const head = `GET / HTTP/1.1\r\n${HOST}X: \r\n\r\n`;
  add("head at limit", `GET / HTTP/1.1\r\n${HOST}X: ${pad(32768 - head.length)}\r\n\r\n`, ROOT);
  add("head over limit", `GET / HTTP/1.1\r\n${HOST}X: ${pad(32769 - head.length)}\r\n\r\n`, 431);
  add(
    "head at limit after empty line and with body",
    `\r\nPOST / HTTP/1.1\r\n${HOST}Content-Length: 1\r\nX: ${pad(32768 - head.length - 20)}\r\n\r\nx${NEXT}`,
    "POST / x",
    "GET /next ",
  );
}
add("target at limit", `GET /${pad(16383)} HTTP/1.1\r\n${HOST}\r\n`, `GET /${pad(16383)} `);
add("target over", `GET /${pad(16384)} HTTP/1.1\r\n${HOST}\r\n`, 414);
add("100 headers", get("X: 1\r\n".repeat(99)), ROOT);
add("101 headers", get("X: 1\r\n".repeat(100)), 431);
add("method 32", `${"A".repeat(32)} / HTTP/1.1\r\n${HOST}\r\n`, `${"A".repeat(32)} / `);
add(
  "size line 1024",
  chunked(`1;a=${pad(1020)}\r\nx\r\n0\r\n\r\n`, NEXT),
  "POST / x",
  "GET /next ",
);
add("size line 1025", chunked(`1;a=${pad(1021)}\r\nx\r\n0\r\n\r\n`, SMUGGLED), 400);
add(
  "ext total 16384",
  chunked(
    `1;a=${pad(1020)}\r\nx\r\n`.repeat(16) + `1;${pad(14)}\r\ny\r\n0\r\n\r\n`.replace("14", "14"),
    NEXT,
  ),
  "POST / " + "x".repeat(16) + "y",
  "GET /next ",
);
add(
  "ext total over",
  chunked(`1;a=${pad(1020)}\r\nx\r\n`.repeat(16) + `1;${pad(17)}\r\ny\r\n0\r\n\r\n`, SMUGGLED),
  400,
);
add("trailers 8192", chunked(`0\r\nX: ${pad(8192 - 5)}\r\n\r\n`, NEXT), "POST / ", "GET /next ");
add("trailers over", chunked(`0\r\nX: ${pad(8193 - 5)}\r\n\r\n`, SMUGGLED), 400);
add("chunk size 13 digits huge", chunked(`1ffffffffffffe\r\nx`), 400);
add("host 255", `GET / HTTP/1.1\r\nHost: ${pad(255)}\r\n\r\n`, ROOT);
add("host 256", `GET / HTTP/1.1\r\nHost: ${pad(256)}\r\n\r\n`, 400);
