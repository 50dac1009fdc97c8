/**
 * Two origins in one process, as cheap as they can be made: each answers every request head with the
 * same 1 KB. Prints the two ports when it listens.
 */
import { createServer, type AddressInfo } from "node:net";

const BODY = "x".repeat(1024);
const ANSWER = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
  "latin1",
);

function listen(): Promise<number> {
  const server = createServer({ noDelay: true }, (socket) => {
    let seen = 0;
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      // Heads end in CR LF CR LF; what is left of one is remembered by its length alone.
      let at = bytes.indexOf("\r\n\r\n");
      if (at === -1) seen += bytes.length;
      for (; at !== -1; at = bytes.indexOf("\r\n\r\n", at + 4)) socket.write(ANSWER);
      if (seen > 65_536) socket.destroy();
    });
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", 1024, () => resolve((server.address() as AddressInfo).port));
  });
}

process.stdout.write(`${await listen()} ${await listen()}\n`);
