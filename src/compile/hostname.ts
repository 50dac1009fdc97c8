/**
 * Hostnames of listeners and routes (Gateway API `Hostname`): "" is every host, "*.example.com" is
 * every host of one or more labels before the suffix. Everything is in lower case.
 */
import type { Hostname } from "./program.ts";

/** A hostname of a resource in the compiler's form: absent is "". */
export function toHostname(hostname: string | undefined): Hostname {
  return (hostname ?? "").toLowerCase();
}

/** The hosts that fit both, or undefined where there are none. */
export function intersectHostnames(a: Hostname, b: Hostname): Hostname | undefined {
  if (a === b || covers(b, a)) return a;
  if (covers(a, b)) return b;
  return undefined;
}

/** Whether every host that fits `narrow` fits `wide`. */
function covers(wide: Hostname, narrow: Hostname): boolean {
  if (wide === "" || wide === narrow) return true;
  if (!wide.startsWith("*.")) return false;
  const suffix = wide.slice(1);
  const fixed = narrow.startsWith("*.") ? narrow.slice(1) : narrow;
  return fixed.length > suffix.length && fixed.endsWith(suffix);
}

/**
 * Orders the most specific hostname first: exact names before wildcards, longer before shorter, ""
 * last (Gateway API `HTTPRouteSpec.hostnames`).
 */
export function compareHostnames(a: Hostname, b: Hostname): number {
  const byKind = rank(a) - rank(b);
  if (byKind !== 0) return byKind;
  return b.length - a.length || (a < b ? -1 : a > b ? 1 : 0);
}

function rank(hostname: Hostname): number {
  if (hostname === "") return 2;
  return hostname.startsWith("*.") ? 1 : 0;
}
