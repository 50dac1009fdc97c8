/**
 * What the latest Program consists of, part by part, with the hash that tells workers whether they
 * have it. A part that is the same object as before is not looked at again, so publishing costs
 * what changed and not what there is.
 */
import { sha256 } from "../base/hash.ts";
import type { Part, PartKey, Program } from "../compile/program.ts";

export interface Content {
  readonly part: Part;
  readonly hash: string;
  /** Of its JSON text. */
  readonly bytes: number;
}

/** A part that is not what it was; undefined on one side where it came or went. */
export interface Change {
  readonly key: PartKey;
  readonly before: Part | undefined;
  readonly after: Part | undefined;
}

export class Contents {
  readonly #contents = new Map<PartKey, Content>();

  get(key: PartKey): Content | undefined {
    return this.#contents.get(key);
  }

  keys(): IterableIterator<PartKey> {
    return this.#contents.keys();
  }

  /** Takes in a new Program; returns what is different. */
  update(program: Program): readonly Change[] {
    const changes: Change[] = [];
    for (const [key, part] of program) {
      const before = this.#contents.get(key);
      if (before?.part === part) continue;
      const content = contentOf(part);
      this.#contents.set(key, content);
      if (before?.hash !== content.hash) changes.push({ key, before: before?.part, after: part });
    }
    if (this.#contents.size === program.size) return changes;
    for (const [key, { part }] of this.#contents) {
      if (program.has(key)) continue;
      this.#contents.delete(key);
      changes.push({ key, before: part, after: undefined });
    }
    return changes;
  }
}

/**
 * The text is not brought into canonical order first: one compiler writes all parts, and a part
 * whose keys came in another order would merely be sent once more than needed.
 */
function contentOf(part: Part): Content {
  const text = JSON.stringify(part);
  return { part, hash: sha256(text).slice(0, 16), bytes: Buffer.byteLength(text) };
}
