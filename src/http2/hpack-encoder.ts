/**
 * HPACK's encoder (RFC 7541). A line that comes the second time within a while goes into the dynamic table,
 * so that what is said once only drives nothing out; credentials are never put there, nor may those
 * who pass them on do so (§7.1). Where the table is full, what is in it stays for some heads.
 *
 * Blocks are written to `bytes` from `at` on; who begins one has made room.
 */
import { huffmanEncode, huffmanLength } from "./huffman.ts";
import { STATIC_LINES, STATIC_NAMES } from "./static-table.ts";

/** Bytes that our table holds where the peer allows it. */
const TABLE_BYTES_MAX = 4096;
const RING = TABLE_BYTES_MAX / 32;
const STATIC_COUNT = 61;
/** Hashes of lines that were said before. */
const SEEN = 64;
/** Heads between two entries that drive others out: all that is known of blocks ends with each. */
const HEADS_PER_EVICTION = 16;
/** A line that takes more than an eighth of the table is not worth its place. */
const LINE_CHARS_MAX = TABLE_BYTES_MAX / 8;

/** Values that identify somebody, or let somebody in. */
const CREDENTIAL =
  /^(?:cookie|set-cookie|.*(?:authorization|api-?key|token|secret|signature|password).*)$/;
/** As literals: never indexed, and without indexing (RFC 7541 §6.2). */
const NEVER = 0x10;
const WITHOUT = 0x00;
const INDEXED = 0x40;

interface Entry {
  readonly line: string;
  /** The how-manieth entry it is. */
  readonly number: number;
  readonly size: number;
}

export class HpackEncoder {
  /** Changes with the table: a block that was written before may be sent again as long as it does not. */
  version = 0;
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  readonly #ring: (Entry | undefined)[] = [];
  readonly #byLine = new Map<string, Entry>();
  readonly #seen = new Int32Array(SEEN);
  #added = 0;
  #size = 0;
  #max = TABLE_BYTES_MAX;
  /** The smallest maximum since the last block, where it has changed; else -1. */
  #changedTo = -1;
  #headsSinceEviction = HEADS_PER_EVICTION;

