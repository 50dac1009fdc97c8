/**
 * The hashes of the house: a content hash for documents and Program parts, and a fast keyed 64-bit
 * hash of strings for splits and tables in shared memory. Neither is meant to resist an attacker
 * who looks for collisions, except `sha256`.
 */
import { hash } from "node:crypto";
import { canonicalJson } from "./json.ts";

/** SHA-256 as lower-case hexadecimal. */
export function sha256(text: string): string {
  return hash("sha256", text, "hex");
}

/** Names the content of a JSON value: 16 hexadecimal digits of the SHA-256 of its canonical text. */
export function contentHash(value: unknown): string {
  return sha256(canonicalJson(value)).slice(0, 16);
}

/**
 * Two independent 32-bit halves of a hash of `text` (cyrb53's mixing by B. Cabunilas, public
 * domain), written into `out[0]` and `out[1]` so that the hot path allocates nothing.
 */
export function hash64Into(out: Int32Array, text: string, seed: number): void {
  let high = 0xdeadbeef ^ seed;
  let low = 0x41c6ce57 ^ seed;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    high = Math.imul(high ^ code, 2654435761);
    low = Math.imul(low ^ code, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  out[0] = high;
  out[1] = low;
}

const scratch = new Int32Array(2);

/** The 64-bit hash of `text` as a signed BigInt: the key of a cell in shared memory; never 0n. */
export function hash64(text: string, seed = 0): bigint {
  hash64Into(scratch, text, seed);
  const value = (BigInt(scratch[0] as number) << 32n) | BigInt((scratch[1] as number) >>> 0);
  return value === 0n ? 1n : value;
}

/** A number in [0, 1) that depends on `key` and `salt` alone: where a sticky key stands in a split. */
export function hashToUnit(key: string, salt: string): number {
  hash64Into(scratch, key, 0);
  const keyHigh = scratch[0] as number;
  hash64Into(scratch, salt, keyHigh);
  const high = (scratch[0] as number) >>> 5;
  const low = (scratch[1] as number) >>> 6;
  return (high * 67108864 + low) / 9007199254740992;
}
