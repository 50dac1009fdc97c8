/**
 * Scripted origins on real sockets: one on node:http, whose requests are counted and answered by a
 * function, and one on node:net, which says exactly the bytes it is told. And a client that does.
 */
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { connect, createServer as createNetServer, type AddressInfo, type Socket } from "node:net";

export interface Origin extends AsyncDisposable {
  readonly port: number;
  /** Requests that arrived, in order. */
  readonly requests: SeenRequest[];
  /** Connections accepted. */
  readonly connections: () => number;
  /** Of these, how many are open. */
  readonly open: () => number;
}

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly rawHeaders: readonly string[];
  /** Filled when the body is complete. */
  body: string;
}

/** An origin that reads each body and then lets `answer` speak; by default 200 with the text "ok". */
export async function origin(
  answer: (request: SeenRequest, response: ServerResponse, message: IncomingMessage) => void = (
    _request,
    response,
  ) => response.end("ok"),
  options: { early?: boolean } = {},
): Promise<Origin> {
  const requests: SeenRequest[] = [];
  let connections = 0;
  const listener: RequestListener = (message, response) => {
    const seen: SeenRequest = {
      method: message.method ?? "",
      url: message.url ?? "",
      headers: message.headers,
      rawHeaders: message.rawHeaders,
      body: "",
    };
    requests.push(seen);
    if (options.early === true) answer(seen, response, message);
    message.setEncoding("latin1");
    message.on("data", (text: string) => (seen.body += text));
    message.on("error", () => {});
    message.on("end", () => {
      if (options.early !== true) answer(seen, response, message);
    });
  };
  const server = createServer({ keepAliveTimeout: 60_000 }, listener);
  let open = 0;
  server.on("connection", (socket) => {
    connections++;
    open++;
    socket.on("close", () => open--);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    connections: () => connections,
    open: () => open,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

export interface RawOrigin extends AsyncDisposable {
  readonly port: number;
  readonly sockets: Socket[];
}

/** An origin that hands each connection, and each read of it, to `talk`. */
export async function rawOrigin(
  talk: (socket: Socket, received: string, connection: number) => void,
): Promise<RawOrigin> {
  const sockets: Socket[] = [];
  const server = createNetServer((socket) => {
    const connection = sockets.push(socket) - 1;
    socket.on("error", () => {});
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => talk(socket, text, connection));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** A port on which nobody listens. */
export async function closedPort(): Promise<number> {
  const server = createNetServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** A client that sends bytes as they are and keeps what comes back. */
export class RawClient implements Disposable {
  readonly socket: Socket;
  received = "";
  ended = false;
  closed = false;
  #wake: () => void = () => {};

  constructor(port: number) {
    this.socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    this.socket.setEncoding("latin1");
    this.socket.on("data", (text: string) => {
      this.received += text;
      this.#wake();
    });
    this.socket.on("end", () => {
      this.ended = true;
      this.#wake();
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Waits until `condition` holds of what was received; rejects after the deadline. */
  async until(condition: (client: RawClient) => boolean, timeoutMs = 5000): Promise<string> {
    const deadline = performance.now() + timeoutMs;
    while (!condition(this)) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new Error(`Timed out; received ${JSON.stringify(this.received)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.received;
  }

  /** Waits for `count` complete responses (by Content-Length, chunked or the end). */
  responses(count: number, timeoutMs = 5000): Promise<string> {
    return this.until(
      (client) => countResponses(client.received) >= count || client.ended,
      timeoutMs,
    );
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Complete final responses in `text`; their bodies are read by Content-Length or chunks. */
export function countResponses(text: string): number {
  let at = 0;
  let count = 0;
  for (;;) {
    const blank = text.indexOf("\r\n\r\n", at);
    if (blank === -1) return count;
    const head = text.slice(at, blank);
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    at = blank + 4;
    if (status < 200) continue;
    if (status === 204 || status === 304) at += 0;
    else if (length !== undefined) at += Number(length);
    else if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
      const end = text.indexOf("\r\n0\r\n\r\n", at - 2);
      if (end === -1) return count;
      at = end + 7;
    } else {
      return count;
    }
    if (at > text.length) return count;
    count++;
  }
}

/** The status codes in what a client received, interim ones left out. */
export function statuses(text: string): number[] {
  return [...text.matchAll(/(?:^|\n|\})HTTP\/1\.1 (\d{3})/g)]
    .map((match) => Number(match[1]))
    .filter((status) => status >= 200);
}

/** Turns of the event loop after which `eventually` lets others have the processor between its looks. */
const EAGER_TURNS = 100;

/** Waits for a condition that no event announces. */
export async function eventually(condition: () => boolean, timeoutMs = 5000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (let turns = 0; !condition(); turns++) {
    if (performance.now() > deadline)
      throw new Error(`Timed out waiting for ${condition.toString()}`);
    await new Promise((resolve) => {
      if (turns < EAGER_TURNS) setImmediate(resolve);
      else setTimeout(resolve, 1);
    });
  }
}

/** Waits until a number has not changed for a while. */
export async function settled(value: () => number, quietMs = 200): Promise<void> {
  let last = value();
  let sinceMs = performance.now();
  await eventually(() => {
    if (value() !== last) {
      last = value();
      sinceMs = performance.now();
    }
    return performance.now() - sinceMs >= quietMs;
  });
}
