/**
 * Three readings of the bytes that an origin gets. The strict one is RFC 9112 and nothing else, written
 * without the gateway's parsers. The two sloppy ones take what careless servers take, each in its own
 * way wherever such servers differ: where one goes by the first Content-Length, the other goes by the
 * last. What a gateway forwards must be the same requests to all three.
 */

export interface Reading {
  readonly method: string;
  readonly target: string;
  readonly body: string;
  /** Whether the whole body has come. */
  readonly complete: boolean;
  /** Where the next message begins, if this one is complete. */
  readonly next: number;
}

/** What is wrong with a message, in words. */
export type Fault = string;

/** Reads the message that begins at `at`; null while its head has not come. */
export type Reader = (text: string, at: number) => Reading | Fault | null;

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) (\\S+) HTTP/1\\.1$`);
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`);
/** Origin-form (RFC 9112 §3.2.1) in characters of a URI, or the asterisk. */
const TARGET = /^(?:\/[A-Za-z0-9\-._~:/?[\]@!$&'()*+,;=%"<>^`{|}]*|\*)$/;
const HOST = /^(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?$/;
/** What ends at the gateway (RFC 9110 §7.6.1); it asks for no trailers. */
const HOP_BY_HOP = ["keep-alive", "proxy-connection", "te", "trailer", "expect", "http2-settings"];
/** What the gateway says of itself is said once. */
const SAID_ONCE = ["x-forwarded-for", "x-forwarded-proto", "x-request-id"];

export function strict(text: string, at: number): Reading | Fault | null {
  const blank = text.indexOf("\r\n\r\n", at);
  if (blank === -1) return null;
  const [requestLine = "", ...lines] = text.slice(at, blank).split("\r\n");
  const [, method, target] = REQUEST_LINE.exec(requestLine) ?? [];
  if (method === undefined || target === undefined) return "no request line";
  if (!TARGET.test(target) || (target === "*" && method !== "OPTIONS")) return "no target";
  const fields = new Map<string, string[]>();
  for (const line of lines) {
    const [, name, value] = FIELD_LINE.exec(line) ?? [];
    if (name === undefined || value === undefined) return `no field line: ${JSON.stringify(line)}`;
    const lower = name.toLowerCase();
    fields.set(lower, [...(fields.get(lower) ?? []), value]);
  }
  const hosts = fields.get("host") ?? [];
  if (hosts.length !== 1 || !HOST.test(hosts[0] as string)) return "not one Host";
  for (const name of HOP_BY_HOP) if (fields.has(name)) return `${name} was forwarded`;
  for (const name of SAID_ONCE) if (fields.get(name)?.length !== 1) return `not one ${name}`;
  // Of a client of HTTP/1.0 that has named no host there is none to be told.
  if ((fields.get("x-forwarded-host")?.length ?? 0) > 1) return "several x-forwarded-host";
  const lengths = fields.get("content-length") ?? [];
  const codings = fields.get("transfer-encoding") ?? [];
  if (lengths.length + codings.length > 1) return "several framings";
  const start = blank + 4;
  if (codings.length === 1) {
    if (codings[0] !== "chunked") return "an unknown coding";
    return strictChunks(text, start, { method, target });
  }
  if (lengths.length === 1 && !/^(?:0|[1-9][0-9]*)$/.test(lengths[0] as string)) return "no length";
  return sized({ method, target }, { text, start, length: Number(lengths[0] ?? 0) });
}

interface Asked {
  readonly method: string;
  readonly target: string;
}

/** A message whose body is `length` bytes from `start`. */
function sized(
  asked: Asked,
  { text, start, length }: { text: string; start: number; length: number },
): Reading {
  const next = start + length;
  const complete = text.length >= next;
  return { ...asked, body: text.slice(start, next), complete, next };
}

function strictChunks(text: string, start: number, asked: Asked): Reading | Fault {
  let body = "";
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd === -1) {
      return /^[0-9a-f]*\r?$/i.test(text.slice(at)) ? pending(asked, body) : "no chunk size";
    }
    const size = text.slice(at, lineEnd);
    if (!/^[0-9a-f]{1,8}$/i.test(size)) return "no chunk size";
    const length = Number.parseInt(size, 16);
    const dataEnd = lineEnd + 2 + length;
    if (length === 0) {
      // Trailers end at the gateway.
      if (text.length < dataEnd + 2) return pending(asked, body);
      if (!text.startsWith("\r\n", dataEnd)) return "trailers were forwarded";
      return { ...asked, body, complete: true, next: dataEnd + 2 };
    }
    body += text.slice(lineEnd + 2, dataEnd);
    if (text.length < dataEnd + 2) return pending(asked, body);
    if (!text.startsWith("\r\n", dataEnd)) return "no end of a chunk";
    at = dataEnd + 2;
  }
}

function pending(asked: Asked, body: string): Reading {
  return { ...asked, body, complete: false, next: 0 };
}

/** Where careless servers differ. */
interface Habit {
  /** Which of several values is believed. */
  readonly believed: "first" | "last";
  /** What a line that begins with a space is: more of the value before it, or a field of its own. */
  readonly fold: "joined" | "field";
  /** Whether chunked is looked for anywhere in Transfer-Encoding, or has to be its last word. */
  readonly coding: "anywhere" | "last";
  /** What is believed where both are there. */
  readonly framing: "coding" | "length";
  /** How numbers are read: as C does, with 0x and leading zeros, or the digits that can be found. */
  readonly number: "c" | "digits";
  /** What follows a chunk's data: a line end if there is one, or whatever there is up to a line feed. */
  readonly chunkEnd: "optional" | "line";
  /** What a NUL does: ends the text before it, or is not there. */
  readonly nul: "ends" | "dropped";
  /** Whether a CR alone ends a line. */
  readonly bareCr: boolean;
  /** Whether "content_length" is another spelling of Content-Length. */
  readonly underscores: boolean;
}

export const sloppy = (text: string, at: number): Reading | null =>
  lenient(text, at, {
    believed: "first",
    fold: "joined",
    coding: "anywhere",
    framing: "coding",
    number: "c",
    chunkEnd: "optional",
    nul: "ends",
    bareCr: false,
    underscores: false,
  });

export const sloppyOtherwise = (text: string, at: number): Reading | null =>
  lenient(text, at, {
    believed: "last",
    fold: "field",
    coding: "last",
    framing: "length",
    number: "digits",
    chunkEnd: "line",
    nul: "dropped",
    bareCr: true,
    underscores: true,
  });

/** Takes whatever can be taken for a request. */
function lenient(text: string, at: number, habit: Habit): Reading | null {
  const lineEnd = habit.bareCr ? /\r\n|\r(?=[^])|\n/g : /\r?\n/g;
  lineEnd.lastIndex = at + (/^[\s\0]*/.exec(text.slice(at))?.[0].length ?? 0);
  const lines: string[] = [];
  for (;;) {
    const from = lineEnd.lastIndex;
    const end = lineEnd.exec(text);
    if (end === null) return null;
    const line = text.slice(from, end.index);
    if (/^[ \t\v\f\r\0]*$/.test(line)) break;
    lines.push(line);
    // HTTP/0.9 has a method, a target, and nothing else.
    if (lines.length === 1 && !/http/i.test(line)) break;
  }
  const start = lineEnd.lastIndex;
  const [requestLine = "", ...rest] = lines;
  const [method = "", target = ""] = requestLine.trim().split(/[\s\0]+/);
  const fields = lenientFields(rest, habit);
  const pick = (name: string): string | undefined => {
    const values = fields.filter((field) => field.name === name).map(({ value }) => value);
    return habit.believed === "first" ? values[0] : values.at(-1);
  };
  const coding = pick("transfer-encoding");
  const length = pick("content-length");
  const chunked = coding !== undefined && isChunked(coding, habit);
  if (chunked && (length === undefined || habit.framing === "coding")) {
    return lenientChunks(text, start, { asked: { method, target }, habit });
  }
  const values = (length ?? "").split(",").filter((value) => value.trim() !== "");
  const value = (habit.believed === "first" ? values[0] : values.at(-1)) ?? "";
  return sized({ method, target }, { text, start, length: lenientNumber(value, habit, 10) });
}

interface Field {
  readonly name: string;
  readonly value: string;
}

function lenientFields(lines: readonly string[], habit: Habit): readonly Field[] {
  const fields: Field[] = [];
  for (const raw of lines) {
    const line = habit.nul === "ends" ? raw.split("\0", 1).join("") : raw.replaceAll("\0", "");
    const before = fields.at(-1);
    if (/^[ \t]/.test(line) && habit.fold === "joined" && before !== undefined) {
      fields[fields.length - 1] = { name: before.name, value: `${before.value} ${line.trim()}` };
      continue;
    }
    const colon = line.indexOf(":");
    if (colon === -1) continue;
    const name = line.slice(0, colon).trim().toLowerCase();
    fields.push({
      name: habit.underscores ? name.replaceAll("_", "-") : name,
      value: line.slice(colon + 1).trim(),
    });
  }
  return fields;
}

function isChunked(coding: string, habit: Habit): boolean {
  if (habit.coding === "anywhere") return /chunked/i.test(coding);
  const words = coding.split(/[^a-z]+/i).filter((word) => word !== "");
  return words.at(-1)?.toLowerCase() === "chunked";
}

/** The number at the beginning of a text, or 0. */
function lenientNumber(text: string, habit: Habit, radix: 10 | 16): number {
  const digits = radix === 16 ? "[0-9a-f]+" : "[0-9]+";
  if (habit.number === "digits") {
    return Number.parseInt(new RegExp(digits, "i").exec(text)?.[0] ?? "0", radix);
  }
  const [, hex] = /^\s*\+?0x([0-9a-f]+)/i.exec(text) ?? [];
  if (hex !== undefined) return Number.parseInt(hex, 16);
  const [, octal] = radix === 10 ? (/^\s*\+?0([0-7]+)/.exec(text) ?? []) : [];
  if (octal !== undefined) return Number.parseInt(octal, 8);
  return Math.max(Number.parseInt(text, radix) || 0, 0);
}

function lenientChunks(
  text: string,
  start: number,
  { asked, habit }: { asked: Asked; habit: Habit },
): Reading {
  let body = "";
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf("\n", at);
    if (lineEnd === -1) return pending(asked, body);
    const size = lenientNumber(text.slice(at, lineEnd), habit, 16);
    at = lineEnd + 1;
    if (size === 0) break;
    body += text.slice(at, at + size);
    at += size;
    if (at >= text.length) return pending(asked, body);
    if (habit.chunkEnd === "optional") {
      at += /^\r?\n?/.exec(text.slice(at, at + 2))?.[0].length ?? 0;
    } else {
      const feed = text.indexOf("\n", at);
      if (feed === -1) return pending(asked, body);
      at = feed + 1;
    }
  }
  for (;;) {
    const lineEnd = text.indexOf("\n", at);
    if (lineEnd === -1) return pending(asked, body);
    const line = text.slice(at, lineEnd);
    at = lineEnd + 1;
    if (line.trim() === "") return { ...asked, body, complete: true, next: at };
  }
}
