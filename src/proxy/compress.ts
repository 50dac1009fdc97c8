/**
 * Compression of responses, where a BackendTrafficPolicy asks for it: which responses, for whom, and what
 * a head says of a body that is coded now. The bytes themselves go through compressor.ts.
 *
 * Clients' Accept-Encoding goes to backends as it came, as with Envoy: one that compresses by itself is
 * left alone. What is coded has another length and other validators than what the backend sent, and what
 * was true of its bytes alone is not said any more.
 */
import type { Compression } from "../compile/rule-part.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { chooseEncoding } from "./accept-encoding.ts";
import { compressShort } from "./compressor.ts";
import type { Exchange } from "./exchange.ts";
import { isGrpc } from "./grpc.ts";
import type { LocalAnswer } from "./respond.ts";
import type { LinkedEdits } from "./snapshot.ts";

export type LinkedEncoding = Compression["encodings"][number];

export interface LinkedCompression {
  /** In the gateway's order of preference. */
  readonly encodings: readonly LinkedEncoding[];
  readonly minBytes: number;
  /** Lower case, without parameters. */
  readonly contentTypes: ReadonlySet<string>;
}

export function linkCompression(compression: Compression): LinkedCompression {
  return { ...compression, contentTypes: new Set(compression.contentTypes) };
}

/** What is asked of a response. `header` says what the client would be told. */
export interface Answer {
  readonly status: number;
  /** -1: not known. */
  readonly contentLength: number;
  header(lowerName: string): string | undefined;
}

/** They have no content, or a part of one (RFC 9110 §15). */
const UNCODED_STATUSES: ReadonlySet<number> = new Set([204, 205, 206, 304]);
const NO_TRANSFORM = /(?:^|,)[\t ]*no-transform[\t ]*(?:,|$)/i;

/** Whether there are clients for whom the response would be compressed. */
export function isCompressible(answer: Answer, compression: LinkedCompression): boolean {
  const { status, contentLength } = answer;
  if (status < 200 || UNCODED_STATUSES.has(status)) return false;
  if (contentLength !== -1 && contentLength < compression.minBytes) return false;
  const type = mediaType(answer.header("content-type"));
  if (!compression.contentTypes.has(type) || type.startsWith("application/grpc")) return false;
  if (answer.header("content-encoding") !== undefined) return false;
  if (answer.header("content-range") !== undefined) return false;
  return !NO_TRANSFORM.test(answer.header("cache-control") ?? "");
}

function mediaType(value: string | undefined): string {
  if (value === undefined) return "";
  const semicolon = value.indexOf(";");
  return (semicolon === -1 ? value : value.slice(0, semicolon)).trim().toLowerCase();
}

/** The coding that the client gets; undefined: none. It may forbid to transform, too (RFC 9111 §5.2.1.6). */
export function encodingFor(
  request: Pick<RequestHead, "header">,
  compression: LinkedCompression,
): LinkedEncoding | undefined {
  if (NO_TRANSFORM.test(request.header("cache-control") ?? "")) return undefined;
  return chooseEncoding(request.header("accept-encoding"), compression.encodings);
}

/** A response as it goes to the client. */
interface Coded {
  readonly head: ResponseHead;
  /** What the rule's edits append to the head, and what is said of the coding. Whole lines. */
  readonly edited: string;
  /** The entire body where it is at hand; see Client.sendHead. */
  readonly whole: string | null;
}

/**
 * Decides about a backend's response, whose head has been through its rule's edits. Where its body will
 * be compressed as it comes, `x.compressor` is there afterwards.
 */
export function compressAnswer(
  x: Exchange,
  head: ResponseHead,
  {
    compression,
    edits,
    whole,
  }: { compression: LinkedCompression; edits: LinkedEdits | null; whole: string | null },
): Coded {
  const said = new SaidFields(head, edits);
  if (head.status === 304) {
    if (holdsWeak(x.head.header("if-none-match"), said.header("etag"))) revalidate(said);
    return { head, edited: said.lines(), whole };
  }
  const isHead = x.head.method === "HEAD";
  const hasBody = head.framing !== "none" || isHead;
  const { status, contentLength } = head;
  const answer = { status, contentLength, header: (name: string) => said.header(name) };
  if (!hasBody || !isCompressible(answer, compression))
    return { head, edited: said.lines(), whole };
  vary(said);
  const encoding = encodingFor(x.head, compression);
  if (encoding === undefined) return { head, edited: said.lines(), whole };
  if (isHead) {
    describe(said, encoding);
    const coded = said.head.before(null);
    coded.framing = "none";
    return { head: coded, edited: said.lines(), whole };
  }
  const { compressors } = x.plane;
  if (whole !== null && compressors.isQuick(encoding, whole.length)) {
    describe(said, encoding);
    const bytes = compressors.compressQuickly(encoding, Buffer.from(whole, "latin1"));
    const body = bytes.toString("latin1");
    return { head: said.head.before(body), edited: said.lines(), whole: body };
  }
  x.compressor = compressors.begin(x, encoding);
  if (x.compressor === null) return { head, edited: said.lines(), whole };
  describe(said, encoding);
  return { head: said.head.before(null), edited: said.lines(), whole: null };
}

