/**
 * Durations as Go writes them ("1h30m", "250ms"), the form of Argo's fields, and the narrower form
 * of Gateway API (GEP-2257). Argo also takes a bare number: seconds.
 */

const UNIT_MS: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 0.001,
  µs: 0.001,
  ns: 0.000001,
};

const GO_DURATION = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/;
const GO_TERM = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g;

/** Gateway API's durations: up to four terms of at most five digits, without fractions (GEP-2257). */
export const GATEWAY_DURATION = /^([0-9]{1,5}(h|m|s|ms)){1,4}$/;

/** Milliseconds of a Go duration such as "1h30m" or "0", or undefined if `text` is none. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!GO_DURATION.test(text)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit] of text.matchAll(GO_TERM)) {
    totalMs += Number(amount) * (UNIT_MS[unit as string] as number);
  }
  return totalMs;
}

/** As `parseDuration`; a number, or digits alone, counts seconds, as Argo's IntOrString fields do. */
export function parseDurationOrSeconds(value: string | number): number | undefined {
  if (typeof value === "number") return value >= 0 ? value * 1000 : undefined;
  return /^\d+$/.test(value) ? Number(value) * 1000 : parseDuration(value);
}

/** A duration for people: "850ms", "12s", "3m5s", "2h10m". */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)}ms`;
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  return minutes % 60 === 0 ? `${minutes / 60}h` : `${Math.floor(minutes / 60)}h${minutes % 60}m`;
}
