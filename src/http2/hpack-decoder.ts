/**
 * HPACK's decoder (RFC 7541): header blocks to fields, and the dynamic table that they build up. What is
 * wrong with a block ends its connection, for nobody knows the table from there on (§2.3.3).
 */
import { Field, isTrimmed, kindOf, MALFORMED } from "./field.ts";
import type { FieldList } from "./field-list.ts";
import { huffmanDecode } from "./huffman.ts";
import { STATIC_FIELDS } from "./static-table.ts";

/** What the peer's encoder may make the table hold; the default, so that nothing has to be said. */
const TABLE_BYTES_MAX = 4096;
/** An entry counts for 32 bytes at least. A power of two. */
const RING = TABLE_BYTES_MAX / 32;
const STATIC_COUNT = STATIC_FIELDS.length;
/** No number in a block is larger: neither an index nor a length could be. */
const NUMBER_MAX = 2 ** 24;

/** Where Huffman codes are decoded to. */
let decoded = Buffer.allocUnsafeSlow(4096);

export class HpackDecoder {
  /** Changes with the table: a block that was read before says the same as long as it does not. */
  version = 0;
  /** Whether the last block says something else where the table is another one, or changes its size. */
  depends = false;
  /** What the last block has added to the table. */
  readonly added: Field[] = [];
  readonly #ring: (Field | undefined)[] = [];
  /** Entries that were ever added, and how many of them the table still holds. */
  #addedCount = 0;
  #count = 0;
  #bytes = 0;
  #bytesMax = TABLE_BYTES_MAX;

  #at = 0;
  #end = 0;
  #failed = false;

  /** Reads the block from `start` to `end` into `list`; false where it is not a valid one. */
  decode(bytes: Buffer, { start, end }: { start: number; end: number }, list: FieldList): boolean {
    this.#at = start;
    this.#end = end;
    this.#failed = false;
    this.depends = false;
    this.added.length = 0;
    // Changes of the table's size stand at the beginning of a block (RFC 7541 §4.2).
    while (this.#at < end && ((bytes[this.#at] as number) & 0xe0) === 0x20) this.#resize(bytes);
    while (this.#at < end && !this.#failed) {
      const first = bytes[this.#at] as number;
      if (first >= 0x80) {
        const field = this.#fieldAt(this.#number(bytes, 0x7f));
        if (field !== undefined) list.add(field);
      } else if (first >= 0x40) {
        this.#literalIndexed(bytes, list);
      } else if (first >= 0x20) {
        return false;
      } else {
        this.#literal(bytes, list);
      }
    }
    return !this.#failed;
  }

  #resize(bytes: Buffer): void {
    const max = this.#number(bytes, 0x1f);
    if (max > TABLE_BYTES_MAX) this.#failed = true;
    if (this.#failed) return;
    this.#bytesMax = max;
    this.#evict(0);
    this.version++;
    this.depends = true;
  }

  #literalIndexed(bytes: Buffer, list: FieldList): void {
    const index = this.#number(bytes, 0x3f);
    const name = index === 0 ? this.#string(bytes) : this.#nameAt(index);
    const value = this.#string(bytes);
    if (this.#failed) return;
    const field = new Field(name, value);
    this.add(field);
    this.added.push(field);
    list.add(field);
  }

  /** Without indexing, or never indexed: for one who reads, that is the same. */
  #literal(bytes: Buffer, list: FieldList): void {
    const index = this.#number(bytes, 0x0f);
    const known = index === 0 ? undefined : this.#fieldAt(index);
    const name = known === undefined ? this.#string(bytes) : known.name;
    const value = this.#string(bytes);
    if (this.#failed) return;
    const kind = known === undefined ? kindOf(name) : known.nameKind;
    list.addLiteral(isTrimmed(value) ? kind : MALFORMED, name, value);
  }

  #nameAt(index: number): string {
    return this.#fieldAt(index)?.name ?? "";
  }

  /** Undefined, and failed, where there is none. */
  #fieldAt(index: number): Field | undefined {
    if (index > 0 && index <= STATIC_COUNT) return STATIC_FIELDS[index - 1];
    this.depends = true;
    const back = index - STATIC_COUNT;
    if (back <= 0 || back > this.#count) {
      this.#failed = true;
      return undefined;
    }
    return this.#ring[(this.#addedCount - back) & (RING - 1)];
  }

  /**
   * Adds an entry, as blocks do; one that the table cannot hold empties it (RFC 7541 §4.4). A block that
   * is recognised without being decoded has its entries added again.
   */
  add(field: Field): void {
    this.version++;
    this.#evict(field.size);
    if (field.size > this.#bytesMax) return;
    this.#ring[this.#addedCount & (RING - 1)] = field;
    this.#addedCount++;
    this.#count++;
    this.#bytes += field.size;
  }

  #evict(room: number): void {
    while (this.#count > 0 && this.#bytes + room > this.#bytesMax) {
      const oldest = (this.#addedCount - this.#count) & (RING - 1);
      this.#bytes -= (this.#ring[oldest] as Field).size;
      this.#ring[oldest] = undefined;
      this.#count--;
    }
  }

  /** A number whose first byte shares its place with what `mask` leaves out (RFC 7541 §5.1). */
  #number(bytes: Buffer, mask: number): number {
    if (this.#at >= this.#end) {
      this.#failed = true;
      return 0;
    }
    let value = (bytes[this.#at++] as number) & mask;
    if (value < mask) return value;
    for (let factor = 1; value <= NUMBER_MAX && factor <= NUMBER_MAX; factor *= 128) {
      if (this.#at >= this.#end) break;
      const byte = bytes[this.#at++] as number;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    this.#failed = true;
    return 0;
  }

  #string(bytes: Buffer): string {
    if (this.#failed || this.#at >= this.#end) {
      this.#failed = true;
      return "";
    }
    const coded = (bytes[this.#at] as number) >= 0x80;
    const length = this.#number(bytes, 0x7f);
    const start = this.#at;
    const end = start + length;
    if (this.#failed || end > this.#end) {
      this.#failed = true;
      return "";
    }
    this.#at = end;
    if (!coded) return bytes.toString("latin1", start, end);
    if (decoded.length < length * 2) decoded = Buffer.allocUnsafeSlow(length * 2);
    const count = huffmanDecode(bytes, { start, end }, decoded);
    if (count >= 0) return decoded.toString("latin1", 0, count);
    this.#failed = true;
    return "";
  }
}
