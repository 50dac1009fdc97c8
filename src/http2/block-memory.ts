/**
 * Header blocks that repeat. Peers that say the same again mostly send the same bytes again, and as long as
 * the dynamic table has not changed they mean the same: they are recognised where they lie. So are those that
 * refer to nothing in that table, though they may add to it. A connection remembers a few; what has not
 * come again when there is no more room goes first.
 */
import type { Field } from "./field.ts";

const BLOCKS_MAX = 8;
const BLOCK_BYTES_MAX = 1024;

/** The version of the table that a block has which means the same with any. */
export const ANY_VERSION = -1;

export interface Remembered<K> {
  bytes: Buffer;
  length: number;
  version: number;
  /** What it adds to the table each time. */
  adds: readonly Field[];
  /** Nothing follows the block. */
  ended: boolean;
  /** It has come again since it was last passed over. */
  used: boolean;
  known: K;
}

/** `K` is what is known of a block. */
export class BlockMemory<K> {
  readonly #blocks: Remembered<K>[] = [];
  #hand = 0;

  find(
    bytes: Buffer,
    { start, end }: { start: number; end: number },
    { version, ended }: { version: number; ended: boolean },
  ): Remembered<K> | null {
    const length = end - start;
    for (const block of this.#blocks) {
      if (block.length !== length || block.ended !== ended) continue;
      if (block.version !== version && block.version !== ANY_VERSION) continue;
      if (!isSame(block.bytes, bytes, start, length)) continue;
      block.used = true;
      return block;
    }
    return null;
  }

  /** Remembers a block that was just read. */
  note(
    bytes: Buffer,
    { start, end }: { start: number; end: number },
    about: Pick<Remembered<K>, "version" | "adds" | "ended" | "known">,
  ): void {
    const length = end - start;
    if (length > BLOCK_BYTES_MAX) return;
    const blocks = this.#blocks;
    if (blocks.length < BLOCKS_MAX) {
      const own = Buffer.allocUnsafeSlow(roomFor(length));
      bytes.copy(own, 0, start, end);
      blocks.push({ bytes: own, length, used: false, ...about });
      return;
    }
    const block = this.#leastUsed();
    if (block.bytes.length < length) block.bytes = Buffer.allocUnsafeSlow(roomFor(length));
    bytes.copy(block.bytes, 0, start, end);
    block.length = length;
    block.version = about.version;
    block.adds = about.adds;
    block.ended = about.ended;
    block.known = about.known;
  }

  #leastUsed(): Remembered<K> {
    for (;;) {
      this.#hand = (this.#hand + 1) % BLOCKS_MAX;
      const block = this.#blocks[this.#hand] as Remembered<K>;
      if (!block.used) return block;
      block.used = false;
    }
  }
}

function roomFor(length: number): number {
  return (length + 63) & ~63;
}

/** A comparison through Buffer is a call out of JavaScript, which costs more than a short loop. */
function isSame(known: Buffer, bytes: Buffer, start: number, length: number): boolean {
  for (let index = 0; index < length; index++) {
    if (known[index] !== bytes[start + index]) return false;
  }
  return true;
}
