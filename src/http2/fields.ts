/**
 * Header fields of HTTP/2 as an HTTP/1 head's lines, and back. Fields are flat lists of names and
 * values, as node:http2 has them. Every head of a message is checked by the parsers of http1/, so
 * that what is forwarded is what they let pass, whatever protocol it came by (RFC 9113 §10.3).
 */
import { isHeaderBlock, sliceTrimmed, type HeaderBlock } from "../http1/header-block.ts";

/** A message carries none of these in HTTP/2 (RFC 9113 §8.2.2); `lowerName` in lower case. */
export function isConnectionSpecific(lowerName: string): boolean {
  switch (lowerName.length) {
    case 2:
      return lowerName === "te";
    case 7:
      return lowerName === "upgrade";
    case 10:
      return lowerName === "connection" || lowerName === "keep-alive";
    case 14:
      return lowerName === "http2-settings";
    case 16:
      return lowerName === "proxy-connection";
    case 17:
      return lowerName === "transfer-encoding";
    default:
      return false;
  }
}

/** Appends the lines that `head` keeps to `fields`. */
export function appendKept(head: HeaderBlock, fields: string[]): void {
  const { lines, text } = head;
  for (let index = 0; index < lines.length; index += 2) {
    const colon = lines[index + 1] as number;
    if (colon < 0) continue;
    const name = text.slice(lines[index], colon).toLowerCase();
    if (isConnectionSpecific(name)) continue;
    fields.push(name, sliceTrimmed(text, colon + 1, head.lineEnd(index)));
  }
}

/** Appends whole lines, each ended by CR LF, from `start` on to `fields`; without those of this hop. */
export function appendLines(lines: string, start: number, fields: string[]): void {
  let at = start;
  while (at < lines.length) {
    const end = lines.indexOf("\r\n", at);
    if (end <= at) return;
    const colon = lines.indexOf(":", at);
    const name = lines.slice(at, colon).toLowerCase();
    if (!isConnectionSpecific(name)) fields.push(name, sliceTrimmed(lines, colon + 1, end));
    at = end + 2;
  }
}

/** Trailers cannot carry what frames, routes or authenticates a message (RFC 9110 §6.5.1). */
const FORBIDDEN_TRAILER =
  /^(?:content-.*|transfer-encoding|host|trailer|te|connection|authorization|cookie|set-cookie|x-forwarded-.*)$/;

/**
 * A trailer section as whole lines, without what has no place there; undefined where it is not a
 * valid one.
 */
export function trailerLines(fields: readonly string[]): string | undefined {
  let lines = "";
  let count = 0;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    if (name.startsWith(":")) return undefined;
    if (FORBIDDEN_TRAILER.test(name)) continue;
    lines += `${name}: ${fields[index + 1]}\r\n`;
    count++;
  }
  if (!isHeaderBlock(lines, 0, lines.length)) return undefined;
  return lines.split("\r\n").length === count + 1 ? lines : undefined;
}

/** Whole lines as the object that node:http2 takes trailers and interim responses as. */
export function fieldObject(fields: readonly string[]): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = {};
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    const known = object[name];
    if (known === undefined) object[name] = value;
    else object[name] = [...(typeof known === "string" ? [known] : known), value];
  }
  return object;
}
