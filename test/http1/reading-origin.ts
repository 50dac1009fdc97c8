/**
 * Origins that read as readings.ts says and tell each request back, a gateway in front of one, and the
 * question that is asked of both: have they counted the same?
 */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { oneRoute, STABLE, testGateway, type TestGateway } from "../support/gateway.ts";
import { eventually, RawClient, rawOrigin, countResponses, statuses } from "../support/upstream.ts";
import { sloppy, sloppyOtherwise, strict, type Reader } from "./readings.ts";

export const READERS: Readonly<Record<string, Reader>> = {
  "a strict origin": strict,
  "a lenient origin": sloppy,
  "an origin that is lenient otherwise": sloppyOtherwise,
};

/** One connection of an origin. */
interface Line {
  text: string;
  at: number;
  /** The head of the message that is being read has been counted. */
  counted: boolean;
}

export class ReadingOrigin implements AsyncDisposable {
  readonly #read: Reader;
  #raw: Awaited<ReturnType<typeof rawOrigin>> | null = null;
  readonly #lines = new Map<Socket, Line>();
  /** Requests whose head was understood. */
  heads = 0;
  /** Requests that were read to their ends, as method, target and body. */
  readonly whole: string[] = [];
  readonly faults: string[] = [];

  constructor(read: Reader) {
    this.#read = read;
  }

  async open(): Promise<void> {
    this.#raw = await rawOrigin((socket, text) => this.#take(socket, text));
  }

  get port(): number {
    return this.#raw?.port ?? 0;
  }

  /** Whether a request is half here and its connection still open. */
  get reading(): boolean {
    return [...this.#lines.values()].some(({ text, at }) => at < text.length);
  }

  #take(socket: Socket, text: string): void {
    const line = this.#lines.get(socket) ?? { text: "", at: 0, counted: false };
    if (!this.#lines.has(socket)) {
      this.#lines.set(socket, line);
      socket.on("close", () => this.#closed(socket, line));
    }
    line.text += text;
    while (line.at < line.text.length) {
      const reading = this.#read(line.text, line.at);
      if (reading === null) return;
      if (typeof reading === "string") {
        this.faults.push(`${reading} in ${JSON.stringify(line.text.slice(line.at))}`);
        socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        return;
      }
      if (!line.counted) this.heads++;
      line.counted = !reading.complete;
      if (!reading.complete) return;
      line.at = reading.next;
      const told = `${reading.method} ${reading.target} ${reading.body}`;
      this.whole.push(told);
      const body = reading.method === "HEAD" ? "" : told;
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${told.length}\r\n\r\n${body}`, "latin1");
    }
  }

  /** A gateway sends heads whole; whose body does not come to its end is closed. */
  #closed(socket: Socket, { text, at, counted }: Line): void {
    this.#lines.delete(socket);
    if (at < text.length && !counted) {
      this.faults.push(`half a head: ${JSON.stringify(text.slice(at))}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#raw?.[Symbol.asyncDispose]();
  }
}

/** How long silence has to last before it is taken for an answer. */
const SILENCE_MS = 200;
const SILENT_TURNS = 30;
const QUIET_TURNS = 8;
const CONTROL = "GET /control HTTP/1.1\r\nHost: localhost\r\n\r\n";

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * Writes `bytes` in pieces of `size` so that who lives in this thread reads each by itself: between two
 * writes the event loop looks at its sockets.
 */
export async function sendSliced(client: RawClient, bytes: string, size = 1): Promise<void> {
  for (let at = 0; at < bytes.length && !client.ended && !client.closed; at += size) {
    client.send(bytes.slice(at, at + size));
    await turn();
  }
}

interface Mark {
  readonly heads: number;
  readonly whole: number;
  readonly forwarded: number;
}

/** Four inputs are so long that byte by byte they take seconds: those are in larger pieces in short tests. */
const LONG_BYTES_MIN = 4000;
const LONG_SLICE = 64;

function sliceOf(bytes: string): number {
  return bytes.length < LONG_BYTES_MIN || process.env["SLUICE_LONG"] === "1" ? 1 : LONG_SLICE;
}

/** A gateway in front of a reading origin. */
export class Lane implements AsyncDisposable {
  readonly origin: ReadingOrigin;
  readonly #sliced: boolean;
  #gateway: TestGateway | null = null;
  #forwarded = 0;

  constructor(read: Reader, sliced: boolean) {
    this.origin = new ReadingOrigin(read);
    this.#sliced = sliced;
  }

  async open(): Promise<void> {
    await this.origin.open();
    this.#gateway = await testGateway({
      parts: oneRoute({ stable: [this.origin.port] }),
      accessLog: {
        line: (text) => this.#log(JSON.parse(text) as { connectUs: number | null }),
        dropped: 0,
        close: () => Promise.resolve(),
      },
      // A machine under load may take longer than clients have.
      timeouts: { requestHeadMs: 60_000, requestIdleMs: 60_000 },
      onBug: (error) => {
        throw error;
      },
    });
  }

