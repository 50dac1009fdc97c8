/**
 * Load and origin of the WebSocket benchmark, as raw frames (RFC 6455), for a library would cost more
 * than what is measured. A program of its own. As `origin` it prints its port and sends each message
 * back; as `load PORT SECONDS CONNECTIONS` each connection sends a message, waits for it to come back
 * and sends the next; its output is one line of JSON with the number of messages.
 */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

const PAYLOAD_BYTES = 64;
const READ_BYTES = 64 * 1024;
/** FIN and text; the length; for a client's frame the mask's bit and a mask, of zeros here. */
const CLIENT_FRAME = Buffer.concat([
  Buffer.from([0x81, 0x80 | PAYLOAD_BYTES, 0, 0, 0, 0]),
  Buffer.alloc(PAYLOAD_BYTES, "m"),
]);
const SERVER_FRAME = Buffer.concat([
  Buffer.from([0x81, PAYLOAD_BYTES]),
  Buffer.alloc(PAYLOAD_BYTES, "m"),
]);
const BLANK_LINE = "\r\n\r\n";
/** The key and the answer that RFC 6455 §1.3 shows. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const ANSWER = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}${BLANK_LINE}`;

const [role, port = "0", seconds = "0", connections = "0"] = process.argv.slice(2);
if (role === "origin") serve();
else await run(Number(port), Number(seconds), Number(connections));

function serve(): void {
  const server = createServer({ noDelay: true }, (socket) => {
    let head = "";
    let open = false;
    let pending = 0;
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes: Buffer) => {
      if (open) {
        // Frames are all alike, so that counting their bytes is enough to find their ends.
        pending += bytes.length;
        for (; pending >= CLIENT_FRAME.length; pending -= CLIENT_FRAME.length) {
          socket.write(SERVER_FRAME);
        }
        return;
      }
      head += bytes.toString("latin1");
      if (!head.includes(BLANK_LINE)) return;
      open = true;
      // Whoever asks whether the origin is there speaks plain HTTP.
      const upgrades = /^upgrade: websocket/im.test(head);
      if (upgrades) socket.write(ANSWER);
      else socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close${BLANK_LINE}`);
    });
  });
  server.listen(0, "127.0.0.1", () => {
    process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
  });
}

async function run(to: number, forSeconds: number, count: number): Promise<void> {
  let messages = 0;
  let errors = 0;
  let opened = 0;
  const buffer = Buffer.alloc(READ_BYTES);
  const open = (): Socket => {
    let head = "";
    let answered = false;
    let pending = 0;
    const socket: Socket = connect({
      port: to,
      host: "127.0.0.1",
      noDelay: true,
      onread: {
        buffer,
        callback: (length) => {
          if (answered) {
            pending += length;
            for (; pending >= SERVER_FRAME.length; pending -= SERVER_FRAME.length) {
              messages += 1;
              socket.write(CLIENT_FRAME);
            }
            return true;
          }
          head += buffer.toString("latin1", 0, length);
          if (!head.includes(BLANK_LINE)) return true;
          answered = true;
          if (head.startsWith("HTTP/1.1 101")) {
            opened += 1;
            socket.write(CLIENT_FRAME);
          } else errors += 1;
          return true;
        },
      },
    });
    socket.on("error", () => {
      errors += 1;
    });
    socket.write(
      `GET /chat HTTP/1.1\r\nHost: 127.0.0.1:${to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}${BLANK_LINE}`,
    );
    return socket;
  };
  const sockets = Array.from({ length: count }, open);
  await new Promise((resolve) => setTimeout(resolve, forSeconds * 1000));
  process.stdout.write(`${JSON.stringify({ messages, opened, errors })}\n`);
  for (const socket of sockets) socket.destroy();
}
