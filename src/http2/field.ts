/** One header field of HTTP/2, and what its name means for the message that it stands in. */

/** An ordinary field. */
export const REGULAR = 0;
export const METHOD = 1;
export const PATH = 2;
export const SCHEME = 3;
export const AUTHORITY = 4;
export const STATUS = 5;
export const HOST = 6;
export const COOKIE = 7;
export const TE = 8;
/** No message may hold it: a malformed one, one of HTTP/1's connection, a pseudo-header unknown to us. */
export const MALFORMED = 9;

export type FieldKind =
  | typeof REGULAR
  | typeof METHOD
  | typeof PATH
  | typeof SCHEME
  | typeof AUTHORITY
  | typeof STATUS
  | typeof HOST
  | typeof COOKIE
  | typeof TE
  | typeof MALFORMED;

/** A field that a table holds. */
export class Field {
  readonly name: string;
  readonly value: string;
  /** By its name, and by name and value. */
  readonly nameKind: FieldKind;
  readonly kind: FieldKind;
  /** As a line of HTTP/1, with its end. */
  readonly line: string;
  /** Bytes in a table and in a header list (RFC 7541 §4.1, RFC 9113 §10.5.1). */
  readonly size: number;

  constructor(name: string, value: string) {
    this.name = name;
    this.value = value;
    this.nameKind = kindOf(name);
    this.kind = isTrimmed(value) ? this.nameKind : MALFORMED;
    this.line = `${name}: ${value}\r\n`;
    this.size = name.length + value.length + 32;
  }
}

const PSEUDO: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  [":method", METHOD],
  [":path", PATH],
  [":scheme", SCHEME],
  [":authority", AUTHORITY],
  [":status", STATUS],
]);
/**
 * A token without upper case (RFC 9113 §8.2.1). Above all no colon: a line of HTTP/1 would be read as that
 * of another name.
 */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;

/** What a name means. */
export function kindOf(name: string): FieldKind {
  if (name.charCodeAt(0) === 0x3a) return PSEUDO.get(name) ?? MALFORMED;
  if (name === "host") return HOST;
  if (name === "cookie") return COOKIE;
  if (name === "te") return TE;
  return NAME.test(name) && !isConnectionSpecific(name) ? REGULAR : MALFORMED;
}

/** A message carries none of these in HTTP/2 (RFC 9113 §8.2.2), nor "te" but for one value of it. */
export function isConnectionSpecific(lowerName: string): boolean {
  switch (lowerName.length) {
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

/** No value begins or ends with a blank (RFC 9113 §8.2.1). */
export function isTrimmed(value: string): boolean {
  const { length } = value;
  return length === 0 || !(isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(length - 1)));
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
