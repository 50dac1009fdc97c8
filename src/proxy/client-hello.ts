/**
 * The name that a TLS client asks for, read from its first message before TLS begins (RFC 8446
 * §4.1.2, RFC 6066 §3), so that certificates, protocols and the validation of clients are those of one
 * listener from the start. A session that was begun with another listener can then not be resumed
 * here, whatever the client says. Nothing else of the message is judged: that is OpenSSL's to do.
 */

/** `more`: the message is not complete; `invalid`: this is no TLS, or no name that a host can have. */
export type ClientHelloResult = { readonly serverName: string } | "more" | "invalid";

const HANDSHAKE = 0x16;
const CLIENT_HELLO = 1;
const RECORD_HEAD_BYTES = 5;
const RECORD_BYTES_MAX = 16 * 1024;
/** A message is some hundred bytes, with keys against quantum computers two thousand. */
export const CLIENT_HELLO_BYTES_MAX = 32 * 1024;
/** Nobody cuts it into many records, each of which would be looked at again with every read. */
const RECORDS_MAX = 64;

const SERVER_NAME_EXTENSION = 0;
const HOST_NAME = 0;
const NAME = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const NAME_LENGTH_MAX = 253;

/** Reads the name at the beginning of a connection; "" where the client asks for none. */
export function readClientHello(bytes: Buffer): ClientHelloResult {
  const message = joinRecords(bytes);
  if (typeof message === "string") return message;
  return readMessage(message);
}

/** The whole message out of the records that carry it. */
function joinRecords(bytes: Buffer): Buffer | "more" | "invalid" {
  const pieces: Buffer[] = [];
  let joined = 0;
  let wanted = 4;
  for (let at = 0; joined < wanted;) {
    if (at >= CLIENT_HELLO_BYTES_MAX || pieces.length === RECORDS_MAX) return "invalid";
    if (bytes.length > at && bytes[at] !== HANDSHAKE) return "invalid";
    if (bytes.length > at + 1 && bytes[at + 1] !== 3) return "invalid";
    if (bytes.length < at + RECORD_HEAD_BYTES) return "more";
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > RECORD_BYTES_MAX) return "invalid";
    const start = at + RECORD_HEAD_BYTES;
    const piece = bytes.subarray(start, start + length);
    pieces.push(piece);
    joined += piece.length;
    at = start + length;
    if (wanted === 4 && joined >= 4) {
      const head = Buffer.concat(pieces).subarray(0, 4);
      if (head[0] !== CLIENT_HELLO) return "invalid";
      wanted = 4 + head.readUIntBE(1, 3);
      if (wanted > CLIENT_HELLO_BYTES_MAX) return "invalid";
    }
    if (piece.length < length && joined < wanted) return "more";
  }
  return Buffer.concat(pieces).subarray(4, wanted);
}

/** Walks over a message; a length that leads out of it reads as the end. */
class Walk {
  readonly #bytes: Buffer;
  #at = 0;
  broken = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(size: number): number {
    const piece = this.take(size);
    return piece.length === 0 ? 0 : piece.readUIntBE(0, size);
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) {
      this.broken = true;
      this.#at = this.#bytes.length;
      return Buffer.alloc(0);
    }
    const piece = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return piece;
  }
}

function readMessage(message: Buffer): ClientHelloResult {
  const walk = new Walk(message);
  walk.take(2 + 32);
  walk.take(walk.number(1));
  walk.take(walk.number(2));
  walk.take(walk.number(1));
  if (walk.broken) return "invalid";
  if (walk.done) return { serverName: "" };
  const extensions = new Walk(walk.take(walk.number(2)));
  let found: ClientHelloResult = { serverName: "" };
  while (!extensions.done && found !== "invalid") {
    const type = extensions.number(2);
    const content = extensions.take(extensions.number(2));
    if (type === SERVER_NAME_EXTENSION && !extensions.broken) found = readServerName(content);
  }
  return walk.broken || extensions.broken ? "invalid" : found;
}

function readServerName(content: Buffer): ClientHelloResult {
  const walk = new Walk(content);
  const names = new Walk(walk.take(walk.number(2)));
  while (!names.done) {
    const type = names.number(1);
    const name = names.take(names.number(2)).toString("latin1");
    if (names.broken) return "invalid";
    if (type !== HOST_NAME) continue;
    if (name.length > NAME_LENGTH_MAX || !NAME.test(name)) return "invalid";
    return { serverName: name.toLowerCase() };
  }
  return walk.broken ? "invalid" : { serverName: "" };
}
