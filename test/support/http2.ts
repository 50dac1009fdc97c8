/**
 * HTTP/2 in tests: a client and an origin on node:http2, and a client that says exactly the frames it
 * is told, whatever RFC 9113 has to say to them.
 */
import { once } from "node:events";
import {
  connect,
  createServer,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import { connect as connectTcp, type AddressInfo, type Socket } from "node:net";
import { FieldList } from "../../src/http2/field-list.ts";
import { HpackDecoder } from "../../src/http2/hpack-decoder.ts";

export class Http2Client implements Disposable {
  readonly session: ClientHttp2Session;
  /** Error codes of GOAWAY frames. */
  readonly goaways: number[] = [];

  constructor(port: number) {
    this.session = connect(`http://127.0.0.1:${port}`);
    this.session.on("error", () => {});
    this.session.on("goaway", (code) => this.goaways.push(code));
  }

  open(headers: OutgoingHttpHeaders, options = {}): ClientHttp2Stream {
    const stream = this.session.request({ ":path": "/", ...headers }, options);
    stream.on("error", () => {});
    return stream;
  }

  async get(headers: OutgoingHttpHeaders = {}, body?: Buffer | string): Promise<Answer> {
    const stream = this.open(headers, { endStream: body === undefined });
    if (body !== undefined) stream.end(body);
    return answerOf(stream);
  }

  [Symbol.dispose](): void {
    this.session.destroy();
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly interim: number[];
  readonly body: string;
  readonly code: number | undefined;
}

/** All that came of a stream, once it has closed. */
export async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: IncomingHttpHeaders & { ":status"?: number | undefined } = {};
  let trailers: IncomingHttpHeaders = {};
  const interim: number[] = [];
  let body = "";
  stream.setEncoding("latin1");
  stream.on("headers", (fields) => interim.push(Number(fields[":status"])));
  stream.on("response", (fields) => (headers = fields));
  stream.on("trailers", (fields) => (trailers = fields));
  stream.on("data", (text: string) => (body += text));
  await new Promise((resolve) => stream.once("close", resolve));
  const status = headers[":status"] ?? 0;
  return { status, headers, trailers, interim, body, code: stream.rstCode };
}

export interface Http2Origin extends AsyncDisposable {
  readonly port: number;
  readonly requests: Http2Request[];
  readonly sessions: ServerHttp2Session[];
}

export interface Http2Request {
  readonly headers: IncomingHttpHeaders;
  trailers: IncomingHttpHeaders;
  body: string;
  /** The body is complete. */
  ended: boolean;
  /** The stream was reset. */
  aborted: boolean;
}

/** An origin that lets `answer` speak once a request has come whole, or with its head (`early`). */
export async function http2Origin(
  answer: (request: Http2Request, stream: ServerHttp2Stream, count: number) => void,
  options: ServerOptions & { readonly early?: boolean } = {},
): Promise<Http2Origin> {
  const requests: Http2Request[] = [];
  const sessions: ServerHttp2Session[] = [];
  const server = createServer(options);
  server.on("session", (session) => sessions.push(session));
  server.on("sessionError", () => {});
  server.on("stream", (stream, headers) => {
    const seen: Http2Request = { headers, trailers: {}, body: "", ended: false, aborted: false };
    const count = requests.push(seen);
    if (options.early === true) answer(seen, stream, count);
    stream.setEncoding("latin1");
    stream.on("error", () => {});
    stream.on("aborted", () => (seen.aborted = true));
    stream.on("data", (text: string) => (seen.body += text));
    stream.on("trailers", (trailers) => (seen.trailers = trailers));
    stream.on("end", () => {
      seen.ended = !stream.aborted;
      if (seen.ended && options.early !== true) answer(seen, stream, count);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    sessions,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
const SETTINGS = 4;
const GOAWAY = 7;
export const END_STREAM = 1;
export const END_HEADERS = 4;

/** One frame (RFC 9113 §4.1). */
export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Fields as literals that are never compressed (RFC 7541 §6.2.2), so that anything can be said. */
export function fieldBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, "latin1");
    if (bytes.length > 126) throw new Error("too long for one length byte");
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  };
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0x10]), text(name), text(value)]),
  );
}

/** What became of stream 1 or of the whole connection. */
export interface Outcome {
  readonly answered: boolean;
  /** Of the first HEADERS frame that says one, undefined where none came. */
  readonly status: number | undefined;
  readonly reset: boolean;
  readonly goaway: boolean;
  readonly closed: boolean;
}

/** Says the preface and `frames`; resolves once stream 1 was answered or reset, or the end came. */
export async function sayFrames(port: number, frames: readonly Buffer[]): Promise<Outcome> {
  const socket: Socket = connectTcp(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(Buffer.concat([Buffer.from(PREFACE), frame(SETTINGS, 0, 0, Buffer.alloc(0))]));
  for (const each of frames) socket.write(each);
  const outcome = {
    answered: false,
    status: undefined as number | undefined,
    reset: false,
    goaway: false,
    closed: false,
  };
  const decoder = new HpackDecoder();
  let left = Buffer.alloc(0);
  await new Promise<void>((resolve) => {
    socket.on("close", () => {
      outcome.closed = true;
      resolve();
    });
    socket.on("data", (bytes: Buffer) => {
      left = Buffer.concat([left, bytes]);
      while (left.length >= 9 && left.length >= 9 + left.readUIntBE(0, 3)) {
        const type = left[3];
        if (type === HEADERS) {
          outcome.answered = true;
          const length = left.readUIntBE(0, 3);
          const list = new FieldList();
          decoder.decode(left, { start: 9, end: 9 + length }, list);
          outcome.status ??= Number(list.status);
        }
        if (type === RST_STREAM) outcome.reset = true;
        if (type === GOAWAY) outcome.goaway = true;
        left = left.subarray(9 + left.readUIntBE(0, 3));
      }
      if (outcome.answered || outcome.reset || outcome.goaway) resolve();
    });
  });
  socket.destroy();
  return outcome;
}
