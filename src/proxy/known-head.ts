/**
 * Heads that repeat. Clients on kept connections mostly send the same head again, byte for byte, and
 * backends answer it with the same head until its date changes. The second time a head comes on a
 * connection, what was made of it is kept; from the third on it is recognised by its bytes alone.
 *
 * Kept is only what follows from the bytes and the Program, and only until the next generation: the
 * parsed head, its rule, and the head that goes upstream. Keys, limits, the choice of backend and arm,
 * gates, ids and times are each request's own. A connection of HTTP/1 keeps one head and one answer at
 * most, one of HTTP/2 a head and an answer for each block that it remembers (http2/block-memory.ts).
 */
import type { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { KnownLine } from "./known-line.ts";
import type { Exchange } from "./exchange.ts";
import type { HpackEncoder } from "../http2/hpack-encoder.ts";
import type { RequestAbout } from "../http2/request.ts";
import { copyOf, type Peer } from "./peer.ts";
import { KnownBytes, type ReadBuffer } from "./read-buffer.ts";
import { REQUEST_ID_CHARS } from "./request-id.ts";
import {
  generationOfCells,
  type LinkedMatch,
  type LinkedRule,
  type LinkedSocket,
} from "./snapshot.ts";
import type { TextWriter } from "./text-writer.ts";

/** Longer heads are read anew each time. */
const KNOWN_CHARS_MAX = 2048;
/** The head of a response goes to the client beside its body, in a buffer of limited size. */
const ANSWER_HEAD_CHARS_MAX = 1024;
const NO_BYTES = new KnownBytes("");
const BLANK_LINE = "\r\n\r\n";
const TRACE_LINE = "\r\ntraceparent: ";

/** Blocks of heads for sessions to backends that one head keeps. */
const BLOCKS_MAX = 4;
const ID_NAME = "x-request-id: ";

/** A head as it goes upstream by HTTP/2, with room for the ids. */
export interface KnownBlock {
  /** The table that it refers to, and its version. */
  readonly encoder: HpackEncoder;
  readonly version: number;
  readonly bytes: Buffer;
  readonly idAt: number;
  readonly traceAt: number;
}

export class KnownHead {
  /** Nobody changes it: no rule that edits heads has a known head. */
  readonly head: RequestHead;
  readonly rule: LinkedRule;
  /** Who asks, as the head says. */
  readonly peer: Peer;
  readonly line: KnownLine;
  /** For traces; null where nothing is traced. */
  readonly match: LinkedMatch | null;
  /** The answer that it had last, where that came twice. */
  answer: KnownAnswer | null = null;
  /** The head of the answer before, as text. */
  #answerText = "";
  /** The head that goes upstream without its ids and its end: whole lines. */
  readonly upstreamLines: string;
  readonly #blocks: KnownBlock[] = [];
  #nextBlock = 0;
  readonly #served: LinkedSocket;
  readonly #generation = generationOfCells();
  /** What goes upstream, with room for the request id and the trace. */
  #upstream: Buffer;
  readonly #idAt: number;

  constructor(x: Exchange, rule: LinkedRule, served: LinkedSocket) {
    const { head, trace } = x;
    this.line = new KnownLine(x);
    // A body of unknown length is a matter of HTTP/2; towards HTTP/1 it goes in chunks.
    const framing = head.chunked ? "transfer-encoding: chunked\r\n" : "";
    const before = head.keptFromStart() + framing + x.peer.ownLines(head);
    this.upstreamLines = before.slice(0, before.length - ID_NAME.length);
    this.head = head;
    this.rule = rule;
    this.peer = x.peer;
    this.#served = served;
    this.#idAt = before.length;
    this.match = trace === null ? null : trace.match;
    const room = trace === null ? "" : TRACE_LINE + trace.traceparent;
    const text = `${before}${" ".repeat(REQUEST_ID_CHARS)}${room}${BLANK_LINE}`;
    this.#upstream = Buffer.allocUnsafeSlow(text.length);
    this.#upstream.write(text, "latin1");
  }

  /** Whether a request that begins now would still be read and matched the same way. */
  isCurrent(served: LinkedSocket | undefined): boolean {
    return served === this.#served && this.#generation === generationOfCells();
  }

  /** Sends the head upstream, with the ids of this request. */
  send(writer: TextWriter, x: Exchange): void {
    this.#putIds(x);
    // What the kernel has not taken yet must not be changed by the next request.
    if (!writer.writeBytes(this.#upstream)) this.#upstream = Buffer.from(this.#upstream);
  }

  /** The same as text. */
  upstreamText(x: Exchange): string {
    this.#putIds(x);
    return this.#upstream.toString("latin1");
  }

  #putIds({ plane, idNumber, trace, arm }: Exchange): void {
    plane.requestIds.put(idNumber, this.#upstream, this.#idAt);
    if (trace === null) return;
    trace.put(arm, this.#upstream, this.#idAt + REQUEST_ID_CHARS + TRACE_LINE.length);
  }

  /** The block that may be sent again with this encoder, the ids of `x` in it, or null. */
  blockFor({ plane, idNumber, trace, arm }: Exchange, encoder: HpackEncoder): Buffer | null {
    for (const block of this.#blocks) {
      if (block.encoder !== encoder || block.version !== encoder.version) continue;
      plane.requestIds.put(idNumber, block.bytes, block.idAt);
      if (trace !== null) trace.put(arm, block.bytes, block.traceAt);
      return block.bytes;
    }
    return null;
  }

  keepBlock(block: KnownBlock): void {
    const same = this.#blocks.findIndex(({ encoder }) => encoder === block.encoder);
    if (same === -1) this.#nextBlock = (this.#nextBlock + 1) % BLOCKS_MAX;
    this.#blocks[same === -1 ? Math.min(this.#nextBlock, this.#blocks.length) : same] = block;
  }

  /** Notes the head of an answer that was read the long way; the second time it is kept. */
  noteAnswer(head: ResponseHead, kept: string, whole: string): void {
    const { text, end } = head;
    if (end > ANSWER_HEAD_CHARS_MAX || head.contentLength !== whole.length) return;
    // The connection of one that closes must not be kept.
    if (!head.keepAlive) return;
    const length = end + 2;
    if (this.#answerText.length === length && text.startsWith(this.#answerText)) {
      this.answer = new KnownAnswer(head.status, whole.length, {
        came: this.#answerText,
        goes: `${kept}\r\n`,
      });
      return;
    }
    this.#answerText = copyOf(text.slice(0, length));
  }
}

/** The head of a response that came before. */
export class KnownAnswer {
  readonly status: number;
  readonly contentLength: number;
  /** As the backend sends it. */
  readonly bytes: KnownBytes;
  /** As the client gets it, with its blank line. */
  readonly goes: string;
  /** The same for HTTP/1. */
  readonly goesBytes: Buffer;
  /** The same for HTTP/2, as long as the version of the table is this. */
  block: Buffer | null = null;
  blockVersion = -1;

  constructor(
    status: number,
    contentLength: number,
    { came, goes }: { came: string; goes: string },
  ) {
    this.status = status;
    this.contentLength = contentLength;
    this.bytes = new KnownBytes(came);
    this.goes = goes;
    this.goesBytes = Buffer.from(goes, "latin1");
  }
}

/** What a connection of HTTP/2 remembers of a block: of a request, or of trailers. */
export interface KnownRequest {
  /** As HTTP/1 has it: a head, or lines. */
  readonly text: string;
  /** Null for trailers, which must not pass for a head, nor a head for trailers. */
  readonly about: RequestAbout | null;
  /** Null until the block has come again, or where each request is its own. */
  head: KnownHead | null;
}

/** What is known of a request that was handled and whose head came before, or null. */
export function knownHeadOf(x: Exchange, served: LinkedSocket): KnownHead | null {
  if (x.head.text.length > KNOWN_CHARS_MAX || x.rule === null) return null;
  return saysAll(x) && changesNothing(x.rule) ? new KnownHead(x, x.rule, served) : null;
}

/** What one connection remembers of the heads of its requests. */
export class HeadMemory {
  /** The head before, if it was a short one. */
  #last = "";
  #known: KnownHead | null = null;
  #bytes = NO_BYTES;

  /** What is known of a request whose head is all that a read brought, or null. */
  find(from: ReadBuffer, length: number, served: LinkedSocket | undefined): KnownHead | null {
    const known = this.#known;
    if (known === null || this.#bytes.length !== length) return null;
    return from.beginsWith(this.#bytes) && known.isCurrent(served) ? known : null;
  }

  /** Notes a request that was read the long way, and handled; the second one alike is kept. */
  note(x: Exchange, served: LinkedSocket | undefined): void {
    const { text, end } = x.head;
    this.#known = null;
    // A text that goes on behind the head is a pipeline's, and would keep all of it alive.
    if (end > KNOWN_CHARS_MAX || text.length !== end + 2) this.#last = "";
    else if (text !== this.#last) this.#last = text;
    else if (served !== undefined && !x.head.hasBody) {
      this.#known = knownHeadOf(x, served);
      if (this.#known !== null) this.#bytes = new KnownBytes(text);
    }
  }
}

/** Whether the head says everything about the request, and goes on as it came. */
function saysAll({ head, presentedId, trace }: Exchange): boolean {
  return (
    head.http11 &&
    head.keepAlive &&
    !head.absolute &&
    !head.respelled &&
    !head.expectsContinue &&
    head.upgrade === "" &&
    head.authority !== "" &&
    !presentedId &&
    (trace === null || trace.caller === null)
  );
}

/** Whether the rule changes nothing of a head on its way, whichever of its backends is chosen. */
function changesNothing(rule: LinkedRule): boolean {
  if (rule.auth !== null || rule.redirect !== null || rule.models !== null) return false;
  if (rule.cors !== null || rule.directResponse !== null) return false;
  // An answer that is known is passed on unseen, though it may be one to try again after.
  if (rule.retry !== null || rule.session !== null || rule.compression !== null) return false;
  for (const backend of rule.backends) {
    if (backend.requestEdits !== null || backend.responseEdits !== null) return false;
    if (backend.rewriteHost !== null || backend.pathEdits.length > 0) return false;
    if (backend.rewriteHostFrom !== null || backend.cors !== null) return false;
    if (backend.mirrors !== null) return false;
    if (backend.redirect !== null || backend.directResponse !== null) return false;
  }
  return true;
}
