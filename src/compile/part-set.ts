/**
 * Parts while they are collected. A part that equals the one of the compilation before is replaced
 * by that object, so that whoever compares two Programs can tell by identity what changed.
 */
import { jsonEqual } from "../base/json.ts";
import type { Part, PartKey, Program } from "./program.ts";

/** The parts of one compilation by key. */
export class PartSet {
  readonly parts: Map<PartKey, Part>;
  readonly #previous: Program | undefined;

  constructor(previous: Program | undefined, parts = new Map<PartKey, Part>()) {
    this.#previous = previous;
    this.parts = parts;
  }

  /** Adds a part and returns the object that stands for it. */
  add<P extends Part>(part: P): P {
    const before = this.#previous?.get(part.key);
    const same = before !== undefined && jsonEqual(before, part);
    const added = same ? (before as P) : part;
    this.parts.set(part.key, added);
    return added;
  }

  /** Adds a part that is known to be the object of the compilation before, or to be new. */
  keep(part: Part): void {
    this.parts.set(part.key, part);
  }
}