  get port(): number {
    return this.#gateway?.port ?? 0;
  }

  /** Requests that the gateway says it has sent to the origin. */
  get forwarded(): number {
    return this.#forwarded;
  }

  #log({ connectUs }: { connectUs: number | null }): void {
    if (connectUs !== null) this.#forwarded++;
  }

  /** Sends bytes, waits for `answers`, and tells what came first: a status, "close" or "timeout". */
  async ask(client: RawClient, bytes: string, answers = 1): Promise<string> {
    const from = client.received.length;
    const answered = (): boolean =>
      client.ended || client.closed || isAnswered(bytes, client.received.slice(from), answers);
    if (this.#sliced) await sendSliced(client, bytes, sliceOf(bytes));
    else client.send(bytes);
    if (!(await answeredInTime(client, answered))) return "timeout";
    const status = statuses(client.received.slice(from))[0];
    return status === undefined ? "close" : String(status);
  }

  /** Sends each of `pieces` by itself and waits until nothing moves any more. */
  async feed(client: RawClient, pieces: readonly string[]): Promise<void> {
    for (const piece of pieces) await sendSliced(client, piece, piece.length);
    await this.quiet(client);
  }

  /** Waits until nothing moves any more. */
  async quiet(client: RawClient): Promise<void> {
    const moved = (): string =>
      [client.received.length, client.ended, client.closed, this.origin.whole.length].join();
    let last = moved();
    for (let turns = 0; turns < QUIET_TURNS; turns++) {
      await turn();
      if (moved() !== last) turns = 0;
      last = moved();
    }
  }

  /** What has been counted so far, for `settle` to begin at. */
  mark(): Mark {
    const { heads, whole } = this.origin;
    return { heads, whole: whole.length, forwarded: this.#forwarded };
  }

  /**
   * Ends the client's connection, waits until everybody has noticed, and compares what was counted since
   * `mark`. Returns the requests that have reached the origin whole.
   */
  async settle(client: RawClient, mark: Mark): Promise<readonly string[]> {
    const { origin } = this;
    const heads = (): number => origin.heads - mark.heads;
    const forwarded = (): number => this.#forwarded - mark.forwarded;
    client.socket.end();
    await client.until(({ closed }) => closed);
    await eventually(() => heads() >= forwarded() && !origin.reading);
    assert.deepEqual(origin.faults.splice(0), []);
    const whole = origin.whole.slice(mark.whole);
    // What a desynchronised connection holds comes out with the next request on it.
    using control = new RawClient(this.port);
    control.send(CONTROL);
    await control.responses(1);
    assert.match(control.received, /^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*\r\nGET \/control $/);
    await eventually(() => forwarded() > 0);
    assert.equal(heads(), forwarded(), "requests that origin and gateway have counted");
    assert.equal(origin.whole.length, mark.whole + whole.length + 1);
    return whole;
  }

  /** Completed attempts in the gateway's metrics. */
  get completed(): number {
    return this.#gateway?.metric("ok", STABLE) ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway?.[Symbol.asyncDispose]();
    await this.origin[Symbol.asyncDispose]();
  }
}

/** Whether so many responses have come whole; one to HEAD has no body, whatever its length. */
function isAnswered(request: string, received: string, answers: number): boolean {
  if (request.startsWith("HEAD ")) return received.includes("\r\n\r\n");
  return countResponses(received) >= answers;
}

/** Silence is what a timer and many turns of the event loop agree on. */
async function answeredInTime(client: RawClient, answered: () => boolean): Promise<boolean> {
  try {
    await client.until(answered, SILENCE_MS);
  } catch {
    for (let turns = 0; turns < SILENT_TURNS && !answered(); turns++) await turn();
  }
  return answered();
}
