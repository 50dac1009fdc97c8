/** Trailers, whichever way they go. */
import { isHeaderBlock } from "../http1/header-block.ts";
import type { FieldList } from "./field-list.ts";

/** Trailers cannot carry what frames, routes or authenticates a message (RFC 9110 §6.5.1). */
const FORBIDDEN_TRAILER =
  /^(?:content-[^:]*|host|trailer|te|authorization|cookie|set-cookie|x-forwarded-[^:]*):/;

/**
 * A trailer section as whole lines, without what has no place there; undefined where it is malformed
 * (RFC 9113 §8.1).
 */
export function trailerLines(list: FieldList): string | undefined {
  if (list.fault || list.pseudo > 0 || list.excess !== "none") return undefined;
  const { lines, count } = list;
  if (!isHeaderBlock(lines, 0, lines.length)) return undefined;
  const all = lines.split("\r\n");
  // No name and no value has made a line of its own.
  if (all.length !== count + 1) return undefined;
  const kept = all.filter((line) => !FORBIDDEN_TRAILER.test(line));
  return kept.length === all.length ? lines : kept.join("\r\n");
}
