/** States what the program relies on. A failure is a bug in Sluice, never wrong input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Broken invariant: ${message}`);
}
