/**
 * Checks that a text is JSON and finds the members of its outermost object, without making a value
 * of it: a body of ten megabytes costs tens of milliseconds and no memory, whatever it consists of.
 * No expression runs over what a client sent, for the stack of an expression is what a long string
 * overflows. It accepts what JSON.parse accepts (RFC 8259), down to `DEPTH_MAX`.
 */

/** A member of the outermost object; the key has its quotes, the value is whole. */
export interface Member {
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly valueStart: number;
  readonly valueEnd: number;
}

export type MembersRead = "object" | "no_object" | "invalid" | "too_deep";

/** How deep arrays and objects may stand in one another. */
export const DEPTH_MAX = 512;

/** In place of the position where something ends. */
const INVALID = -1;
const TOO_DEEP = -2;

/** Calls `take` for the members of the outermost object in order, up to where the text is wrong. */
export function readMembers(json: string, take: (member: Member) => void): MembersRead {
  const start = skipBlanks(json, 0);
  const isObject = json.charCodeAt(start) === BRACE_OPEN;
  const end = isObject ? endOfObject(json, start, { depth: 1, take }) : endOfValue(json, start, 0);
  if (end === TOO_DEEP) return "too_deep";
  if (end === INVALID || skipBlanks(json, end) !== json.length) return "invalid";
  return isObject ? "object" : "no_object";
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
const BRACKET_OPEN = 0x5b;
const BRACKET_CLOSE = 0x5d;

function endOfValue(json: string, start: number, depth: number): number {
  switch (json.charCodeAt(start)) {
    case QUOTE:
      return endOfString(json, start);
    case BRACE_OPEN:
      return endOfObject(json, start, { depth: depth + 1, take: null });
    case BRACKET_OPEN:
      return endOfArray(json, start, depth + 1);
    case 0x74:
      return json.startsWith("true", start) ? start + 4 : INVALID;
    case 0x66:
      return json.startsWith("false", start) ? start + 5 : INVALID;
    case 0x6e:
      return json.startsWith("null", start) ? start + 4 : INVALID;
    default:
      return endOfNumber(json, start);
  }
}

function endOfObject(
  json: string,
  start: number,
  { depth, take }: { readonly depth: number; readonly take: ((member: Member) => void) | null },
): number {
  if (depth > DEPTH_MAX) return TOO_DEEP;
  let at = skipBlanks(json, start + 1);
  if (json.charCodeAt(at) === BRACE_CLOSE) return at + 1;
  for (;;) {
    if (json.charCodeAt(at) !== QUOTE) return INVALID;
    const keyStart = at;
    const keyEnd = endOfString(json, keyStart);
    if (keyEnd < 0) return keyEnd;
    at = skipBlanks(json, keyEnd);
    if (json.charCodeAt(at) !== COLON) return INVALID;
    const valueStart = skipBlanks(json, at + 1);
    const valueEnd = endOfValue(json, valueStart, depth);
    if (valueEnd < 0) return valueEnd;
    take?.({ keyStart, keyEnd, valueStart, valueEnd });
    at = skipBlanks(json, valueEnd);
    const next = json.charCodeAt(at);
    if (next === BRACE_CLOSE) return at + 1;
    if (next !== COMMA) return INVALID;
    at = skipBlanks(json, at + 1);
  }
}

function endOfArray(json: string, start: number, depth: number): number {
  if (depth > DEPTH_MAX) return TOO_DEEP;
  let at = skipBlanks(json, start + 1);
  if (json.charCodeAt(at) === BRACKET_CLOSE) return at + 1;
  for (;;) {
    const end = endOfValue(json, at, depth);
    if (end < 0) return end;
    at = skipBlanks(json, end);
    const next = json.charCodeAt(at);
    if (next === BRACKET_CLOSE) return at + 1;
    if (next !== COMMA) return INVALID;
    at = skipBlanks(json, at + 1);
  }
}

function endOfString(json: string, start: number): number {
  for (let at = start + 1; ; at++) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code === BACKSLASH) {
      at += 1;
      const escaped = json.charCodeAt(at);
      if (escaped === 0x75) {
        for (const last = at + 4; at < last; at++) {
          if (!isHexDigit(json.charCodeAt(at + 1))) return INVALID;
        }
      } else if (!isEscape(escaped)) return INVALID;
      // Control characters, and NaN behind the end of the text.
    } else if (!(code >= 0x20)) return INVALID;
  }
}

function isEscape(code: number): boolean {
  switch (code) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f:
    case 0x62:
    case 0x66:
    case 0x6e:
    case 0x72:
    case 0x74:
      return true;
    default:
      return false;
  }
}

function isHexDigit(code: number): boolean {
  const lower = code | 0x20;
  return isDigit(code) || (lower >= 0x61 && lower <= 0x66);
}

function endOfNumber(json: string, start: number): number {
  let at = json.charCodeAt(start) === 0x2d ? start + 1 : start;
  const whole = endOfDigits(json, at);
  if (whole === at || (json.charCodeAt(at) === 0x30 && whole > at + 1)) return INVALID;
  at = whole;
  if (json.charCodeAt(at) === 0x2e) {
    const fraction = endOfDigits(json, at + 1);
    if (fraction === at + 1) return INVALID;
    at = fraction;
  }
  if ((json.charCodeAt(at) | 0x20) === 0x65) {
    const sign = json.charCodeAt(at + 1);
    const digits = sign === 0x2b || sign === 0x2d ? at + 2 : at + 1;
    at = endOfDigits(json, digits);
    if (at === digits) return INVALID;
  }
  return at;
}

function endOfDigits(json: string, start: number): number {
  let at = start;
  while (isDigit(json.charCodeAt(at))) at++;
  return at;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function skipBlanks(json: string, start: number): number {
  let at = start;
  for (;;) {
    const code = json.charCodeAt(at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at;
    at++;
  }
}
