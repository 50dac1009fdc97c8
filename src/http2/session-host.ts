/** Who owns a session of HTTP/2: what it allows the peer, and what it hears of it. */
import type { FieldList } from "./field-list.ts";
import type { Stream } from "./stream.ts";

/** What this side allows the peer. */
export interface SessionLimits {
  readonly concurrentStreams: number;
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
}

/** Who owns a session. */
export interface SessionHost<K> {
  /** A client's request on stream `id`: `session.add` takes the stream that answers it. */
  requested?(id: number, list: FieldList, known: K | null, ended: boolean): void;
  /**
   * The same request, which opens no stream: there are as many as there may be (`tooMany`), or it is
   * malformed by its frame. The client is told by a reset.
   */
  refused?(list: FieldList, known: K | null, about: { ended: boolean; tooMany: boolean }): void;
  /** The peer's settings are in force. */
  settled?(): void;
  /** The peer takes no more streams, and has done nothing with those after `lastId`. */
  leaves(lastId: number): void;
  /** There is no stream any more. */
  emptied(): void;
  /** What is wrong with the connection has been said to the peer; nothing is read any more. */
  ended(): void;
  /** An exception that one stream raised. */
  bug(stream: Stream<K> | null, error: unknown): void;
}
