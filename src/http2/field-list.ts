/**
 * What a header block says, gathered field by field as it is decoded: the fields that have a meaning
 * of their own, and the others as lines of HTTP/1, so that no list of fields is made. One list serves
 * all blocks of a worker, one after the other.
 */
import {
  AUTHORITY,
  COOKIE,
  type Field,
  type FieldKind,
  HOST,
  MALFORMED,
  METHOD,
  PATH,
  REGULAR,
  SCHEME,
  STATUS,
  TE,
} from "./field.ts";

/** Names, values and 32 bytes for each field (RFC 9113 §6.5.2); what goes beyond is not gathered. */
export const HEADER_LIST_BYTES_MAX = 64 * 1024;
export const HEADER_LIST_FIELDS_MAX = 128;

export class FieldList {
  method = "";
  path = "";
  scheme = "";
  authority = "";
  status = "";
  /** Host fields, and the last one's value. */
  hosts = 0;
  host = "";
  cookie = "";
  cookies = 0;
  /** Names of pseudo-headers, for what only counts is whether there are any. */
  pseudo = 0;
  /** The other fields, each a line with its end, and how many there are. */
  lines = "";
  count = 0;
  /** The message is malformed (RFC 9113 §8.1.1). */
  fault = false;
  /** The message holds more than the limits allow. */
  excess: "none" | "fields" | "bytes" = "none";
  #bytes = 0;
  #fields = 0;

  clear(): void {
    this.method = "";
    this.path = "";
    this.scheme = "";
    this.authority = "";
    this.status = "";
    this.hosts = 0;
    this.host = "";
    this.cookie = "";
    this.cookies = 0;
    this.pseudo = 0;
    this.lines = "";
    this.count = 0;
    this.fault = false;
    this.excess = "none";
    this.#bytes = 0;
    this.#fields = 0;
  }

  /** Takes a field of a table. */
  add(field: Field): void {
    if (!this.#takes(field.size)) return;
    if (field.kind === REGULAR) {
      this.lines += field.line;
      this.count++;
    } else {
      this.#addSpecial(field.kind, field.name, field.value);
    }
  }

  /** Takes a field that no table holds; `kind` is that of its name. */
  addLiteral(kind: FieldKind, name: string, value: string): void {
    if (!this.#takes(name.length + value.length + 32)) return;
    if (kind === REGULAR) {
      this.lines += `${name}: ${value}\r\n`;
      this.count++;
    } else {
      this.#addSpecial(kind, name, value);
    }
  }

  /** Names, values and 32 bytes for each field. */
  get bytes(): number {
    return this.#bytes;
  }

  #takes(size: number): boolean {
    this.#bytes += size;
    this.#fields++;
    if (this.#bytes > HEADER_LIST_BYTES_MAX) this.excess = "bytes";
    else if (this.#fields > HEADER_LIST_FIELDS_MAX) this.excess = "fields";
    return this.excess === "none";
  }

  #addSpecial(kind: FieldKind, name: string, value: string): void {
    switch (kind) {
      case METHOD:
        this.#once(this.method, value);
        this.method = value;
        break;
      case PATH:
        this.#once(this.path, value);
        this.path = value;
        break;
      case SCHEME:
        this.#once(this.scheme, value);
        this.scheme = value;
        break;
      case AUTHORITY:
        this.#once(this.authority, value);
        this.authority = value;
        break;
      case STATUS:
        this.#once(this.status, value);
        this.status = value;
        break;
      case HOST:
        this.hosts++;
        this.host = value;
        break;
      case COOKIE:
        this.cookies++;
        if (value === "") break;
        // What was cut up to be compressed is put together again (RFC 9113 §8.2.3).
        this.cookie = this.cookie === "" ? value : `${this.cookie}; ${value}`;
        break;
      case TE:
        if (value !== "trailers") this.fault = true;
        this.lines += `${name}: ${value}\r\n`;
        this.count++;
        break;
      case MALFORMED:
      case REGULAR:
        this.fault = true;
        break;
    }
  }

  /** A pseudo-header comes once, with a value, and before all others (RFC 9113 §8.3). */
  #once(known: string, value: string): void {
    this.pseudo++;
    const late = this.count > 0 || this.hosts > 0 || this.cookies > 0;
    if (late || known !== "" || value === "") this.fault = true;
  }
}
