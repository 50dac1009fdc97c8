/**
 * Parts while they are collected. A part that equals the one of the compilation before is replaced
 * by that object, so that whoever compares two Programs can tell by identity what changed.
 */
import { jsonEqual } from "../base/json.ts";
import type { Part, PartKey, Program } from "./program.ts";

export class PartSet {
  readonly parts: Map<PartKey, Part>;
  readonly #previous: Program | undefined;

  constructor(previous: Program | undefined, parts = new Map<PartKey, Part>()) {
    this.#previous = previous;
    this.parts = parts;
  }

  add(part: Part): void {
    const before = this.#previous?.get(part.key);
    this.parts.set(part.key, before !== undefined && jsonEqual(before, part) ? before : part);
  }
}
