/** What frames that carry nothing of a message mean to a session (RFC 9113 §6.3 to §6.9). */
import {
  ACK,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  identifierAt,
  numberAt,
  PROTOCOL_ERROR,
  SETTINGS_ENABLE_PUSH,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  SETTINGS_MAX_FRAME_SIZE,
  WINDOW_BYTES_MAX,
  writePing,
  writeSettingsAck,
} from "./frame.ts";
import type { Session } from "./session.ts";

/** Settings in one frame (CVE-2020-11080): each may mean work for all streams. */
const SETTINGS_MAX = 32;
const FRAME_BYTES_MIN = 16_384;
const FRAME_BYTES_MAX = 2 ** 24 - 1;

type Head = { readonly id: number; readonly flags: number };
type Range = { readonly start: number; readonly end: number };

/** PRIORITY (RFC 9113 §6.3). Nobody follows priorities any more; their frames are still judged. */
export function readPriority<K>(
  session: Session<K>,
  id: number,
  bytes: Buffer,
  { start, end }: Range,
): void {
  if (id === 0) {
    session.fail(PROTOCOL_ERROR);
    return;
  }
  const wrongSize = end - start !== 5;
  if (!wrongSize && identifierAt(bytes, start) !== id) {
    session.idleFrame();
    return;
  }
  const code = wrongSize ? FRAME_SIZE_ERROR : PROTOCOL_ERROR;
  const stream = session.streams.get(id);
  if (stream !== undefined) session.streamError(stream, code);
  else if (session.isIdle(id)) session.fail(code);
  else session.refuseStream(id, code);
}

/** RST_STREAM (RFC 9113 §6.4). */
export function readReset<K>(
  session: Session<K>,
  id: number,
  bytes: Buffer,
  { start, end }: Range,
): void {
  if (end - start !== 4) {
    session.fail(FRAME_SIZE_ERROR);
    return;
  }
  const stream = session.streams.get(id);
  if (stream !== undefined) session.wasReset(stream, numberAt(bytes, start));
  else if (session.isIdle(id)) session.fail(PROTOCOL_ERROR);
  else session.idleFrame();
}

/** SETTINGS (RFC 9113 §6.5). */
export function readSettings<K>(
  session: Session<K>,
  { id, flags }: Head,
  bytes: Buffer,
  { start, end }: Range,
): void {
  if (id !== 0) {
    session.fail(PROTOCOL_ERROR);
    return;
  }
  if ((flags & ACK) !== 0) {
    if (end > start) session.fail(FRAME_SIZE_ERROR);
    else if (!session.settled) session.fail(PROTOCOL_ERROR);
    else {
      session.acknowledged();
      session.idleFrame();
    }
    return;
  }
  if ((end - start) % 6 !== 0) {
    session.fail(FRAME_SIZE_ERROR);
    return;
  }
  if (end - start > 6 * SETTINGS_MAX) {
    session.fail(ENHANCE_YOUR_CALM);
    return;
  }
  for (let at = start; at < end && !session.over; at += 6) {
    apply(session, bytes.readUInt16BE(at), numberAt(bytes, at + 2));
  }
  if (session.over) return;
  writeSettingsAck(session.sink);
  session.idleFrame();
  session.settled = true;
  session.host.settled?.();
  session.waiting.pump();
}

function apply<K>(session: Session<K>, setting: number, value: number): void {
  switch (setting) {
    case SETTINGS_HEADER_TABLE_SIZE:
      session.encoder.limit(value);
      break;
    case SETTINGS_ENABLE_PUSH:
      if (value > 1 || (value === 1 && !session.isServer)) session.fail(PROTOCOL_ERROR);
      break;
    case SETTINGS_MAX_CONCURRENT_STREAMS:
      session.concurrentStreamsMax = value;
      break;
    case SETTINGS_INITIAL_WINDOW_SIZE:
      applyInitialWindow(session, value);
      break;
    case SETTINGS_MAX_FRAME_SIZE:
      if (value < FRAME_BYTES_MIN || value > FRAME_BYTES_MAX) session.fail(PROTOCOL_ERROR);
      else session.frameBytesMax = Math.min(value, 2 * FRAME_BYTES_MIN);
      break;
    default:
      // Of settings that we do not know, and of the size of header lists, nothing follows.
      break;
  }
}

/** What streams may be sent changes by the difference, also below zero (RFC 9113 §6.9.2). */
function applyInitialWindow<K>(session: Session<K>, value: number): void {
  if (value > WINDOW_BYTES_MAX) {
    session.fail(FLOW_CONTROL_ERROR);
    return;
  }
  const more = value - session.initialSendWindow;
  session.initialSendWindow = value;
  for (const stream of session.streams.values()) {
    stream.sendWindow += more;
    if (stream.sendWindow > WINDOW_BYTES_MAX) {
      session.fail(FLOW_CONTROL_ERROR);
      return;
    }
    if (stream.waits) session.waiting.add(stream);
  }
}

/** PING (RFC 9113 §6.7). */
export function readPing<K>(
  session: Session<K>,
  { id, flags }: Head,
  bytes: Buffer,
  { start, end }: Range,
): void {
  if (id !== 0) session.fail(PROTOCOL_ERROR);
  else if (end - start !== 8) session.fail(FRAME_SIZE_ERROR);
  else if ((flags & ACK) !== 0) {
    session.pinged();
    session.idleFrame();
  } else {
    writePing(session.sink, ACK, bytes, start);
    session.idleFrame();
  }
}

/** GOAWAY (RFC 9113 §6.8). */
export function readGoaway<K>(
  session: Session<K>,
  id: number,
  bytes: Buffer,
  { start, end }: Range,
): void {
  if (id !== 0) session.fail(PROTOCOL_ERROR);
  else if (end - start < 8) session.fail(FRAME_SIZE_ERROR);
  else session.idleFrame();
  if (!session.over) session.host.leaves(identifierAt(bytes, start));
}

/** WINDOW_UPDATE (RFC 9113 §6.9). */
export function readWindowUpdate<K>(
  session: Session<K>,
  id: number,
  bytes: Buffer,
  { start, end }: Range,
): void {
  if (end - start !== 4) {
    session.fail(FRAME_SIZE_ERROR);
    return;
  }
  if (!session.patience.window()) {
    session.fail(ENHANCE_YOUR_CALM);
    return;
  }
  const more = identifierAt(bytes, start);
  if (id === 0) {
    // Who waits although this window was open waits for something else.
    const wasClosed = session.sendWindow <= 0;
    session.sendWindow += more;
    if (more === 0) session.fail(PROTOCOL_ERROR);
    else if (session.sendWindow > WINDOW_BYTES_MAX) session.fail(FLOW_CONTROL_ERROR);
    else if (wasClosed) session.waiting.pump();
    return;
  }
  const stream = session.streams.get(id);
  if (stream === undefined) {
    if (session.isIdle(id)) session.fail(PROTOCOL_ERROR);
    return;
  }
  stream.sendWindow += more;
  if (more === 0) session.streamError(stream, PROTOCOL_ERROR);
  else if (stream.sendWindow > WINDOW_BYTES_MAX) session.streamError(stream, FLOW_CONTROL_ERROR);
  else if (stream.waits) session.waiting.pumpStream(stream);
}
