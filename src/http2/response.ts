/**
 * Responses of HTTP/2: what a header block says as the ResponseHead that the strict parser makes of it,
 * and heads that go to a client as header blocks.
 */
import { STATUS_CODES } from "node:http";
import { parseResponseHead, type ResponseHead } from "../http1/response-head.ts";
import type { FieldList } from "./field-list.ts";
import type { HpackEncoder } from "./hpack-encoder.ts";
import { staysBehind, writeLines } from "./request.ts";

/**
 * The head of a response with these fields to a request of `method`; `ended`: no body follows.
 * Undefined: the head is refused.
 */
export function parseResponseFields(
  list: FieldList,
  { method, ended }: { method: string; ended: boolean },
): ResponseHead | undefined {
  const { status, lines, hosts, cookie } = list;
  // Of pseudo-headers there is one, for it alone says what the status is.
  if (list.fault || list.excess !== "none" || list.pseudo !== 1) return undefined;
  if (!STATUS.test(status)) return undefined;
  // In a response these mean nothing of their own.
  if (hosts > 1 || TE.test(lines)) return undefined;
  const plain = hosts === 0 && cookie === "" ? lines : withRequestNames(list);
  const count = list.count + hosts + (cookie === "" ? 0 : 1);
  const text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${plain}\r\n`;
  const head = parseResponseText(text, { method, ended });
  return head?.count === count ? head : undefined;
}

/** The same from the text that such a head was made of. */
export function parseResponseText(
  text: string,
  { method, ended }: { method: string; ended: boolean },
): ResponseHead | undefined {
  const head = parseResponseHead(text, text.length, method);
  if (head === undefined) return undefined;
  // The stream says where the response ends, so nothing else has to.
  if (ended) {
    if (head.framing === "length") return undefined;
    head.framing = "none";
  }
  return head;
}

const STATUS = /^[1-5][0-9][0-9]$/;
/** Only a request says which codings it takes (RFC 9113 §8.2.2). */
const TE = /^te:/m;

function withRequestNames({ lines, hosts, host, cookie }: FieldList): string {
  const hostLine = hosts === 0 ? "" : `host: ${host}\r\n`;
  return `${lines}${hostLine}${cookie === "" ? "" : `cookie: ${cookie}\r\n`}`;
}

/** Room that the block of a response takes (Session.beginBlock). */
export function responseBlockBytes(head: ResponseHead, added: string): number {
  return 3 * (head.text.length + added.length) + 64;
}

/** Writes the fields of a response: the lines that `head` keeps, and `added`, whole lines. */
export function writeResponse(encoder: HpackEncoder, head: ResponseHead, added: string): void {
  encoder.status(head.status);
  const { lines, text } = head;
  for (let index = 0; index < lines.length; index += 2) {
    const start = lines[index] as number;
    const colon = lines[index + 1] as number;
    if (colon < 0 || staysBehind(text, start, colon)) continue;
    encoder.line(text.slice(start, head.lineEnd(index)));
  }
  if (added !== "") writeLines(encoder, added, 0);
}