  /** The peer's table holds so much: SETTINGS_HEADER_TABLE_SIZE. */
  limit(bytes: number): void {
    const max = Math.min(bytes, TABLE_BYTES_MAX);
    if (max === this.#max) return;
    this.#changedTo = this.#changedTo === -1 ? max : Math.min(this.#changedTo, max);
    this.#max = max;
    this.version++;
    this.#evict(0);
  }

  /** Begins a block. */
  begin(): void {
    this.#headsSinceEviction++;
    if (this.#changedTo === -1) return;
    // The peer has to see the smallest size, for it has forgotten what did not fit (RFC 7541 §4.2).
    if (this.#changedTo < this.#max) this.#number(0x20, 0x1f, this.#changedTo);
    this.#number(0x20, 0x1f, this.#max);
    this.#changedTo = -1;
    // A block that says so is not to be said again.
    this.version++;
  }

  status(code: number): void {
    this.line(`:status: ${code}`);
  }

  /** Writes a field; `name` is in lower case. */
  field(name: string, value: string): void {
    this.line(`${name}: ${value}`);
  }

  /**
   * Writes a valid line of HTTP/1, without its end: "Name: value", with any blanks around the value. In
   * front of a pseudo-header's name stands a colon.
   */
  line(line: string): void {
    const known = this.#byLine.get(line);
    if (known === undefined) this.#newLine(line);
    else this.#number(0x80, 0x7f, STATIC_COUNT + this.#added - known.number);
  }

  /**
   * Writes a field that is another one each time, its value as it stands, so that it can be written
   * over: the value is what the block ends with.
   */
  unique(name: string, value: string): void {
    this.bytes[this.at++] = WITHOUT;
    this.#string(name, 0, name.length);
    this.#number(0, 0x7f, value.length);
    this.#characters(value, 0, value.length);
  }

  #newLine(line: string): void {
    const colon = line.indexOf(":", 1);
    let start = colon + 1;
    let end = line.length;
    while (start < end && isBlank(line.charCodeAt(start))) start++;
    while (end > start && isBlank(line.charCodeAt(end - 1))) end--;
    const name = line.slice(0, colon).toLowerCase();
    const whole = STATIC_LINES.get(`${name}: ${line.slice(start, end)}`);
    if (whole !== undefined) {
      this.bytes[this.at++] = 0x80 | whole;
      return;
    }
    const index = STATIC_NAMES.get(name) ?? 0;
    const form = CREDENTIAL.test(name) ? NEVER : this.#isWorthIt(name, line) ? INDEXED : WITHOUT;
    this.#number(form, form === INDEXED ? 0x3f : 0x0f, index);
    if (index === 0) this.#string(name, 0, name.length);
    this.#string(line, start, end);
    if (form === INDEXED) this.#add(line, name.length + end - start + 32);
  }

  /** Whether a line is worth an entry: it was said before, and there is room for it. */
  #isWorthIt(name: string, line: string): boolean {
    if (line.length > LINE_CHARS_MAX) return false;
    // Queries may hold credentials, too.
    if (name === ":path" && line.includes("?")) return false;
    let hash = 0;
    for (let index = 0; index < line.length; index++) {
      hash = (Math.imul(hash, 31) + line.charCodeAt(index)) | 0;
    }
    const slot = (hash ^ (hash >>> 11)) & (SEEN - 1);
    if (this.#seen[slot] !== hash) {
      this.#seen[slot] = hash;
      return false;
    }
    const size = line.length + 32;
    if (size > this.#max) return false;
    return this.#size + size <= this.#max || this.#headsSinceEviction >= HEADS_PER_EVICTION;
  }

  /** Adds an entry. Its key is a copy: a slice of a head would keep all of it alive. */
  #add(line: string, size: number): void {
    if (this.#size + size > this.#max) this.#headsSinceEviction = 0;
    this.#evict(size);
    const copy = Buffer.from(line, "latin1").toString("latin1");
    this.version++;
    this.#added++;
    const entry = { line: copy, number: this.#added - 1, size };
    this.#ring[entry.number & (RING - 1)] = entry;
    this.#byLine.set(copy, entry);
    this.#size += size;
  }

  /** Drops the oldest entries until there is room for one of `size` more. */
  #evict(size: number): void {
    let oldest = this.#added - this.#byLine.size;
    while (this.#byLine.size > 0 && this.#size + size > this.#max) {
      const entry = this.#ring[oldest & (RING - 1)] as Entry;
      this.#ring[oldest & (RING - 1)] = undefined;
      this.#byLine.delete(entry.line);
      this.#size -= entry.size;
      oldest++;
    }
  }

  #number(form: number, mask: number, value: number): void {
    const { bytes } = this;
    if (value < mask) {
      bytes[this.at++] = form | value;
      return;
    }
    bytes[this.at++] = form | mask;
    let rest = value - mask;
    for (; rest >= 128; rest >>>= 7) bytes[this.at++] = 0x80 | (rest & 0x7f);
    bytes[this.at++] = rest;
  }

  /** Writes the characters from `start` to `end`, by Huffman's code where that is shorter. */
  #string(text: string, start: number, end: number): void {
    const length = end - start;
    const coded = huffmanLength(text, start, end);
    if (coded < length) {
      this.#number(0x80, 0x7f, coded);
      this.at = huffmanEncode(text, { start, end }, { to: this.bytes, at: this.at });
    } else {
      this.#number(0, 0x7f, length);
      this.#characters(text, start, end);
    }
  }

  #characters(text: string, start: number, end: number): void {
    const { bytes } = this;
    let { at } = this;
    for (let index = start; index < end; index++) bytes[at++] = text.charCodeAt(index);
    this.at = at;
  }
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