/** The same for an answer of the gateway's own, which stands whole in memory. */
export function compressDirect(x: Exchange, direct: LocalAnswer): LocalAnswer {
  const compression = x.rule?.compression ?? null;
  if (compression === null || isGrpc(x.head)) return direct;
  const edits = x.responseEdits;
  const answer: Answer = {
    status: direct.status,
    contentLength: direct.body.length,
    header(name) {
      const comes = name === "content-type" && direct.contentType !== "" && !edits?.drop.has(name);
      return comes ? direct.contentType : appendedBy(edits, name);
    },
  };
  if (!isCompressible(answer, compression)) return direct;
  const encoding = encodingFor(x.head, compression);
  if (encoding === undefined) return { ...direct, codingLines: VARY };
  return {
    ...direct,
    codingLines: `${VARY}content-encoding: ${encoding.name}\r\n`,
    body: compressShort(encoding, Buffer.from(direct.body, "latin1")).toString("latin1"),
  };
}

const VARY = "vary: Accept-Encoding\r\n";

/** Caches are told that others are answered otherwise (RFC 9110 §12.5.5). */
function vary(said: SaidFields): void {
  const value = said.header("vary") ?? "";
  if (value === "") {
    said.add(VARY);
    return;
  }
  const names = value.split(",").map((name) => name.trim().toLowerCase());
  if (names.includes("*") || names.includes("accept-encoding")) return;
  said.drop("vary");
  said.add(`vary: ${value}, Accept-Encoding\r\n`);
}

/**
 * What is no longer so: parts of what is made anew each time cannot be asked for, and digests are of
 * the bytes that were (RFC 9110 §14.3, RFC 9530 §2 and §3, RFC 3230 §4.3.2, RFC 1864).
 */
const UNSAID = ["accept-ranges", "content-digest", "repr-digest", "digest", "content-md5"] as const;

/** Says that the body is coded, and takes back what is not true of it. */
function describe(said: SaidFields, encoding: LinkedEncoding): void {
  for (const name of UNSAID) said.drop(name);
  weaken(said);
  said.add(`content-encoding: ${encoding.name}\r\n`);
}

/** Fields of trailers that are digests of what the body was. */
const DIGEST_LINES = /^(?:repr-digest|digest):.*\r\n/gim;

/** What may still be said behind a body that is coded now. */
export function codedTrailers(trailers: string): string {
  return trailers === "" ? "" : trailers.replaceAll(DIGEST_LINES, "");
}

const STRONG_TAG = /^"[\x21\x23-\x7e\x80-\xff]*"$/;

/** The bytes are not those that a strong validator stood for (RFC 9110 §8.8.1). */
function weaken(said: SaidFields): void {
  const tag = said.header("etag");
  if (tag === undefined || tag.startsWith("W/")) return;
  said.drop("etag");
  if (STRONG_TAG.test(tag)) said.add(`etag: W/${tag}\r\n`);
}

/** Whether the client revalidates what it was given compressed, under a tag that was weakened then. */
function holdsWeak(held: string | undefined, tag: string | undefined): boolean {
  if (held === undefined || tag === undefined || !STRONG_TAG.test(tag)) return false;
  const tags = held.split(",").map((each) => each.trim());
  return tags.includes(`W/${tag}`) && !tags.includes(tag);
}

/** A cache finds what it has by the tag that it was told (RFC 9111 §4.3.4). */
function revalidate(said: SaidFields): void {
  weaken(said);
  vary(said);
}

/** The fields of a response: those of the backend's head that are kept, and those that are appended. */
class SaidFields {
  readonly head: ResponseHead;
  readonly #edits: LinkedEdits | null;
  readonly #dropped: string[] = [];
  #added = "";

  constructor(head: ResponseHead, edits: LinkedEdits | null) {
    this.head = head;
    this.#edits = edits;
  }

  /** The value that the client would be told; several are joined by ", ". */
  header(lowerName: string): string | undefined {
    const { head } = this;
    const came = head.keeps(lowerName) ? head.header(lowerName) : undefined;
    const appended = appendedBy(this.#edits, lowerName);
    return came === undefined || appended === undefined
      ? (came ?? appended)
      : `${came}, ${appended}`;
  }

  drop(lowerName: string): void {
    this.head.dropName(lowerName);
    this.#dropped.push(lowerName);
  }

  /** Adds a whole line. */
  add(line: string): void {
    this.#added += line;
  }

  /** All that is appended to the head. */
  lines(): string {
    const edits = this.#edits;
    if (edits === null) return this.#added;
    const kept = edits.appended.filter(([name]) => !this.#dropped.includes(name.toLowerCase()));
    return kept.map(([name, value]) => `${name}: ${value}\r\n`).join("") + this.#added;
  }
}

function appendedBy(edits: LinkedEdits | null, lowerName: string): string | undefined {
  if (edits === null) return undefined;
  const values = edits.appended.filter(([name]) => name.toLowerCase() === lowerName);
  return values.length === 0 ? undefined : values.map(([, value]) => value).join(", ");
}
