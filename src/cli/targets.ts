/** Which resources a command is about, as people name them for kubectl. */
import type { KindDefinition } from "../resource/kinds.ts";
import { findKind } from "./client.ts";
import { CommandError, EXIT } from "./exit.ts";

export interface Target {
  readonly kind: KindDefinition;
  /** Undefined: all of the kind. */
  readonly name?: string;
}

/**
 * Reads `KIND[,KIND…] [NAME…]` or `KIND/NAME…`: with names, each name of each kind. Throws CommandError for an
 * unknown kind, and where the two forms are mixed.
 */
export function parseTargets([first = "", ...rest]: readonly string[]): readonly Target[] {
  if (first.includes("/")) return [first, ...rest].map(parsePair);
  const kinds = first.split(",").map(findKind);
  if (rest.length === 0) return kinds.map((kind) => ({ kind }));
  return kinds.flatMap((kind) => rest.map((name) => ({ kind, name })));
}

function parsePair(text: string): Target {
  const [kind = "", name = "", ...more] = text.split("/");
  if (name === "" || more.length > 0) {
    throw new CommandError(`"${text}": must be KIND/NAME, as the first is`, EXIT.usage);
  }
  return { kind: findKind(kind), name };
}
