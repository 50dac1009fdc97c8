/** Frames of HTTP/2 (RFC 9113 §4, §6): their numbers, and where they are written. */

export const FRAME_HEAD_BYTES = 9;
/** What we take and, until the peer says otherwise, send (SETTINGS_MAX_FRAME_SIZE). */
export const FRAME_BYTES_DEFAULT = 16_384;

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const ACK = 0x1;
export const END_STREAM = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
export const WITH_PRIORITY = 0x20;

export const SETTINGS_HEADER_TABLE_SIZE = 1;
export const SETTINGS_ENABLE_PUSH = 2;
export const SETTINGS_MAX_CONCURRENT_STREAMS = 3;
export const SETTINGS_INITIAL_WINDOW_SIZE = 4;
export const SETTINGS_MAX_FRAME_SIZE = 5;
export const SETTINGS_MAX_HEADER_LIST_SIZE = 6;

/** Error codes (RFC 9113 §7). */
export const NO_ERROR = 0;
export const PROTOCOL_ERROR = 1;
export const INTERNAL_ERROR = 2;
export const FLOW_CONTROL_ERROR = 3;
export const STREAM_CLOSED = 5;
export const FRAME_SIZE_ERROR = 6;
export const REFUSED_STREAM = 7;
export const CANCEL = 8;
export const COMPRESSION_ERROR = 9;
export const ENHANCE_YOUR_CALM = 11;

export const WINDOW_BYTES_DEFAULT = 65_535;
export const WINDOW_BYTES_MAX = 2 ** 31 - 1;
export const STREAM_ID_MAX = 2 ** 31 - 1;

/** How a client begins (RFC 9113 §3.4). */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Where frames are written: what is written in one turn of the event loop leaves together. */
export interface FrameSink {
  /** The piece of memory that is being filled, and how much of it is. */
  readonly bytes: Buffer;
  at: number;
  /** Changes whenever what was written before cannot be written over any more. */
  readonly serial: number;
  /** The peer does not take what it is sent: bodies wait. */
  readonly full: boolean;
  /** Makes room for `size` bytes at `at`, if need be in another piece of memory. */
  room(size: number): void;
}

/** Writes the head of a frame at `at`. */
export function putFrameHead(
  bytes: Uint8Array,
  at: number,
  { length, type, flags, id }: { length: number; type: number; flags: number; id: number },
): void {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  putNumber(bytes, at + 5, id);
}

export function putNumber(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function numberAt(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  const low = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
  return high * 0x1_0000 + low;
}

/** A number of 31 bits, whose first one is reserved. */
export function identifierAt(bytes: Uint8Array, at: number): number {
  return numberAt(bytes, at) & 0x7fff_ffff;
}

/** Writes a frame whose payload is one number: RST_STREAM, WINDOW_UPDATE. */
export function writeNumberFrame(
  sink: FrameSink,
  type: typeof RST_STREAM | typeof WINDOW_UPDATE,
  id: number,
  value: number,
): void {
  sink.room(FRAME_HEAD_BYTES + 4);
  putFrameHead(sink.bytes, sink.at, { length: 4, type, flags: 0, id });
  putNumber(sink.bytes, sink.at + FRAME_HEAD_BYTES, value);
  sink.at += FRAME_HEAD_BYTES + 4;
}

export function writeSettings(
  sink: FrameSink,
  settings: readonly (readonly [setting: number, value: number])[],
): void {
  const length = 6 * settings.length;
  sink.room(FRAME_HEAD_BYTES + length);
  putFrameHead(sink.bytes, sink.at, { length, type: SETTINGS, flags: 0, id: 0 });
  sink.at += FRAME_HEAD_BYTES;
  for (const [setting, value] of settings) {
    sink.bytes[sink.at] = setting >>> 8;
    sink.bytes[sink.at + 1] = setting;
    putNumber(sink.bytes, sink.at + 2, value);
    sink.at += 6;
  }
}

export function writeSettingsAck(sink: FrameSink): void {
  sink.room(FRAME_HEAD_BYTES);
  putFrameHead(sink.bytes, sink.at, { length: 0, type: SETTINGS, flags: ACK, id: 0 });
  sink.at += FRAME_HEAD_BYTES;
}

/** `opaque` has the eight bytes of the ping from `start` on. */
export function writePing(
  sink: FrameSink,
  flags: 0 | typeof ACK,
  opaque: Uint8Array,
  start: number,
): void {
  sink.room(FRAME_HEAD_BYTES + 8);
  putFrameHead(sink.bytes, sink.at, { length: 8, type: PING, flags, id: 0 });
  sink.at += FRAME_HEAD_BYTES;
  for (let index = 0; index < 8; index++) {
    sink.bytes[sink.at + index] = opaque[start + index] as number;
  }
  sink.at += 8;
}

export function writeGoaway(sink: FrameSink, lastId: number, code: number): void {
  sink.room(FRAME_HEAD_BYTES + 8);
  putFrameHead(sink.bytes, sink.at, { length: 8, type: GOAWAY, flags: 0, id: 0 });
  putNumber(sink.bytes, sink.at + FRAME_HEAD_BYTES, lastId);
  putNumber(sink.bytes, sink.at + FRAME_HEAD_BYTES + 4, code);
  sink.at += FRAME_HEAD_BYTES + 8;
}
