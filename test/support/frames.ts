/**
 * A peer of HTTP/2 that says exactly the frames that it is told and shows those that it gets, as a client
 * or as an origin. Fields are told apart by the decoder under test, which has tests of its own.
 */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { FieldList } from "../../src/http2/field-list.ts";
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  numberAt,
  PING,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "../../src/http2/frame.ts";
import { HpackDecoder } from "../../src/http2/hpack-decoder.ts";
import { fieldBlock, frame } from "./http2.ts";

export interface SeenFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
  /** Of HEADERS: status or method, path and lines. */
  readonly said: string;
}

export type Fields = readonly (readonly [string, string])[];

export const GET: Fields = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "app"],
  [":path", "/"],
];
export const POST: Fields = GET.map(([name, value]) =>
  name === ":method" ? [name, "POST"] : [name, value],
);

export class FramePeer implements Disposable {
  readonly socket: Socket;
  readonly frames: SeenFrame[] = [];
  closed = false;
  /** Whether SETTINGS and PING are answered; both are what a peer does by itself. */
  polite = true;
  /** Bytes of one write; 0: all of them. */
  sliceBytes = 0;
  readonly #decoder = new HpackDecoder();
  readonly #onFrame: (peer: FramePeer, seen: SeenFrame) => void;
  #left: Buffer;
  #wake: () => void = () => {};

  constructor(
    socket: Socket,
    onFrame: (peer: FramePeer, seen: SeenFrame) => void = () => {},
    prefaceBytes = 0,
  ) {
    this.socket = socket;
    this.#onFrame = onFrame;
    this.#left = Buffer.alloc(0);
    let preface = prefaceBytes;
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
    socket.on("data", (bytes: Buffer) => {
      const skipped = Math.min(preface, bytes.length);
      preface -= skipped;
      this.#left = Buffer.concat([this.#left, bytes.subarray(skipped)]);
      this.#read();
      this.#wake();
    });
  }

  /** Connects to a gateway, and says the preface and `settings`. */
  static client(port: number, settings: readonly (readonly [number, number])[] = []): FramePeer {
    const peer = new FramePeer(connect(port, "127.0.0.1"));
    peer.socket.write(PREFACE);
    peer.settings(settings);
    return peer;
  }

  #read(): void {
    while (this.#left.length >= 9 && this.#left.length >= 9 + this.#left.readUIntBE(0, 3)) {
      const length = this.#left.readUIntBE(0, 3);
      const seen = {
        type: this.#left[3] as number,
        flags: this.#left[4] as number,
        id: numberAt(this.#left, 5),
        payload: this.#left.subarray(9, 9 + length),
      };
      this.#left = this.#left.subarray(9 + length);
      const said = seen.type === HEADERS ? this.#fields(seen.payload) : "";
      const whole = { ...seen, said };
      this.frames.push(whole);
      if (this.polite && seen.type === SETTINGS && seen.flags === 0) {
        this.send(frame(SETTINGS, ACK, 0, Buffer.alloc(0)));
      }
      if (this.polite && seen.type === PING && seen.flags === 0) {
        this.send(frame(PING, ACK, 0, seen.payload));
      }
      this.#onFrame(this, whole);
    }
  }

  #fields(block: Buffer): string {
    const list = new FieldList();
    const valid = this.#decoder.decode(block, { start: 0, end: block.length }, list);
    if (!valid) return "not valid";
    return `${list.status}${list.method} ${list.path}\r\n${list.lines}`;
  }

  send(...frames: readonly Buffer[]): void {
    const bytes = Buffer.concat(frames);
    const step = this.sliceBytes === 0 ? bytes.length : this.sliceBytes;
    for (let at = 0; at < bytes.length; at += step)
      this.socket.write(bytes.subarray(at, at + step));
  }

  settings(settings: readonly (readonly [number, number])[]): void {
    const payload = Buffer.alloc(6 * settings.length);
    for (const [index, [setting, value]] of settings.entries()) {
      payload.writeUInt16BE(setting, 6 * index);
      payload.writeUInt32BE(value, 6 * index + 2);
    }
    this.send(frame(SETTINGS, 0, 0, payload));
  }

  headers(id: number, fields: Fields, flags: number = END_STREAM): void {
    this.send(frame(HEADERS, END_HEADERS | flags, id, fieldBlock(fields)));
  }

  data(id: number, text: string | Buffer, flags = 0): void {
    this.send(frame(DATA, flags, id, Buffer.from(text)));
  }

  window(id: number, bytes: number): void {
    this.send(numberFrame(WINDOW_UPDATE, id, bytes));
  }

  reset(id: number, code: number): void {
    this.send(numberFrame(RST_STREAM, id, code));
  }

  ping(text = "12345678"): void {
    this.send(frame(PING, 0, 0, Buffer.from(text)));
  }

  goaway(lastId: number, code: number): void {
    const payload = Buffer.alloc(8);
    payload.writeUInt32BE(lastId);
    payload.writeUInt32BE(code, 4);
    this.send(frame(GOAWAY, 0, 0, payload));
  }

  of(type: number, id?: number): SeenFrame[] {
    return this.frames.filter((each) => each.type === type && (id === undefined || each.id === id));
  }

  /** The body of stream `id`, as far as it has come. */
  body(id: number): string {
    return Buffer.concat(this.of(DATA, id).map(({ payload }) => payload)).toString("latin1");
  }

  ended(id: number): boolean {
    return this.frames.some(
      (each) =>
        each.id === id &&
        (each.type === DATA || each.type === HEADERS) &&
        (each.flags & END_STREAM) !== 0,
    );
  }

  /** The code of the RST_STREAM on `id`, or that of the last GOAWAY where that is 0. */
  code(id: number): number | undefined {
    const seen = id === 0 ? this.of(GOAWAY).at(-1) : this.of(RST_STREAM, id).at(-1);
    return seen === undefined ? undefined : numberAt(seen.payload, id === 0 ? 4 : 0);
  }

  /** Waits until `condition` holds of what came. */
  async until(condition: (peer: FramePeer) => boolean, timeoutMs = 5000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!condition(this)) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        const seen = this.frames.map(
          ({ type, flags, id, payload }) => `${type}/${flags}/${id}/${payload.length}`,
        );
        throw new Error(`Timed out; ${condition.toString()}; ${seen.slice(-40).join(" ")}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

export function numberFrame(type: number, id: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, 0, id, payload);
}

export interface FrameOrigin extends AsyncDisposable {
  readonly port: number;
  readonly peers: FramePeer[];
}

/** An origin that says `settings`, and hands each frame of each connection to `talk`. */
export async function frameOrigin(
  talk: (peer: FramePeer, seen: SeenFrame) => void,
  settings: readonly (readonly [number, number])[] = [],
): Promise<FrameOrigin> {
  const peers: FramePeer[] = [];
  const server = createServer((socket) => {
    const peer = new FramePeer(socket, talk, PREFACE.length);
    peers.push(peer);
    peer.settings(settings);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    peers,
    async [Symbol.asyncDispose]() {
      for (const { socket } of peers) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
