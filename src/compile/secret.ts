/**
 * Values of Secrets, at the only two places where a compilation touches them: keys of clients leave
 * here as digests, credentials as values that stand beside the Program, never in it.
 */
import type { Secret } from "../resource/core.ts";

/** The text behind a value of `Secret.data`. */
export function decodeSecretValue(base64: string): string {
  return Buffer.from(base64, "base64").toString("utf8");
}

/** All entries of a Secret, decoded, in the order of their names. */
export function decodeSecret(secret: Secret): readonly (readonly [key: string, value: string])[] {
  return Object.entries(secret.data ?? {})
    .map(([key, base64]) => [key, decodeSecretValue(base64)] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
}
